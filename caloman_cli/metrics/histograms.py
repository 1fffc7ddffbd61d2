r"""The CaloChallenge's histograms: which quantities, which bins, and what falls outside them.

Official ranges depend on the outer radius R of a layer; layers of other sizes get ranges in
proportion to R. Logarithmic bins run from the readout cut to the largest energy of the reference.

References:
    Krause et al. (2024), CaloChallenge 2022: A Community Challenge for Fast Calorimeter
    Simulation, arXiv:2410.21611, and its evaluation code.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from caloman_cli.data.geometry import Layer
from caloman_cli.data.hdf5 import NumberType
from caloman_cli.metrics.features import (
    Features,
    ShowerSource,
    add_voxels,
    chunk_rows,
    empty_groups,
    voxel_histogram,
)

GROUPS = {
    "E_ratio": "E_tot / E_inc",
    "E_ratio_at": "E_tot / E_inc at one E_inc",
    "E_layer": "layer energy [MeV]",
    "EC_eta": "centre of energy in eta [mm]",
    "EC_phi": "centre of energy in phi [mm]",
    "EC_r": "centre of energy in r [mm]",
    "width_eta": "width in eta [mm]",
    "width_phi": "width in phi [mm]",
    "width_r": "width in r [mm]",
    "sparsity": "sparsity",
    "voxel": "voxel energy [MeV]",
}
NARROW_FROM = 4096.0  # [MeV]: photons from here on have a response narrow enough for fine bins


@dataclass(frozen=True)
class Ranges:
    """Upper ends of a layer's histograms [mm]; EC_eta and EC_phi begin at minus ``centre``."""

    centre: float
    width: float
    centre_r: float
    width_r: float


OFFICIAL_RANGES = {  # by the layer's outer radius [mm]
    41.85: Ranges(30, 30, 42, 20),
    200.0: Ranges(100, 100, 500, 500),
    400.0: Ranges(100, 100, 500, 500),
    600.0: Ranges(100, 100, 500, 500),
    2000.0: Ranges(500, 400, 1500, 1500),
}


@dataclass(frozen=True)
class Histogram:
    """One quantity of two sets of showers in the same bins.

    Args:
        name: ``group`` or ``group/layer id`` or ``E_ratio_at/energy in MeV``.
        edges: Rising, shape (bins + 1,).
        reference_counts: Below, bins..., above; int64, shape (bins + 2,).
        generated_counts: The same of the generated showers.
        reference_groups: The same counts in G groups of whole showers, shape (G, bins + 2), where
            one shower has many entries: they tell the error, which these entries do not.
        generated_groups: The same of the generated showers.
    """

    name: str
    edges: np.ndarray
    reference_counts: np.ndarray
    generated_counts: np.ndarray
    reference_groups: np.ndarray | None = None
    generated_groups: np.ndarray | None = None

    @property
    def group(self) -> str:
        return self.name.split("/")[0]

    @property
    def label(self) -> str:
        """What an axis says: quantity, unit and layer."""
        quantity = GROUPS[self.group]
        _, _, where = self.name.partition("/")
        if not where:
            return quantity
        if self.group == "E_ratio_at":
            return f"E_tot / E_inc at E_inc = {where} MeV"
        return f"{quantity}, layer {where}"

    @property
    def log(self) -> bool:
        """Whether the bins are logarithmic."""
        return self.group in ("E_layer", "voxel")

    @property
    def reference(self) -> np.ndarray:
        """Density of the reference, normalised to the entries in range; shape (bins,)."""
        return _density(self.reference_counts, self.edges)

    @property
    def generated(self) -> np.ndarray:
        """Density of the generated showers, normalised to the entries in range."""
        return _density(self.generated_counts, self.edges)

    @property
    def note(self) -> str | None:
        """Why there is no separation power, or None where there is one."""
        missing = [
            who
            for who, counts in (
                ("reference", self.reference_counts),
                ("generated", self.generated_counts),
            )
            if counts[1:-1].sum() == 0
        ]
        return f"no {' and no '.join(missing)} entry in range" if missing else None

    @property
    def separation(self) -> float | None:
        """Separation power of the two densities in [0, 1], or None where one side is empty."""
        if self.note is not None:
            return None
        width = np.diff(self.edges)
        return separation_power(self.reference * width, self.generated * width)

    @property
    def occupied(self) -> int:
        """Number of bins that either side fills."""
        return int(np.count_nonzero(self.reference_counts[1:-1] + self.generated_counts[1:-1]))

    @property
    def floor(self) -> float | None:
        """Expected separation power of two independent samples of one truth.

        (K - 1)/4 (1/N1 + 1/N2) with K occupied bins and N entries in range, one bin less than
        are filled because both densities add up to one: zero where all entries share a bin. The
        entries of the pooled voxel histogram are not independent: its separation lies above this
        floor.
        """
        if self.note is not None:
            return None
        n1, n2 = self.reference_counts[1:-1].sum(), self.generated_counts[1:-1].sum()
        return float((self.occupied - 1) / 4 * (1 / n1 + 1 / n2))

    def out_of_range(self) -> dict[str, float]:
        """Fractions of all entries below and above the bins, which the densities do not show."""
        fractions = {}
        for who, counts in (
            ("reference", self.reference_counts),
            ("generated", self.generated_counts),
        ):
            total = max(int(counts.sum()), 1)
            fractions[f"{who}_below"] = float(counts[0] / total)
            fractions[f"{who}_above"] = float(counts[-1] / total)
        return fractions


