"""Separation powers with their figures."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from matplotlib.figure import Figure

from caloman_cli.config.values import NotNegative, checked
from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.components.separation.averages import (
    average_showers_at_energies,
    mean_showers,
    profile_pages,
)
from caloman_cli.evaluation.components.separation.pages import histogram_pages
from caloman_cli.evaluation.components.separation.response import (
    REFERENCE_LOOK,
    TRUTH_LOOK,
    energy_edges,
    ratios_in_energy_bins,
    response_curve,
    response_of,
    run_look,
)
from caloman_cli.evaluation.components.separation.showers import average_showers
from caloman_cli.evaluation.components.separation.single_showers import (
    IN_SPACE,
    shower_in_space,
    single_showers,
)
from caloman_cli.evaluation.counts import Counts, Responses, write_counts
from caloman_cli.evaluation.truth import shared_showers, truth_note
from caloman_cli.metrics.features import Features
from caloman_cli.metrics.histograms import GROUPS, Histogram
from caloman_cli.metrics.outside import Outside, most_outside
from caloman_cli.metrics.score import Score, key_of
from caloman_cli.metrics.separation import (
    GroupMean,
    group_means,
    separation_error,
    separation_histograms,
)
from caloman_cli.published.quantities import QUANTITIES

log = logging.getLogger(__name__)

MISLEADING = 0.1  # of the showers outside of the bins: S says little, and gets no place
Plots = Literal["all", "main", "none"]


@checked
class Separation:
    """Separation power of every histogram, with the figures of all that they show.

    Args:
        threshold: Readout cut [MeV] on both sides. None: the protocol's.
        plots: ``all`` layers, ``main``: at most nine layers of each quantity, or ``none``.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated")

    def __init__(self, threshold: NotNegative | None = None, plots: Plots = "all") -> None:
        self.threshold, self.plots = threshold, plots

    def __call__(self, comparison: Comparison) -> Section:
        reference, generated, pair = comparison.reference, comparison.generated, comparison.truth
        ours, theirs = (self._features(comparison, side) for side in (reference, generated))
        histograms = separation_histograms(
            reference, generated, reference_features=ours, generated_features=theirs
        )
        truth, sides = [], None
        if pair is not None:
            sides = (
                self._features(comparison, pair.reference),
                self._features(comparison, pair.sample),
            )
            truth = separation_histograms(
                pair.reference,
                pair.sample,
                reference_features=sides[0],
                generated_features=sides[1],
            )
        shown, shown_truth = list(histograms), list(truth)
        if comparison.geometry.incident_energies is None:
            shown += ratios_in_energy_bins(ours, theirs)
            shown_truth += ratios_in_energy_bins(*sides) if sides else []
        edges = energy_edges(comparison.geometry, ours.e_inc)
        responses = Responses(
            edges,
            response_of(ours, edges),
            response_of(theirs, edges),
            None if sides is None else response_of(sides[1], edges),
        )
        counts = Counts(comparison.reference_label, tuple(shown), tuple(shown_truth), responses)
        write_counts(comparison.output, counts)
        if self.plots != "none":
            for drawn in self._figures(comparison, counts, (ours, theirs), sides):
                comparison.draw(*drawn)
        caveats = {}
        if comparison.protocol.name != "final" or self.threshold is not None:
            caveats = {f"S {group}": "another readout cut or protocol" for group in GROUPS}
        hidden = _hidden(histograms)
        for group, outside in hidden.items():
            if outside.generated - outside.reference > MISLEADING:
                caveats[f"S {group}"] = str(outside)
        notes = [*self._notes(comparison, ours, theirs), *_warnings(histograms, hidden)]
        return Section(
            _separations(histograms, truth, "" if pair is None else pair.note),
            {"out_of_range": {item.name: item.out_of_range() for item in histograms}},
            notes,
            {key: why for key, why in caveats.items() if key in QUANTITIES},
            {"readout cut": self.threshold},
        )

    def _features(self, comparison: Comparison, showers: Showers) -> Features:
        """Features whose threshold is where logarithmic bins begin."""
        protocol, geometry = comparison.protocol, comparison.geometry
        found = comparison.classifier_features(showers, self.threshold)
        if self.threshold is not None:
            return found
        # In the rules of 2022 features are of uncut voxels while bins begin at a threshold.
        start = protocol.histogram_threshold(geometry)
        return found if found.threshold == start else replace(found, threshold=start)

    def _notes(self, comparison: Comparison, ours: Features, theirs: Features) -> list[str]:
        notes = [
            "Separation power: 0 for equal, 1 for disjoint histograms; the floor is what two "
            "samples of one distribution get on average, so a value over floor of about 1 says "
            "that these numbers of showers show no difference. Spread: the statistical error from "
            "the numbers of showers; of a mean, as if its layers went up and down together."
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
        counts: Counts,
        features: tuple[Features, Features],
        truth_features: tuple[Features, Features] | None,
    ) -> Iterator[tuple[str, Figure, str]]:
        """File stem, figure, caption."""
        everything = self.plots == "all"
        label, real, truth = (
            comparison.model_label, comparison.reference_label, comparison.truth_label
        )  # fmt: skip
        yield from histogram_pages(counts.histograms, counts.truth, label, real, truth, everything)
        samples = [(real, features[0]), (label, features[1])]
        if truth_features is not None:
            samples.append((truth, truth_features[1]))
        edges = energy_edges(comparison.geometry, features[0].e_inc)
        looks = (REFERENCE_LOOK, run_look(), TRUTH_LOOK)
        curves = [
            (name, response_of(side, edges), look)
            for (name, side), look in zip(samples, looks, strict=False)
        ]
        yield "response", response_curve(edges, curves), "Visible over incident energy"
        yield from profile_pages(samples, everything)
        yield from self._showers(comparison, edges, (real, label))

    def _showers(
        self, comparison: Comparison, edges: np.ndarray, labels: tuple[str, str]
    ) -> Iterator[tuple[str, Figure, str]]:
        """Average and single showers: file stem, figure, caption."""
        geometry, both = comparison.geometry, (comparison.reference, comparison.generated)
        real, ours = (mean_showers(showers, edges) for showers in both)
        everything = self.plots == "all"
        yield from average_showers(geometry, real.every, ours.every, labels, everything)
        averages = average_showers_at_energies(geometry, edges, real, ours, labels)
        if averages is not None:
            words = "Average showers at fixed energies, generated below real"
            yield "average_shower_at_energies", averages, words
        rows = single_showers(*both, labels)
        yield "single_showers", rows, "Single showers, a generated one below each real one"
        yield "shower_in_space", shower_in_space(*both, labels), IN_SPACE


