r"""Which of several generators do real showers look most like?

A network learns to tell K generators' showers apart and never sees a real one. Then it is asked
about real showers. The score of generator k is its mean log-posterior

.. math::
    \langle \log p(k \mid x) \rangle_{x \sim \text{Geant4}};

higher is better, and :math:`-\log K` is an even guess. For a perfect network two scores differ by
the difference of the generators' Kullback-Leibler divergences
:math:`\mathrm{KL}(p_\text{Geant4} \Vert p_k)`. Scores of one training belong together: they depend
on who competes. An independent real sample given as one more generator shows the best possible.

The paper's script is not public. As in its binary test there are splits to train on, to select the
epoch by and to report; the epoch is the one of least cross-entropy, not of best accuracy, since
accuracy does not notice when probabilities become too extreme.

References:
    Krause et al. (2024), CaloChallenge 2022: A Community Challenge for Fast Calorimeter
    Simulation, arXiv:2410.21611.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.metrics.classifier.inputs import ClassifierRows, Mode, classifier_rows
from caloman_cli.metrics.classifier.splits import draw_split, equal_rows
from caloman_cli.metrics.classifier.training import (
    SMALL_BELOW,
    ClassifierSettings,
    Plan,
    Preset,
    fit,
    logits,
    new_network,
)
from caloman_cli.metrics.protocol import ProtocolName, find_protocol

log = logging.getLogger(__name__)


class MulticlassTest:
    """Train a classifier on several generators' showers and ask it about real ones.

    Args:
        mode: ``low`` (voxels), ``low_normed`` (voxels over layer energies), ``high`` (features) or
            ``resnet`` (voxels as an image, where all layers have one shape).
        preset: ``official`` (the protocol's units, 50 epochs), ``small`` (512 units, 25 epochs) or
            ``auto``: small below 20,000 showers per generator.
        units: Width of the hidden layers, in place of the preset's; the ResNet has none.
        epochs: Number of epochs, in place of the preset's.
        learning_rate: Of Adam.
        batch_size: Rows of a step.
        repeats: Number of trainings with new splits and weights.
        seed: Of weights, splits and batches.
        threshold: Readout cut [MeV]. None: the protocol's.
        uncut_voxels: Follow the official script in leaving ``low_normed`` voxels uncut.
        protocol: ``final`` or ``legacy2022``.
    """

    def __init__(
        self,
        mode: Mode = "low",
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
        )
        self.seed = seed

    def __call__(
        self,
        reference: Showers,
        submissions: Mapping[str, Showers],
        *,
        device: torch.device | str = "cpu",
        cache_dir: Path | None = None,
    ) -> dict[str, Any]:
        """Train ``repeats`` classifiers on the submissions and judge by the whole reference.

        Args:
            reference: Real showers, none of which the network learns from.
            submissions: Generators' names and showers, two or more; of longer files, as many rows
                as the shortest has.
            device: Where to train.
            cache_dir: Where voxels that do not fit in memory are mapped.

        Returns:
            ``classes``, the names in order; ``uniform``, -log K; ``log_posterior``, a dictionary
            of each name's ``mean`` over repeats, its ``std`` over repeats (None for one) and
            ``error``, the statistical error of one repeat's mean from the number of real showers;
            ``own``, likewise ``mean`` and ``std`` of log p(k|x) over generator k's own unseen
            showers; ``chosen``, the fraction of real showers that look most like k;
            ``confusion``, fractions of generator k's (row) unseen showers that look most like j
            (column); ``posteriors``, the mean p(j|x) over real showers (first row) and over
            generator k's unseen ones (row k + 1); ``accuracy`` on the latter; ``n_reference``,
            ``n_train``, ``n_test``, ``n_val`` (all generators together), ``preset``, ``units``
            (None for the ResNet), ``epochs``, ``protocol``, ``threshold`` [MeV], ``parameters``;
            ``repeats``, each one's mean log-posteriors in the order of ``classes``; ``warning``,
            a sentence where the showers are few, else None.

        Raises:
            UserError: Fewer than two submissions, a submission of fewer than 100 showers, voxels
                that differ, or the ResNet was asked for and the layers differ in shape.
        """
        names = list(submissions)
        if len(names) < 2:
            raise UserError(
                f"the multiclass metric compares two or more submissions, got {len(names)}: give "
                "generated=[first.hdf5,second.hdf5]"
            )
        if reference.geometry.n_voxels != submissions[names[0]].geometry.n_voxels:
            raise UserError(
                f"the reference has {reference.geometry.n_voxels} voxels and {names[0]} has "
                f"{submissions[names[0]].geometry.n_voxels}: give files of one dataset"
            )
        selected = equal_rows(submissions)
        n = len(selected[0])
        plan = self.settings.plan(n, reference.geometry)
        everyone = [submissions[name] for name in names]
        where = torch.device(device)
        source = self._rows(everyone, selected, plan, where, cache_dir)
        real = self._rows([reference], [np.arange(len(reference))], plan, where, cache_dir)
        warning = self._warning(n, len(reference))
        runs = [
            self._once(source, real, reference, n, len(names), plan, repeat, where)
            for repeat in range(self.settings.repeats)
        ]
        n_val = n - sum(plan.sizes)
        return {
            "classes": names,
            "uniform": -math.log(len(names)),
            **_summary(runs, names),
            "n_reference": len(reference),
            "n_train": len(names) * plan.sizes[0],
            "n_test": len(names) * plan.sizes[1],
            "n_val": len(names) * n_val,
            "preset": plan.preset,
            "units": plan.units,
            "epochs": plan.epochs,
            "protocol": self.settings.protocol,
            "threshold": plan.threshold,
            "warning": warning,
        }

    def _rows(
        self,
        sides: Sequence[Showers],
        selected: Sequence[np.ndarray],
        plan: Plan,
        device: torch.device,
        cache_dir: Path | None,
    ) -> ClassifierRows:
        return classifier_rows(
            self.settings.mode,
            sides,
            selected,
            device,
            cache_dir,
            threshold=plan.threshold,
            uncut_voxels=self.settings.uncut_voxels,
            feature_set=find_protocol(self.settings.protocol).features,
        )

    def _warning(self, n: int, n_reference: int) -> str | None:
        if n >= SMALL_BELOW:
            return None
        warning = (
            f"multiclass '{self.settings.mode}': {n:,} showers per submission and {n_reference:,} "
            "real ones; log-posteriors of networks that learn from few showers are too extreme"
        )
        log.warning(warning)
        return warning

    def _once(
        self,
        source: ClassifierRows,
        real: ClassifierRows,
        reference: Showers,
        n: int,
        n_classes: int,
        plan: Plan,
        repeat: int,
        device: torch.device,
    ) -> dict[str, np.ndarray | float | int]:
        """One training: log-posteriors of real and of the generators' own unseen showers."""
        rng = np.random.default_rng([self.seed, repeat])
        split = draw_split(n, plan.sizes, rng, n_classes)
        model = new_network(plan.units, source.width, reference.geometry, n_classes, rng, device)
        labels = np.repeat(np.arange(n_classes), n)
        fit(model, source, labels, split, plan.epochs, self.settings, rng, "cross_entropy")
        size = self.settings.batch_size
        every = np.arange(len(reference))
        posterior = logits(model, real, every, size).log_softmax(1).numpy()
        unseen = logits(model, source, split.val, size).log_softmax(1).numpy()
        true = labels[split.val]
        confusion = np.zeros((n_classes, n_classes))
        np.add.at(confusion, (true, unseen.argmax(1)), 1)
        own = unseen[np.arange(len(true)), true]
        return {
            "mean": posterior.mean(0),
            "error": posterior.std(0, ddof=1) / math.sqrt(len(posterior)),
            "chosen": np.bincount(posterior.argmax(1), minlength=n_classes) / len(posterior),
            "own": np.array([own[true == number].mean() for number in range(n_classes)]),
            "confusion": confusion / confusion.sum(1, keepdims=True),
            "posteriors": np.stack(
                [
                    np.exp(rows).mean(0)
                    for rows in (posterior, *(unseen[true == k] for k in range(n_classes)))
                ]
            ),
            "accuracy": float(np.mean(unseen.argmax(1) == true)),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        }


def _summary(runs: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Means and spreads over repeats, by name."""

    def over(key: str) -> tuple[list[Any], list[Any]]:
        stacked = np.stack([run[key] for run in runs])
        spread = stacked.std(0, ddof=1).tolist() if len(runs) > 1 else [None] * len(names)
        return stacked.mean(0).tolist(), spread

    errors = over("error")[0]
    scores = zip(names, *over("mean"), errors, strict=True)
    own = zip(names, *over("own"), strict=True)
    return {
        "log_posterior": {
            name: {"mean": mean, "std": std, "error": error} for name, mean, std, error in scores
        },
        "own": {name: {"mean": mean, "std": std} for name, mean, std in own},
        "chosen": dict(zip(names, over("chosen")[0], strict=True)),
        "confusion": np.mean([run["confusion"] for run in runs], 0).tolist(),
        "posteriors": np.mean([run["posteriors"] for run in runs], 0).tolist(),
        "accuracy": float(np.mean([run["accuracy"] for run in runs])),
        "parameters": runs[0]["parameters"],
        "repeats": [run["mean"].tolist() for run in runs],
    }
