r"""What showers look like around their axis, layer by layer and from layer to layer.

With :math:`f_k` the share of a layer's energy in the slice at :math:`\alpha_k`, after the readout
cut, the moments of a layer with three slices or more are

.. math::
    d = \sum_k f_k e^{i \alpha_k}, \quad q = \sum_k f_k e^{2 i \alpha_k}, \quad
    p_l = \sum_k f_k f_{k + l}, \quad
    c = \sum_k f_k \langle r \rangle_k e^{i \alpha_k},

its dipole, its quadrupole, the products of slices l apart and its centre [mm]. No feature changes
when all layers are turned by one angle that is a whole number of slices of each of them, or, but
for ``twist``, when the shower is mirrored at the edge of a slice. So they say nothing of where a
detector is not symmetric about its axis; the centres among the high-level features do.

Two layers overlap by :math:`2 \pi \int \rho_a \rho_b \, d\alpha`, with the energy of each slice
spread evenly over it: 1 where one of them is lit evenly, n for the same one of n slices. Layers
need not have the same slices.

The angle between two directions a and b enters as :math:`\Re(a \bar b) / |a| |b|`, and as 0 where
one of them is 0. Of a layer without energy all is 0.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.metrics.features import ShowerSource, chunk_rows

Group = Literal["around_axis", "across_layers"]
LAGS = (1, 2, 5)  # slices apart; those up to half of the way around
_NOTHING = 1e-9  # shorter directions are rounding


@dataclass(frozen=True)
class Kind:
    """One feature of a layer, or of a shower.

    Args:
        group: ``around_axis`` sees one layer, ``across_layers`` several.
        words: For tables and axes.
        unit: Empty for numbers.
    """

    group: Group
    words: str
    unit: str = ""


KINDS: Mapping[str, Kind] = {
    "dipole": Kind("around_axis", "dipole"),
    "quadrupole": Kind("around_axis", "quadrupole"),
    **{f"product_{lag}": Kind("around_axis", f"products of slices {lag} apart") for lag in LAGS},
    **{f"lit_{lag}": Kind("around_axis", f"lit voxels with one {lag} on lit") for lag in LAGS},
    "lit_slices": Kind("around_axis", "lit slices"),
    "lit_outward": Kind("around_axis", "lit voxels whose outer one is lit"),
    "offset": Kind("around_axis", "distance of the centre from the axis", "mm"),
    "inner_dipole": Kind("around_axis", "dipole of the inner half of the rings"),
    "outer_dipole": Kind("around_axis", "dipole of the outer half of the rings"),
    "inner_outer": Kind("around_axis", "alignment of inner and outer dipole"),
    "alignment": Kind("across_layers", "alignment of the dipole with the layer before"),
    "twist": Kind("across_layers", "sine of the turn against the layer before"),
    "quadrupole_alignment": Kind("across_layers", "alignment of the quadrupole, layer before"),
    "shower_alignment": Kind("across_layers", "alignment of the dipole with the other layers"),
    "overlap": Kind("across_layers", "overlap of slices with the layer before"),
    "shift": Kind("across_layers", "distance of the centre from that of the layer before", "mm"),
    "lit_behind": Kind("across_layers", "lit voxels behind a lit one of the layer before"),
    "axis_offset": Kind("across_layers", "distance of the shower from the axis", "mm"),
    "axis_tilt": Kind("across_layers", "tilt of the shower", "mm/layer"),
    "axis_scatter": Kind("across_layers", "scatter of the centres about the shower's line", "mm"),
    "axis_opening": Kind("across_layers", "alignment of the shower's tilt and its distance"),
}
"""Name of a feature -> what it is; behind a slash stands the layer's id. ``axis_*`` have none."""


@dataclass(frozen=True)
class AzimuthalFeatures:
    """Azimuthal features of N showers.

    Args:
        names: ``dipole/1`` and so on, see :data:`KINDS`.
        values: float32, shape (N, F).
    """

    names: tuple[str, ...]
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[:, self.names.index(name)]


def azimuthal_features(showers: ShowerSource, threshold: float | None = None) -> AzimuthalFeatures:
    """All features that the detector has, in one pass that holds one chunk of voxels at a time.

    Layers with fewer than three slices have no direction and none of the features but
    ``lit_behind``; a layer of one voxel has none at all.

    Args:
        showers: N showers [MeV].
        threshold: Readout cut [MeV]: smaller voxel energies count as zero. None: the geometry's.
    """
    geometry = showers.geometry
    cut = geometry.threshold if threshold is None else threshold
    names = tuple(feature_names(geometry))
    values = np.empty((len(showers), len(names)), np.float32)
    start = 0
    for _, voxels in showers.iterate(chunk_rows(geometry)):
        found = dict(_of_chunk(geometry, np.where(voxels < cut, np.float32(0), voxels)))
        for column, name in enumerate(names):
            values[start : start + len(voxels), column] = found[name]
        start += len(voxels)
    return AzimuthalFeatures(names, values)


