"""Training curves of a run, from its history."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from caloman_cli.errors import UserError
from caloman_cli.evaluation.names import legend_below
from caloman_cli.evaluation.style import GENERATED, REFERENCE_EDGE, figure, house_style, save
from caloman_cli.runs.directory import RunDirectory

log = logging.getLogger(__name__)

CAPTION = "Loss of every stage, epoch by epoch; the dot is the lowest on the validation split"
_FEWEST = 2  # epochs that make a curve
_MANY = 20  # epochs from which on the first ones may leave the picture
_SIDES = (
    ("train/loss", "training", REFERENCE_EDGE, "-"),
    ("validation/loss", "validation", GENERATED, "-"),
)

Row = Mapping[str, Any]


def training_curves(rows: Iterable[Row]) -> Figure | None:
    """A panel for each stage that was trained for two epochs or more.

    Args:
        rows: Of ``history.jsonl``.

    Returns:
        The figure, or None where there is nothing to draw.
    """
    by_stage: dict[str, list[Row]] = {}
    for row in rows:
        if any(row.get(key) is not None for key, *_ in _SIDES):
            by_stage.setdefault(row["stage"], []).append(row)
    stages = {name: found for name, found in by_stage.items() if len(found) >= _FEWEST}
    if not stages:
        return None
    with house_style():
        image = figure(3.9 * len(stages) + 0.3, 3.5, "constrained")
        panels = image.subplots(1, len(stages), squeeze=False)[0]
        for ax, (name, found) in zip(panels, stages.items(), strict=True):
            _panel(ax, found)
            ax.set_title(name, loc="left")
        panels[0].set_ylabel("loss")
        curves = {
            label: line
            for ax in panels
            for line, label in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        legend_below(image, list(curves.values()), list(curves))
        return image


def curves_of(run: RunDirectory) -> Figure | None:
    """The same of a run, whose rows may be damaged: then there is a warning and no figure."""
    try:
        return training_curves(run.history.rows())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        log.warning("no picture of the training: %s", error)
        return None


def write_curves(run: RunDirectory) -> None:
    """Draw ``training.png`` into the folder of a run; a run is none the worse without it."""
    image = curves_of(run)
    if image is None:
        return
    try:
        save(image, run.curves_path)
    except (UserError, OSError) as error:
        log.warning("no picture of the training: %s", error)


def _panel(ax: Axes, rows: Sequence[Row]) -> None:
    epochs = np.asarray([row["epoch"] for row in rows])
    every = []
    for key, label, colour, style in _SIDES:
        values = np.asarray([row.get(key) for row in rows], float)  # None is NaN
        if not np.isfinite(values).any():
            continue
        ax.plot(epochs, values, color=colour, linestyle=style, linewidth=1.2, label=label)
        every.append(values)
        if key == "validation/loss":
            best = int(np.nanargmin(np.where(np.isfinite(values), values, np.nan)))
            ax.plot(epochs[best], values[best], "o", color=colour, markersize=4)
    if len(rows) >= _MANY:
        finite = np.concatenate([values[np.isfinite(values)] for values in every])
        low, high = float(finite.min()), float(np.quantile(finite, 0.95))
        if high > low:
            ax.set_ylim(low - 0.06 * (high - low), high + 0.1 * (high - low))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.set_xlabel("epoch")
