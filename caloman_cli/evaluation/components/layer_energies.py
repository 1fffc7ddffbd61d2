"""Layer energies at equal incident energy, and which layers are empty together."""

from typing import ClassVar

import numpy as np
from matplotlib.figure import Figure

from caloman_cli.config.values import NotNegative, Several
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.names import legend_below
from caloman_cli.evaluation.rows import compared
from caloman_cli.evaluation.style import GENERATED, REFERENCE_EDGE, figure, from_zero, house_style
from caloman_cli.metrics.features import Features
from caloman_cli.metrics.layer_energies import LayerDifference, LayerEnergyTest, shares

SECTION = "layer energies"
_WORDS = {
    "mean": "distance of E_layer / E_inc [σ], mean of layers",
    "max": "distance of E_layer / E_inc [σ], largest",
    "patterns": "which layers are empty, total variation",
    "empty": "how often a layer is empty, largest difference",
    "correlation": "correlation of log E_layer / E_inc, largest difference",
}
_TICKS = 9  # layers that are named along an axis


class LayerEnergies:
    """How differently two sets of showers fill their layers, at equal incident energy.

    Args:
        resamplings: Bootstrap samples that give errors, permutations that give floors.
        plot: Whether to draw shares, distances and empty layers.
        threshold: Readout cut [MeV]. None: the protocol's.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated")

    def __init__(
        self,
        resamplings: Several = 100,
        plot: bool = True,
        threshold: NotNegative | None = None,
    ) -> None:
        self.test = LayerEnergyTest(resamplings)
        self.plot, self.threshold = plot, threshold

    def __call__(self, comparison: Comparison) -> Section:
        self.test.seed = comparison.seed
        sides = [
            comparison.classifier_features(showers, self.threshold)
            for showers in (comparison.reference, comparison.generated)
        ]
        ours, truth, pair = self.test(sides[0], sides[1]), None, comparison.truth
        if pair is not None:
            truth = self.test(
                comparison.classifier_features(pair.reference, self.threshold),
                comparison.classifier_features(pair.sample, self.threshold),
            ).values
        means = [shares(side).mean(0) for side in sides]
        empty = [(side.group("E_layer") == 0).mean(0) for side in sides]
        if self.plot:
            labels = comparison.reference_label, comparison.model_label
            image = layer_by_layer(sides, ours, labels)
            caption = (
                "Layer energies over the incident energy, their distance from the reference's "
                "beside what equal samples show, and empty layers"
            )
            comparison.draw("layer_energies", image, caption)
        scores = [
            compared(
                SECTION, f"layer energies, {words}", ours.values, truth, kind,
                errors=(f"{kind}_error",), floor=f"{kind}_floor",
                summary=kind in ("max", "patterns"), key=f"layer_energies_{kind}", goal="lower",
                note="too few layers vary" if ours.values[kind] is None else
                "" if pair is None else pair.note,
            )
            for kind, words in _WORDS.items()
        ]  # fmt: skip
        ids = [layer.id for layer in comparison.geometry.layers]
        details = {
            "generated": ours.values,
            "truth": truth,
            "layers": ids,
            "distances": ours.distances,
            "distance floors": ours.floors,
            "mean shares": means,
            "empty": empty,
        }
        notes = [
            f"Layer energies: spread from {self.test.resamplings} bootstrap samples, floors from "
            f"as many permutations. {_furthest(ids, ours, means[0], means[1])}"
        ]
        return Section(scores, details, notes, conditions={"readout cut": self.threshold})


def _furthest(
    ids: list[int], found: LayerDifference, reference: np.ndarray, generated: np.ndarray
) -> str:
    """Which layer's distance is the largest, and by how much its mean share is off."""
    layer = int(found.distances.argmax())
    if found.distances[layer] == 0:
        return "No layer's distribution of E_layer / E_inc differs."
    name = f"Furthest: layer {ids[layer]} (its own floor is {found.floors[layer]:.2g} σ)"
    if reference[layer] == 0:
        return f"{name}, always empty in the reference."
    off = 100 * (generated[layer] / reference[layer] - 1)
    return f"{name}, whose mean E_layer / E_inc is {off:+.2g} % off."


def layer_by_layer(
    sides: list[Features], found: LayerDifference, labels: tuple[str, str]
) -> Figure:
    """Mean share, distance beside its floor and frequency of being empty, over the layers.

    Args:
        sides: Reference and generated showers.
        found: How they differ.
        labels: Their names.
    """
    ids = [layer.id for layer in sides[0].geometry.layers]
    places = np.arange(len(ids))
    with house_style():
        image = figure(10.5, 3.6, "constrained")
        panels = image.subplots(1, 3)
        looks = ((REFERENCE_EDGE, "s"), (GENERATED, "o"))
        look = {"markersize": 3.5, "linewidth": 1.0}
        for side, label, (colour, mark) in zip(sides, labels, looks, strict=True):
            empty = (side.group("E_layer") == 0).mean(0)
            for ax, values in ((panels[0], shares(side).mean(0)), (panels[2], empty)):
                ax.plot(places, values, color=colour, marker=mark, label=label, **look)
        panels[1].plot(places, found.distances, color=GENERATED, marker="o", **look)
        panels[1].plot(places, found.floors, color="0.5", linestyle="--", label="floor")
        titles = ("mean E_layer / E_inc", "distance [σ]", "showers with the layer empty")
        ticks = np.unique(np.linspace(0, len(ids) - 1, min(len(ids), _TICKS)).round()).astype(int)
        for ax, title in zip(panels, titles, strict=True):
            ax.set_title(title, loc="left")
            ax.set_xlabel("layer")
            ax.set_xticks(ticks, labels=[str(ids[tick]) for tick in ticks])
            from_zero(ax)
        handles, names = panels[0].get_legend_handles_labels()
        floor, said = panels[1].get_legend_handles_labels()
        legend_below(image, [*handles, *floor], [*names, *said])
        return image
