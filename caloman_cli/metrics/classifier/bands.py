"""Bands of incident energy, and how well a judge of all showers tells those of each apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from caloman_cli.metrics.classifier.scores import auc_error

MOST = 4
FEWEST = 100  # showers of each class that give a band's AUC: 0.5 is then known to 0.041
MOST_LEVELS = 50  # different energies: more of them are a continuous spectrum
DEFINED = 10  # showers of each class: below, a band has no AUC
_UNITS = (("TeV", 1e6), ("GeV", 1e3), ("MeV", 1.0))


@dataclass(frozen=True)
class EnergyBands:
    """Neighbouring bands of incident energy.

    Args:
        edges: Between bands [MeV], rising, float64, shape (B - 1,); each opens the band above it.
        spans: Lowest and highest energy [MeV] of each band, float64, shape (B, 2).
        words: What each is called, with its unit.
    """

    edges: np.ndarray
    spans: np.ndarray
    words: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.words)

    def of(self, energies: np.ndarray) -> np.ndarray:
        """The band of each incident energy [MeV], int64, the same shape."""
        return np.searchsorted(self.edges, energies, side="right")


def energy_bands(
    real: np.ndarray, made: np.ndarray, share: float = 1.0, fewest: int | None = None
) -> EnergyBands:
    """Four bands of equal width in log E, fewer where one would have too few showers.

    Discrete energies are never cut between, and four or fewer of them have a band each. Bands are
    joined where one has too few showers of a class.

    Args:
        real: Incident energies [MeV] of the real showers, shape (N,).
        made: The same of the generated ones.
        share: How many of them count.
        fewest: Showers of a class that a band needs. None: what an AUC does.
    """
    levels = np.unique(np.concatenate([real, made]))
    discrete = len(levels) <= min(MOST_LEVELS, len(real) // 4)
    if discrete and len(levels) <= MOST:
        edges = np.sqrt(levels[:-1] * levels[1:])
    else:
        edges = np.geomspace(levels[0], levels[-1], MOST + 1)[1:-1]
        if discrete:
            above = np.searchsorted(levels, edges).clip(1)
            edges = np.sqrt(levels[above - 1] * levels[above])
        else:
            edges = np.array([float(f"{edge:.2g}") for edge in edges])
        edges = np.unique(edges)
    finest = np.stack([_counts(side, edges) for side in (real, made)]) * share
    edges = edges[_kept(finest, FEWEST if fewest is None else fewest)]
    band = np.searchsorted(edges, levels, side="right")
    spans = np.array([levels[band == place][[0, -1]] for place in range(len(edges) + 1)])
    return EnergyBands(edges, spans, _words(edges, spans, discrete))


def _counts(energies: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many are in each of the bands, int64, shape (B,)."""
    return np.bincount(np.searchsorted(edges, energies, side="right"), minlength=len(edges) + 1)


def _kept(counts: np.ndarray, fewest: int) -> list[int]:
    """The edges to keep: as many as leave enough in each band, and then those that leave most.

    Args:
        counts: Of each class in each of the finest bands, shape (2, B).
        fewest: How many of each are enough.
    """
    n = counts.shape[1] - 1
    for size in range(n, 0, -1):
        choices = [list(some) for some in combinations(range(n), size)]
        least = [
            np.add.reduceat(counts, [0, *(edge + 1 for edge in some)], axis=1).min()
            for some in choices
        ]
        if max(least) >= fewest:
            return choices[int(np.argmax(least))]
    return []


class BandScores:
    """AUCs of trainings, band by band.

    Args:
        bands: The bands.
        energies: Incident energies [MeV] of the rows of both classes, shape (rows,).
        real: Whether a row is of a real shower, bool, shape (rows,).
    """

    def __init__(self, bands: EnergyBands, energies: np.ndarray, real: np.ndarray) -> None:
        self.bands, self.band, self.real = bands, bands.of(energies), real
        self._aucs: dict[str, list[list[float | None]]] = {}
        self._counts: list[np.ndarray] = []

    def add(self, name: str, scores: np.ndarray, rows: np.ndarray) -> None:
        """What one training of a judge says of the rows that give its AUC.

        Args:
            name: Of the judge.
            scores: How probably each is real, shape (B,).
            rows: Their numbers, shape (B,).
        """
        band, real, n = self.band[rows], self.real[rows], len(self.bands)
        counts = np.stack([np.bincount(band[side], minlength=n) for side in (real, ~real)])
        self._counts.append(counts)
        self._aucs.setdefault(name, []).append([
            float(roc_auc_score(real[band == place], scores[band == place]))
            if counts[:, place].min() >= DEFINED else None
            for place in range(n)
        ])  # fmt: skip

    def found(self) -> list[dict[str, Any]]:
        """Of each band ``band``, its name; ``low`` and ``high`` [MeV]; ``showers``, real and
        generated ones on the average of the trainings; ``aucs`` by judge, each None or with
        ``auc``, ``auc_std`` over trainings or None, and ``auc_error``."""
        counts = np.mean(self._counts, 0)
        return [
            {
                "band": words,
                "low": float(low),
                "high": float(high),
                "showers": counts[:, place].round().astype(int).tolist(),
                "aucs": {
                    name: _summary([run[place] for run in runs], counts[:, place])
                    for name, runs in self._aucs.items()
                },
            }
            for place, (words, (low, high)) in enumerate(
                zip(self.bands.words, self.bands.spans, strict=True)
            )
        ]


def _summary(runs: Sequence[float | None], counts: np.ndarray) -> dict[str, float | None] | None:
    values = [auc for auc in runs if auc is not None]
    if len(values) < len(runs):
        return None
    mean = float(np.mean(values))
    return {
        "auc": mean,
        "auc_std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "auc_error": auc_error(mean, *counts),
    }


def _words(edges: np.ndarray, spans: np.ndarray, discrete: bool) -> tuple[str, ...]:
    """``256 MeV to 2.05 GeV`` of discrete energies, else ``below 5.6 GeV``."""
    if discrete:
        return tuple(_between(low, high) for low, high in spans)
    if not len(edges):
        return ("all energies",)
    inner = [_between(*pair) for pair in zip(edges[:-1], edges[1:], strict=True)]
    return (f"below {_energy(edges[0])}", *inner, f"above {_energy(edges[-1])}")


def _between(low: float, high: float) -> str:
    ends = _energy(low), _energy(high)
    if ends[0] == ends[1]:
        return ends[0]
    alike = ends[0].split()[1] == ends[1].split()[1]
    return f"{ends[0].split()[0] if alike else ends[0]} to {ends[1]}"


def _energy(value: float) -> str:
    """Three digits and a unit."""
    value = float(f"{value:.3g}")
    unit, scale = next((one for one in _UNITS if value >= one[1]), _UNITS[-1])
    return f"{value / scale:.3g} {unit}"
