"""Quality against speed: the AUC of every submission over its time per shower."""

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from caloman_cli.evaluation.style import (
    GENERATED,
    REFERENCE_EDGE,
    TRUTH,
    figure,
    house_style,
)
from caloman_cli.published import CITATION
from caloman_cli.published.quantities import BATCH_SIZES, QUANTITIES
from caloman_cli.published.ranking import Ranking, Row

_MARKERS = dict(zip(BATCH_SIZES, ("s", "D", "o"), strict=True))
_OTHERS = "#6f6f6f"
_REACHES, _ANGLES = (9.0, 12.0, 16.0, 22.0, 30.0), np.deg2rad([0, 180, 90, 270, 45, 135, 225, 315])


def auc_over_time(ranking: Ranking, device: str = "GPU", auc: str = "AUC low") -> Figure | None:
    """AUC over the least time per shower, with the front that no other model beats in both.

    A measured model that may not be compared is drawn hollow and is not part of the front.

    Args:
        ranking: The model among the submissions.
        device: ``CPU`` or ``GPU``: which published times are shown.
        auc: Key of the AUC.

    Returns:
        The figure, or None where no submission has both numbers.
    """
    rows = [
        row
        for row in (*ranking.submissions, ranking.ours)
        if row.value(auc) is not None and row.fastest(device) is not None
    ]
    if all(row.ours for row in rows):
        return None
    front = ranking.front(device, auc)
    comparable = ranking.comparable.why_not(auc) is None
    with house_style():
        image = figure(8.8, 5.0, layout=None)  # axes that stay where they are
        ax = image.add_axes((0.08, 0.19, 0.7, 0.75))
        ax.set_xscale("log")
        for row in rows:
            _draw(ax, row, device, auc, hollow=row.ours and not comparable, on=row in front)
        ax.margins(x=0.12)
        floor = ranking.truth.value(auc)
        _limits(ax, [_point(row, device, auc)[1] for row in rows], floor)
        edge = _front(ax, [_point(row, device, auc) for row in front])
        if floor is not None:
            ax.axhline(floor, color=REFERENCE_EDGE, linestyle="--", linewidth=1, zorder=1)
            said = ax.text(
                0.995, floor, f"Geant4 {floor:.3f}", transform=ax.get_yaxis_transform(),
                ha="right", va="bottom", fontsize=8, color=REFERENCE_EDGE,
            )  # fmt: skip
        ax.set_xlabel(f"{device} time per shower at the fastest batch size [ms]")
        ax.set_ylabel(f"{QUANTITIES[auc].label} (0.5: not told apart)")
        ax.grid(True, which="major", linewidth=0.4, color="0.88")
        _explain(ax, [row.fastest(device) for row in rows], bool(front))
        ax.set_title(f"{ranking.dataset}; published: {CITATION}", fontsize=9)
        by_auc = sorted(rows, key=lambda row: -_point(row, device, auc)[1])
        taken = _occupied(
            image, ax, [(*_point(row, device, auc), _size(row)) for row in rows], edge
        )
        if floor is not None:
            taken.append(said.get_window_extent())
        _number(
            ax, [_point(row, device, auc) for row in by_auc], [row.ours for row in by_auc], taken
        )
        _name(ax, [(row.name, _colour(row, row in front), row.ours) for row in by_auc], comparable)
        return image


def _point(row: Row, device: str, auc: str) -> tuple[float, float]:
    time, value = row.fastest(device), row.value(auc)
    assert time is not None
    assert value is not None
    return time[0], value


def _colour(row: Row, on: bool) -> str:
    if row.ours:
        return GENERATED
    return TRUTH if on else _OTHERS


def _size(row: Row) -> float:
    return 9.0 if row.ours else 5.5


def _draw(ax: Axes, row: Row, device: str, auc: str, *, hollow: bool, on: bool) -> None:
    time = row.fastest(device)
    assert time is not None
    colour = _colour(row, on)
    ax.plot(
        *_point(row, device, auc),
        linestyle="none",
        marker=_MARKERS[time[1]],
        markersize=_size(row),
        markerfacecolor="white" if hollow else colour,
        markeredgecolor=colour,
        zorder=5 if row.ours else 4,
    )


