r"""Cut a cascade into the voxels of a geometry.

The voxels of one layer of one shower are a *plane*. Consecutive layers of one binning are handled
together, as many planes at a time as fit a processor's cache.

In a plane with N spots, the number in voxel v is Poisson with mean :math:`\lambda_v = N w_v`, and
the layer's energy is shared in proportion to one gamma variate per spot. The first spot of a voxel
arrives at an Exp(1) time T: the voxel stays empty where :math:`T > \lambda_v`, which is most of
them, and elsewhere the number of spots is :math:`1 + \mathrm{Poisson}(\lambda_v - T)` exactly.
"""

from collections.abc import Iterator

import numpy as np

from caloman_cli.data.generator.cascade import Cascade, Source
from caloman_cli.data.geometry import Geometry, Layer

# Float32 numbers of one temporary: 512 KiB stay in a second-level cache.
_CHUNK = 1 << 17
_TINY = np.float32(1e-30)


def voxelise(
    generator: np.random.Generator, cascade: Cascade, geometry: Geometry, cut: float
) -> np.ndarray:
    """Draw the voxels of a batch of showers.

    Args:
        generator: Source of randomness.
        cascade: The showers.
        geometry: The voxels.
        cut: Voxels below become zero [MeV].

    Returns:
        Voxel energies [MeV], float32, shape (B, V).
    """
    n = len(cascade.axis)
    voxels = np.zeros((n, geometry.n_voxels), np.float32)
    for layer, first, last in _alike(geometry):
        size = (last - first) * layer.n_voxels
        column = geometry.slices[first].start
        rows = max(1, _CHUNK // size)
        for start in range(0, n, rows):
            part = (slice(start, start + rows), slice(first, last))
            energy = _planes(generator, cascade, layer, part)
            energy[energy < cut] = 0
            voxels[part[0], column : column + size] = energy.reshape(-1, size)
    return voxels


def _alike(geometry: Geometry) -> Iterator[tuple[Layer, int, int]]:
    """(layer, first, last + 1) of each run of layers with the same rings and slices."""
    first = 0
    for last in range(1, geometry.n_layers + 1):
        layer = geometry.layers[first]
        if last < geometry.n_layers:
            other = geometry.layers[last]
            if (other.r_edges, other.n_alpha) == (layer.r_edges, layer.n_alpha):
                continue
        yield layer, first, last
        first = last


def _planes(
    generator: np.random.Generator, cascade: Cascade, layer: Layer, part: tuple[slice, slice]
) -> np.ndarray:
    """Energies of the planes of some rows and layers [MeV], shape (P, n_alpha * n_r)."""
    axis = cascade.axis[part].reshape(-1, 2)
    energy = np.zeros((len(axis), layer.n_voxels), np.float32)
    for source in cascade.sources:
        _add_spots(generator, source, layer, axis.astype(np.float32), part, energy)
    if cascade.track is not None:
        track = cascade.track[part].ravel()
        hit = np.flatnonzero(track)
        energy[hit, _voxel_at(layer, axis[hit])] += track[hit]
    return energy


def _add_spots(
    generator: np.random.Generator,
    source: Source,
    layer: Layer,
    axis: np.ndarray,
    part: tuple[slice, slice],
    energy: np.ndarray,
) -> None:
    """Add the energy of one source to the planes ``energy`` [MeV], shape (P, n_alpha * n_r)."""
    spots = source.spots[part].ravel()
    live = np.flatnonzero(spots)
    if len(live) == 0:
        return
    components = source.radii.shape[0]
    radii = source.radii[(slice(None), *part)].reshape(components, -1)[:, live]
    weights = source.weights[(slice(None), *part)].reshape(components, -1)[:, live]
    rings = _ring_shares(radii, weights, np.array(layer.r_edges))
    expected = (spots[live, None] * rings).astype(np.float32)
    if layer.n_alpha > 1:
        density = _density(radii.astype(np.float32), weights.astype(np.float32), axis[live], layer)
        expected = expected / np.maximum(density.sum(1), _TINY)
        density *= expected[:, None, :]
        expected = density.reshape(len(live), -1)

    arrival = generator.standard_exponential(expected.shape, dtype=np.float32)
    waiting = np.subtract(expected, arrival, out=arrival).ravel()
    hit = np.flatnonzero(waiting > 0)
    counts = (1 + generator.poisson(waiting[hit])).astype(np.float32)
    share = generator.standard_gamma(np.float32(source.spot_shape) * counts, dtype=np.float32)
    plane, voxel = np.divmod(hit.astype(np.int32), layer.n_voxels)
    total = np.maximum(np.bincount(plane, share, minlength=len(live)), _TINY)
    contained = source.energy[part].ravel()[live] * rings.sum(1)
    energy[live[plane], voxel] += share * (contained / total)[plane]


def _ring_shares(radii: np.ndarray, weights: np.ndarray, r_edges: np.ndarray) -> np.ndarray:
    """Share of the energy in each ring around an undisplaced axis: (C, P) -> (P, n_r)."""
    squared = r_edges**2
    inside = squared / (squared + (radii**2)[..., None])
    return np.diff((weights[..., None] * inside).sum(0))


def _density(radii: np.ndarray, weights: np.ndarray, axis: np.ndarray, layer: Layer) -> np.ndarray:
    """Energy per area around a displaced axis at voxel centres [1/mm2]: (P, n_alpha, n_r)."""
    edges = np.array(layer.r_edges, np.float32)
    radius = 0.5 * (edges[1:] + edges[:-1])
    angle = -np.pi + (np.arange(layer.n_alpha) + 0.5) * 2 * np.pi / layer.n_alpha
    direction = np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
    along = axis @ direction
    offset = radius**2 + (axis**2).sum(1, keepdims=True)
    distance = offset[:, None, :] - 2 * along[:, :, None] * radius
    np.maximum(distance, 0, out=distance)
    total = np.zeros_like(distance)
    work = np.empty_like(distance)
    for component, weight in zip(radii, weights, strict=True):
        squared = component[:, None, None] ** 2
        np.add(distance, squared, out=work)
        np.multiply(work, work, out=work)
        np.divide(weight[:, None, None] * squared, work, out=work)
        total += work
    return total


def _voxel_at(layer: Layer, position: np.ndarray) -> np.ndarray:
    """The voxel of a plane that holds each position [mm], the outermost beyond the last ring."""
    ring = np.searchsorted(layer.r_edges, np.hypot(position[:, 0], position[:, 1])) - 1
    ring = np.clip(ring, 0, layer.n_r - 1)
    angle = np.arctan2(position[:, 1], position[:, 0])
    wedge = np.floor((angle + np.pi) / (2 * np.pi) * layer.n_alpha).astype(int) % layer.n_alpha
    return wedge * layer.n_r + ring
