"""Boosted trees on features judge showers: with all of them, and with each group alone.

Voxels are too many for trees and too local for networks to find what layers share: which way a
shower leans, where its axis runs. Features say it, and trees need no more than some thousand
showers to use them. None of this is a score of the challenge.
"""

from typing import Any

import numpy as np

from caloman_cli.config.values import Count, checked
from caloman_cli.data.showers import Showers
from caloman_cli.metrics.classifier.bands import BandScores, EnergyBands, energy_bands
from caloman_cli.metrics.classifier.scores import (
    auc_error,
    calibrate,
    evaluate,
    mean_curve,
    summary,
)
from caloman_cli.metrics.classifier.splits import Split, draw_split, matched_rows, split_sizes
from caloman_cli.metrics.classifier.telling import single_aucs
from caloman_cli.metrics.classifier.tree_table import CONDITION, TreeTable, n_features, tree_table
from caloman_cli.metrics.classifier.trees import LEAVES, ROUNDS, tree_scores

MOST_NUMBERS = 50_000_000  # features of all showers of both classes
SHARE = 0.3  # of the features that one cut may be of: of a thousand many say the same
FEW = 1000  # showers of each class: below, an AUC of 0.5 is not known to 0.02
EVERY = "all"  # the judge that sees all features
TOLD = 3  # features of each group that the result names


@checked
class TreeTest:
    """Grow boosted trees on two sets of showers' features and score them.

    Args:
        repeats: Number of trainings with new splits.
        seed: Of splits and trees.
    """

    def __init__(self, repeats: Count = 1, seed: int = 0) -> None:
        self.repeats, self.seed = repeats, seed

    def rows(self, reference: Showers, generated: Showers) -> tuple[np.ndarray, np.ndarray]:
        """The showers of each side that are looked at: equally many, spread over the files.

        Raises:
            UserError: A class has fewer than 100 showers, or the voxels differ.
        """
        first, second = matched_rows(reference, generated)
        most = MOST_NUMBERS // (2 * n_features(reference.geometry))
        n = min(len(first), most)
        chosen = np.arange(n) * len(first) // n
        return first[chosen], second[chosen]

    def bands(self, tables: tuple[TreeTable, TreeTable]) -> EnergyBands:
        """Bands of incident energy with enough showers of both sides to judge."""
        n = len(tables[0])
        n_val = n - sum(split_sizes(n, None))
        return energy_bands(tables[0].energies, tables[1].energies, n_val / n)

    def __call__(
        self,
        reference: Showers,
        generated: Showers,
        *,
        threshold: float | None = None,
        tables: tuple[TreeTable, TreeTable] | None = None,
        bands: EnergyBands | None = None,
    ) -> dict[str, Any]:
        """Train on 60 % of the showers, calibrate on 20 %, judge by 20 %.

        Args:
            reference: Real showers (label 1).
            generated: Showers to judge (label 0).
            threshold: Readout cut [MeV]. None: the geometry's.
            tables: Features after this cut of both sides' :meth:`rows`, where they are known.
            bands: Of incident energy. None: as :meth:`bands` chooses them.

        Returns:
            The keys of :class:`~caloman_cli.metrics.classifier.two_sample.ClassifierTest`, of
            trees that see all features; ``features``, how many; ``groups``, by group ``auc``,
            ``auc_std``, ``auc_error`` and ``features`` of trees that see one, beside the incident
            energy; ``bands``, what the same trees say of each band, see
            :meth:`~caloman_cli.metrics.classifier.bands.BandScores.found`, those of all features
            under ``all``; ``alone``, the AUC of every single feature by name, of the first
            training's split; ``telling``, the three of each group that tell most by themselves,
            best first, each with ``feature``, ``group``, ``auc`` and ``auc_error``. They are
            chosen on other showers than those that give their AUC, so that the largest of many is
            no luck.

        Raises:
            UserError: A class has fewer than 100 showers, or the voxels differ.
        """
        if tables is None:
            first, second = self.rows(reference, generated)
            tables = (
                tree_table(reference, threshold, rows=first),
                tree_table(generated, threshold, rows=second),
            )
        table, n = tables[0], len(tables[0])
        values = np.concatenate([side.values for side in tables])
        real, sizes = np.arange(2 * n) < n, split_sizes(n, None)
        n_val = n - sum(sizes)
        chosen = {str(group): table.columns(group) for group in table.present()}
        judges: dict[str, list[int] | slice] = {EVERY: slice(None), **chosen}
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in judges}
        energies = np.concatenate([side.energies for side in tables])
        by_energy = BandScores(self.bands(tables) if bands is None else bands, energies, real)
        curves, alone = [], np.empty((2, 0))
        for repeat in range(self.repeats):
            rng = np.random.default_rng([self.seed, repeat])
            split = draw_split(n, sizes, rng)
            for name, columns in judges.items():
                scores, curve, said = _once(values[:, columns], real, split, rng)
                runs[name].append(scores)
                by_energy.add(name, said, split.val)
                if name == EVERY:
                    curves.append(curve)
            if not repeat:
                alone = single_aucs(values, real, split.train, (split.test, split.val))
        warning = None
        if n < FEW:
            error = auc_error(0.5, n_val)
            warning = (
                f"classifier 'trees': {n} showers per class; an AUC of 0.5 has an error of "
                f"{error:.3f}"
            )
        return {
            **summary(runs[EVERY], n_val),
            "n_train": 2 * sizes[0],
            "n_test": 2 * sizes[1],
            "n_val": 2 * n_val,
            "preset": "trees",
            "units": None,
            "epochs": ROUNDS,
            "threshold": reference.geometry.threshold if threshold is None else threshold,
            "parameters": ROUNDS * LEAVES,
            "features": len(table.names),
            "repeats": runs[EVERY],
            "roc": mean_curve(curves),
            "groups": {
                name: {
                    "features": len(columns),
                    **{
                        key: value
                        for key, value in summary(runs[name], n_val).items()
                        if key in ("auc", "auc_std", "auc_error")
                    },
                }
                for name, columns in chosen.items()
            },
            "bands": by_energy.found(),
            "alone": dict(zip(table.names, alone[1].tolist(), strict=True)),
            "telling": _telling(table, alone, n_val),
            "warning": warning,
        }


def _once(
    values: np.ndarray, real: np.ndarray, split: Split, rng: np.random.Generator
) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    """One training: scores, the ROC curve, calibrated probabilities of the last 20 %."""
    labels, judged = real.astype(np.int64), (split.test, split.val)
    (test, val), _ = tree_scores(values.__getitem__, labels, split.train, judged, rng, SHARE)
    scores, curve = evaluate(test, real[split.test], val, real[split.val])
    return scores, curve, calibrate(test, real[split.test], val)


def _telling(table: TreeTable, alone: np.ndarray, n_val: int) -> list[dict[str, Any]]:
    """The features of each group that tell most on the first rows, their AUC on the second."""
    found: list[dict[str, Any]] = []
    for place in np.argsort(-alone[0], kind="stable"):
        name, group = table.names[place], table.groups[place]
        if name == CONDITION or sum(one["group"] == group for one in found) == TOLD:
            continue
        auc = float(alone[1, place])
        error = auc_error(auc, n_val)
        found.append({"feature": name, "group": group, "auc": auc, "auc_error": error})
    return found
