"""Scores of many runs side by side, with what real showers score."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from caloman_cli.evaluation.style import GENERATED, TRUTH, figure, house_style

_ROW, _LINE, _PANEL = 0.26, 0.15, 2.4  # inches
_WIDE, _LINES = 30, 3  # characters and lines of a name


@dataclass(frozen=True)
class Panel:
    """One quantity of all runs.

    Args:
        title: The quantity.
        values: Of each run; None where it was not measured.
        spreads: Of each run; None where there is none.
        truth: What real showers score, or None.
    """

    title: str
    values: Sequence[float | None]
    spreads: Sequence[float | None]
    truth: float | None


def run_scores(names: Sequence[str], panels: Sequence[Panel], across: int = 4) -> Figure:
    """A row per run, a panel per quantity; the truth is a dashed line.

    Args:
        names: Of the runs, from above.
        panels: At least one.
        across: Panels side by side.
    """
    across = min(across, len(panels))
    down = -(-len(panels) // across)
    labels = [folded(name) for name in names]
    lines = [label.split("\n") for label in labels]
    margin = 0.35 + 0.075 * max(len(line) for each in lines for line in each)
    row = _ROW + _LINE * (max(map(len, lines)) - 1)
    height = down * (row * len(names) + 0.75) + 0.2
    with house_style():
        image = figure(margin + across * _PANEL, height, "constrained")
        axes = image.subplots(down, across, squeeze=False, sharey=True)
        places = list(range(len(names)))
        for ax in axes.ravel()[len(panels) :]:
            ax.set_visible(False)
        for ax, panel in zip(axes.ravel(), panels, strict=False):
            if panel.truth is not None:
                ax.axvline(panel.truth, color=TRUTH, linestyle="--", linewidth=1.1)
            for place, value, spread in zip(places, panel.values, panel.spreads, strict=True):
                if value is not None:
                    ax.errorbar(
                        value, place, xerr=spread, fmt="o", color=GENERATED, markersize=4.5,
                        elinewidth=1,
                    )  # fmt: skip
            known = [value for value in panel.values if value is not None and value > 0]
            if known and max(known) > 30 * min(known) and len(known) == len(panel.values):
                ax.set_xscale("log")
            else:
                ax.xaxis.set_major_locator(MaxNLocator(4))
            ax.set_yticks(places, labels=labels, linespacing=0.95)
            ax.set_ylim(len(names) - 0.5, -0.5)
            ax.grid(True, axis="y", linewidth=0.4, color="0.88")
            ax.set_title(panel.title, loc="left", fontsize=9)
            ax.tick_params(axis="x", labelsize=7.5)
            ax.margins(x=0.15)
        return image


def folded(name: str) -> str:
    """A name on several lines, broken between its words; a very long one loses its middle."""
    words = re.findall(r".+?(?:[_,;:/ ]+|$)", name)
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > _WIDE:
            lines.append("")
        lines[-1] += word
    lines = [line.rstrip() for line in lines]
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], f"…{lines[-1]}"]
    return "\n".join(
        line if len(line) <= _WIDE + 6 else f"{line[: _WIDE // 2]}…{line[-_WIDE // 2 :]}"
        for line in lines
    )
