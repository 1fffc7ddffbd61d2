r"""Kolmogorov-Smirnov distances against the number of showers.

The mean over features of the largest difference of distribution functions, of N showers against
all of the reference. Of real showers it falls as :math:`k \sqrt{1 / N + 1 / m}` with m showers of
reference; a model's flattens where its bias begins. Where real showers have the model's last
value they are as many as the model is worth, as others publish it: never more than the showers
that were drawn, since these have statistical errors of their own.

References:
    Kolmogorov (1933); Smirnov (1939). CMSHGCaloChallenge, plotting/plot_ks_scaling.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from caloman_cli.metrics.equivalent import ALL, Table
from caloman_cli.metrics.strata import energy_strata

SMALLEST = 10  # showers of the first point
PARTS = 8  # disjoint ones that give a point


@dataclass(frozen=True)
class Curve:
    """Mean distances of N showers from the reference.

    Args:
        numbers: N, rising, int64, shape (P,).
        groups: By group of features and ``all``, float64, shape (P,).
        scatter: Standard deviation of the distance of all features over its mean, of single
            parts; None where there are too few.
        references: Showers of the reference.
    """

    numbers: np.ndarray
    groups: Mapping[str, np.ndarray]
    scatter: float | None
    references: int

    def law(self) -> np.ndarray:
        """k sqrt(1 / N + 1 / m) through the points, shape (P,)."""
        shape = np.sqrt(1 / self.numbers + 1 / self.references)
        return np.asarray(np.exp(np.mean(np.log(self.groups[ALL] / shape))) * shape)


@dataclass(frozen=True)
class Crossing:
    """How many real showers have a distance.

    Args:
        showers: Their number.
        beyond: ``more`` or ``fewer`` than that, where the curve does not reach; else empty.
        error: Of the number; None where it is a limit or not known.
    """

    showers: float
    beyond: str
    error: float | None


def ks_curve(reference: Table, sample: Table, seed: int) -> Curve:
    """Distances of growing parts of a sample, at the reference's shares of incident energies.

    Args:
        reference: Real showers.
        sample: Of as many as there are; parts of one size have no showers in common.
        seed: Of the parts.

    Raises:
        UserError: The sample has no showers at some of the reference's energies.
    """
    strata = energy_strata(reference.energies)
    rows = strata.drawn(sample.energies, np.random.default_rng(seed))
    numbers = _numbers(len(rows))
    parts = [
        [rows[i * n : (i + 1) * n] for i in range(min(PARTS, len(rows) // n))] for n in numbers
    ]
    groups, total, columns = {}, [np.zeros(len(part)) for part in parts], 0
    for group in tqdm(reference.groups, "KS", leave=False, disable=None):
        real, ours = np.sort(reference.groups[group], 0), sample.groups[group]
        found = [
            np.array([ks_distances(real, ours[some]).sum() for some in part]) for part in parts
        ]
        groups[group] = np.array([one.mean() for one in found]) / real.shape[1]
        total = [one + more for one, more in zip(total, found, strict=True)]
        columns += real.shape[1]
    groups[ALL] = np.array([one.mean() for one in total]) / columns
    many = [one for one in total if len(one) >= PARTS]
    scatter = [one.var(ddof=1) / one.mean() ** 2 for one in many]
    return Curve(
        numbers,
        groups,
        float(np.sqrt(np.mean(scatter))) if scatter else None,
        len(reference),
    )


def ks_distances(reference: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Largest difference of two distribution functions, column by column, shape (d,).

    Args:
        reference: Rising columns, shape (m, d).
        sample: Shape (n, d).
    """
    found = np.empty(reference.shape[1])
    for column, real in enumerate(reference.T):
        real, ours = np.ascontiguousarray(real), np.sort(sample[:, column])
        found[column] = max(
            np.abs(
                np.searchsorted(real, ours, side) / len(real)
                - np.searchsorted(ours, ours, side) / len(ours)
            ).max()
            for side in ("left", "right")
        )
    return found


def crossing(real: Curve, made: Curve, group: str = ALL) -> Crossing:
    """How many real showers are as far from the reference as all of the others."""
    value, distances = made.groups[group][-1], real.groups[group]
    above = np.flatnonzero(distances >= value)
    if len(above) == 0:
        return Crossing(float(real.numbers[0]), "fewer", None)
    last = int(above[-1])
    if last == len(distances) - 1:
        return Crossing(float(real.numbers[-1]), "more", None)
    ends = np.log(distances[[last + 1, last]])
    log_n = np.interp(np.log(value), ends, np.log(real.numbers[[last + 1, last]]))
    n = float(np.exp(log_n))
    error = None
    if real.scatter is not None:
        # The model's distance scatters as that of as many real showers does, and the mean of
        # those that are at hand scatters, too.
        parts = min(PARTS, real.numbers[-1] / n)
        error = 2 * n * real.scatter * (1 + n / real.references) * float(np.sqrt(1 + 1 / parts))
    return Crossing(n, "", error)


def _numbers(most: int) -> np.ndarray:
    """N from 10, doubled each time, and all of them."""
    some = SMALLEST * 2 ** np.arange(64 - SMALLEST.bit_length())
    return np.append(some[some < most], most)