def _front(ax: Axes, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Draw the edge of what is known to be possible, up to the axes' ends: its corners."""
    if not points:
        return []
    (left, right), (_, top) = ax.get_xlim(), ax.get_ylim()
    corners = [(points[0][0], top)]
    for (time, auc), (until, _) in pairwise([*points, (right, 0.0)]):
        corners += [(time, auc), (until, auc)]
    ax.plot(*zip(*corners, strict=True), color=TRUTH, linewidth=1, alpha=0.6, zorder=2)
    ax.set_xlim(left, right)
    ax.set_ylim(top=top)
    return corners


def _occupied(
    image: Figure,
    ax: Axes,
    marks: Sequence[tuple[float, float, float]],
    edge: Sequence[tuple[float, float]],
) -> list[Bbox]:
    """Boxes [pixels] where no number may be: marks (x, y, size in points) and the front."""
    ax.autoscale_view()
    pixels = image.dpi / 72
    taken = []
    for x, y, size in marks:
        xy, half = ax.transData.transform((x, y)), 0.5 * pixels * size + 1
        taken.append(Bbox.from_extents(*(xy - half), *(xy + half)))
    for line in pairwise(ax.transData.transform(edge) if edge else ()):
        low, high = np.min(line, axis=0) - 1, np.max(line, axis=0) + 1
        taken.append(Bbox.from_extents(*low, *high))
    return taken


def _number(
    ax: Axes, points: Sequence[tuple[float, float]], bold: Sequence[bool], taken: list[Bbox]
) -> None:
    """Number points from 1, each number at the first side of its point that is free.

    Args:
        ax: The axes, whose limits are fixed.
        points: In the order of their numbers.
        bold: Whose number is.
        taken: Boxes [pixels] where none may be.
    """
    inside = ax.get_window_extent().shrunk(0.99, 0.99)
    for number, (point, strong) in enumerate(zip(points, bold, strict=True), 1):
        label = ax.annotate(
            str(number), point, (0, 0), textcoords="offset points", ha="center", va="center",
            fontsize=8, fontweight="bold" if strong else "normal", zorder=6,
        )  # fmt: skip
        for reach, angle in product(_REACHES, _ANGLES):
            label.set_position((reach * np.cos(angle), reach * np.sin(angle)))
            box = label.get_window_extent()
            free = inside.contains(*box.min) and inside.contains(*box.max)
            if free and not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)


def _name(ax: Axes, names: Sequence[tuple[str, str, bool]], comparable: bool) -> None:
    """Say beside the axes whose point has which number."""
    tail = "" if comparable else " (not comparable)"
    handles = [
        Line2D([], [], linestyle="none", label=f"{number}  {name}{tail if ours else ''}")
        for number, (name, _, ours) in enumerate(names, 1)
    ]
    below = ax.get_legend()
    assert below is not None
    key = ax.legend(
        handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=0,
        handletextpad=0, fontsize=8,
    )  # fmt: skip
    for text, (_, colour, ours) in zip(key.get_texts(), names, strict=True):
        text.set(color=colour, fontweight="bold" if ours else "normal")
    ax.add_artist(below)  # a second legend takes the place of the first


def _limits(ax: Axes, values: list[float], floor: float | None) -> None:
    shown = [*values, *([] if floor is None else [floor])]
    low, high = min(shown), max(shown)
    pad = 0.07 * max(high - low, 0.02)
    ax.set_ylim(low - pad, high + pad)


def _explain(ax: Axes, times: list[tuple[float, int] | None], front: bool) -> None:
    """A legend of batch sizes and the front, below the axes where no point can be."""
    used = {time[1] for time in times if time is not None}
    for size, marker in _MARKERS.items():
        if size in used:
            ax.plot(
                [], [], linestyle="none", marker=marker, color=_OTHERS, markersize=5.5,
                label=f"batch {size:,}",
            )  # fmt: skip
    if front:
        ax.plot([], [], color=TRUTH, linewidth=1, label="none is both better and faster")
    ax.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4, columnspacing=1.6,
        handletextpad=0.5,
    )  # fmt: skip
