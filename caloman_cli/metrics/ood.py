r"""The dual test for out-of-distribution points: likelihood and local dimension together.

A likelihood alone accepts what lies on something thin: where a density is high because few
directions have any volume, hardly anything is ever drawn. A point is **in** the distribution if
both its log p and its local intrinsic dimension are large,

.. math:: \log p(x) \ge a \quad\text{and}\quad \mathrm{LID}(x) \ge b.

How well any pair (a, b) could do is the area under the Pareto frontier of the (false, true)
positive rates of all pairs. That is an oracle's: among many pairs some do well by chance, so that
it is above one half for two samples of one distribution, the more so the fewer points there are;
what it is then is found by exchanging labels. Beside it stands what needs no oracle: a and b at
quantiles of the training points.

That direction is the paradox's. A model may also give foreign points more of both: what has fewer
directions, as a shower without one of its layers, has a density of another kind, and FLIPD of a
point far from all others grows with its distance. The same test on **both sides**, of how far the
two numbers are from the middle of training points, refuses either.

References:
    Kamkari, Ross, Cresswell, Caterini, Krishnan, Loaiza-Ganem (2024), A geometric explanation of
    the likelihood OOD detection paradox, arXiv:2403.18910.
    Nalisnick, Matsukawa, Teh, Lakshminarayanan (2019), Detecting out-of-distribution inputs to
    deep generative models using typicality, arXiv:1906.02994 (both sides).
"""

import numpy as np

from caloman_cli.config.values import Count, Several, Share, checked

_EVERY = 20  # energies up to which each is a group
_GROUPS = 10  # of a continuous energy
LEVELS = 101  # thresholds along each axis


def ranks(*parts: np.ndarray) -> list[np.ndarray]:
    """Values (n,) as ranks among all of them, equal ones alike: infinite ones are ordinary."""
    found = np.unique(np.concatenate(parts), return_inverse=True)[1]
    edges = np.cumsum([len(part) for part in parts])[:-1]
    return [part.astype(np.float64) for part in np.split(found, edges)]


def auc(inside: np.ndarray, outside: np.ndarray) -> float:
    """The chance that a value inside (n,) is above one outside (m,); ties count half."""
    inside, outside = ranks(inside, outside)
    order = np.sort(outside)
    below = np.searchsorted(order, inside, "left") + np.searchsorted(order, inside, "right")
    return float(below.mean() / (2 * len(outside)))


def dual_auc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Area under the Pareto frontier of two thresholds, for values (n, 2) and (m, 2).

    Thresholds are 101 quantiles of all values along each axis; between points of the frontier,
    one or the other is drawn.
    """
    counts = []
    columns = [ranks(inside[:, axis], outside[:, axis]) for axis in (0, 1)]
    grids = [
        np.unique(np.quantile(np.concatenate(pair), np.linspace(0, 1, LEVELS))) for pair in columns
    ]
    for side in (0, 1):
        # How many thresholds each value reaches, and so how many values each pair accepts.
        reached = [
            np.searchsorted(grid, pair[side], "right")
            for grid, pair in zip(grids, columns, strict=True)
        ]
        shape = [len(grid) + 1 for grid in grids]
        table = np.bincount(np.ravel_multi_index(reached, shape), minlength=shape[0] * shape[1])
        table = table.reshape(shape)
        accepted = table[::-1, ::-1].cumsum(0).cumsum(1)[::-1, ::-1][1:, 1:]
        counts.append(accepted.ravel() / len(reached[0]))
    true, false = (np.concatenate([share, [0.0, 1.0]]) for share in counts)
    order = np.lexsort((-true, false))
    true, false = np.maximum.accumulate(true[order]), false[order]
    first = np.concatenate([[True], np.diff(true) > 0])
    first[-1] = True
    true, false = np.append(0.0, true[first]), np.append(0.0, false[first])
    return float(np.trapezoid(true, false))


def at_equal_energy(
    train: np.ndarray, train_energies: np.ndarray, values: np.ndarray, energies: np.ndarray
) -> np.ndarray:
    """Values in units of what training showers of like incident energy have.

    Their median is taken off, and the rest is divided by half the width of the middle 68 %. Of at
    most 20 different energies each is a group, else they are cut into ten of equal size; other
    energies go with the nearest group.

    Args:
        train: Shape (N, k).
        train_energies: Shape (N,).
        values: Shape (n, k).
        energies: Shape (n,).

    Returns:
        Shape (n, k); values that are infinite stay so.
    """
    known = np.unique(train_energies)
    if len(known) > _EVERY:
        known = np.quantile(train_energies, (np.arange(_GROUPS) + 0.5) / _GROUPS)
    group, asked = (_nearest(np.log(known), np.log(e)) for e in (train_energies, energies))
    found = np.empty_like(values, dtype=np.float64)
    for number in range(len(known)):
        low, middle, high = np.quantile(
            train[group == number], [0.16, 0.5, 0.84], axis=0, method="nearest"
        )
        width = (high - low) / 2
        width = np.where(np.isfinite(width) & (width > 0), width, 1.0)
        rows = asked == number
        found[rows] = (values[rows] - np.where(np.isfinite(middle), middle, 0.0)) / width
    return found


def _nearest(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The number of the known value, which rise, that is nearest to each value."""
    return np.searchsorted((known[1:] + known[:-1]) / 2, values)


