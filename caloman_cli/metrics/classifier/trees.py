"""Boosted trees in the place of a network: they see narrow peaks in single voxels.

A network smooths over a line at one energy of one voxel; a cut on both of its sides finds it.

References:
    Ke et al. (2017), LightGBM: a highly efficient gradient boosting decision tree (histograms of
    inputs). Amram, Pedro (2023), arXiv:2308.03876, judge showers with boosted trees as well.
"""

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from caloman_cli.metrics.classifier.inputs import ClassifierRows

ROUNDS, RATE, LEAVES = 150, 0.06, 15


def tree_scores(
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
    trees = HistGradientBoostingClassifier(
        max_iter=ROUNDS, learning_rate=RATE, max_leaf_nodes=LEAVES, early_stopping=False,
        random_state=int(rng.integers(2**31)),
    ).fit(source.rows(train).cpu().numpy(), real[train])  # fmt: skip
    scores = [trees.predict_proba(source.rows(rows).cpu().numpy())[:, 1] for rows in judged]
    return scores, ROUNDS * LEAVES
