"""How well one feature alone tells showers apart.

A feature is cut into bins that hold equally many showers, and the ratio of the two classes in
each, learned on some rows, orders others. So a feature counts that is wider or narrower on one
side, not only one that is shifted.
"""

import numpy as np

BINS = 24


def single_aucs(
    values: np.ndarray, real: np.ndarray, train: np.ndarray, judged: tuple[np.ndarray, ...]
) -> np.ndarray:
    """The AUC of each feature, on each set of rows.

    Args:
        values: Of both classes, shape (rows, F).
        real: Whether a row is of a real shower, bool, shape (rows,).
        train: Rows to learn the ratios from.
        judged: Sets of rows to judge.

    Returns:
        float64, shape (sets, F).
    """
    found = np.empty((len(judged), values.shape[1]))
    levels = np.arange(1, BINS) / BINS
    for column in range(values.shape[1]):
        one = values[:, column]
        # Each edge opens a bin: a value that many showers have, as 0, has a bin of its own.
        edges = np.unique(np.quantile(one[train], levels, method="inverted_cdf"))
        bins = np.searchsorted(edges, one, side="right")
        counts = _counts(bins[train], real[train], len(edges) + 1)
        order = np.argsort((counts[0] + 0.5) / (counts[1] + 0.5), kind="stable")
        for place, rows in enumerate(judged):
            ours, theirs = _counts(bins[rows], real[rows], len(edges) + 1)[:, order]
            below = np.cumsum(theirs) - theirs / 2
            found[place, column] = ours @ below / (ours.sum() * theirs.sum())
    return found


def _counts(bins: np.ndarray, real: np.ndarray, n: int) -> np.ndarray:
    """Real and generated showers in each bin, float64, shape (2, n)."""
    return np.stack([np.bincount(bins[side], minlength=n) for side in (real, ~real)]).astype(float)
