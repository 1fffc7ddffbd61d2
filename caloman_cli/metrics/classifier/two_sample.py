r"""A classifier tries to tell generated showers from real ones; its AUC says how well it can.

The official network: three hidden layers of 2048 units, LeakyReLU, binary cross-entropy, Adam.
The epoch with the best accuracy on the "test" split is kept, isotonic regression calibrates its
scores there, and the "val" split gives the result: the AUC of the calibrated scores, and the
Jensen-Shannon divergence in bits :math:`1 - \mathrm{BCE} / \ln 2`. Label 1 is the real shower.

References:
    Krause, Shih (2021), CaloFlow, arXiv:2106.05285 (classifier test). Krause et al. (2024),
    CaloChallenge 2022, arXiv:2410.21611 (architecture, splits). Hanley, McNeil (1982), The
    meaning and use of the area under a ROC curve (its standard error).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.metrics.classifier.inputs import AnyMode, ClassifierRows, classifier_rows
from caloman_cli.metrics.classifier.scores import auc_error, evaluate, mean_curve, summary
from caloman_cli.metrics.classifier.splits import draw_split, matched_rows
from caloman_cli.metrics.classifier.tabdpt import in_context_scores
from caloman_cli.metrics.classifier.training import (
    SMALL_BELOW,
    ClassifierSettings,
    Plan,
    Preset,
    fit,
    logits,
    network,
    new_network,
    parameter_count,
)
from caloman_cli.metrics.classifier.trees import voxel_tree_scores
from caloman_cli.metrics.features import Features
from caloman_cli.metrics.protocol import ProtocolName, find_protocol

__all__ = ["ClassifierTest", "auc_error", "network", "parameter_count"]


class ClassifierTest:
    """Train a binary classifier on two sets of showers and score it.

    Args:
        mode: ``low`` (voxels), ``low_normed`` (voxels over layer energies), ``high`` (features),
            ``resnet`` (voxels as an image, where all layers have one shape), ``voxel_trees``
            (boosted trees on voxels, up to a thousand) or ``tabdpt`` (a pre-trained transformer on
            features, of the extra ``tabdpt``; nothing is trained).
        preset: ``official`` (the protocol's units, 50 epochs), ``small`` (512 units, 25 epochs) or
            ``auto``: small below 20,000 showers per class.
        units: Width of the hidden layers, in place of the preset's; the ResNet has none.
        epochs: Number of epochs, in place of the preset's.
        learning_rate: Of Adam.
        batch_size: Rows of a step.
        repeats: Number of trainings with new splits and weights.
        seed: Of weights, splits and batches.
        threshold: Readout cut [MeV]. None: the protocol's.
        uncut_voxels: Follow the official script in leaving ``low_normed`` voxels uncut.
        protocol: ``final`` (2048 units, inputs after the geometry's cut) or ``legacy2022`` (512
            units, 60/20/20 splits, no cut, fewer features, no ResNet).
        tabdpt_weights: File of TabDPT's weights. None: the package downloads them.
    """

    def __init__(
        self,
        mode: AnyMode = "low",
        preset: Preset = "auto",
        units: int | None = None,
        epochs: int | None = None,
        learning_rate: float = 2e-4,
        batch_size: int = 1000,
        repeats: int = 1,
        seed: int = 0,
        threshold: float | None = None,
        uncut_voxels: bool = False,
        protocol: ProtocolName = "final",
        tabdpt_weights: str | None = None,
    ) -> None:
        self.settings = ClassifierSettings(
            mode,
            preset,
            units,
            epochs,
            learning_rate,
            batch_size,
            repeats,
            threshold,
            uncut_voxels,
            protocol,
            tabdpt_weights,
        )
        self.seed = seed

    def __call__(
        self,
        reference: Showers,
        generated: Showers,
        *,
        device: torch.device | str = "cpu",
        cache_dir: Path | None = None,
        features: tuple[Features, Features] | None = None,
    ) -> dict[str, Any]:
        """Train ``repeats`` classifiers.

        Args:
            reference: Real showers (label 1).
            generated: Showers to judge (label 0).
            device: Where to train.
            cache_dir: Where voxels that do not fit in memory are mapped.
            features: Both sides' features after the same cut, where they are known already; only
                ``high`` and ``tabdpt`` use them.

        Returns:
            Means over repeats ``auc``, ``auc_raw`` (before calibration), ``jsd`` [bits],
            ``accuracy``; ``auc_std`` and ``jsd_std`` over repeats (None for one);
            ``auc_error`` and ``jsd_error``, the statistical errors of one repeat's; ``n_train``,
            ``n_test``, ``n_val`` (both classes together), ``preset``, ``units`` (None for the
            ResNet, trees and TabDPT), ``epochs`` (of trees: rounds), ``protocol``, ``threshold``
            [MeV], ``parameters`` (of trees: leaves); ``repeats``, a list of each one's scores;
            ``roc`` with ``fpr``, the repeats' mean ``tpr``, its standard deviation ``tpr_std``
            (None for one) and each repeat's ``curves``; ``warning``, a sentence where the showers
            are few, else None.

        Raises:
            UserError: A class has fewer than 100 showers, the voxels differ, or the ResNet was
                asked for and the layers differ in shape.
        """
        settings, geometry, where = self.settings, reference.geometry, torch.device(device)
        selected = matched_rows(reference, generated)
        n = len(selected[0])
        plan = settings.plan(n, geometry)
        n_val = n - sum(plan.sizes)
        warning = None
        if n < SMALL_BELOW:
            warning = (
                f"classifier '{settings.mode}': {n} showers per class; an AUC of 0.5 has an error "
                f"of {auc_error(0.5, n_val):.3f}"
            )
        source = classifier_rows(
            settings.mode,
            (reference, generated),
            selected,
            torch.device("cpu") if settings.mode == "voxel_trees" else where,
            cache_dir,
            threshold=plan.threshold,
            uncut_voxels=settings.uncut_voxels,
            features=features,
            feature_set=find_protocol(settings.protocol).features,
        )
        runs, curves = [], []
        for repeat in range(settings.repeats):
            scores, curve, parameters = self._once(source, n, plan, geometry, repeat, where)
            runs.append(scores)
            curves.append(curve)
        return {
            **summary(runs, n_val),
            "n_train": 2 * plan.sizes[0],
            "n_test": 2 * plan.sizes[1],
            "n_val": 2 * n_val,
            "preset": plan.preset,
            "units": plan.units,
            "epochs": plan.epochs,
            "protocol": settings.protocol,
            "threshold": plan.threshold,
            "parameters": parameters,
            "repeats": runs,
            "roc": mean_curve(curves),
            "warning": warning,
        }

    def _once(
        self,
        source: ClassifierRows,
        n: int,
        plan: Plan,
        geometry: Geometry,
        repeat: int,
        device: torch.device,
    ) -> tuple[dict[str, float], np.ndarray, int]:
        """One training: scores, the ROC curve and the size of what was trained."""
        rng = np.random.default_rng([self.seed, repeat])
        split = draw_split(n, plan.sizes, rng)
        real = (np.arange(2 * n) < n).astype(np.int64)
        if self.settings.mode in ("voxel_trees", "tabdpt"):
            rows = source, real, split.train, (split.test, split.val), rng
            if self.settings.mode == "voxel_trees":
                (test, val), size = voxel_tree_scores(*rows)
            else:
                (test, val), size = in_context_scores(*rows, self.settings.tabdpt_weights, device)
            return *evaluate(test, real[split.test] == 1, val, real[split.val] == 1), size
        model = new_network(plan.units, source.width, geometry, 1, rng, device)
        fit(model, source, real, split, plan.epochs, self.settings, rng)
        test, val = (
            torch.sigmoid(logits(model, source, rows, self.settings.batch_size)[:, 0]).numpy()
            for rows in (split.test, split.val)
        )
        scores, curve = evaluate(test, real[split.test] == 1, val, real[split.val] == 1)
        return scores, curve, sum(parameter.numel() for parameter in model.parameters())
