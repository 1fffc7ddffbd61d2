"""Milliseconds per shower as rows of a table."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caloman_cli.config.values import Compression, Count, Natural, Positive
from caloman_cli.data.spectrum import draw_known
from caloman_cli.errors import counted
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.style import GENERATED, TRUTH, figure, house_style
from caloman_cli.evaluation.timing import environment, sweep
from caloman_cli.evaluation.timing_points import (
    BatchSizes,
    Measure,
    TimingPoint,
    TimingSettings,
    to_dict,
)
from caloman_cli.metrics.score import Score, key_of

_MACHINE = {"device": "device_name", "threads": "threads", "numbers": "dtype"}
_LOOKS: dict[str, dict[str, Any]] = {
    "generation": {"color": GENERATED, "marker": "o", "linestyle": "-"},
    "end to end": {"color": TRUTH, "marker": "s", "linestyle": "--"},
}
_HEADROOM = 0.42  # of the axes, above the curves, for what is missing


class Timing:
    """Milliseconds per shower over batch sizes; see :mod:`caloman_cli.evaluation.timing`.

    Args:
        batch_sizes: Showers per call of the model.
        repeats: Measured repetitions of a point.
        warmup: Unmeasured repetitions before a point.
        max_seconds: Bound on the measured time of a point [s]; reduces the repetitions.
        min_showers: Showers written by an end-to-end repetition, at least, if ``max_seconds``
            allows it.
        max_memory: Largest memory of a point on the CPU [GiB], or None for what is available.
        compression: Of the file that is written, ``gzip``, ``fast`` or ``none``.
    """

    needs: ClassVar[tuple[Need, ...]] = ("model",)

    def __init__(
        self,
        batch_sizes: BatchSizes,
        repeats: Count = 10,
        warmup: Natural = 3,
        max_seconds: Positive = 60.0,
        min_showers: Count = 1_000,
        max_memory: Positive | None = None,
        compression: Compression = "gzip",
    ) -> None:
        self.settings = TimingSettings(
            tuple(batch_sizes), repeats, warmup, max_seconds, min_showers, max_memory, compression
        )

    def __call__(self, comparison: Comparison) -> Section:
        geometry, model = comparison.geometry, comparison.model
        rng = np.random.default_rng(comparison.seed)
        energies = draw_known(model, rng, max(self.settings.batch_sizes))
        points = sweep(
            model, energies, geometry, comparison.device, comparison.output, self.settings
        )
        where = environment(model, comparison.device)
        comparison.draw("timing", timing_curve(points, where), "Time per shower over batch size")
        used: dict[str, str | float | None] = {name: where[key] for name, key in _MACHINE.items()}
        used["compression"] = self.settings.compression
        details = {"points": to_dict(points), **where}
        scores = [*_times(points), *_sizes(where)]
        return Section(
            scores, details, [_timing_note(where, self.settings.compression)], conditions=used
        )


def _times(points: Sequence[TimingPoint]) -> list[Score]:
    """One row per point; the fastest of each kind goes into the summary."""
    best: dict[str, TimingPoint] = {}
    for point in points:
        if point.median is not None:
            held = best.get(point.measure)
            if held is None or held.median is None or point.median < held.median:
                best[point.measure] = point
    scores = []
    for point in points:
        spread = None
        if point.lower is not None and point.upper is not None:
            spread = point.upper - point.lower
        status = "" if point.status == "ok" else point.status
        scores.append(
            Score(
                "timing [ms per shower]",
                f"{point.measure}, batch {point.batch_size:,}",
                point.median,
                spread=spread,
                note=": ".join(part for part in (status, point.note) if part),
                summary=point is best.get(point.measure),
                key=time_key(point.measure, point.batch_size),
                goal="lower",
            )
        )
    return scores


def _sizes(where: dict[str, str | int]) -> list[Score]:
    """How large the model is; published numbers are those of generation."""
    rows = (("parameters", "that generate"), ("parameters_training_only", "only training needs"))
    return [
        Score("parameters", quantity, float(where[key]), key=key, goal="lower")
        for key, quantity in rows
    ]


def time_key(measure: Measure, batch_size: int) -> str:
    """Key of a time per shower."""
    return key_of("ms", measure, batch_size)


def _timing_note(where: dict[str, str | int], compression: Compression) -> str:
    return (
        f"Timing on {_said_machine(where)}, "
        f"{where['parameters']:,} parameters that generate and "
        f"{where['parameters_training_only']:,} that only training needs; median, and "
        "interquartile range as spread. "
        "'generation': energies on the device to MeV on the device; 'end to end': to a closed "
        f"HDF5 file (compression={compression}), inside a running process."
    )


def _said_machine(where: Mapping[str, str | int]) -> str:
    threads = counted(int(where["threads"]), "thread")
    return f"{where['device_name']}, {threads}, {where['dtype']}"


def timing_curve(points: Sequence[TimingPoint], environment: Mapping[str, str | int]) -> Figure:
    """Generation alone and end to end, log-log, with the interquartile range.

    Args:
        points: A sweep.
        environment: What :func:`caloman_cli.evaluation.timing.environment` says.
    """
    with house_style():
        image = figure(6.4, 4.6, "constrained")
        ax = image.subplots()
        ax.set_xscale("log")
        if points:  # matplotlib has no limits for a single size on a logarithmic axis
            every = [p.batch_size for p in points]
            ax.set_xlim(min(every) / 1.6, max(every) * 1.6)
        ax.set_yscale("log")
        for measure, look in _LOOKS.items():
            members = [p for p in points if p.measure == measure and p.median is not None]
            sizes = [p.batch_size for p in members]
            medians = [p.median for p in members if p.median is not None]
            below = [
                0.0 if p.lower is None or p.median is None else p.median - p.lower for p in members
            ]
            above = [
                0.0 if p.upper is None or p.median is None else p.upper - p.median for p in members
            ]
            if members:
                ax.errorbar(sizes, medians, [below, above], label=measure, capsize=2, **look)
        _missing(ax, [point for point in points if point.median is None])
        ax.set_xlabel("batch size")
        ax.set_ylabel("time per shower [ms]")
        ax.grid(True, which="major", linewidth=0.4, color="0.85")
        ax.set_title(_said_machine(environment), fontsize=9)
        if ax.get_legend_handles_labels()[0]:
            ax.legend()
        return image


def _missing(ax: Axes, points: Sequence[TimingPoint]) -> None:
    """Say of which curve a point is missing, above the curves, so that none is crossed."""
    if not points:
        return
    low, high = np.log10(ax.get_ylim())
    ax.set_ylim(top=10 ** (low + (high - low) / (1 - _HEADROOM)))
    shift = {point.batch_size: 0 for point in points}
    for point in points:
        ax.annotate(
            f"{point.measure}: {point.status}", (point.batch_size, 0.98),
            xycoords=ax.get_xaxis_transform(), xytext=(shift[point.batch_size], 0),
            textcoords="offset points", rotation=90, ha="right", va="top", fontsize=8,
            color=_LOOKS[point.measure]["color"],
        )  # fmt: skip
        shift[point.batch_size] += 11
