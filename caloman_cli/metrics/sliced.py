r"""Sliced distances of two samples, and how often equal samples would show them.

Samples are projected on directions at random; along each, Kolmogorov-Smirnov's distance
:math:`\max |F - G|` and Wasserstein's :math:`W_1 = \int |F - G|` (in standard deviations, where
features have one) are exact and cheap, and their means over directions see what single features
and pairs of them hide. What varies little is all but invisible along most directions, as is the
response in features that rise with the incident energy; *whitened* features, which vary by one in
each of their principal directions, show it.

The null distribution is that of exchanged labels: if real and generated showers of like incident
energy are draws from one distribution, which are called real is chance, whatever the
distribution, so p-values are exact. Splitting real showers would need twice as many of them and
would compare halves. Where both samples have one list of incident energies, labels are exchanged
among showers of one energy: between any others they would make energies differ, too, and a
difference could hide behind that.

References:
    Rabin et al. (2012), Wasserstein barycenter and its application to texture mixing. Grossi,
    Letizia, Torre (2024), Refereeing the referees: evaluating two-sample tests for validating
    generators in precision sciences, arXiv:2409.16336. Phipson, Smyth (2010), Permutation
    p-values should never be zero.
"""

import numpy as np
from tqdm import tqdm

from caloman_cli.config.values import Count, Several, checked
from caloman_cli.metrics.samples import batch_errors, enough, standardised

FEWEST = 50
NARROWEST = 1e-9  # variance over the largest, of directions that count
BATCHES = 10  # disjoint parts that give errors
PLACES = 1000  # along a direction, of which functions are compared at
OUTERMOST = 100  # of them, on either side: all that there are
NAMES = ("ks", "w1")


@checked
class SlicedTest:
    """Sliced KS and W1 distances with p-values from exchanged labels.

    Args:
        directions: Number of projections, drawn evenly on the sphere.
        permutations: Of the labels; p-values are no smaller than 1 / (permutations + 1).
        whiten: Whether features are uncorrelated first, by both samples' covariance, so that
            exchanged labels leave it alone.
        seed: Of directions and labels.
    """

    def __init__(
        self,
        directions: Count = 100,
        permutations: Several = 200,
        whiten: bool = False,
        seed: int = 0,
    ) -> None:
        self.directions, self.permutations = directions, permutations
        self.whiten, self.seed = whiten, seed

    def __call__(
        self,
        reference: np.ndarray,
        generated: np.ndarray,
        energies: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> dict[str, float]:
        """Distances of features that are scaled by the reference's standard deviations.

        Args:
            reference: Real features, shape (N, d).
            generated: Features to judge, shape (M, d).
            energies: Incident energies of both, shapes (N,) and (M,): where the two lists have
                the same entries, labels are exchanged within each. None: among all.

        Returns:
            ``ks``, ``w1``; of each its ``_error``, from disjoint parts; its ``_null``, the mean of
            equal samples, ``_null_error``, their standard deviation, and ``_p``, the share of
            them that are as far apart.

        Raises:
            UserError: A sample has fewer than 50 rows, or the two have other columns.
        """
        samples = enough(FEWEST, reference=reference, generated=generated)
        n, rng = len(reference), np.random.default_rng(self.seed)
        pooled = np.concatenate(standardised(*samples))
        if self.whiten:
            pooled = _whitened(pooled)
        axes = rng.normal(size=(pooled.shape[1], self.directions))
        axes /= np.linalg.norm(axes, axis=0)
        labels = self._labels(n, len(pooled), energies, rng)
        totals = np.zeros((len(NAMES), self.permutations + 1))
        for axis in tqdm(axes.T, "sliced", leave=False, disable=None):
            totals += _distances(pooled @ axis, labels, n)
        batches = min(BATCHES, min(map(len, samples)) // (FEWEST // 2))
        errors = batch_errors(
            lambda first, second: _means(first @ axes, second @ axes),
            [pooled[:n], pooled[n:]],
            batches,
            self.seed,
        )
        found: dict[str, float] = {}
        for name, (value, *null) in zip(NAMES, totals / self.directions, strict=True):
            further = np.sum(np.array(null) >= value * (1 - 1e-9))
            found |= {
                name: float(value),
                f"{name}_error": errors[name],
                f"{name}_null": float(np.mean(null)),
                f"{name}_null_error": float(np.std(null, ddof=1)),
                f"{name}_p": float((1 + further) / (1 + self.permutations)),
            }
        return found

    def _labels(
        self,
        n: int,
        total: int,
        energies: tuple[np.ndarray, np.ndarray] | None,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Which rows are called real: as they are, and exchanged in each of the next columns.

        Returns:
            uint8, shape (rows, permutations + 1).
        """
        labels = np.empty((self.permutations + 1, total), np.uint8)
        labels[0] = np.arange(total) < n
        group = np.zeros(total, np.int64)
        if energies is not None and one_list(*energies):
            group = np.unique(np.concatenate(energies), return_inverse=True)[1]
        home = np.argsort(group, kind="stable")
        for row in labels[1:]:
            # Rows of a group in a random order take the places of the group's rows.
            row[home] = labels[0][np.lexsort((rng.random(total), group))]
        return np.ascontiguousarray(labels.T)


def one_list(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two samples have the same incident energies, in any order."""
    return len(first) == len(second) and np.array_equal(np.sort(first), np.sort(second))


def _whitened(sample: np.ndarray) -> np.ndarray:
    """Principal components in units of their standard deviations; none that do not vary."""
    variances, axes = np.linalg.eigh(np.atleast_2d(np.cov(sample, rowvar=False)))
    kept = variances > NARROWEST * max(float(variances[-1]), 1e-300)
    return np.asarray(sample @ (axes[:, kept] / np.sqrt(variances[kept])))


def _means(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Distances of two samples' projections, shapes (N, directions) and (M, directions)."""
    n, pooled = len(first), np.concatenate([first, second])
    labels = (np.arange(len(pooled)) < n).astype(np.uint8)[:, None]
    found = np.mean([_distances(values, labels, n)[:, 0] for values in pooled.T], 0)
    return dict(zip(NAMES, map(float, found), strict=True))


def _distances(values: np.ndarray, labels: np.ndarray, n: int) -> np.ndarray:
    """KS and W1 of projected showers for each set of labels, shape (2, sets).

    Args:
        values: Of all showers along one direction, shape (rows,).
        labels: Which are called real, uint8, shape (rows, sets).
        n: How many of them.
    """
    order = np.argsort(values)
    rising = values[order]
    ends = _ends(rising)
    counts = np.add.reduceat(labels[order], np.append(0, ends), axis=0, dtype=np.int32)
    real = counts[:-1].cumsum(0)
    apart = np.abs(real / n - (ends[:, None] - real) / (len(values) - n))
    steps = np.diff(rising[np.append(ends, len(values)) - 1])
    return np.stack([apart.max(0, initial=0.0), steps @ apart])


def _ends(rising: np.ndarray) -> np.ndarray:
    """How many values are up to each place where functions are compared, rising, int64.

    Places are all different values but the last; of many, some evenly spread and those far out.
    """
    total = len(rising)
    ends = np.flatnonzero(np.diff(rising)) + 1
    if len(ends) <= PLACES:
        return ends
    wanted = np.linspace(0, total, PLACES - 2 * OUTERMOST).astype(int)
    inner = ends[np.searchsorted(ends, wanted).clip(max=len(ends) - 1)]
    return np.unique(np.concatenate([ends[:OUTERMOST], inner, ends[-OUTERMOST:]]))
