"""Classifier scores beside the truth's, with their ROC curves."""

import logging
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from annotated_types import MinLen

from caloman_cli.config.values import Count, NotNegative, Positive, checked
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.classifier_cost import training_seconds
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.components.classifier import trees
from caloman_cli.evaluation.components.classifier.roc import roc_curves
from caloman_cli.evaluation.components.classifier.rows import Judge, auc_and_jsd
from caloman_cli.metrics.classifier.inputs import MOST_TREE_VOXELS, ON_FEATURES, AnyMode
from caloman_cli.metrics.classifier.splits import FEWEST
from caloman_cli.metrics.classifier.tabdpt import CONTEXT
from caloman_cli.metrics.classifier.training import Preset
from caloman_cli.metrics.classifier.two_sample import ClassifierTest
from caloman_cli.metrics.protocol import ProtocolName
from caloman_cli.metrics.score import Grid, Score

log = logging.getLogger(__name__)

OFFICIAL_RATE, OFFICIAL_BATCH = 2e-4, 1000


@checked
class Classifier:
    """How well a neural network tells generated showers from real ones.

    Args:
        modes: Inputs: ``low`` (voxels), ``low_normed`` (voxels over layer energies), ``high``,
            ``resnet`` (voxels as an image; left out where layers differ in shape), ``trees``
            (boosted trees on the challenge's features and on those around the axis, all and each
            group alone, also in bands of incident energy), ``voxel_trees`` (boosted trees on
            voxels; left out beyond a thousand), ``tabdpt`` (a pre-trained transformer on features,
            not trained; the extra ``tabdpt``).
        preset: ``official``, ``small``, or ``auto`` for small below 20,000 showers per class.
        units: Width of the hidden layers, in place of the preset's.
        epochs: Number of epochs, in place of the preset's.
        learning_rate: Of Adam.
        batch_size: Rows of a step.
        repeats: Number of trainings; the published tables use 10.
        threshold: Readout cut [MeV]. None: the protocol's.
        tabdpt_weights: File of TabDPT's weights. None: the package downloads them.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated")

    def __init__(
        self,
        modes: Annotated[list[Judge], MinLen(1)] | None = None,
        preset: Preset = "auto",
        units: Count | None = None,
        epochs: Count | None = None,
        learning_rate: Positive = 2e-4,
        batch_size: Count = 1000,
        repeats: Count = 1,
        threshold: NotNegative | None = None,
        tabdpt_weights: str | None = None,
    ) -> None:
        self.modes: list[Judge] = ["low", "high"] if modes is None else modes
        self.preset, self.units, self.epochs = preset, units, epochs
        self.learning_rate, self.batch_size = learning_rate, batch_size
        self.repeats, self.threshold = repeats, threshold
        self.tabdpt_weights = tabdpt_weights
        for mode in self.modes:  # refuses wrong settings before any work
            if mode != "trees":
                self._test(mode, 0, "final")

    def __call__(self, comparison: Comparison) -> Section:
        scores: list[Score] = []
        details: dict[str, Any] = {}
        caveats: dict[str, str] = {}
        tables: dict[str, Grid] = {}
        modes, notes = self._possible(comparison)
        for mode in modes:
            pair = comparison.truth
            if mode == "trees":
                ours, truth = trees.judged(comparison, self.repeats, self.threshold)
            else:
                ours = self._trained(comparison, mode, comparison.reference, comparison.generated)
                truth = None
                if pair is not None:
                    truth = self._trained(comparison, mode, pair.reference, pair.sample)
            if ours["warning"] is not None:
                log.warning("%s", ours["warning"])
            found = auc_and_jsd(mode, ours, truth, "" if pair is None else pair.note)
            if mode == "trees":
                found = trees.scores(found, ours, truth)
                notes.append(trees.note(ours))
                tables = trees.tables(ours, truth, comparison.truth_label)
            used = self._conditions(mode, ours)
            scores += [replace(score, conditions={**used, **score.conditions}) for score in found]
            details[mode] = {"generated": ours, "truth": truth}
            if (
                mode not in ("trees", "voxel_trees", "tabdpt")
                and (why := self._unofficial(comparison, ours)) is not None
            ):
                caveats[f"AUC {mode}"] = why
        if not details:
            raise UserError(notes[0])
        curves = {
            mode: (found["generated"]["roc"], found["truth"] and found["truth"]["roc"])
            for mode, found in details.items()
        }
        aucs = {
            mode: (found["generated"]["auc"], found["truth"] and found["truth"]["auc"])
            for mode, found in details.items()
        }
        image = roc_curves(curves, aucs, (comparison.model_label, comparison.truth_label))
        comparison.draw("roc", image, "ROC curves of the classifiers")
        for found in details.values():  # the mean curve says enough
            for side in (found["generated"], found["truth"]):
                if side is not None:
                    side["roc"] = {k: v for k, v in side["roc"].items() if k != "curves"}
        return Section(scores, details, [self._note(details), *notes], caveats, tables=tables)

    def seconds(self, comparison: Comparison, n: int) -> float:
        """How long the networks take for n showers of each side and as many of the truth row."""
        if n < FEWEST:
            return 0.0
        tests = [
            self._test(mode, 0, comparison.protocol.name).settings
            for mode in self._possible(comparison)[0]
            if mode in ("low", "low_normed", "high", "resnet")
        ]
        geometry, device = comparison.geometry, comparison.device
        return 2 * sum(training_seconds(test, n, geometry, device) for test in tests)

    def _test(self, mode: AnyMode, seed: int, protocol: ProtocolName) -> ClassifierTest:
        return ClassifierTest(
            mode,
            self.preset,
            units=self.units,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            repeats=self.repeats,
            seed=seed,
            threshold=self.threshold,
            protocol=protocol,
            tabdpt_weights=self.tabdpt_weights,
        )

    def _possible(self, comparison: Comparison) -> tuple[list[Judge], list[str]]:
        """The modes that this geometry and protocol have, and why others have none."""
        geometry, why = comparison.geometry, {}
        if geometry.image_shape is None:
            why["resnet"] = f"No ResNet classifier: the layers of {geometry.name} differ in shape."
        elif not comparison.protocol.resnet:
            why["resnet"] = f"No ResNet classifier: protocol {comparison.protocol.name} has none."
        if geometry.n_voxels > MOST_TREE_VOXELS:
            many = f"{geometry.name} has {geometry.n_voxels:,} voxels."
            why["voxel_trees"] = f"No boosted trees on voxels: {many}"
        left_out = [why[mode] for mode in self.modes if mode in why]
        return [mode for mode in self.modes if mode not in why], left_out

    def _trained(
        self, comparison: Comparison, mode: AnyMode, reference: Showers, generated: Showers
    ) -> dict[str, Any]:
        test = self._test(mode, comparison.seed, comparison.protocol.name)
        features = None
        if mode in ON_FEATURES:
            features = (
                comparison.classifier_features(reference, self.threshold),
                comparison.classifier_features(generated, self.threshold),
            )
        return test(
            reference,
            generated,
            device=comparison.device,
            cache_dir=comparison.cache_dir,
            features=features,
        )

    def _conditions(self, mode: Judge, found: dict[str, Any]) -> dict[str, str | float | None]:
        of_all: dict[str, str | float | None] = {
            "training showers": found["n_train"],
            "trainings": self.repeats,
            "readout cut": self.threshold,
        }
        if mode == "trees":
            return {"rounds": found["epochs"], "features": found["features"], **of_all}
        if mode == "voxel_trees":
            return {"rounds": found["epochs"], **of_all}
        if mode == "tabdpt":
            return {"context": CONTEXT, "ensemble": found["epochs"], **of_all}
        return {
            "preset": found["preset"],
            "units": found["units"],
            "epochs": found["epochs"],
            "learning rate": self.learning_rate,
            "batch size": self.batch_size,
            **of_all,
        }

    def _unofficial(self, comparison: Comparison, found: dict[str, Any]) -> str | None:
        """Why an AUC is not the challenge's, or None where it is."""
        if comparison.protocol.name != "final":
            return f"protocol {comparison.protocol.name}, not final"
        given = (self.units, self.epochs, self.threshold) != (None, None, None)
        if found["preset"] != "official" or given or self.learning_rate != OFFICIAL_RATE:
            size = "" if found["units"] is None else f"{found['units']} units, "
            return (
                f"preset {found['preset']} ({size}{found['epochs']} epochs, learning rate "
                f"{self.learning_rate:g}), not the official classifier"
            )
        if self.batch_size != OFFICIAL_BATCH:
            return f"batches of {self.batch_size:,}, not {OFFICIAL_BATCH:,}"
        return None

    def _note(self, details: dict) -> str:
        first = next(iter(details.values()))["generated"]
        repeats = len(first["repeats"])
        spread = (
            f"standard deviation of {repeats} trainings"
            if repeats > 1
            else "statistical error of one training's scores"
        )
        size = "" if first["units"] is None else f"{first['units']} units, "
        what = f"preset {first['preset']} ({size}{first['epochs']} epochs)"
        if first["preset"] == "trees":
            what = f"{first['epochs']} rounds of boosted trees"
        elif next(iter(details)) == "tabdpt":
            what = f"TabDPT, {first['epochs']} times with other orders, nothing trained"
        return (
            f"Classifier: {what}, {first['n_train']:,} / {first['n_test']:,} / "
            f"{first['n_val']:,} showers of both classes to train, select and score; spread: "
            f"{spread}; 0.5 is not told apart."
        )
