r"""How many Geant4 showers a model is worth.

With distribution functions F of real and G of generated showers in one feature, and H half of
either, the squared bias of the model is the Cramér-von Mises distance and c what one real shower
knows of F:

.. math::
    b^2 = \int (G - F)^2 \, dH, \qquad c = \int F (1 - F) \, dH.

N real showers have a distribution function that is off by c / N in the mean square, so
:math:`N = c / b^2` of them are as far from the truth as the model is; of several features both
are added up first. Measured distances also hold the errors of both samples; they are left out
exactly by multiplying differences of *disjoint* blocks of showers,
:math:`b^2 = \langle \int (G_i - F_i)(G_j - F_j) \, dH \rangle_{i \ne j}`, whose errors are
independent. That goes on where the model is better than the samples are: b² is then 0 within its
error, and what is known of N is a lower limit.

All of it holds at the reference's incident energies: blocks have its shares of them, and c is the
scatter among showers of like energy. What sparsities or dark layers have in common is one value:
F jumps there, and nothing else changes.

References:
    Anderson (1962), On the distribution of the two-sample Cramér-von Mises criterion. Bieringer
    et al. (2022), Calomplification: the power of generative calorimeter models, arXiv:2202.07352.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from caloman_cli.config.values import Several, checked
from caloman_cli.metrics.features import Features
from caloman_cli.metrics.samples import enough
from caloman_cli.metrics.strata import energy_strata

GROUPS = {
    "response": "response E_tot / E_inc",
    "layers": "layers' E_layer / E_inc",
    "centres": "centres in eta, phi and r",
    "widths": "widths in eta, phi and r",
    "sparsity": "sparsities",
}
ALL = "all"
DIGITS = 3  # of lengths [mm]: what is finer in one lit voxel is rounding
SURE = 2.0  # errors: below, the bias is not seen
ONE_SIDED = 1.64  # errors of a limit that holds in 95 %
FEWEST = 200


@dataclass(frozen=True)
class Table:
    """Columns of N showers.

    Args:
        energies: Incident energies [MeV], shape (N,).
        groups: By group of :data:`GROUPS`, float64, shape (N, columns).
    """

    energies: np.ndarray
    groups: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.energies)

    def subset(self, rows: np.ndarray) -> "Table":
        """Some of the showers: row numbers, or bool of shape (N,)."""
        return Table(self.energies[rows], {key: x[rows] for key, x in self.groups.items()})


@dataclass(frozen=True)
class Equivalent:
    """What a model is worth in some features.

    Args:
        knows: c of the reference.
        bias: b²; negative by chance where there is none.
        error: Of b².
        highest: What b² is below with 95 %.
    """

    knows: float
    bias: float
    error: float
    highest: float

    @property
    def seen(self) -> bool:
        """Whether the bias is told from none; else :attr:`showers` is a lower limit."""
        return self.bias > SURE * self.error

    @property
    def showers(self) -> float | None:
        """Real showers that know as much, or what they are more than with 95 %.

        None where the features do not vary.
        """
        bias = self.bias if self.seen else self.highest
        return self.knows / bias if bias > 0 else None

    @property
    def spread(self) -> float | None:
        """Error of :attr:`showers`; None of a limit."""
        return self.knows * self.error / self.bias**2 if self.seen else None


def table(features: Features) -> Table:
    """The features that showers are counted in; energies over the incident one."""
    e_inc = features.e_inc[:, None]
    lengths = {
        group: np.concatenate([features.group(f"{kind}_{x}") for x in ("eta", "phi", "r")], 1)
        for group, kind in (("centres", "EC"), ("widths", "width"))
    }
    groups = {
        "response": features["E_tot"][:, None] / e_inc,
        "layers": features.group("E_layer") / e_inc,
        **{group: values.round(DIGITS) for group, values in lengths.items()},
        "sparsity": features.group("sparsity"),
    }
    return Table(features.e_inc, groups)


@checked
class EquivalentShowers:
    """Squared bias of generated showers and how many real ones it equals.

    Args:
        thresholds: Quantiles of H that stand for all values of a feature.
        blocks: Disjoint parts of the showers.
        seed: Of the parts.
    """

    def __init__(self, thresholds: Several = 100, blocks: Several = 50, seed: int = 0) -> None:
        self.thresholds, self.blocks, self.seed = thresholds, blocks, seed

    def __call__(self, reference: Table, generated: Table) -> dict[str, Equivalent]:
        """By group of features, and ``all``.

        Raises:
            UserError: There are fewer than 200 showers, or none at some of the reference's
                energies.
        """
        strata, rng = energy_strata(reference.energies), np.random.default_rng(self.seed)
        sides = reference, generated
        orders = [strata.order(side.energies, rng) for side in sides]
        weights = [strata.weights(side.energies) for side in sides]
        found, grams = {}, []
        for group in reference.groups:
            real, ours = enough(
                FEWEST, reference=reference.groups[group], generated=generated.groups[group]
            )
            gram, knows = np.zeros((self.blocks, self.blocks)), 0.0
            for column in range(real.shape[1]):
                cuts = self._cuts(real[:, column], ours[:, column])
                levels = [
                    np.searchsorted(cuts, side[order, column])  # 1{x <= cut k} = level <= k
                    for side, order in zip((real, ours), orders, strict=True)
                ]
                here, there = (
                    self._functions(level, weight[order])
                    for level, weight, order in zip(levels, weights, orders, strict=True)
                )
                gram += (there - here) @ (there - here).T / self.thresholds
                # Two showers of like energy: half of H between them is c in the mean.
                knows += float(np.abs(np.diff(levels[0])).mean()) / 2 / self.thresholds
            found[group] = Equivalent(knows, *_between_blocks(gram))
            grams.append(gram)
        every = sum(one.knows for one in found.values())
        return found | {ALL: Equivalent(every, *_between_blocks(np.sum(grams, 0)))}

    def _cuts(self, real: np.ndarray, ours: np.ndarray) -> np.ndarray:
        """Quantiles of H, rising, values of the showers themselves, shape (thresholds,)."""
        values = np.concatenate([real, ours])
        order = np.argsort(values)
        weight = np.repeat([0.5 / len(real), 0.5 / len(ours)], [len(real), len(ours)])[order]
        levels = (np.arange(self.thresholds) + 0.5) / self.thresholds
        at = np.searchsorted(np.cumsum(weight), levels).clip(max=len(values) - 1)
        return values[order[at]]

    def _functions(self, levels: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Each block's distribution function at the thresholds, shape (blocks, thresholds)."""
        width = self.thresholds + 1
        cells = np.arange(len(levels)) % self.blocks * width + levels
        counts = np.bincount(cells, weights, self.blocks * width).reshape(self.blocks, width)
        total = counts.cumsum(1)
        return np.asarray(total[:, :-1] / total[:, -1:])


