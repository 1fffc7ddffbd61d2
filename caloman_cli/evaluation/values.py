"""Scores as a picture: each number of the model beside that of independent real showers."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from caloman_cli.evaluation.comparison import Comparison
from caloman_cli.evaluation.names import legend_below
from caloman_cli.evaluation.style import GENERATED, TRUTH, figure, house_style
from caloman_cli.metrics.score import Score

CAPTION = "Each number of the model beside that of independent real showers; bars: the spreads"
_ACROSS = 4
_PANEL = (2.5, 1.0)  # inches
_EQUAL = "_equal_n"  # ends the key of a number that was taken at the truth's number of showers


def draw_values(comparison: Comparison, stem: str, scores: Sequence[Score]) -> None:
    """Draw a metric's scores, if one has a value."""
    image = value_panels(scores, (comparison.model_label, comparison.truth_label))
    if image is not None:
        comparison.draw(stem, image, CAPTION)


def value_panels(scores: Sequence[Score], labels: tuple[str, str]) -> Figure | None:
    """A panel a score, with an axis of its own; dotted lines where the floors of both sides are.

    A score that depends on the number of showers is drawn as it is at the truth's number, where
    there are both.

    Args:
        scores: Of one metric.
        labels: Names of the generated and of the independent real showers.

    Returns:
        The figure, or None where no score has a value.
    """
    names = {score.key: score.quantity for score in scores}
    shown = [
        score
        for score in scores
        if score.generated is not None and f"{score.key}{_EQUAL}" not in names
    ]
    if not shown:
        return None
    across = min(_ACROSS, len(shown))
    down = -(-len(shown) // across)
    with house_style():
        image = figure(_PANEL[0] * across + 0.2, _PANEL[1] * down + 0.45, "constrained")
        panels = image.subplots(down, across, squeeze=False).ravel()
        for ax, score in zip(panels, shown, strict=False):
            _panel(ax, score, names.get(score.key.removesuffix(_EQUAL), score.quantity))
        for ax in panels[len(shown) :]:
            ax.remove()
        has_truth = any(score.truth is not None for score in shown)
        sides = list(zip(labels, (GENERATED, TRUTH), "oD", strict=True))[: 1 + has_truth]
        handles = [
            Line2D([], [], color=colour, marker=mark, linestyle="none")
            for _, colour, mark in sides
        ]
        legend_below(image, handles, [label for label, *_ in sides])
        return image


def _panel(ax: Axes, score: Score, name: str) -> None:
    sides = (
        (score.generated, score.spread, score.floor, GENERATED, "o", 1),
        (score.truth, score.truth_spread, score.truth_floor, TRUTH, "D", 0),
    )
    for value, spread, floor, colour, mark, place in sides:
        if value is not None:
            ax.errorbar(
                value, place, xerr=spread, color=colour, marker=mark, markersize=5, capsize=2
            )
        if floor is not None:
            ends = [place - 0.5, place + 0.5]
            ax.plot([floor, floor], ends, color=colour, linewidth=0.9, linestyle=":", zorder=0)
    ax.margins(x=0.12)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.set_ylim(-0.6, 1.6)
    ax.set_yticks([])
    ax.set_title(name, loc="left", fontsize=9, pad=3)
