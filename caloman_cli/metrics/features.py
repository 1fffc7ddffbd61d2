r"""High-level features of showers: energies, centres, widths and sparsity of the layers.

With voxel energies E_i of one layer after the readout cut and a coordinate x_i of the voxels'
centres,

.. math::
    \langle x \rangle = \frac{\sum_i x_i E_i}{\sum_i E_i + 10^{-16}}, \qquad
    \sigma_x = \sqrt{\max\Bigl(
        \frac{\sum_i x_i^2 E_i}{\sum_i E_i + 10^{-16}} - \langle x \rangle^2, 0\Bigr)}.

x is eta = r cos(alpha) and phi = r sin(alpha) [mm] in layers with slices in alpha, and r [mm] in
every layer. The sparsity of a layer is the fraction of its voxels without energy.

Energies are added up in the numbers of the file, float32 or float64, as the official code does:
the bins of layer energies end at the largest sum, and there rounding decides. Products with
coordinates are float64.

References:
    Krause et al. (2024), CaloChallenge 2022: A Community Challenge for Fast Calorimeter
    Simulation, arXiv:2410.21611, and its evaluation code.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.data.hdf5 import NumberType

EMPTY = 1e-16  # keeps the centre of an empty layer at zero
LOG_OFFSET = 1e-8  # [MeV]: an empty layer's log10 energy is -8
CHUNK_BYTES = 64 * 1024**2
# Prime, so that incident energies that repeat in a cycle come to all groups alike.
VOXEL_GROUPS = 53


class ShowerSource(Protocol):
    """What a metric needs of a set of showers; see :class:`caloman_cli.data.showers.Showers`."""

    @property
    def geometry(self) -> Geometry: ...

    @property
    def number_type(self) -> NumberType: ...

    @property
    def energy_type(self) -> NumberType: ...

    def __len__(self) -> int: ...

    def iterate(
        self, chunk: int | None = None, number_type: NumberType = "float32"
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]: ...


@dataclass(frozen=True)
class Features:
    """High-level features of N showers.

    Args:
        geometry: The showers' geometry.
        threshold: Readout cut that was applied [MeV].
        e_inc: Incident energies [MeV], float64, shape (N,).
        values: Name -> float64 array of shape (N,). Names are ``E_tot`` [MeV] and, with the
            layer's id behind a slash, ``E_layer`` [MeV], ``EC_eta``, ``EC_phi``, ``width_eta``,
            ``width_phi`` (layers with slices only), ``EC_r``, ``width_r`` [mm], ``sparsity``.
        max_voxel: The largest voxel energy [MeV].
        voxel_edges: Edges of the pooled voxel histogram [MeV], or None where none was asked for.
        voxel_groups: Entries of that histogram in groups of whole showers, :func:`add_voxels`.
        number_type: Of the voxels, in which they were added up.
        energy_type: Of the incident energies.
    """

    geometry: Geometry
    threshold: float
    e_inc: np.ndarray
    values: dict[str, np.ndarray]
    max_voxel: float
    voxel_edges: np.ndarray | None = None
    voxel_groups: np.ndarray | None = None
    number_type: NumberType = "float64"
    energy_type: NumberType = "float64"

    def __len__(self) -> int:
        return len(self.e_inc)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]

    def group(self, name: str) -> np.ndarray:
        """All layers' columns of one feature, e.g. ``EC_eta``, float64, shape (N, layers)."""
        columns = [v for key, v in self.values.items() if key.startswith(f"{name}/")]
        return np.stack(columns, 1) if columns else np.empty((len(self), 0))


def high_level_features(
    showers: ShowerSource,
    threshold: float | None = None,
    voxel_edges: np.ndarray | None = None,
) -> Features:
    """Compute every feature in one pass, holding one chunk of voxels at a time.

    Args:
        showers: N showers [MeV].
        threshold: Readout cut [MeV]: smaller voxel energies count as zero. None: the geometry's.
        voxel_edges: Where given, rising edges [MeV] of a histogram of all voxels to fill as well.
    """
    geometry, n = showers.geometry, len(showers)
    cut = geometry.threshold if threshold is None else threshold
    moments = [_moment_weights(layer) for layer in geometry.layers]
    energies = np.empty(n)
    values = {name: np.empty(n) for name in feature_names(geometry)}
    groups = None if voxel_edges is None else empty_groups(n, voxel_edges)
    max_voxel, start = 0.0, 0
    for e_inc, voxels in showers.iterate(chunk_rows(geometry), showers.number_type):
        rows = slice(start, start + len(voxels))
        start = rows.stop
        above = voxels >= cut
        kept = np.where(above, voxels, voxels.dtype.type(0))
        max_voxel = max(max_voxel, float(kept.max(initial=0.0)))
        if voxel_edges is not None and groups is not None:
            add_voxels(groups, voxels, rows.start, cut, voxel_edges)
        energies[rows] = e_inc[:, 0]
        values["E_tot"][rows] = kept.sum(1)
        for layer, part, weights in zip(geometry.layers, geometry.slices, moments, strict=True):
            for name, column in _layer_features(layer, kept[:, part], weights).items():
                values[f"{name}/{layer.id}"][rows] = column
    return Features(
        geometry,
        cut,
        energies,
        values,
        max_voxel,
        voxel_edges,
        groups,
        showers.number_type,
        showers.energy_type,
    )


