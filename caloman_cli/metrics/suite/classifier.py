"""Classifier scores beside the truth's."""

from functools import partial
from typing import Any, ClassVar, Literal

from caloman_cli.errors import UserError
from caloman_cli.metrics.classifier import ClassifierTest
from caloman_cli.metrics.classifier_inputs import Mode
from caloman_cli.metrics.report import Comparison, Need, Section
from caloman_cli.metrics.tables import Score


class Classifier:
    """How well a neural network tells generated showers from real ones.

    Args:
        modes: Inputs: ``low`` (voxels), ``low_normed`` (voxels over layer energies), ``high``.
        preset: ``official``, ``small``, or ``auto`` for small below 20,000 showers per class.
        units: Width of the hidden layers, in place of the preset's.
        epochs: Number of epochs, in place of the preset's.
        learning_rate: Of Adam.
        batch_size: Rows of a step.
        repeats: Number of trainings; the published tables use 10.
        threshold: Readout cut [MeV]. None: the geometry's.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated")

    def __init__(
        self,
        modes: list[Mode] | None = None,
        preset: Literal["auto", "official", "small"] = "auto",
        units: int | None = None,
        epochs: int | None = None,
        learning_rate: float = 2e-4,
        batch_size: int = 1000,
        repeats: int = 1,
        threshold: float | None = None,
    ) -> None:
        chosen: list[Mode] = ["low", "high"] if modes is None else modes
        self.tests = {
            mode: ClassifierTest(
                mode,
                preset,
                units=units,
                epochs=epochs,
                learning_rate=learning_rate,
                batch_size=batch_size,
                repeats=repeats,
                threshold=threshold,
            )
            for mode in chosen
        }
        if not self.tests:
            raise UserError("classifier modes=[] is empty: give low, low_normed or high")

    def __call__(self, comparison: Comparison) -> Section:
        scores: list[Score] = []
        details: dict[str, Any] = {}
        for mode, test in self.tests.items():
            test.seed = comparison.seed
            train = partial(test, device=comparison.device, cache_dir=comparison.cache_dir)
            result = train(comparison.reference, comparison.generated)
            truth, pair = None, comparison.truth
            if pair is not None:
                truth = train(pair.reference, pair.sample)
            for name, error in (("auc", result["auc_error"]), ("jsd", None)):
                spread = result[f"{name}_std"] if result[f"{name}_std"] is not None else error
                truth_spread = None
                if truth is not None:
                    single = truth["auc_error"] if name == "auc" else None
                    std = truth[f"{name}_std"]
                    truth_spread = single if std is None else std
                scores.append(
                    Score(
                        "classifier",
                        f"{name.upper()} {mode}",
                        result[name],
                        None if truth is None else truth[name],
                        spread=spread,
                        truth_spread=truth_spread,
                        summary=True,
                    )
                )
            details[mode] = {"generated": result, "truth": truth}
        return Section(scores, details, self._notes(details))

    def _notes(self, details: dict) -> list[str]:
        first = next(iter(details.values()))["generated"]
        repeats = len(first["repeats"])
        spread = (
            f"standard deviation of {repeats} trainings"
            if repeats > 1
            else "statistical error of one training's AUC"
        )
        return [
            f"Classifier: preset {first['preset']} ({first['units']} units, {first['epochs']} "
            f"epochs), {first['n_train']:,} / {first['n_test']:,} / {first['n_val']:,} showers of "
            f"both classes to train, select and score; spread: {spread}; 0.5 is not told apart."
        ]
