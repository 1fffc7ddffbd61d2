"""Panels of ratios below others: their place, their range, and arrows for what lies beyond it."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

RATIO = (0.5, 1.5)


def ratio_axes(image: Figure, cell: SubplotSpec) -> tuple[Axes, Axes]:
    """Axes of a cell of a grid, and below them those of ratios."""
    parts = cell.subgridspec(2, 1, height_ratios=(3, 1), hspace=0.0)
    upper = image.add_subplot(parts[0])
    return upper, image.add_subplot(parts[1], sharex=upper)


def ratio_limits(ax: Axes) -> None:
    """The range of ratios that is drawn, and its ticks."""
    ax.set_ylim(*RATIO)
    ax.set_yticks([0.75, 1.0, 1.25], labels=["0.75", "1", "1.25"])


def mark_beyond(
    ax: Axes, places: np.ndarray, ratio: np.ndarray, colour: str, number: int = 0
) -> None:
    """Arrows where a ratio lies above or below what is drawn.

    Args:
        ax: The panel of ratios.
        places: Where they belong.
        ratio: The ratios; NaN where there is none.
        colour: Of the arrows.
        number: Of the curve, from 0: each has a height of its own.
    """
    low, high = RATIO
    inwards = 0.08 + 0.05 * number
    beyond = ((ratio > high, high - inwards, "^"), (ratio < low, low + inwards, "v"))
    for where, level, marker in beyond:
        ax.plot(
            places[where], np.full(where.sum(), level), marker, color=colour, markersize=2.5,
            linestyle="none",
        )  # fmt: skip
