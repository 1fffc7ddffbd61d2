"""The metrics that ``conf/evaluation/*.yaml`` choose from, one component each."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from matplotlib.figure import Figure

from caloman_cli.data.generator import draw_energies
from caloman_cli.errors import UserError
from caloman_cli.metrics.classifier import ClassifierTest
from caloman_cli.metrics.classifier_inputs import Mode
from caloman_cli.metrics.features import Features, high_level_features
from caloman_cli.metrics.histograms import Histogram, voxel_edges
from caloman_cli.metrics.plots.histograms import histogram_pages
from caloman_cli.metrics.plots.response import ratios_in_energy_bins, response_curve
from caloman_cli.metrics.plots.showers import average_showers, mean_shower
from caloman_cli.metrics.plots.timing import timing_curve
from caloman_cli.metrics.report import Comparison, Need, Section
from caloman_cli.metrics.separation import SeparationPower, group_means
from caloman_cli.metrics.tables import Score
from caloman_cli.metrics.timing import TimingPoint, TimingSettings, environment, sweep, to_dict
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


class Timing:
    """Milliseconds per shower over batch sizes; see :mod:`caloman_cli.metrics.timing`.

    Args:
        batch_sizes: Showers per call of the model.
        repeats: Measured repetitions of a point.
        warmup: Unmeasured repetitions before a point.
        max_seconds: Bound on the measured time of a point [s]; reduces the repetitions.
        min_showers: Showers written by an end-to-end repetition, at least.
        max_memory: Largest memory of a point on the CPU [GiB], or None for what is available.
    """

    needs: ClassVar[tuple[Need, ...]] = ("model",)

    def __init__(
        self,
        batch_sizes: list[int],
        repeats: int = 10,
        warmup: int = 3,
        max_seconds: float = 60.0,
        min_showers: int = 1_000,
        max_memory: float | None = None,
    ) -> None:
        self.settings = TimingSettings(
            tuple(batch_sizes), repeats, warmup, max_seconds, min_showers, max_memory
        )

    def __call__(self, comparison: Comparison) -> Section:
        geometry, model = comparison.geometry, comparison.model
        rng = np.random.default_rng(comparison.seed)
        energies = draw_energies(rng, geometry, max(self.settings.batch_sizes)).reshape(-1, 1)
        points = sweep(
            model, energies, geometry, comparison.device, comparison.output, self.settings
        )
        where = environment(model, comparison.device)
        comparison.save_figures([("timing", timing_curve(points, where))])
        return Section(_times(points), {"points": to_dict(points), **where}, [_timing_note(where)])


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


def _times(points: Sequence[TimingPoint]) -> list[Score]:
    """One row per point; the fastest of each kind goes into the summary."""
    best: dict[str, TimingPoint] = {}
    for point in points:
        if point.median is not None:
            held = best.get(point.measure)
            if held is None or held.median is None or point.median < held.median:
                best[point.measure] = point
    scores = []
    for point in points:
        spread = None
        if point.lower is not None and point.upper is not None:
            spread = point.upper - point.lower
        status = "" if point.status == "ok" else point.status
        scores.append(
            Score(
                "timing [ms per shower]",
                f"{point.measure}, batch {point.batch_size:,}",
                point.median,
                spread=spread,
                note=": ".join(part for part in (status, point.note) if part),
                summary=point is best.get(point.measure),
            )
        )
    return scores


def _timing_note(where: dict[str, str | int]) -> str:
    return (
        f"Timing on {where['device_name']}, {where['threads']} threads, {where['dtype']}, "
        f"{where['parameters']:,} parameters; median, and interquartile range as spread. "
        "'generation': energies on the device to MeV on the device; 'end to end': to a closed "
        "gzip HDF5 file, inside a running process."
    )