def feature_names(geometry: Geometry) -> list[str]:
    """Names of all features, layer after layer within each kind."""
    every = [layer.id for layer in geometry.layers]
    sliced = [layer.id for layer in geometry.layers if layer.n_alpha > 1]
    names = ["E_tot", *(f"E_layer/{i}" for i in every)]
    for kind in ("EC_eta", "EC_phi", "width_eta", "width_phi"):
        names += [f"{kind}/{i}" for i in sliced]
    for kind in ("EC_r", "width_r", "sparsity"):
        names += [f"{kind}/{i}" for i in every]
    return names


def voxel_centres(layer: Layer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(eta, phi, r) [mm] of a layer's voxels in file order (alpha, then r fastest)."""
    edges = np.asarray(layer.r_edges)
    alpha = -np.pi + (np.arange(layer.n_alpha) + 0.5) * (2 * np.pi / layer.n_alpha)
    r = np.tile((edges[:-1] + edges[1:]) / 2, layer.n_alpha)
    angle = np.repeat(alpha, layer.n_r)
    return r * np.cos(angle), r * np.sin(angle), r


def chunk_rows(geometry: Geometry) -> int:
    """How many showers one chunk of float64 voxels may hold."""
    return max(1, CHUNK_BYTES // (8 * geometry.n_voxels))


def voxel_histogram(energies: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Count entries below, in each bin and above; the last bin holds its upper edge.

    Args:
        energies: Any shape, in the unit of the edges.
        edges: Rising, shape (bins + 1,).

    Returns:
        int64, shape (bins + 2,).
    """
    rising = np.sort(energies, axis=None)  # vectorised: faster than a search for each entry
    starts = np.searchsorted(rising, edges[:-1], side="left")
    end = np.searchsorted(rising, edges[-1], side="right")
    return np.diff(np.concatenate([[0], starts, [end, len(rising)]]))


def empty_groups(n: int, edges: np.ndarray) -> np.ndarray:
    """Counts for :func:`add_voxels` to fill; no more groups than the n showers."""
    return np.zeros((min(VOXEL_GROUPS, n), len(edges) + 1), np.int64)


def add_voxels(
    groups: np.ndarray, voxels: np.ndarray, start: int, cut: float, edges: np.ndarray
) -> None:
    """Count the voxels of consecutive showers; shower i belongs to group i modulo G.

    Args:
        groups: Entries below, in each bin and above, int64, shape (G, bins + 2): added to.
        voxels: Of showers ``start``, ``start`` + 1, ... [MeV], shape (B, V).
        start: Number of the first of them.
        cut: Readout cut [MeV]; what is smaller counts as below.
        edges: Rising [MeV], shape (bins + 1,).
    """
    for offset in range(min(len(groups), len(voxels))):
        part = voxels[offset :: len(groups)]
        above = part[part >= cut]
        counts = groups[(start + offset) % len(groups)]
        counts += voxel_histogram(above, edges)
        counts[0] += part.size - above.size


def feature_matrix(features: Features) -> np.ndarray:
    """The input of the high-level classifier and of the Fréchet and kernel distances.

    log10 of incident and layer energies [MeV], centres and widths in units of 100 mm, log10 of the
    visible energy, sparsities, radial centres and widths in units of 100 mm.

    Args:
        features: Of N showers.

    Returns:
        float64, shape (N, 1 + 4 layers + 4 sliced layers + 1).
    """
    return np.concatenate(
        [
            np.log10(features.e_inc)[:, None],
            np.log10(features.group("E_layer") + LOG_OFFSET),
            features.group("EC_eta") / 100,
            features.group("EC_phi") / 100,
            features.group("width_eta") / 100,
            features.group("width_phi") / 100,
            np.log10(features["E_tot"] + LOG_OFFSET)[:, None],
            features.group("sparsity"),
            features.group("EC_r") / 100,
            features.group("width_r") / 100,
        ],
        axis=1,
    )


def _moment_weights(layer: Layer) -> np.ndarray:
    """Columns r, r^2 and, in sliced layers, eta, phi, eta^2, phi^2; shape (voxels, 2 or 6)."""
    eta, phi, r = voxel_centres(layer)
    columns = [r, r**2]
    if layer.n_alpha > 1:
        columns += [eta, phi, eta**2, phi**2]
    return np.stack(columns, 1)


def _layer_features(layer: Layer, kept: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Features of one layer from its voxels after the cut (b, voxels) [MeV]."""
    total = kept.sum(1)
    means = (kept @ weights) / (total + EMPTY)[:, None]
    features = {
        "E_layer": total,
        "EC_r": means[:, 0],
        "width_r": _width(means[:, 1], means[:, 0]),
        "sparsity": 1 - np.count_nonzero(kept, axis=1) / layer.n_voxels,
    }
    if layer.n_alpha > 1:
        features["EC_eta"], features["EC_phi"] = means[:, 2], means[:, 3]
        features["width_eta"] = _width(means[:, 4], means[:, 2])
        features["width_phi"] = _width(means[:, 5], means[:, 3])
    return features


def _width(second_moment: np.ndarray, centre: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(second_moment - centre**2, 0))
