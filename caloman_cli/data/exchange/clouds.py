"""Showers as point clouds: a point is a lit voxel, at its centre; and points put into voxels."""

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError

COLUMNS = ("x", "y", "layer", "energy")
"""Of a point: x, y [mm] around the particle's axis, the layer's place 0 ... L-1, energy."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clouds:
    """Some showers as points.

    Args:
        incident: Incident energies [MeV], float64, shape (B, 1).
        counts: Points of each shower, int64, shape (B,).
        points: All points, shower after shower: ``COLUMNS`` with energies in MeV, float32,
            shape (P, 4).
    """

    incident: np.ndarray
    counts: np.ndarray
    points: np.ndarray

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Name -> that of all points, shape (P,); layers are int32."""
        found = dict(zip(COLUMNS, self.points.T, strict=True))
        return {**found, "layer": found["layer"].astype(np.int32)}


def centres(geometry: Geometry) -> np.ndarray:
    """x, y [mm] and layer of the middle of each voxel, float32, shape (V, 3).

    Middle of the ring and of the slice, with alpha from -pi; a layer without slices has alpha = 0.
    """
    parts = []
    for number, layer in enumerate(geometry.layers):
        edges = np.asarray(layer.r_edges)
        r = np.tile((edges[:-1] + edges[1:]) / 2, layer.n_alpha)
        alpha = -math.pi + (np.arange(layer.n_alpha) + 0.5) * 2 * math.pi / layer.n_alpha
        alpha = np.repeat(alpha, layer.n_r)
        place = np.full(len(r), float(number))
        parts.append(np.stack([r * np.cos(alpha), r * np.sin(alpha), place], 1))
    return np.concatenate(parts).astype(np.float32)


def clouds_of(
    blocks: Iterable[tuple[np.ndarray, np.ndarray]], geometry: Geometry
) -> Iterator[Clouds]:
    """The lit voxels of showers, in the voxels' order.

    Args:
        blocks: Incident energies (B, 1) and voxels (B, V) [MeV], as ``Showers.iterate`` has them.
        geometry: Where the voxels are.
    """
    where = centres(geometry)
    for incident, voxels in blocks:
        lit = voxels > 0
        place = np.nonzero(lit)[1]
        points = np.column_stack([where[place], voxels[lit]]).astype(np.float32, copy=False)
        yield Clouds(np.asarray(incident, np.float64), lit.sum(1), points)


@dataclass
class Voxeliser:
    """Points put into the voxels of a detector; what lies outside is counted.

    Args:
        geometry: Where the voxels are.

    Attributes:
        outside: Points that no voxel holds.
        lost: Their energy [MeV].
        energy: That of all points [MeV].
    """

    geometry: Geometry
    outside: int = 0
    lost: float = 0.0
    energy: float = 0.0
    _first: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._first = np.array([part.start for part in self.geometry.slices])

    def voxels(self, clouds: Clouds) -> np.ndarray:
        """The sums of the energies in each voxel [MeV], float32, shape (B, V)."""
        x, y, layer, energy = clouds.points.astype(np.float64).T
        place = self.places(x, y, layer)
        inside = place >= 0
        self.energy += float(energy.sum())
        self.outside += int((~inside).sum())
        self.lost += float(energy[~inside].sum())
        n, width = len(clouds.counts), self.geometry.n_voxels
        row = np.repeat(np.arange(n), clouds.counts)[inside]
        flat = np.bincount(row * width + place[inside], energy[inside], n * width)
        return flat.reshape(n, width).astype(np.float32)

    def places(self, x: np.ndarray, y: np.ndarray, layer: np.ndarray) -> np.ndarray:
        """The voxel that holds each point, -1 where none does, int64, shape (P,).

        Args:
            x: [mm], shape (P,).
            y: [mm], shape (P,).
            layer: Place of the layer, the nearest whole number counts, shape (P,).
        """
        found = np.full(len(x), -1, np.int64)
        r, alpha, nearest = np.hypot(x, y), np.arctan2(y, x), np.rint(layer)
        for number, one in enumerate(self.geometry.layers):
            edges = np.asarray(one.r_edges)
            mine = np.flatnonzero((nearest == number) & (r >= edges[0]) & (r < edges[-1]))
            ring = np.searchsorted(edges, r[mine], side="right") - 1
            turn = (alpha[mine] + math.pi) / (2 * math.pi) * one.n_alpha
            part = np.floor(turn).astype(np.int64) % one.n_alpha
            found[mine] = self._first[number] + part * one.n_r + ring
        return found

    def report(self, where: str) -> None:
        """Say what was lost.

        Raises:
            UserError: Nothing lies in the detector.
        """
        if self.energy > 0 and self.lost >= self.energy:
            raise UserError(
                f"{where}: no point lies in a voxel of {self.geometry.name}: x and y are in mm "
                "around the particle's axis, layers are counted from 0"
            )
        if self.outside:
            log.warning(
                "%s: %s points with %.3g of the energy lie in no voxel of %s and are left out",
                where, f"{self.outside:,}", self.lost / max(self.energy, 1e-300),
                self.geometry.name,
            )  # fmt: skip
