"""Showers in three dimensions: lit voxels as pieces of rings, layer behind layer."""

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection

from caloman_cli.data.geometry import Geometry
from caloman_cli.evaluation.components.separation.rows import Side
from caloman_cli.evaluation.components.separation.showers import energy_scale
from caloman_cli.evaluation.names import elided
from caloman_cli.evaluation.style import MAPPING, REFERENCE_EDGE, colour_map, figure, house_style

BRIGHTEST = 3000  # voxels of a shower that are drawn: the time of a figure is bounded by them
CONTAINED = 0.95  # of the energy of both showers, within the radius that is drawn
_AROUND = 48  # corners of a full circle
_FEW, _OUTLINES = 8, 9  # layers that are drawn as discs, outlines of layers at most


def showers_in_space(geometry: Geometry, sides: tuple[Side, Side]) -> Figure:
    """Two showers side by side, their voxels coloured by the logarithm of their energy.

    Layers are evenly spaced along the particle's direction, from left to right; across it voxels
    are to scale, out to the ring within which 95 % of the energy is. Of each shower the brightest
    3,000 voxels are drawn.

    Args:
        geometry: The showers' geometry.
        sides: The real and the generated shower.
    """
    radius = contained_radius(geometry, sides[0].voxels + sides[1].voxels)
    scale = energy_scale(np.concatenate([side.voxels for side in sides]))
    long = 1.3 if geometry.n_layers <= _FEW else 2.0
    with house_style():
        image = figure(11.0, 4.6, None)
        image.suptitle(
            f"A shower in space ({geometry.name}), r < {radius:g} mm", fontsize=12, y=0.985,
            va="top",
        )  # fmt: skip
        for place, side in enumerate(sides):
            ax = image.add_axes((0.01 + 0.46 * place, 0.06, 0.44, 0.84), projection="3d")
            assert isinstance(ax, Axes3D)
            _draw(ax, geometry, side.voxels, scale, radius)
            ax.set_box_aspect((long, 1, 1), zoom=1.2 if geometry.n_layers <= _FEW else 1.3)
            name, energy, total = side.words.split("\n")
            ax.set_title(f"{elided(name)}\n{energy}, {total}", fontsize=9.5, y=0.98)
        bar = image.add_axes((0.945, 0.2, 0.012, 0.55))
        image.colorbar(ScalarMappable(scale, colour_map(MAPPING)), cax=bar)
        bar.set_title("MeV", fontsize=8, pad=4)
        return image


def contained_radius(geometry: Geometry, voxels: np.ndarray) -> float:
    """The smallest ring edge [mm] within which 95 % of the energy of voxels (V,) lies."""
    outer = np.concatenate(
        [np.tile(layer.r_edges[1:], layer.n_alpha) for layer in geometry.layers]
    )
    total = voxels.sum()
    edges = np.unique(outer)
    if total <= 0:
        return float(edges[-1])
    inside = np.array([voxels[outer <= edge].sum() for edge in edges])
    return float(edges[np.argmax(inside >= CONTAINED * total)])


def voxel_pieces(
    geometry: Geometry, voxels: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of rings, one a lit voxel, and the voxels' energies.

    Args:
        geometry: The showers' geometry.
        voxels: Of one shower, shape (V,) [MeV].
        radius: Rings that begin beyond it are left out [mm].

    Returns:
        Corners (pieces, corners, 3): place of the layer, then mm across, the last one repeated
        where a piece has fewer; energies (pieces,) [MeV]. The brightest voxels only.
    """
    least = np.sort(voxels)[-BRIGHTEST] if len(voxels) > BRIGHTEST else 0.0
    pieces, energies = [], []
    most = 2 * (max(max(1, _AROUND // layer.n_alpha) for layer in geometry.layers) + 1)
    for place, (layer, part) in enumerate(zip(geometry.layers, geometry.slices, strict=True)):
        values = voxels[part].reshape(layer.n_alpha, layer.n_r)
        edges = np.asarray(layer.r_edges)
        fine = max(1, _AROUND // layer.n_alpha)
        step = 2 * np.pi / (layer.n_alpha * fine)
        for i, j in np.argwhere((values > 0) & (values >= least) & (edges[:-1] < radius)):
            there = -np.pi + step * (i * fine + np.arange(fine + 1))
            a = np.concatenate([there, there[::-1]])
            r = np.repeat([min(edges[j + 1], radius), edges[j]], fine + 1)
            piece = np.stack([np.full(len(a), place), r * np.cos(a), r * np.sin(a)], 1)
            pieces.append(np.pad(piece, ((0, most - len(a)), (0, 0)), mode="edge"))
            energies.append(values[i, j])
    return np.reshape(pieces, (-1, most, 3)), np.asarray(energies)


def _draw(
    ax: Axes3D, geometry: Geometry, voxels: np.ndarray, scale: Normalize, radius: float
) -> None:
    """Nothing is clipped: matplotlib would do so at a square, which long showers exceed."""
    pieces, energies = voxel_pieces(geometry, voxels, radius)
    n = geometry.n_layers
    if len(pieces):
        colours = colour_map(MAPPING)(scale(energies))
        shares = np.clip(scale(energies), 0, 1)
        colours[:, 3] = 0.04 + 0.9 * shares**2 if n > _FEW else 0.35 + 0.6 * shares
        lit = Poly3DCollection(pieces, facecolors=colours, linewidths=0, clip_on=False)
        ax.add_collection3d(lit)
    angles = np.linspace(-np.pi, np.pi, _AROUND + 1)
    outlined = np.unique(np.linspace(0, n - 1, min(n, _OUTLINES)).round().astype(int))
    rings = [
        np.stack([np.full(len(angles), i), radius * np.cos(angles), radius * np.sin(angles)], 1)
        for i in outlined
    ]
    outlines = Line3DCollection(rings, colors=REFERENCE_EDGE, linewidths=0.5, clip_on=False)
    ax.add_collection3d(outlines)
    ax.plot([-0.5, n - 0.5], [0, 0], [0, 0], color="black", linewidth=0.7, clip_on=False)
    ax.set(xlim=(-0.5, n - 0.5), ylim=(-radius, radius), zlim=(-radius, radius))
    ticks = outlined if n > _FEW else np.arange(n)
    ax.set_xticks(ticks, [str(geometry.layers[i].id) for i in ticks], fontsize=7.5)
    ax.set_yticks([])
    ax.set_zticks([])
    ax.set_xlabel("layer", labelpad=2)
    ax.view_init(elev=20, azim=-62)
    ax.grid(False)
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_pane_color((1, 1, 1, 0))
        axis.line.set_visible(axis is ax.xaxis)
