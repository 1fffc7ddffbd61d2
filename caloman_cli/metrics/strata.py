"""Strata of incident energy: showers are compared, drawn and exchanged among those of like energy.

Two sets of showers at the same incident energies differ less than two sets at energies of their
own; and a set with other energies than the reference is no worse for that alone.
"""

from dataclasses import dataclass

import numpy as np

from caloman_cli.errors import UserError

MOST_LEVELS = 50  # different energies: more of them are a continuous spectrum
BINS = 20  # of a continuous one, each with as many showers of the reference
SMALLEST = 20  # showers of the reference in a stratum of a continuous one


@dataclass(frozen=True)
class Strata:
    """Neighbouring ranges of incident energy.

    Args:
        edges: Between them [MeV], rising, float64, shape (S - 1,).
        shares: Of the reference's showers in each, float64, shape (S,).
    """

    edges: np.ndarray
    shares: np.ndarray

    def of(self, energies: np.ndarray) -> np.ndarray:
        """The stratum of each incident energy [MeV], int64, the same shape."""
        return np.searchsorted(self.edges, energies, side="right")

    def counts(self, energies: np.ndarray) -> np.ndarray:
        """Showers in each stratum, int64, shape (S,).

        Raises:
            UserError: There is a stratum without any.
        """
        found = np.bincount(self.of(energies), minlength=len(self.shares))
        if (found == 0).any():
            ends = np.concatenate([[0], self.edges, [np.inf]])
            low, high = (ends[int(np.argmin(found)) + i] for i in (0, 1))
            raise UserError(
                f"not one of {len(energies):,} showers has an incident energy between {low:.4g} "
                f"and {high:.4g} MeV, where the reference has some: give showers at its energies"
            )
        return found

    def weights(self, energies: np.ndarray) -> np.ndarray:
        """What gives showers the reference's shares, with mean 1, float64, shape (N,)."""
        counts = self.counts(energies)
        weights: np.ndarray = (self.shares * len(energies) / counts)[self.of(energies)]
        return weights

    def order(self, energies: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Rows stratum by stratum, at random within each, int64, shape (N,)."""
        mixed = rng.permutation(len(energies))
        return mixed[np.argsort(self.of(energies)[mixed], kind="stable")]

    def drawn(self, energies: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Rows at random, of which any that follow each other have the reference's shares.

        Returns:
            int64, shape (n,): as many of the N as there are of every stratum.

        Raises:
            UserError: There is a stratum without any.
        """
        counts, rows = self.counts(energies), self.order(energies, rng)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        rank = np.arange(len(rows)) - first + rng.random(len(rows))
        usable = int((counts / self.shares).min().round())
        place = rank / self.shares[self.of(energies)[rows]]
        return rows[np.argsort(place)][:usable]


def energy_strata(energies: np.ndarray) -> Strata:
    """One stratum for each of a few discrete energies, else 20 with as many showers.

    Args:
        energies: Incident energies of the reference [MeV], shape (N,).
    """
    levels, counts = np.unique(energies, return_counts=True)
    if len(levels) > MOST_LEVELS:
        n = max(1, min(BINS, len(energies) // SMALLEST))
        edges = np.unique(np.quantile(energies, np.arange(1, n) / n))
        counts = np.bincount(np.searchsorted(edges, energies, side="right"))
    else:
        edges = np.sqrt(levels[:-1] * levels[1:])
    return Strata(edges, counts / len(energies))
