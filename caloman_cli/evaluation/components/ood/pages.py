"""The picture of :class:`OOD`, and what is said of it."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from caloman_cli.evaluation.components.ood.told import Told
from caloman_cli.evaluation.names import legend_below, words_above
from caloman_cli.evaluation.style import GENERATED, REFERENCE_EDGE, figure, house_style


def ood_figure(
    inside: Told, others: dict[str, Told], limits: np.ndarray, labels: tuple[str, str]
) -> Figure:
    """The reference in grey and one set in colour a panel, with the thresholds.

    Args:
        inside: The reference.
        others: The sets, by name.
        limits: Thresholds of log p and local dimension, shape (2,).
        labels: What the reference and the model are called.
    """
    columns = min(3, len(others))
    rows = -(-len(others) // columns)
    with house_style():
        image = figure(2.6 * columns + 0.4, 2.5 * rows + 0.3, "constrained")
        panels = image.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        edges = [_window(inside.values[:, axis], limits[axis]) for axis in (0, 1)]
        for ax, (name, found) in zip(panels.flat, others.items(), strict=False):
            _cloud(ax, inside.values, edges, REFERENCE_EDGE)
            _cloud(ax, found.values, edges, GENERATED)
            ax.axvline(limits[0], color="black", linewidth=0.8, linestyle=":")
            ax.axhline(limits[1], color="black", linewidth=0.8, linestyle=":")
            ax.set_title(name)
        for ax in panels.flat[len(others) :]:
            ax.axis("off")
        for ax in panels.flat[max(len(others) - columns, 0) : len(others)]:
            ax.tick_params(labelbottom=True)  # though an empty panel may be below
            ax.set_xlabel("log p")
        for ax in panels[:, 0]:
            ax.set_ylabel("FLIPD")
        keys = [
            Patch(color=REFERENCE_EDGE, label=labels[0]),
            Patch(color=GENERATED, label="the set"),
        ]
        legend_below(image, keys, [str(key.get_label()) for key in keys])
        words_above(image, f"under {labels[1]}")
        return image


def _window(values: np.ndarray, limit: float) -> tuple[float, float]:
    """Edges that hold the middle of real showers with room around; the rest lies on them.

    The middle is four fifths: log p has long tails, which would leave no room for what is seen.
    """
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, [0.1, 0.9]) if len(finite) else (limit - 1, limit + 1)
    room = 2 * max(high - low, 1e-9)
    return float(low - room), float(high + room)


def _cloud(ax: Axes, values: np.ndarray, edges: list[tuple[float, float]], colour: str) -> None:
    x, y = (np.clip(values[:, axis], *edges[axis]) for axis in (0, 1))
    ax.scatter(x, y, s=4, color=colour, linewidths=0, alpha=0.6)


def caption(by_energy: bool) -> str:
    """Of the picture."""
    units = ", in widths from the median of training showers of like energy" if by_energy else ""
    return (
        f"log p and local dimension{units}: the reference grey, each set in colour; what lies far "
        "outside is drawn on the edge. Accepted is what lies above and right of the dotted "
        "thresholds."
    )


def note(model: Any, noise: float, quantile: float, by_energy: bool) -> str:
    """What the scores mean."""
    like = " Compared with training showers of like incident energy." if by_energy else ""
    return (
        f"Out of distribution: log p is of kind '{model.kind}', the local dimension is FLIPD at "
        f"a noise of {noise:.3g} of the signal. The dual AUC is that of the best pairs of "
        "thresholds, which an oracle would have to choose: its notes say what it is where nothing "
        f"differs. 'Accepted' needs no oracle: both are above the lowest {100 * quantile:g} % of "
        "training showers or, on "
        f"both sides, between half as many on either side.{like}"
    )