@checked
class DualTest:
    """Compare points inside and outside by log p, local dimension and reconstruction.

    Columns are log p, the local dimension, and minus the reconstruction error: large is what
    training points have.

    Args:
        quantile: Of training points, below which each of the thresholds lies that need no
            labels.
        permutations: Of labels, for what the dual area is without any difference.
        resamplings: For errors.
        seed: Of both.
    """

    def __init__(
        self,
        quantile: Share = 0.05,
        permutations: Count = 20,
        resamplings: Several = 50,
        seed: int = 0,
    ) -> None:
        self.quantile, self.permutations = quantile, permutations
        self.resamplings, self.seed = resamplings, seed

    def thresholds(self, train: np.ndarray) -> np.ndarray:
        """Of each column of training points (N, 3), shape (3,)."""
        found: np.ndarray = np.quantile(train, self.quantile, axis=0, method="lower")
        return found

    def accepted(self, train: np.ndarray, points: np.ndarray) -> dict[str, float]:
        """Shares of points (n, 3) above thresholds that need no labels.

        Returns:
            ``pair``, by the first two columns; ``triple``, by all; ``both_sides``, by the first
            two without half of the quantile on either side.
        """
        passed = points >= self.thresholds(train)
        tail = self.quantile / 2
        low = np.quantile(train, tail, axis=0, method="lower")
        high = np.quantile(train, 1 - tail, axis=0, method="higher")
        between = (points >= low) & (points <= high)
        return {
            "pair": float(passed[:, :2].all(1).mean()),
            "triple": float(passed.all(1).mean()),
            "both_sides": float(between[:, :2].all(1).mean()),
        }

    def __call__(
        self, train: np.ndarray, inside: np.ndarray, outside: np.ndarray
    ) -> dict[str, float]:
        """Areas of points inside (n, 3) and outside (m, 3), given training points (N, 3).

        Returns:
            ``log_prob``, ``lid`` and ``reconstruction``, areas of one column alone, ``dual``, of
            the first two, and ``both_sides``, of their distances from the middle of training
            points; ``*_error`` of each; ``dual_null``, the dual area where labels mean nothing.
        """
        rng = np.random.default_rng(self.seed)
        middle = np.quantile(train, 0.5, axis=0, method="nearest")
        found = _areas(inside, outside, middle)
        drawn = [
            _areas(
                inside[rng.integers(len(inside), size=len(inside))],
                outside[rng.integers(len(outside), size=len(outside))],
                middle,
            )
            for _ in range(self.resamplings)
        ]
        errors = {
            f"{name}_error": float(np.std([areas[name] for areas in drawn], ddof=1))
            for name in found
        }
        both, n = np.concatenate([inside, outside])[:, :2], len(inside)
        null = []
        for _ in range(self.permutations):
            order = rng.permutation(len(both))
            null.append(dual_auc(both[order[:n]], both[order[n:]]))
        return {**found, **errors, "dual_null": float(np.mean(null))}


def _areas(inside: np.ndarray, outside: np.ndarray, middle: np.ndarray) -> dict[str, float]:
    names = ("log_prob", "lid", "reconstruction")
    alone = {name: auc(inside[:, i], outside[:, i]) for i, name in enumerate(names)}
    near, far = (-np.abs(points - middle)[:, :2] for points in (inside, outside))
    return {
        **alone,
        "dual": dual_auc(inside[:, :2], outside[:, :2]),
        "both_sides": dual_auc(near, far),
    }