def separation_power(p: np.ndarray, q: np.ndarray) -> float:
    r"""The triangular discrimination of two normalised histograms.

    .. math:: S = \frac{1}{2} \sum_i \frac{(p_i - q_i)^2}{p_i + q_i}

    It is 0 for equal and 1 for disjoint histograms.
    """
    return float(0.5 * ((p - q) ** 2 / (p + q + 1e-16)).sum())


def layer_ranges(layer: Layer) -> Ranges:
    """Official ranges where the outer radius is an official one, else in proportion to it."""
    outer = layer.r_edges[-1]
    for radius, ranges in OFFICIAL_RANGES.items():
        if math.isclose(radius, outer, rel_tol=1e-6):
            return ranges
    return Ranges(0.7 * outer, 0.7 * outer, outer, 0.5 * outer)


def log_edges(
    threshold: float, highest: float, n_edges: int, number_type: NumberType = "float64"
) -> np.ndarray:
    """Logarithmic edges from the readout cut to the reference's maximum [MeV].

    The logarithm of the maximum is taken in the numbers of the file, as the official code does:
    rounding decides whether the largest entry lies in the last bin or above it.

    Args:
        threshold: Readout cut [MeV].
        highest: The reference's maximum [MeV]; one without an entry above the cut gets a decade.
        n_edges: Bins + 1.
        number_type: Of the reference's voxels.
    """
    if highest <= threshold:
        highest = 10 * threshold
    end = np.log10(np.dtype(number_type).type(highest))
    return np.logspace(np.log10(threshold), float(end), n_edges)


def voxel_edges(reference: Features) -> np.ndarray:
    """Edges of the pooled voxel histogram [MeV], shape (50,)."""
    return log_edges(_lowest(reference), reference.max_voxel, 50, reference.number_type)


def feature_histograms(reference: Features, generated: Features) -> Iterator[Histogram]:
    """Every histogram but the voxels', in the official order of quantities."""
    ratio = np.linspace(0.5, 1.5, 101)
    yield _compare("E_ratio", _response(reference), _response(generated), ratio)
    yield from _response_at_energies(reference, generated)
    for layer in reference.geometry.layers:
        name, lowest = f"E_layer/{layer.id}", _lowest(reference)
        highest = float(reference[name].max(initial=0.0))
        edges = log_edges(lowest, highest, 40, reference.number_type)
        yield _compare(name, reference[name], generated[name], edges)
    for group in ("EC_eta", "EC_phi", "EC_r", "width_eta", "width_phi", "width_r", "sparsity"):
        for layer in reference.geometry.layers:
            name = f"{group}/{layer.id}"
            if name in reference.values:
                edges = _linear_edges(group, layer)
                yield _compare(name, reference[name], generated[name], edges)


def voxel_groups(showers: ShowerSource, features: Features, edges: np.ndarray) -> np.ndarray:
    """Entries of the pooled voxel histogram after the readout cut that the features had.

    Taken from the features where they carry this histogram, else from one more pass.

    Returns:
        Counts of G groups of whole showers: below, bins..., above; int64, shape (G, bins + 2).
    """
    known, known_edges = features.voxel_groups, features.voxel_edges
    if known is not None and known_edges is not None and np.array_equal(known_edges, edges):
        return known
    groups, start = empty_groups(len(showers), edges), 0
    number_type = showers.number_type
    for _, voxels in showers.iterate(chunk_rows(showers.geometry), number_type):
        add_voxels(groups, voxels, start, features.threshold, edges)
        start += len(voxels)
    return groups


def _lowest(reference: Features) -> float:
    """Where logarithmic bins begin [MeV]; a cut of zero cannot."""
    return reference.threshold if reference.threshold > 0 else reference.geometry.threshold


def _response(features: Features) -> np.ndarray:
    """Visible over incident energy, divided in the numbers of the file."""
    visible = features["E_tot"].astype(features.number_type)
    return visible / features.e_inc.astype(features.energy_type)


def _response_at_energies(reference: Features, generated: Features) -> Iterator[Histogram]:
    energies = reference.geometry.incident_energies
    if energies is None:
        return
    for low, high in zip(energies, [*energies[1:], 2 * energies[-1]], strict=True):
        narrow = reference.geometry.particle == "photon" and low >= NARROW_FROM
        edges = np.linspace(0.9, 1.1, 21) if narrow else np.linspace(0.4, 1.4, 21)
        sides = [
            _response(side)[(side.e_inc >= low) & (side.e_inc < high)]
            for side in (reference, generated)
        ]
        yield _compare(f"E_ratio_at/{low:.12g}", sides[0], sides[1], edges)


def _linear_edges(group: str, layer: Layer) -> np.ndarray:
    if group == "sparsity":
        return np.linspace(0, 1, 21)
    ranges = layer_ranges(layer)
    if group in ("EC_eta", "EC_phi"):
        return np.linspace(-ranges.centre, ranges.centre, 101)
    upper = {
        "width_eta": ranges.width,
        "width_phi": ranges.width,
        "EC_r": ranges.centre_r,
        "width_r": ranges.width_r,
    }
    return np.linspace(0, upper[group], 101)


def _compare(
    name: str, reference: np.ndarray, generated: np.ndarray, edges: np.ndarray
) -> Histogram:
    return Histogram(
        name, edges, voxel_histogram(reference, edges), voxel_histogram(generated, edges)
    )


def _density(counts: np.ndarray, edges: np.ndarray) -> np.ndarray:
    inside = counts[1:-1]
    return inside / max(int(inside.sum()), 1) / np.diff(edges)