def feature_names(geometry: Geometry) -> list[str]:
    """Names of all features of a detector, in the order of the columns."""
    nothing = np.zeros((1, geometry.n_voxels), np.float32)
    return [name for name, _ in _of_chunk(geometry, nothing)]


@dataclass(frozen=True)
class _Moments:
    """What a layer with slices tells the others; B showers.

    Args:
        layer: The layer.
        depth: Its number, counted from 0.
        energy: [MeV], shape (B,).
        shares: Of its slices, shape (B, n_alpha).
        dipole, quadrupole: Complex, shape (B,).
        centre: Complex [mm], shape (B,).
    """

    layer: Layer
    depth: int
    energy: np.ndarray
    shares: np.ndarray
    dipole: np.ndarray
    quadrupole: np.ndarray
    centre: np.ndarray


Found = Iterator[tuple[str, np.ndarray]]


def _of_chunk(geometry: Geometry, voxels: np.ndarray) -> Found:
    """Features of showers (B, V) [MeV] after the cut, each (B,), by their names."""
    images = [
        voxels[:, part].reshape(-1, layer.n_alpha, layer.n_r)
        for layer, part in zip(geometry.layers, geometry.slices, strict=True)
    ]
    moments = []
    for depth, (layer, image) in enumerate(zip(geometry.layers, images, strict=True)):
        if layer.n_alpha < 3:
            continue
        moments.append(_moments(layer, depth, image))
        for name, values in _around(moments[-1], image):
            yield f"{name}/{layer.id}", values
    for (before, first), (layer, second) in pairwise(zip(geometry.layers, images, strict=True)):
        if min(before.n_voxels, layer.n_voxels) > 1:
            yield f"lit_behind/{layer.id}", _lit_behind(before, layer, first > 0, second > 0)
    for above, here in pairwise(moments):
        for name, values in _between(above, here):
            yield f"{name}/{here.layer.id}", values
    if len(moments) > 1:
        yield from _of_shower(moments)


def _directions(n_alpha: int) -> np.ndarray:
    """exp(i alpha) of the slices' middles, shape (n_alpha,)."""
    return np.exp(1j * (2 * np.pi * (np.arange(n_alpha) + 0.5) / n_alpha - np.pi))


def _moments(layer: Layer, depth: int, image: np.ndarray) -> _Moments:
    edges = np.asarray(layer.r_edges)
    slices = image.sum(2, dtype=np.float64)
    energy = slices.sum(1)
    shares = _over(slices, energy[:, None])
    along = _directions(layer.n_alpha)
    centre = _over(image @ ((edges[:-1] + edges[1:]) / 2), energy[:, None]) @ along
    return _Moments(layer, depth, energy, shares, shares @ along, shares @ along**2, centre)


def _dipole(image: np.ndarray) -> np.ndarray:
    """Complex, shape (B,), of rings (B, n_alpha, n_r) [MeV]."""
    slices = image.sum(2, dtype=np.float64)
    return _over(slices @ _directions(slices.shape[1]), slices.sum(1))


def _around(moments: _Moments, image: np.ndarray) -> Found:
    """Features of one layer with slices, image (B, n_alpha, n_r) [MeV]."""
    layer, shares = moments.layer, moments.shares
    yield "dipole", np.abs(moments.dipole)
    if layer.n_alpha > 3:  # of three slices it is as long as the dipole
        yield "quadrupole", np.abs(moments.quadrupole)
    lit = image > 0
    n_lit = lit.sum((1, 2))
    for lag in LAGS:
        if lag <= layer.n_alpha // 2:
            yield f"product_{lag}", (shares * np.roll(shares, -lag, 1)).sum(1)
            both = (lit & np.roll(lit, -lag, 1)).sum((1, 2))
            yield f"lit_{lag}", _over(both, n_lit)
    yield "lit_slices", (shares > 0).mean(1)
    yield "offset", np.abs(moments.centre)
    if layer.n_r > 1:
        yield "lit_outward", _over((lit[:, :, 1:] & lit[:, :, :-1]).sum((1, 2)), n_lit)
        half = layer.n_r // 2
        inner, outer = _dipole(image[:, :, :half]), _dipole(image[:, :, half:])
        yield "inner_dipole", np.abs(inner)
        yield "outer_dipole", np.abs(outer)
        yield "inner_outer", _alignment(inner, outer).real


