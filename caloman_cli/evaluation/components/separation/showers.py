"""The average shower, layer by layer, as one looks along the particle's direction."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure, SubFigure

from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.evaluation.names import folded
from caloman_cli.evaluation.style import (
    DIVERGING,
    EMPTY,
    MAPPING,
    colour_map,
    figure,
    house_style,
    numbered,
)

LAYERS_PER_PAGE = 9
_FINE = 180  # angular steps that make a ring look round
_DECADES = 5.0  # of the colour scale, below the layer's largest voxel
_WIDTH = 19  # letters of a line above a layer
_WIDE = 4.0  # rings that differ more than this in width are drawn at equal width


def average_showers(
    geometry: Geometry,
    reference: np.ndarray,
    generated: np.ndarray,
    labels: tuple[str, str] = ("reference", "generated"),
    everything: bool = True,
) -> Iterator[tuple[str, Figure, str]]:
    """Reference, generated and their ratio for every layer in polar view.

    Args:
        geometry: The showers' geometry.
        reference: Mean voxel energies (V,) [MeV], see
            :func:`~caloman_cli.evaluation.components.separation.averages.mean_showers`.
        generated: The same of the generated showers.
        labels: Names of the reference and of the generated showers.
        everything: Draw all layers; otherwise at most nine that are evenly spaced.

    Yields:
        (file stem, figure, caption), at most nine layers each.
    """
    layers = np.arange(geometry.n_layers)
    if not everything and len(layers) > LAYERS_PER_PAGE:
        layers = np.linspace(0, len(layers) - 1, LAYERS_PER_PAGE).round().astype(int)
    pages = np.array_split(layers, -(-len(layers) // LAYERS_PER_PAGE))
    for number, members in enumerate(pages, 1):
        with house_style():
            image = _page(geometry, members.tolist(), reference, generated, labels)
        words = "Average shower of every layer, and the ratio"
        stem, caption = numbered("average_shower", words, number, len(pages))
        yield stem, image, caption


def _page(
    geometry: Geometry,
    members: list[int],
    reference: np.ndarray,
    generated: np.ndarray,
    labels: tuple[str, str],
) -> Figure:
    across = 1 if len(members) <= 3 else 2 if len(members) <= 6 else 3
    down = -(-len(members) // across)
    image = figure(6.2 * across, 2.3 * down + 0.6, "constrained")
    image.suptitle(f"Average shower ({geometry.name}): mean energy of each voxel", fontsize=13)
    blocks = image.subfigures(down, across, squeeze=False).ravel()
    for place, index in enumerate(members):
        part = geometry.slices[index]
        pair = (reference[part], generated[part])
        _triplet(blocks[place], geometry.layers[index], pair, labels, titled=place < across)
    return image


def _triplet(
    block: SubFigure,
    layer: Layer,
    pair: tuple[np.ndarray, np.ndarray],
    labels: tuple[str, str],
    titled: bool,
) -> None:
    """Reference, generated, ratio of one layer; ``pair`` are mean voxel energies [MeV]."""
    reference, generated = pair
    axes = block.subplots(1, 3, subplot_kw={"projection": "polar"})
    scale = energy_scale(np.concatenate(pair))
    for ax, values, title in zip(axes[:2], pair, labels, strict=True):
        mesh = draw_rings(ax, layer, values, scale, MAPPING)
        ax.set_title(folded(title, _WIDTH) if titled else "", pad=6, fontsize=9.5)
    note = "\nrings not to scale" if is_uneven(layer) else ""
    axes[0].text(
        -0.12, 0.5, f"layer {layer.id}\nr < {layer.r_edges[-1]:g} mm{note}", rotation=90,
        ha="right", va="center", transform=axes[0].transAxes, fontsize=8.5, linespacing=1.4,
    )  # fmt: skip
    bar = block.colorbar(mesh, ax=list(axes[:2]), fraction=0.05, pad=0.02, shrink=0.8, aspect=16)
    bar.ax.set_title("MeV", fontsize=7.5, pad=3)
    bar.ax.tick_params(labelsize=7.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(reference > 0, generated / reference, np.nan)
    mesh = draw_rings(axes[2], layer, ratio, LogNorm(0.5, 2.0), DIVERGING)
    axes[2].set_title("ratio" if titled else "", pad=6, fontsize=9.5)
    bar = block.colorbar(
        mesh, ax=axes[2], fraction=0.09, pad=0.05, shrink=0.8, aspect=16, extend="both"
    )
    bar.set_ticks([0.5, 1.0, 2.0], labels=["½", "1", "2"])
    bar.ax.tick_params(labelsize=7.5)
    bar.minorticks_off()


def energy_scale(values: np.ndarray) -> Normalize:
    """Logarithmic over what occurs: one decade at least, _DECADES at most."""
    positive = values[values > 0]
    if not len(positive):
        return LogNorm(1e-3, 1.0)
    top = float(positive.max())
    return LogNorm(min(max(float(positive.min()), top * 10**-_DECADES), 0.1 * top), top)


def is_uneven(layer: Layer) -> bool:
    """Whether rings are drawn at equal widths, not to scale."""
    widths = np.diff(layer.r_edges)
    return bool(widths.max() / widths.min() > _WIDE)


def draw_rings(
    ax: Axes, layer: Layer, values: np.ndarray, scale: Normalize, colours: str
) -> QuadMesh:
    """Draw one layer's voxels (n_alpha * n_r,) in polar coordinates."""
    radii = np.arange(layer.n_r + 1.0) if is_uneven(layer) else np.asarray(layer.r_edges)
    fine = max(1, -(-_FINE // layer.n_alpha))
    angles = np.linspace(-np.pi, np.pi, layer.n_alpha * fine + 1)
    cells = np.repeat(values.reshape(layer.n_alpha, layer.n_r), fine, axis=0).T
    shown = np.ma.masked_where(~(cells > 0), cells)
    mesh = ax.pcolormesh(
        angles, radii, shown, norm=scale, cmap=colour_map(colours), rasterized=True
    )
    ax.set_facecolor(EMPTY)
    ax.set_ylim(0, radii[-1])
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines["polar"].set_linewidth(0.6)
    return mesh
