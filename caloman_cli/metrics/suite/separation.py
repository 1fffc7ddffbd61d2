"""Separation powers with their figures."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from matplotlib.figure import Figure

from caloman_cli.errors import UserError
from caloman_cli.metrics.features import Features, high_level_features
from caloman_cli.metrics.histograms import Histogram, voxel_edges
from caloman_cli.metrics.plots.histograms import histogram_pages
from caloman_cli.metrics.plots.response import ratios_in_energy_bins, response_curve
from caloman_cli.metrics.plots.showers import average_showers, mean_shower
from caloman_cli.metrics.report import Comparison, Need, Section
from caloman_cli.metrics.separation import SeparationPower, group_means
from caloman_cli.metrics.tables import Score
from caloman_cli.metrics.truth import shared_showers, truth_note

Plots = Literal["all", "main", "none"]


class Separation:
    """Separation power of every histogram, with the figures of all that they show.

    Args:
        threshold: Readout cut [MeV] on both sides. None: the geometry's.
        plots: ``all`` layers, ``main``: at most nine layers of each quantity, or ``none``.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated")

    def __init__(self, threshold: float | None = None, plots: Plots = "all") -> None:
        if plots not in ("all", "main", "none"):
            raise UserError(f"separation plots={plots}, must be all, main or none")
        self.threshold, self.plots = threshold, plots
        self.power = SeparationPower(threshold)

    def __call__(self, comparison: Comparison) -> Section:
        reference, generated, pair = comparison.reference, comparison.generated, comparison.truth
        ours = high_level_features(reference, self.threshold)
        theirs = high_level_features(generated, self.threshold, voxel_edges(ours))
        histograms = self.power.histograms(
            reference, generated, reference_features=ours, generated_features=theirs
        )
        truth, sides = [], None
        if pair is not None:
            base = ours
            if pair.reference is not reference:
                base = high_level_features(pair.reference, self.threshold)
            sides = base, high_level_features(pair.sample, self.threshold, voxel_edges(base))
            truth = self.power.histograms(
                pair.reference,
                pair.sample,
                reference_features=sides[0],
                generated_features=sides[1],
            )
        if self.plots != "none":
            comparison.save_figures(
                self._figures(comparison, histograms, truth, (ours, theirs), sides)
            )
        return Section(
            _separations(histograms, truth),
            {"out_of_range": {item.name: item.out_of_range() for item in histograms}},
            self._notes(comparison, ours, theirs),
        )

    def _notes(self, comparison: Comparison, ours: Features, theirs: Features) -> list[str]:
        notes = [
            "Separation power: 0 for equal, 1 for disjoint histograms; the floor is what two "
            "samples of one distribution get on average, so a value over floor of about 1 says "
            "that these numbers of showers show no difference."
        ]
        copies = shared_showers(ours, theirs)
        if copies:
            notes.append(
                f"{copies:,} of {len(theirs):,} generated showers are in the reference, number by "
                "number: this is not an independent sample."
            )
        remark = truth_note(comparison.reference)
        return [*notes, *([remark] if remark else [])]

    def _figures(
        self,
        comparison: Comparison,
        histograms: Sequence[Histogram],
        truth: Sequence[Histogram],
        features: tuple[Features, Features],
        truth_features: tuple[Features, Features] | None,
    ) -> Iterator[tuple[str, Figure]]:
        everything = self.plots == "all"
        label, real = comparison.label, comparison.reference_label
        shown, shown_truth = list(histograms), list(truth)
        if comparison.geometry.incident_energies is None:
            shown += ratios_in_energy_bins(*features)
            shown_truth += ratios_in_energy_bins(*truth_features) if truth_features else []
        yield from histogram_pages(shown, shown_truth, label, real, everything)
        curves = {real: features[0], label: features[1]}
        if truth_features is not None:
            curves[f"independent {real}"] = truth_features[1]
        yield "response", response_curve(curves)
        means = mean_shower(comparison.reference), mean_shower(comparison.generated)
        yield from average_showers(comparison.geometry, *means, (real, label), everything)


def _separations(histograms: Sequence[Histogram], truth: Sequence[Histogram]) -> list[Score]:
    """Means of the groups for the summary, then every histogram."""
    section = "separation power"
    real = {item.name: item for item in truth}
    real_means = {mean.group: mean for mean in group_means(truth)}
    scores = []
    for mean in group_means(histograms):
        other = real_means.get(mean.group)
        layers = mean.n + mean.n_empty
        scores.append(
            Score(
                section,
                mean.group if layers == 1 else f"{mean.group}, mean of {layers}",
                mean.separation,
                None if other is None else other.separation,
                mean.floor,
                None if other is None else other.floor,
                note=f"{mean.n_empty} without entries" if mean.n_empty else "",
                summary=True,
            )
        )
    single = {score.quantity for score in scores}
    for item in histograms:
        if item.name in single:
            continue
        same = real.get(item.name)
        scores.append(
            Score(
                section,
                item.name,
                item.separation,
                None if same is None else same.separation,
                item.floor,
                None if same is None else same.floor,
                note=item.note or "",
            )
        )
    return scores
