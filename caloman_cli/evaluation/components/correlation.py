"""Correlations between layer energies, as numbers and as matrices side by side."""

from typing import ClassVar

import numpy as np
from matplotlib.figure import Figure

from caloman_cli.config.values import NotNegative, Several
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.names import folded
from caloman_cli.evaluation.rows import compared
from caloman_cli.evaluation.style import DIVERGING, colour_map, figure, house_style
from caloman_cli.metrics.correlation import CorrelationMatrix, CorrelationTest, layer_correlations

SECTION = "correlation of layer energies"
_TICKS = 9  # layers that are named along an axis
_WIDTH = 30  # letters of a line above a matrix
_NUMBERS = 8  # layers up to which coefficients are written into their cells


class LayerCorrelation:
    """How far the Pearson matrices of layer energies differ.

    Args:
        resamplings: Bootstrap samples that give errors and floor.
        plot: Whether to draw the matrices.
        threshold: Readout cut [MeV]. None: the protocol's.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated")

    def __init__(
        self,
        resamplings: Several = 100,
        plot: bool = True,
        threshold: NotNegative | None = None,
    ) -> None:
        self.test = CorrelationTest(resamplings)
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
            labels = comparison.reference_label, comparison.model_label
            image = correlation_matrices(matrices[0], matrices[1], labels)
            comparison.draw("correlation", image, "Pearson coefficients of layer energies")
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


def correlation_matrices(
    reference: CorrelationMatrix, generated: CorrelationMatrix, labels: tuple[str, str]
) -> Figure:
    """Reference, generated, generated minus reference; rows from below.

    Args:
        reference: Of real showers.
        generated: Of the showers to judge.
        labels: Their names.
    """
    difference = generated.values - reference.values
    known = np.abs(difference[np.isfinite(difference)])
    largest = max(float(known.max(initial=0.0)), 1e-3)
    panels = (
        (labels[0], reference.values, 1.0),
        (labels[1], generated.values, 1.0),
        ("difference", difference, largest),
    )
    with house_style():
        image = figure(11.4, 4.2, "constrained")
        image.suptitle("Correlation of layer energies", fontsize=12)
        for ax, (title, values, reach) in zip(image.subplots(1, 3), panels, strict=True):
            mesh = ax.imshow(
                values, origin="lower", cmap=colour_map(DIVERGING), vmin=-reach, vmax=reach
            )
            ax.set_title(folded(title, _WIDTH))
            ticks = np.unique(np.linspace(0, len(values) - 1, min(len(values), _TICKS)).round())
            names = [reference.layers[int(tick)] for tick in ticks]
            ax.set_xticks(ticks, labels=names)
            ax.set_yticks(ticks, labels=names)
            ax.tick_params(length=0)
            ax.set_xlabel("layer")
            bar = image.colorbar(mesh, ax=ax, fraction=0.046, pad=0.02)
            bar.ax.tick_params(labelsize=7.5)
            if len(values) <= _NUMBERS:
                for (row, column), value in np.ndenumerate(values):
                    ax.text(
                        column, row, "–" if np.isnan(value) else f"{value:.2f}", ha="center",
                        va="center", fontsize=7.5,
                        color="white" if abs(value) > 0.7 * reach else "0.1",
                    )  # fmt: skip
        return image
