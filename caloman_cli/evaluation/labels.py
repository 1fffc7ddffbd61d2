"""Names beside points that do not cover each other."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes

Box = np.ndarray  # lower x, lower y, upper x, upper y [pixels]
ANGLES = np.deg2rad([0, 180, 90, 270, 45, 135, 225, 315, 22, 158, 202, 338])
DISTANCES = (7.0, 13.0, 20.0, 28.0, 38.0, 50.0)  # points
LEADER = 12.0  # points: farther labels get a line to their point


def label_points(
    ax: Axes,
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    *,
    colours: Sequence[str],
    sizes: Sequence[float],
    bold: Sequence[bool],
    corners: Sequence[tuple[float, float]] = (),
) -> None:
    """Write a name beside each point, where it covers least.

    Each name tries places around its point, near ones first, and takes the one that overlaps
    the least with points, names already placed, a drawn line and the edge of the axes; crowded
    points are served first. Write labels last.

    Args:
        ax: The axes, with their final limits and place in the figure.
        points: Positions in data coordinates.
        texts: A name for each.
        colours: The colour of each name.
        sizes: The marker size of each point [points].
        bold: Which names are set bold.
        corners: Corners of a line of horizontal and vertical pieces, in data coordinates.
    """
    ax.autoscale_view()
    where = ax.transData.transform(np.asarray(points, float).reshape(-1, 2))
    pixels = ax.figure.dpi / 72  # per point
    boxes = [
        _around(xy, xy, (size / 2 + 1) * pixels) for xy, size in zip(where, sizes, strict=True)
    ]
    turns = ax.transData.transform(np.asarray(corners, float).reshape(-1, 2))
    boxes += [_around(one, other, 2 * pixels) for one, other in pairwise(turns)]
    frame = np.array(ax.bbox.extents) + 4 * pixels * np.array([1, 1, -1, -1])
    for index in _crowded_first(where):
        label = ax.annotate(
            texts[index], points[index], (0, 0), textcoords="offset points", fontsize=8,
            ha="center", va="center", color=colours[index], annotation_clip=False, zorder=6,
            fontweight="bold" if bold[index] else "normal",
        )  # fmt: skip
        extent = label.get_window_extent()
        size = np.array([extent.width, extent.height]) / 2
        reach = (sizes[index] / 2 - 2.5) * pixels
        centre, box = _place(where[index], size, reach, pixels, np.stack(boxes), frame)
        boxes.append(box)
        label.set_position(tuple((centre - where[index]) / pixels))
        _leader(ax, where[index], box, pixels)


def _place(
    centre: np.ndarray, size: np.ndarray, reach: float, pixels: float, obstacles: np.ndarray,
    frame: Box,
) -> tuple[np.ndarray, Box]:  # fmt: skip
    """Centre and box of a label [pixels], by least overlap, then least distance.

    Args:
        centre: The point.
        size: Half width and half height of the text.
        reach: Added to every distance [pixels], for a large marker.
        pixels: Per point.
        obstacles: Boxes to keep clear of, shape (n, 4).
        frame: Box to stay in.
    """
    distances, angles = (axis.ravel() for axis in np.meshgrid(DISTANCES, ANGLES, indexing="ij"))
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1).round(6)
    # The distance is between the point and the edge of the text, not its centre.
    offsets = directions * (distances * pixels + reach)[:, None] + directions * size
    boxes = np.concatenate([centre + offsets - size, centre + offsets + size], axis=1)
    covered = _overlaps(boxes, obstacles).sum(1)
    outside = 4 * size.prod() - _overlaps(boxes, frame[None])[:, 0]
    costs = covered + 4 * outside + 0.3 * distances * pixels
    best = int(np.argmin(costs.round(6)))  # equal up to rounding: the first, preferred one
    return centre + offsets[best], boxes[best]


def _leader(ax: Axes, centre: np.ndarray, box: Box, pixels: float) -> None:
    """A thin line from a label that is not beside its point."""
    nearest = np.clip(centre, box[:2], box[2:])
    if np.hypot(*(nearest - centre)) > LEADER * pixels:
        line = ax.transData.inverted().transform([centre, nearest])
        ax.plot(*line.T, color="0.6", linewidth=0.6, zorder=2, scalex=False, scaley=False)


def _crowded_first(where: np.ndarray) -> list[int]:
    """Indices by the number of near neighbours, most first."""
    gaps = np.hypot(*np.moveaxis(where[:, None] - where[None], 2, 0))
    return [int(i) for i in np.argsort(-(np.exp(-gaps / 80)).sum(1), kind="stable")]


def _around(one: np.ndarray, other: np.ndarray, margin: float) -> Box:
    return np.concatenate([np.minimum(one, other) - margin, np.maximum(one, other) + margin])


def _overlaps(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Common areas of boxes (a, 4) and (b, 4) of lower and upper corners; shape (a, b)."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    return (high - low).clip(min=0).prod(2)
