"""Milliseconds per shower over the batch size."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from caloman_cli.metrics.plots.style import GENERATED, TRUTH, figure, house_style
from caloman_cli.metrics.timing_points import TimingPoint

_LOOKS: dict[str, dict[str, Any]] = {
    "generation": {"color": GENERATED, "marker": "o", "linestyle": "-"},
    "end to end": {"color": TRUTH, "marker": "s", "linestyle": "--"},
}


def timing_curve(points: Sequence[TimingPoint], environment: Mapping[str, str | int]) -> Figure:
    """Generation alone and end to end, log-log, with the interquartile range.

    Args:
        points: A sweep.
        environment: What :func:`caloman_cli.metrics.timing.environment` says.
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
        missing = sorted({p.batch_size for p in points if p.median is None})
        for size in missing:
            status = next(p.status for p in points if p.batch_size == size and p.median is None)
            ax.axvline(size, color="0.7", linestyle=":", zorder=0)
            ax.text(
                size, 0.5, f" {status}", rotation=90, ha="right", va="center", fontsize=8,
                transform=ax.get_xaxis_transform(), color="0.35",
            )  # fmt: skip
        ax.set_xlabel("batch size")
        ax.set_ylabel("time per shower [ms]")
        ax.grid(True, which="major", linewidth=0.4, color="0.85")
        ax.set_title(
            f"{environment['device_name']}, {environment['threads']} threads, "
            f"{environment['dtype']}",
            fontsize=9,
        )
        if ax.get_legend_handles_labels()[0]:
            ax.legend()
        return image
