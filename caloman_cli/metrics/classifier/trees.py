"""Boosted trees in the place of a network: cuts find narrow peaks and need no scales.

A network smooths over a line at one energy of one voxel; a cut on both of its sides finds it.

References:
    Ke et al. (2017), LightGBM: a highly efficient gradient boosting decision tree (histograms of
    inputs). Amram, Pedro (2023), arXiv:2308.03876, judge showers with boosted trees as well.
"""

from collections.abc import Callable

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from caloman_cli.metrics.classifier.inputs import ClassifierRows

ROUNDS, RATE, LEAVES = 150, 0.06, 15


def voxel_tree_scores(
    source: ClassifierRows,
    real: np.ndarray,
    train: np.ndarray,
    judged: tuple[np.ndarray, ...],
    rng: np.random.Generator,
) -> tuple[list[np.ndarray], int]:
    """Learn from some rows, then say how probably each of the others is real.

    Args:
        source: Inputs of the rows of both classes.
        real: Label of each row, 1 for a real shower.
        train: Rows to learn from.
        judged: Sets of rows to judge.
        rng: Gives the seed.

    Returns:
        Probabilities of each set; the number of leaves.
    """
    return tree_scores(lambda rows: source.rows(rows).cpu().numpy(), real, train, judged, rng)


def tree_scores(
    rows: Callable[[np.ndarray], np.ndarray],
    real: np.ndarray,
    train: np.ndarray,
    judged: tuple[np.ndarray, ...],
    rng: np.random.Generator,
    share: float = 1.0,
) -> tuple[list[np.ndarray], int]:
    """The same of inputs that ``rows`` gives.

    Args:
        rows: Row numbers to inputs, float32, shape (B, F).
        real: As above.
        train: As above.
        judged: As above.
        rng: As above.
        share: Of the features, drawn anew for each cut, that it may be of.
    """
    trees = HistGradientBoostingClassifier(
        max_iter=ROUNDS, learning_rate=RATE, max_leaf_nodes=LEAVES, early_stopping=False,
        max_features=share, random_state=int(rng.integers(2**31)),
    ).fit(rows(train), real[train])  # fmt: skip
    return [trees.predict_proba(rows(some))[:, 1] for some in judged], ROUNDS * LEAVES
