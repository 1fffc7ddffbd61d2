r"""What latents carry: which are in use, and what can be read from them.

The share of an observable's variance that a regression predicts,
:math:`R^2 = 1 - \sum (y - \hat y)^2 / \sum (y - \bar y)^2`, is taken on showers that the
regression has not seen, from conditions alone and from conditions and latents. The second less
the first is what latents add. It is at most what they carry: another regression may read more.

References:
    Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders, arXiv:1509.00519
    (latents in use).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from caloman_cli.errors import UserError
from caloman_cli.metrics.observables import Observable

_ACTIVE_VARIANCE = 1e-2  # of a mean, where the prior's variance is 1
_SAME = 1e-12  # variance in units of the largest, below which float32 numbers are the same
LEAST = 100  # showers in each half
_ROUNDS, _RATE, _LEAVES = 200, 0.1, 15
_RESAMPLINGS = 100
_CATEGORIES = 255  # of a code: what trees can tell apart


def in_use(
    mean: np.ndarray,
    sigma: np.ndarray | None = None,
    drawn: np.ndarray | None = None,
    averaged: int = 1,
) -> np.ndarray:
    """Which latents an encoder uses, bool, shape (D,).

    The variance of their mean exceeds 0.01, and what an average of draws keeps of their own; or it
    is none of rounding where the encoder is deterministic and so has no unit of its own.

    Args:
        mean: Of each shower's latents, shape (..., D).
        sigma: Their widths, zeros of a deterministic encoder; None as well.
        drawn: A draw of each, where there is no width.
        averaged: How many draws a mean is made of, where ``drawn`` is given.
    """
    dim = mean.shape[-1]
    if not dim:
        return np.zeros(0, bool)
    mean = mean.reshape(-1, dim)
    variance = mean.var(0, dtype=np.float64)
    if drawn is not None:
        own = (drawn.reshape(-1, dim) - mean).var(0, dtype=np.float64)
        return np.asarray(variance > _ACTIVE_VARIANCE + 2 * own / averaged)
    if sigma is not None and sigma.any():
        return np.asarray(variance > _ACTIVE_VARIANCE)
    return np.asarray(variance > _SAME * np.square(mean, dtype=np.float64).max(initial=0.0))


def code_bits(codes: np.ndarray) -> np.ndarray:
    """Entropy of the usage of each position's codes (N, D) [bits], shape (D,).

    Together at least as much as the codes say of a shower.
    """
    found = []
    for column in codes.T:
        share = np.unique(column, return_counts=True)[1] / len(column)
        found.append(-(share * np.log2(share)).sum())
    return np.array(found)


class Inputs(NamedTuple):
    """What a regression reads.

    Args:
        numbers: Shape (N, A).
        codes: Whole numbers without an order, shape (N, D); None: there are none.
    """

    numbers: np.ndarray
    codes: np.ndarray | None = None

    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        """All of them, float32 (N, A + D), and which are codes, bool (A + D,).

        Codes are counted from the most frequent one; the rarest share a number.
        """
        numbers = self.numbers.astype(np.float32)
        if self.codes is None:
            return numbers, np.zeros(numbers.shape[1], bool)
        ranks = np.stack([_ranks(column) for column in self.codes.T], 1)
        kinds = np.arange(numbers.shape[1] + ranks.shape[1]) >= numbers.shape[1]
        return np.concatenate([numbers, ranks.astype(np.float32)], 1), kinds


def _ranks(codes: np.ndarray) -> np.ndarray:
    _, index, counts = np.unique(codes, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.minimum(rank[index], _CATEGORIES - 1)


class Explained(NamedTuple):
    """R^2 of one observable from I inputs, of which the first is what the others add to.

    Errors are bootstrap errors of the judged showers.

    Args:
        values: Shape (I,).
        errors: Shape (I,).
        gain_errors: Of the gains, shape (I,).
        columns: Of each column, shape (K, I); NaN where it cannot be said.
    """

    values: np.ndarray
    errors: np.ndarray
    gain_errors: np.ndarray
    columns: np.ndarray

    @property
    def gains(self) -> np.ndarray:
        """Over the first input, shape (I,)."""
        gains: np.ndarray = self.values - self.values[0]
        return gains


def explained(
    inputs: Sequence[Inputs], targets: Sequence[Observable], seed: int = 0
) -> dict[str, Explained | None]:
    """What boosted trees read of observables from some inputs.

    Showers are halved at random: trees learn one half (a tenth of it says when to stop), the other
    judges. Each column is learned by itself, from showers where it is known. A vector's columns
    are pooled; of layers the mean is taken over those that vary. Nothing is learned of observables
    that are functions of the layers' energies, which all inputs have: their R^2 is 1.

    Args:
        inputs: Of N showers.
        targets: Observables of the N showers.
        seed: Of halves, trees and bootstrap.

    Returns:
        By name; None for an observable that does not vary, or hardly ever has a meaning.

    Raises:
        UserError: There are fewer than 200 showers.
    """
    n = len(inputs[0].numbers)
    if n < 2 * LEAST:
        raise UserError(f"{n} showers: what latents predict is judged from {2 * LEAST} or more")
    found = {target.name: _said(len(inputs), target) for target in targets if target.given}
    targets = [target for target in targets if not target.given]
    if not targets:
        return found
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    learn, judge = np.sort(order[: n // 2]), np.sort(order[n // 2 :])
    values = np.concatenate([target.values for target in targets], 1)
    known = np.concatenate([target.known for target in targets], 1)
    scaled, usable = _scaled(values, known, learn, judge)
    some = scaled[:, usable], known[:, usable]
    predicted = [_predicted(*seen.columns(), *some, learn, judge, seed) for seen in inputs]
    counts = np.concatenate([
        np.ones((1, len(judge))),
        rng.multinomial(len(judge), np.full(len(judge), 1 / len(judge)), _RESAMPLINGS),
    ])  # fmt: skip
    sums = np.full((len(inputs) + 1, len(counts), values.shape[1]), np.nan)
    sums[:, :, usable] = _squares(
        scaled[judge][:, usable], known[judge][:, usable], predicted, counts
    )
    sums *= _widths(values, known, learn) ** 2  # a vector's columns have one unit
    start = 0
    for target in targets:
        here = slice(start, start + target.values.shape[1])
        start = here.stop
        found[target.name] = _summary(sums[:, :, here], target.by_layer)
    return found


def _said(n_inputs: int, target: Observable) -> Explained | None:
    """R^2 of a function of all inputs; None where it does not vary."""
    varies = np.ptp(target.values, 0) > 0
    if not varies.any():
        return None
    columns = np.where(varies[:, None], np.ones((1, n_inputs)), np.nan)
    return Explained(np.ones(n_inputs), np.zeros(n_inputs), np.zeros(n_inputs), columns)


def _widths(values: np.ndarray, known: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Standard deviation of each column where it is known, shape (T,); 0 where it never is."""
    masked = np.ma.masked_array(values[rows], ~known[rows])
    return np.asarray(masked.std(0).filled(0.0))


