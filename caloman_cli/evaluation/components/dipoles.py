"""Which way showers lean: a layer turned against the others, rings that lean apart."""

from typing import ClassVar

import numpy as np
from matplotlib.figure import Figure

from caloman_cli.config.values import NotNegative, Several
from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.names import legend_below
from caloman_cli.evaluation.rows import compared
from caloman_cli.evaluation.space import Largest
from caloman_cli.evaluation.style import GENERATED, REFERENCE_EDGE, figure, from_zero, house_style
from caloman_cli.evaluation.truth import spread
from caloman_cli.metrics import dipoles
from caloman_cli.metrics.dipoles import DipoleTest, layer_correlation, lean, sliced_layers

SECTION = "dipoles"
_WORDS = {
    "lean": "lean of rings and layers",
    "rings": "correlation of neighbouring rings",
    "layers": "correlation of layers",
}


class Dipoles:
    """How differently showers lean, and how differently rings and layers lean together.

    Args:
        resamplings: Bootstrap samples that give errors and floor.
        max_showers: Of each set, spread over it. None: all.
        threshold: Readout cut [MeV]. None: the detector's.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated")

    def __init__(
        self,
        resamplings: Several = 100,
        max_showers: Largest | None = 20_000,
        threshold: NotNegative | None = None,
    ) -> None:
        self.test = DipoleTest(resamplings)
        self.max_showers, self.threshold = max_showers, threshold

    def __call__(self, comparison: Comparison) -> Section:
        geometry, pair = comparison.geometry, comparison.truth
        if not (chosen := sliced_layers(geometry)):
            why = f"No dipoles: no layer of {geometry.name} has three slices or more."
            return Section([], {}, [why])
        self.test.seed = comparison.seed
        real, made = (self._of(side) for side in (comparison.reference, comparison.generated))
        ours, truth = self.test(geometry, real, made), None
        if pair is not None:
            first = real if pair.reference is comparison.reference else self._of(pair.reference)
            truth = self.test(geometry, first, self._of(pair.sample))
        ids = [geometry.layers[number].id for number in chosen]
        labels = comparison.reference_label, comparison.model_label
        image = against_the_first(ids, (real, made), labels)
        comparison.draw("dipoles", image, "How much layers lean, and how alike")
        scores = [
            compared(
                SECTION, f"dipoles, {words}, rms difference", ours, truth, kind,
                errors=(f"{kind}_error",), floor=f"{kind}_floor", summary=kind != "lean",
                key=f"dipoles_{kind}", goal="lower",
                note="nothing is lit often enough" if ours[kind] is None else
                "" if pair is None else pair.note,
            )
            for kind, words in _WORDS.items()
            if ours[kind] is not None or kind != "layers" or len(ids) > 1
        ]  # fmt: skip
        note = (
            f"Dipoles of {len(real):,} and {len(made):,} showers in the rings of {len(ids)} "
            f"layers; spread and floor from {self.test.resamplings} bootstrap samples."
        )
        details = {"generated": ours, "truth": truth, "layers": ids}
        conditions: dict[str, str | float | None] = {
            "readout cut": self.threshold,
            "showers at most": self.max_showers,
        }
        return Section(scores, details, [note], conditions=conditions)

    def _of(self, showers: Showers) -> dipoles.ShowerDipoles:
        chosen = showers if self.max_showers is None else spread(showers, self.max_showers)
        return dipoles.dipoles(chosen, self.threshold)


def against_the_first(
    ids: list[int],
    sides: tuple[dipoles.ShowerDipoles, dipoles.ShowerDipoles],
    labels: tuple[str, str],
) -> Figure:
    """Root mean square dipole of each layer, and the correlation with the first one's.

    Args:
        ids: The layers' numbers.
        sides: Of the reference and of the generated showers.
        labels: Their names.
    """
    with house_style():
        image = figure(10.5, 3.6, "constrained")
        panels = image.subplots(1, 3)
        looks = ((REFERENCE_EDGE, "s"), (GENERATED, "o"))
        for side, label, (colour, mark) in zip(sides, labels, looks, strict=True):
            first = layer_correlation(side)[0]
            for ax, values in zip(
                panels, (lean(side), np.abs(first), np.degrees(np.angle(first))), strict=True
            ):
                ax.plot(
                    np.arange(len(ids)), values, color=colour, marker=mark, markersize=3.5,
                    linewidth=1.0, label=label,
                )  # fmt: skip
        titles = (
            "root mean square dipole",
            f"correlation with layer {ids[0]}",
            f"turned against layer {ids[0]} [°]",
        )
        ticks = np.unique(np.linspace(0, len(ids) - 1, min(len(ids), 9)).round()).astype(int)
        for ax, title in zip(panels, titles, strict=True):
            ax.set_title(title, loc="left")
            ax.set_xlabel("layer")
            ax.set_xticks(ticks, labels=[str(ids[tick]) for tick in ticks])
        from_zero(panels[0])
        panels[1].set_ylim(-0.05, 1.05)
        panels[2].set_ylim(-190, 190)
        legend_below(image, *panels[0].get_legend_handles_labels())
        return image
