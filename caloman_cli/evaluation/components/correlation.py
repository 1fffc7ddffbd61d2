"""Correlations between layer energies, as numbers and as matrices side by side."""

from typing import ClassVar

from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.components.rows import compared
from caloman_cli.evaluation.plots.correlation import correlation_matrices
from caloman_cli.metrics import correlation
from caloman_cli.metrics.correlation import layer_correlations

SECTION = "correlation of layer energies"


class LayerCorrelation:
    """How far the Pearson matrices of layer energies differ.

    Args:
        resamplings: Bootstrap samples that give errors and floor.
        plot: Whether to draw the matrices.
        threshold: Readout cut [MeV]. None: the protocol's.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated")

    def __init__(
        self, resamplings: int = 100, plot: bool = True, threshold: float | None = None
    ) -> None:
        self.test = correlation.LayerCorrelation(resamplings)
        self.plot, self.threshold = plot, threshold

    def __call__(self, comparison: Comparison) -> Section:
        self.test.seed = comparison.seed
        sides = [
            comparison.classifier_features(showers, self.threshold)
            for showers in (comparison.reference, comparison.generated)
        ]
        ours, real, pair = self.test(sides[0], sides[1]), None, comparison.truth
        if pair is not None:
            real = self.test(
                comparison.classifier_features(pair.reference, self.threshold),
                comparison.classifier_features(pair.sample, self.threshold),
            )
        matrices = [layer_correlations(side) for side in sides]
        if self.plot:
            labels = comparison.reference_label, comparison.label
            comparison.save_figures(
                [("correlation", correlation_matrices(matrices[0], matrices[1], labels))]
            )
        scores = [
            compared(
                SECTION, f"correlation, {words} difference", ours, real, f"correlation_{kind}",
                errors=(f"correlation_{kind}_error",), floor=f"correlation_{kind}_floor",
                summary=kind == "rms", note="" if pair is None else pair.note,
                key=f"correlation_{kind}", goal="lower",
            )
            for kind, words in (("rms", "rms"), ("max", "largest"))
        ]  # fmt: skip
        details = {
            "generated": ours,
            "truth": real,
            "layers": matrices[0].layers,
            "matrices": [matrix.values for matrix in matrices],
        }
        note = (
            f"Correlations: Pearson coefficients of {ours['pairs']:.0f} pairs of layers, spread "
            f"and floor from {self.test.resamplings} bootstrap samples."
        )
        return Section(scores, details, [note], conditions={"readout cut": self.threshold})
