"""A detector drawn: its layers as the particle sees them, and from the side."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import FuncFormatter, NullLocator

from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.data.layout import Shape, counts, shapes
from caloman_cli.evaluation.names import folded
from caloman_cli.evaluation.style import EMPTY, GENERATED, MAPPING, colour_map, figure, house_style

_ACROSS = 3  # panels beside each other
_MOST = 12  # shapes that are drawn
_WIDTH, _HEIGHT, _SIDE = 3.4, 4.0, 3.2  # of a panel, and height of the side view [inches]
_FINE = 360  # angular steps that make a ring look round
_UNEVEN = 12.0  # the largest over the smallest width, beyond which rings are not drawn to scale
_APART = 0.11  # of the radius, the least between two numbers of the ruler
_NUMBERED = 50  # voxels of a layer that get their number; of more, the last one of a slice does
_AROUND = 20  # slices that get a number then, at most
_DOWN = 0.055  # of the radius, which a letter of a turned number takes
_ROOM, _HIGH = 0.09, 0.075  # of the radius, which a number takes, and its height
_TICKS = 24  # numbers of layers below the side view
_FAR = 30.0  # the largest over the smallest edge, beyond which the side view is logarithmic
_LETTER = 0.085  # of a title [inches]
_COLOURS = "(colours and numbers: place of a voxel in its layer, the first is 0)"
_RINGS = ("#9ecae1", "#c9dff0")


def drawing(geometry: Geometry) -> Figure:
    """A panel for each shape of layer, and a side view.

    Colours and numbers tell the place of a voxel among those of its layer, the first is dark.
    """
    every = shapes(geometry)
    shown = every[:_MOST]
    across = min(_ACROSS, len(shown))
    down = -(-len(shown) // across)
    with house_style():
        if len(shown) == 1:
            image = figure(3 * _WIDTH, _HEIGHT + 0.4, "constrained")
            parts = image.subfigures(1, 2, squeeze=False, width_ratios=[1.0, 1.7])
        else:
            image = figure(_WIDTH * across, _HEIGHT * down + _SIDE, "constrained")
            heights = [_HEIGHT * down, _SIDE]
            parts = image.subfigures(2, 1, squeeze=False, height_ratios=heights)
        fronts, side = parts.ravel()
        left_out = f"; {len(every) - _MOST} more shapes are not drawn" if every[_MOST:] else ""
        width = int(image.get_figwidth() / _LETTER)
        lines = (f"{counts(geometry)}{left_out}", _COLOURS)
        words = "\n".join(folded(line, width, lines=3) for line in lines)
        image.suptitle(f"{words}\n", fontsize=10.5, linespacing=1.1)
        for number, shape in enumerate(shown, 1):
            _front(fronts.add_subplot(down, across, number), shape)
        _side(side.subplots(), geometry, side.bbox.width / image.dpi)
    return image


def _front(ax: Axes, shape: Shape) -> None:
    """One shape along the particle's direction; voxels coloured in the order of the file."""
    layer = shape.layer
    scaled = _to_scale(layer)
    radii = np.asarray(layer.r_edges) if scaled else np.arange(layer.n_r + 1.0) + _hole(layer)
    end = radii[-1]
    fine = max(1, -(-_FINE // layer.n_alpha))
    angles = np.linspace(-np.pi, np.pi, layer.n_alpha * fine + 1)
    places = np.repeat(np.arange(layer.n_voxels).reshape(layer.n_alpha, layer.n_r), fine, axis=0)
    x, y = np.outer(np.cos(angles), radii), np.outer(np.sin(angles), radii)
    last = max(layer.n_voxels - 1, 1)
    ax.pcolormesh(x, y, places, cmap=colour_map(MAPPING), vmin=0, vmax=1.15 * last)
    thin = 0.6 if layer.n_voxels < 500 else 0.25
    ax.plot(x[:, :-1], y[:, :-1], color="white", linewidth=thin)
    ax.plot(x[:, -1], y[:, -1], color="black", linewidth=0.8)
    ax.add_patch(Circle((0, 0), radii[0], facecolor=EMPTY, edgecolor="black", linewidth=0.8))
    if layer.n_alpha > 1:
        ax.plot(x[::fine].T, y[::fine].T, color="white", linewidth=thin)
    for place, radius, angle in _numbers(layer, radii):
        dark = radius < end and place < 0.6 * last
        ax.text(
            radius * np.cos(angle), radius * np.sin(angle), str(place), fontsize=6.5,
            color="white" if dark else "black", ha="center", va="center",
        )  # fmt: skip
    ax.text(-1.03 * end, 0, "α = -π", fontsize=7, ha="right", va="center")
    _ruler(ax, layer, radii)
    ax.set_aspect("equal")
    longest = max(len(f"{edge:.7g}") for edge in layer.r_edges)
    low = max(1.55, 1.27 + _DOWN * longest) * end
    ax.set(xlim=(-1.35 * end, 1.35 * end), ylim=(-low, 1.15 * end))
    ax.set_axis_off()
    cut = "not cut" if layer.n_alpha == 1 else f"x {layer.n_alpha} slices"
    rings = f"{layer.n_r} ring{'s' if layer.n_r > 1 else ''}"
    note = "" if scaled else ", widths not to scale"
    ax.set_title(f"{_short(shape.name)}\n{rings} {cut}{note}", fontsize=9.5)


def _numbers(layer: Layer, radii: np.ndarray) -> Iterator[tuple[int, float, float]]:
    """Place, radius and angle of the voxels that get a number."""
    step, end = 2 * np.pi / layer.n_alpha, radii[-1]
    angles = [-np.pi + (cut + 0.5) * step for cut in range(layer.n_alpha)]
    if layer.n_voxels > _NUMBERED and layer.n_alpha > 1:
        every = -(-layer.n_alpha // _AROUND)
        for cut in range(every // 2, layer.n_alpha, every):
            yield (cut + 1) * layer.n_r - 1, 1.07 * end, angles[cut]
        return
    last = -np.inf
    for place in range(layer.n_voxels):
        cut, ring = divmod(place, layer.n_r)
        low, high = radii[ring], radii[ring + 1]
        if layer.n_alpha == 1:
            middle = 0.0 if low == 0 else (low + high) / 2
            if middle - last > _HIGH * end:
                yield place, middle, np.pi / 2
                last = middle
        elif min(high - low, (low + high) / 2 * step) > _ROOM * end:
            yield place, (low + high) / 2, angles[cut]


def _ruler(ax: Axes, layer: Layer, radii: np.ndarray) -> None:
    """Edges of rings in mm below the panel, numbers as many as have room."""
    end = radii[-1]
    base, tick = -1.17 * end, 0.04 * end
    ax.plot([0, end], [base, base], color="black", linewidth=0.8)
    ax.vlines(radii, base - tick, base, color="black", linewidth=0.8)
    ax.text(-0.08 * end, base - tick, "r [mm]", fontsize=7, ha="right", va="top")
    last = np.inf
    for edge, radius in zip(reversed(layer.r_edges), radii[::-1], strict=True):
        if last - radius >= _APART * end:
            ax.text(
                radius,
                base - 2 * tick,
                f"{edge:.7g}",
                fontsize=7,
                rotation=90,
                ha="center",
                va="top",
            )
            last = radius


def _side(ax: Axes, geometry: Geometry, width: float) -> None:
    """Rings from the side, a column for each layer; a line where numbers are left out.

    Args:
        ax: Empty axes.
        geometry: The detector.
        width: Of the room for them [inches].
    """
    smallest = min(edge for layer in geometry.layers for edge in layer.r_edges if edge > 0)
    innermost = min(layer.r_edges[0] for layer in geometry.layers)
    largest = max(layer.r_edges[-1] for layer in geometry.layers)
    for position, layer in enumerate(geometry.layers):
        boxes = [
            Rectangle((position - 0.5, low), 1, high - low)
            for low, high in pairwise(layer.r_edges)
        ]
        colours = [_RINGS[number % 2] for number in range(layer.n_r)]
        ax.add_collection(
            PatchCollection(boxes, facecolor=colours, edgecolor="white", linewidth=0.4)
        )
    numbers = [layer.id for layer in geometry.layers]
    jumps = [at for at, (one, two) in enumerate(pairwise(numbers), 1) if two != one + 1]
    for position in jumps:
        ax.axvline(position - 0.5, color=GENERATED, linewidth=1.6)
    step = -(-len(numbers) // _TICKS)
    ax.set_xticks(range(0, len(numbers), step), [str(one) for one in numbers[::step]])
    ax.set_xlim(-0.5, len(numbers) - 0.5)
    if largest > _FAR * smallest:
        ax.set_yscale("symlog", linthresh=smallest)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.set_ylim(0, largest * 1.5)
    elif innermost > _UNEVEN * (largest - innermost):
        margin = 0.1 * (largest - innermost)
        ax.set_ylim(innermost - margin, largest + margin)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.7g}"))
    else:
        ax.set_ylim(0, largest * 1.08)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.tick_params(axis="x", length=0)
    ax.set_facecolor(EMPTY)
    ax.grid(False)
    ax.set_ylabel("distance from the axis [mm]")
    ax.set_xlabel("layer, in the order of the file")
    jumped = "; orange: numbers left out" if jumps else ""
    words = f"Rings from the side (a binning knows no depths); grey: counted nowhere{jumped}"
    ax.set_title(folded(words, int(width / _LETTER)), fontsize=9.5)


def _to_scale(layer: Layer) -> bool:
    """Whether the smallest ring can be seen beside the largest, and beside the hole."""
    widths = np.diff([0.0, *layer.r_edges] if layer.r_edges[0] > 0 else layer.r_edges)
    return bool(widths.max() <= _UNEVEN * widths.min())


def _hole(layer: Layer) -> float:
    """Room for what lies within the first ring, in the width of a ring."""
    return 1.0 if layer.r_edges[0] > 0 else 0.0


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:36]} ..."