def _between_blocks(gram: np.ndarray) -> tuple[float, float, float]:
    """Mean product of two different blocks, its error, and what its expectation is below.

    The jackknife counts the scatter of single pairs twice, which is all there is of a model
    without bias: once is taken off.

    Args:
        gram: Products of all pairs of blocks, shape (B, B).
    """
    n = len(gram)
    apart = ~np.eye(n, dtype=bool)
    rows = np.where(apart, gram, 0).sum(1) / (n - 1)
    mean = float(rows.mean())
    jackknife = 4 * (n - 1) / (n * (n - 2) ** 2) * np.sum((rows - mean) ** 2)
    rest = np.where(apart, gram - rows[:, None] - rows + mean, 0)
    square, cube = np.sum(rest**2), np.sum((rest @ rest) * rest)
    pairs = float(2 * square / (n * (n - 1)) ** 2)
    widest = float(np.clip(cube / square / (n - 2) / n, 0, np.sqrt(pairs / 2))) if square else 0.0
    return mean, float(np.sqrt(max(jackknife - pairs, pairs))), _highest(mean, pairs, widest)


def _highest(mean: float, pairs: float, widest: float) -> float:
    """The largest expectation that leaves a mean as low as this with 5 %.

    A bias along the direction in which differences scatter most counts as (x + e)² - e², with a
    normal e of variance ``widest``; that is far from normal itself. All other directions add
    a normal error.

    Args:
        mean: What was found; below 0 as little as at 0.
        pairs: Its variance where the expectation is 0.
        widest: Variance of the blocks' mean in that direction.
    """
    others = ONE_SIDED**2 * max(pairs - 2 * widest**2, 0.0)

    def lowest(bias: float) -> float:
        along = max(np.sqrt(bias) - ONE_SIDED * np.sqrt(widest), 0.0) ** 2 - widest
        return bias - float(np.hypot(bias - along, np.sqrt(others)))

    low = max(mean, 0.0)
    high = low + 10 * np.sqrt(pairs)
    while lowest(high) < low:
        high *= 2
    return float(brentq(lambda bias: lowest(bias) - low, low, high)) if high > low else low
