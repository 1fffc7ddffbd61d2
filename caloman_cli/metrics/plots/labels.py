"""Names beside points that do not cover each other."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

ANGLES = np.deg2rad([0, 180, 90, 270, 45, 135, 225, 315, 22, 158, 202, 338])
DISTANCES = (7.0, 13.0, 20.0, 28.0, 38.0, 50.0)  # points
LEADER = 12.0  # points: farther labels get a line to their point


def label_points(
    image: Figure, ax: Axes, points: Sequence[tuple[float, float]], texts: Sequence[str],
    colours: Sequence[str], bold: Sequence[bool],
) -> None:  # fmt: skip
    """Write a name beside each point, where it covers least.

    Each name tries places around its point, near ones first, and takes the one that overlaps
    the least with points, names already placed and the edge of the axes; crowded points are
    served first. The figure's layout is fixed by this call: write labels last.

    Args:
        image: The figure.
        ax: The axes, with their final limits.
        points: Positions in data coordinates.
        texts: A name for each.
        colours: The colour of each name.
        bold: Which names are set bold.
    """
    image.draw_without_rendering()
    image.set_layout_engine("none")
    where = ax.transData.transform(np.asarray(points, float).reshape(-1, 2))
    pixels = image.dpi / 72  # per point
    marks = [Bbox.from_extents(*(xy - 4 * pixels), *(xy + 4 * pixels)) for xy in where]
    placed: list[Bbox] = []
    for index in _crowded_first(where):
        label = ax.annotate(
            texts[index], points[index], (0, 0), textcoords="offset points", fontsize=8,
            ha="center", va="center", color=colours[index], annotation_clip=False, zorder=6,
            fontweight="bold" if bold[index] else "normal",
        )  # fmt: skip
        extent = label.get_window_extent()
        size = np.array([extent.width, extent.height]) / 2
        offset, box = _place(where[index], size, pixels, marks, placed, ax.bbox)
        placed.append(box)
        label.set_position((offset[0] / pixels, offset[1] / pixels))
        _leader(ax, label, where[index], box, pixels)


def _place(
    centre: np.ndarray,
    size: np.ndarray,
    pixels: float,
    marks: Sequence[Bbox],
    placed: Sequence[Bbox],
    frame: Bbox,
) -> tuple[np.ndarray, Bbox]:
    """Offset [pixels] of a label's centre and its box, by least overlap, then least distance."""
    best: tuple[float, np.ndarray, Bbox] | None = None
    for distance in DISTANCES:
        for angle in ANGLES:
            direction = np.array([np.cos(angle), np.sin(angle)])
            # The gap is between the point and the edge of the text, not its centre.
            reach = direction * size
            offset = direction * distance * pixels + np.sign(direction.round(6)) * np.abs(reach)
            box = Bbox.from_extents(*(centre + offset - size), *(centre + offset + size))
            area = sum(_overlap(box, other) for other in [*marks, *placed])
            area += 4 * (4 * size[0] * size[1] - _overlap(box, frame))
            cost = area + 0.3 * distance * pixels
            if best is None or cost < best[0]:
                best = cost, offset, box
    assert best is not None
    return best[1], best[2]


def _leader(ax: Axes, label: Annotation, centre: np.ndarray, box: Bbox, pixels: float) -> None:
    """A thin line from a label that is not beside its point."""
    nearest = np.clip(centre, [box.x0, box.y0], [box.x1, box.y1])
    if np.hypot(*(nearest - centre)) > LEADER * pixels:
        line = ax.transData.inverted().transform([centre, nearest])
        ax.plot(*line.T, color="0.6", linewidth=0.6, zorder=2, scalex=False, scaley=False)


def _crowded_first(where: np.ndarray) -> list[int]:
    """Indices by the number of near neighbours, most first."""
    gaps = np.hypot(*np.moveaxis(where[:, None] - where[None], 2, 0))
    return [int(i) for i in np.argsort(-(np.exp(-gaps / 80)).sum(1), kind="stable")]


def _overlap(one: Bbox, other: Bbox) -> float:
    both = Bbox.intersection(one, other)
    return 0.0 if both is None else float(both.width * both.height)