def _between(before: _Moments, here: _Moments) -> Found:
    """Features of a layer with slices and the one with slices before it."""
    turn = _alignment(here.dipole, before.dipole)
    yield "alignment", turn.real
    yield "twist", turn.imag
    if min(before.layer.n_alpha, here.layer.n_alpha) > 3:
        aligned = _alignment(here.quadrupole, before.quadrupole)
        yield "quadrupole_alignment", aligned.real
    yield "shift", np.abs(here.centre - before.centre) * (here.energy > 0) * (before.energy > 0)
    sizes = before.layer.n_alpha, here.layer.n_alpha
    common = _common(*(np.linspace(0, 1, n + 1) for n in sizes)) * sizes[0] * sizes[1]
    yield "overlap", ((before.shares @ common) * here.shares).sum(1)


def _lit_behind(before: Layer, layer: Layer, first: np.ndarray, lit: np.ndarray) -> np.ndarray:
    """The share of lit voxels that share an area with a lit one of the layer before, (B,).

    Args:
        before: The layer before.
        layer: The layer.
        first: Whether a voxel is lit in the layer before, (B, n_alpha, n_r).
        lit: Whether a voxel is lit in the layer.
    """
    if (before.n_alpha, before.r_edges) == (layer.n_alpha, layer.r_edges):
        covered = first
    else:
        turns = (np.linspace(0, 1, one.n_alpha + 1) for one in (layer, before))
        slices = (_common(*turns) > _NOTHING).astype(np.float32)
        rings = _common(np.asarray(before.r_edges), np.asarray(layer.r_edges)) > _NOTHING
        covered = slices @ (first.astype(np.float32) @ rings.astype(np.float32)) > 0.5
    return _over((lit & covered).sum((1, 2)), lit.sum((1, 2)))


def _common(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How much the intervals between rising edges have in common, shape (n_first, n_second)."""
    low = np.maximum(first[:-1, None], second[None, :-1])
    high = np.minimum(first[1:, None], second[None, 1:])
    return np.maximum(high - low, 0)


def _of_shower(layers: list[_Moments]) -> Found:
    """How each layer leans with the others, and the straight line through all centres.

    The line is fitted by least squares, layers weighted by their energies; depth is counted in
    layers, since a detector's mesh does not say how far they are apart.
    """
    energy = np.stack([one.energy for one in layers], 1)
    whole = (energy * np.stack([one.dipole for one in layers], 1)).sum(1)
    if len(layers) > 2:  # else it is the alignment with the layer before
        for one in layers:
            rest = whole - one.energy * one.dipole
            # What is left of a difference of equal numbers is no direction.
            rest = np.where(np.abs(rest) > 1e-6 * energy.sum(1), rest, 0)
            yield f"shower_alignment/{one.layer.id}", _alignment(one.dipole, rest).real
    weight = _over(energy, energy.sum(1)[:, None])
    depth = np.array([float(one.depth) for one in layers])
    centre = np.stack([one.centre for one in layers], 1)
    middle = (weight * centre).sum(1)
    from_mean = depth - (weight @ depth)[:, None]
    spread = (weight * from_mean**2).sum(1)
    tilt = _over((weight * from_mean * centre).sum(1), np.where(spread > 1e-9, spread, 0))
    left = centre - middle[:, None] - tilt[:, None] * from_mean
    yield "axis_offset", np.abs(middle)
    if len(layers) > 2:  # of two it is the shift, and the line goes through both
        yield "axis_tilt", np.abs(tilt)
        yield "axis_scatter", np.sqrt((weight * np.abs(left) ** 2).sum(1))
    yield "axis_opening", _alignment(tilt, middle).real


def _over(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The ratio, 0 where there is nothing below."""
    kind = np.result_type(above, below, np.float64)
    shape = np.broadcast_shapes(above.shape, below.shape)
    return np.divide(above, below, out=np.zeros(shape, kind), where=below > 0)


def _alignment(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """exp(i angle) from ``second`` to ``first``; 0 where one of them has no direction."""
    product = first * second.conj()
    length = np.abs(product)
    known = (np.abs(first) > _NOTHING) & (np.abs(second) > _NOTHING)
    return np.divide(product, length, out=np.zeros_like(product), where=known)
