"""Milliseconds per shower as rows of a table."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from caloman_cli.data.spectrum import draw_known
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.plots.timing import timing_curve
from caloman_cli.evaluation.timing import environment, sweep
from caloman_cli.evaluation.timing_points import Measure, TimingPoint, TimingSettings, to_dict
from caloman_cli.metrics.score import Score, key_of

_MACHINE = {"device": "device_name", "threads": "threads", "numbers": "dtype"}


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
    """

    needs: ClassVar[tuple[Need, ...]] = ("model",)

    def __init__(
        self,
        batch_sizes: list[int],
        repeats: int = 10,
        warmup: int = 3,
        max_seconds: float = 60.0,
        min_showers: int = 1_000,
        max_memory: float | None = None,
    ) -> None:
        self.settings = TimingSettings(
            tuple(batch_sizes), repeats, warmup, max_seconds, min_showers, max_memory
        )

    def __call__(self, comparison: Comparison) -> Section:
        geometry, model = comparison.geometry, comparison.model
        rng = np.random.default_rng(comparison.seed)
        energies = draw_known(model, rng, max(self.settings.batch_sizes))
        points = sweep(
            model, energies, geometry, comparison.device, comparison.output, self.settings
        )
        where = environment(model, comparison.device)
        comparison.save_figures([("timing", timing_curve(points, where))])
        used: dict[str, str | float | None] = {name: where[key] for name, key in _MACHINE.items()}
        details = {"points": to_dict(points), **where}
        scores = [*_times(points), *_sizes(where)]
        return Section(scores, details, [_timing_note(where)], conditions=used)


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


def _timing_note(where: dict[str, str | int]) -> str:
    return (
        f"Timing on {where['device_name']}, {where['threads']} threads, {where['dtype']}, "
        f"{where['parameters']:,} parameters that generate and "
        f"{where['parameters_training_only']:,} that only training needs; median, and "
        "interquartile range as spread. "
        "'generation': energies on the device to MeV on the device; 'end to end': to a closed "
        "gzip HDF5 file, inside a running process."
    )