def _separations(
    histograms: Sequence[Histogram], truth: Sequence[Histogram], remark: str = ""
) -> list[Score]:
    """Means of the groups for the summary, with a remark on the truth, then every histogram."""
    section, hidden = "separation power", _hidden(histograms)
    real = {item.name: item for item in truth}
    real_means = {mean.group: mean for mean in group_means(truth)}
    in_layers = {item.group for item in histograms if item.group != item.name}
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
                spread=mean.error,
                truth_spread=None if other is None else other.error,
                note="; ".join(
                    filter(None, (_named(hidden.get(mean.group)), _left_out(mean, other), remark))
                ),
                summary=True,
                key=f"{mean.group}_mean" if mean.group in in_layers else mean.group,
                goal="lower",
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
                spread=None if item.separation is None else separation_error(item),
                truth_spread=None if same is None else separation_error(same),
                note=item.note or str(most_outside([item]) or ""),
                key=key_of(item.name),
                goal="lower",
            )
        )
    return scores


def _hidden(histograms: Sequence[Histogram]) -> dict[str, Outside]:
    """Groups of which clearly more generated than real entries lie outside of the bins."""
    found = {}
    for group in GROUPS:
        worst = most_outside([item for item in histograms if item.group == group])
        if worst is not None:
            found[group] = worst
    return found


def _named(outside: Outside | None) -> str:
    if outside is None:
        return ""
    return f"{outside.name}: {outside}" if "/" in outside.name else str(outside)


def _warnings(histograms: Sequence[Histogram], hidden: dict[str, Outside]) -> list[str]:
    """What the separation powers do not see, for the notes and, once, for the terminal."""
    notes = []
    empty = [item.name for item in histograms if item.note]
    if empty:
        notes.append(f"{len(empty)} histograms are empty: {', '.join(empty)}.")
    if hidden:
        worst = "; ".join(f"{outside.name}: {outside}" for outside in hidden.values())
        notes.append(
            "Separation powers are of what lies within the bins, so these look better than the "
            f"showers are. {worst}."
        )
    for note in notes:
        log.warning("%s", note.removesuffix("."))
    return notes


def _left_out(mean: GroupMean, truth: GroupMean | None) -> str:
    """Say which histograms the mean does not have, and warn of those that only the truth fills."""
    if not mean.n_empty:
        return ""
    if truth is None or mean.n_empty <= truth.n_empty:
        return f"{mean.n_empty} without entries"
    log.warning(
        "%s: histograms without entries: %d with the generated showers, %d with the truth; the "
        "mean leaves them out and looks better than the showers are: see the single histograms",
        mean.group,
        mean.n_empty,
        truth.n_empty,
    )
    return f"{mean.n_empty} without entries, the truth {truth.n_empty}: left out of this mean"
