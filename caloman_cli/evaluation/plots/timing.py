"""Milliseconds per shower over the batch size."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caloman_cli.evaluation.style import GENERATED, TRUTH, figure, house_style
from caloman_cli.evaluation.timing_points import TimingPoint

_LOOKS: dict[str, dict[str, Any]] = {
    "generation": {"color": GENERATED, "marker": "o", "linestyle": "-"},
    "end to end": {"color": TRUTH, "marker": "s", "linestyle": "--"},
}


_HEADROOM = 0.42  # of the axes, above the curves, for what is missing


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
        ax.set_title(
            f"{environment['device_name']}, {environment['threads']} "
            f"thread{'' if environment['threads'] == 1 else 's'}, "
            f"{environment['dtype']}",
            fontsize=9,
        )
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