def _scaled(
    values: np.ndarray, known: np.ndarray, learn: np.ndarray, judge: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Columns of mean 0 and width 1, 0 where not known, and which can be learned and judged."""
    mean = np.ma.masked_array(values[learn], ~known[learn]).mean(0).filled(0.0)
    width = _widths(values, known, learn)
    often = (known[learn].sum(0) >= LEAST // 2) & (known[judge].sum(0) >= LEAST // 2)
    least = 1e-9 * np.maximum(np.abs(values).max(0, initial=0.0), 1e-300)
    usable = often & (width > least) & (_widths(values, known, judge) > least)
    scaled = (values - mean) / np.where(usable, width, 1.0)
    return np.where(known & usable, scaled, 0.0), usable


def _predicted(
    inputs: np.ndarray,
    codes: np.ndarray,
    targets: np.ndarray,
    known: np.ndarray,
    learn: np.ndarray,
    judge: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Targets (M, T) of the judged rows, from inputs (N, A), some of whose columns are codes."""
    found = np.zeros((len(judge), targets.shape[1]))
    for number, (column, is_known) in enumerate(zip(targets.T, known.T, strict=True)):
        rows = learn[is_known[learn]]
        trees = HistGradientBoostingRegressor(
            max_iter=_ROUNDS, learning_rate=_RATE, max_leaf_nodes=_LEAVES, early_stopping=True,
            categorical_features=codes if codes.any() else None, random_state=seed,
        )  # fmt: skip
        found[:, number] = trees.fit(inputs[rows], column[rows]).predict(inputs[judge])
    return found


def _squares(
    truth: np.ndarray, known: np.ndarray, predicted: Sequence[np.ndarray], counts: np.ndarray
) -> np.ndarray:
    """Sums over rows that count ``counts`` (B, M) times: of the squares of all I predictions'
    errors, and of the distances from the mean, shape (I + 1, B, T)."""
    errors = [counts @ (np.square(truth - guess) * known) for guess in predicted]
    number = np.maximum(counts @ known, 1.0)
    away = counts @ (np.square(truth) * known) - np.square(counts @ (truth * known)) / number
    return np.stack([*errors, away])


def _summary(sums: np.ndarray, by_layer: bool) -> Explained | None:
    """Of one observable's sums (I + 1, B, K), whose first of B is that of all rows."""
    *_, away = sums
    usable = np.isfinite(away[0]) & (away[0] > 0)
    if not usable.any():
        return None
    known = sums[:, :, usable]
    each = 1 - known[:-1] / np.maximum(known[-1], 1e-300)  # (I, B, .)
    columns = np.full((sums.shape[2], len(each)), np.nan)
    columns[usable] = each[:, 0].T
    pooled = 1 - known[:-1].sum(2) / np.maximum(known[-1].sum(1), 1e-300)
    both = each.mean(2) if by_layer else pooled
    drawn = both[:, 1:]
    return Explained(both[:, 0], drawn.std(1, ddof=1), (drawn - drawn[0]).std(1, ddof=1), columns)
