"""Which metric sees which mistake: known distortions of real showers, judged by every metric.

    OMP_NUM_THREADS=1 python scripts/studies/sensitivity.py                       # built-in
    OMP_NUM_THREADS=1 python scripts/studies/sensitivity.py --real FILE --reference FILE

Three disjoint samples are drawn from the real file: one to distort, one for the truth row and one
as the training showers of the memorisation checks. A row's pull is (value - truth) over the errors
of both added in quadrature; the first row distorts nothing, so its pulls show the chance.
"""

import argparse
import csv
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import distortions
import numpy as np
import torch

from caloman_cli.data.generator import generate
from caloman_cli.data.geometry import Geometry, official_geometries
from caloman_cli.data.showers import Showers
from caloman_cli.metrics.classifier.inputs import MODES, AnyMode
from caloman_cli.metrics.classifier.tree_test import TreeTest
from caloman_cli.metrics.classifier.two_sample import ClassifierTest
from caloman_cli.metrics.correlation import CorrelationTest
from caloman_cli.metrics.dipoles import DipoleTest, dipoles
from caloman_cli.metrics.features import feature_matrix, high_level_features
from caloman_cli.metrics.frechet import FrechetDistance, FrechetPhysicsDistance
from caloman_cli.metrics.histograms import separation_power
from caloman_cli.metrics.kernel import KernelDistance, KernelPhysicsDistance
from caloman_cli.metrics.memorisation import CopyTest
from caloman_cli.metrics.points import LogVoxels
from caloman_cli.metrics.precision_recall import NeighbourTest, corrected_empty
from caloman_cli.metrics.sample_quality import FeatureLikelihood
from caloman_cli.metrics.score import Grid
from caloman_cli.metrics.separation import group_means, separation_histograms

SEEN = 3.0  # pull from which a metric counts as having seen a mistake
RESAMPLINGS = 50  # of the bootstrap
TABLES = {  # the columns that the Markdown shows; the CSV has all
    "Histograms: separation power over its floor (about 1: no difference)": {
        "S E_ratio": "E_tot / E_inc",
        "S E_layer": "E_layer",
        "S EC_eta": "centre eta",
        "S EC_r": "centre r",
        "S width_eta": "width eta",
        "S width_r": "width r",
        "S sparsity": "sparsity",
        "S voxel": "voxels",
        "empty histograms": "empty histograms",
    },
    "Classifiers, distances, correlations": {
        "AUC low": "AUC low",
        "AUC high": "AUC high",
        "FPD": "FPD × 10³",
        "KPD": "KPD × 10³",
        "FD": "FD",
        "KD": "KD",
        "correlation": "Δ correlation",
        "dipoles": "Δ dipoles",
    },
    "Boosted trees on features": {
        "AUC trees": "all",
        "AUC trees challenge": "the challenge's",
        "AUC trees around_axis": "around the axis",
        "AUC trees across_layers": "across layers",
    },
    "Neighbours": {
        "precision": "precision",
        "recall": "recall",
        "density": "density",
        "coverage": "coverage",
        "FLS": "FLS",
    },
    "Memorisation": {
        "copies": "exact copies [%]",
        "near copies": "near copies [%]",
        "authentic": "authentic [%]",
        "C_T": "C_T",
    },
}


class Value(NamedTuple):
    """A metric's number and its error, both in the unit that the table shows."""

    value: float
    error: float


class Samples(NamedTuple):
    """Independent real showers: judge, sample to distort, truth row, training showers."""

    reference: Showers
    sample: Showers
    truth: Showers
    train: Showers


class Judge:
    """Every metric of a set of showers against one reference and one training sample."""

    def __init__(self, samples: Samples, classifiers: list[AnyMode], seed: int) -> None:
        self.reference, self.seed = samples.reference, seed
        self.reference_features = high_level_features(self.reference)
        self.reference_dipoles = dipoles(self.reference)
        self.held = feature_matrix(self.reference_features)
        self.known = feature_matrix(high_level_features(samples.train))
        self.classifiers = [
            ClassifierTest(mode, preset="small", seed=seed) for mode in classifiers
        ]
        self.neighbours = NeighbourTest(seed=seed)
        self.cloud = self._cloud(self.reference)
        self.radii = self.neighbours.radii(self.cloud)

    def __call__(self, showers: Showers) -> dict[str, Value]:
        """Values by the names of the columns."""
        return dict(self._measure(showers))

    def _measure(self, showers: Showers) -> Iterator[tuple[str, Value]]:
        features = high_level_features(showers)
        matrix = feature_matrix(features)
        histograms = separation_histograms(
            self.reference, showers, reference_features=self.reference_features
        )
        for mean in group_means(histograms):
            if mean.separation is not None and mean.floor and mean.error:
                error = mean.error
                if mean.group == "voxel":
                    error = self._voxel_error(showers, histograms[-1].edges)
                yield f"S {mean.group}", Value(mean.separation / mean.floor, error / mean.floor)
        # The means leave them out, so that a dead layer would not show.
        yield "empty histograms", Value(sum(item.note is not None for item in histograms), 0)
        for test in self.classifiers:
            found = test(self.reference, showers)
            yield f"AUC {test.settings.mode}", Value(found["auc"], found["auc_error"])
        trees = TreeTest(seed=self.seed)(self.reference, showers)
        yield "AUC trees", Value(trees["auc"], trees["auc_error"])
        for group, one in trees["groups"].items():
            yield f"AUC trees {group}", Value(one["auc"], one["auc_error"])
        yield from self._distances(matrix)
        difference = CorrelationTest(seed=self.seed)(self.reference_features, features)
        yield "correlation", _value(difference, "correlation_rms", "correlation_rms_error")
        leaning = DipoleTest(seed=self.seed)(
            showers.geometry, self.reference_dipoles, dipoles(showers)
        )
        yield "dipoles", _value(leaning, "layers")
        shapes = self.neighbours(self.cloud, self._cloud(showers), reference_radii=self.radii)
        for name in ("precision", "recall", "density", "coverage"):
            yield name, _value(shapes, name, f"{name}_error")
        likelihood = FeatureLikelihood(1000, seed=self.seed)(self.held, matrix, self.known)
        yield "FLS", _value(likelihood, "fls", "fls_error")
        yield from self._memory(matrix)

    def _voxel_error(self, showers: Showers, edges: np.ndarray) -> float:
        """Bootstrap of whole showers: the voxels of one are not independent entries."""
        rng = np.random.default_rng(self.seed)
        counts = [voxels_of_each(side, edges) for side in (self.reference, showers)]
        found = []
        for _ in range(RESAMPLINGS):
            drawn = [np.bincount(rng.integers(len(n), size=len(n)), minlength=len(n)) @ n
                     for n in counts]  # fmt: skip
            found.append(separation_power(*(sums / sums.sum() for sums in drawn)))
        return float(np.std(found, ddof=1))

    def _distances(self, matrix: np.ndarray) -> Iterator[tuple[str, Value]]:
        for name, test in (
            ("fpd", FrechetPhysicsDistance()),
            ("kpd", KernelPhysicsDistance(batch_size=min(4000, len(matrix)))),
        ):
            found = test(self.held, matrix)
            error = max(found[f"{name}_error"], found[f"{name}_sampling_error"])
            yield name.upper(), Value(1e3 * found[f"{name}_unbiased"], 1e3 * error)
        yield "FD", _value(FrechetDistance(seed=self.seed)(self.held, matrix), "fd_inf")
        yield "KD", _value(KernelDistance(seed=self.seed)(self.held, matrix), "kd")

    def _memory(self, matrix: np.ndarray) -> Iterator[tuple[str, Value]]:
        found = CopyTest(seed=self.seed)(self.held, matrix, self.known)
        share, n = found["copies"], len(matrix)
        error = max(np.sqrt(share * (1 - share) / n), 1 / n)  # of none: one shower more
        yield "copies", Value(100 * share, 100 * float(error))
        near = found["near_copies"], found["near_copies_error"]
        yield "near copies", Value(100 * near[0], 100 * near[1])
        yield "authentic", _value(found, "authentic")
        yield "C_T", _value(found, "ct")

    def _cloud(self, showers: Showers) -> LogVoxels:
        cut = showers.geometry.threshold
        return LogVoxels(showers.read(0, len(showers))[1], cut, corrected_empty(cut))


def voxels_of_each(showers: Showers, edges: np.ndarray) -> np.ndarray:
    """How many voxels of each shower are in each bin; float64, shape (N, bins)."""
    voxels, bins = showers.read(0, len(showers))[1], len(edges) - 1
    where = np.searchsorted(edges, voxels, side="right") - 1
    rows, columns = np.nonzero((voxels >= edges[0]) & (voxels < edges[-1]))
    flat = np.bincount(rows * bins + where[rows, columns], minlength=len(voxels) * bins)
    return flat.reshape(len(voxels), bins).astype(np.float64)


def _value(found: Mapping[str, float | None], name: str, error: str | None = None) -> Value:
    value, spread = found[name], found[error or f"{name}_error"]
    assert value is not None and spread is not None, f"{name} has no error: more showers needed"
    return Value(value, spread)


def mistakes(samples: Samples, seed: int) -> dict[str, Callable[[], Showers]]:
    """What is done to the sample, by the words of the table."""
    sample, geometry = samples.sample, samples.sample.geometry
    sliced = [layer.id for layer in geometry.layers if layer.n_alpha > 1]
    dead, turned = geometry.layers[-2].id, sliced[len(sliced) // 2]
    replayed = partial(distortions.replay, sample, samples.train, 0.01, seed)
    faint = 2 * geometry.threshold
    return {
        "nothing (control)": lambda: sample,
        "energy scale +1 %": partial(distortions.scale_energy, sample, 1.01),
        f"layer {dead} dead": partial(distortions.kill_layer, sample, dead),
        "rings blurred by 5 %": partial(distortions.blur_rings, sample, 0.05),
        "rings blurred by 20 %": partial(distortions.blur_rings, sample, 0.2),
        f"half of the voxels below {faint:g} MeV empty": partial(
            distortions.drop_faint, sample, 0.5, faint, seed
        ),
        "incident energies shuffled": partial(distortions.shuffle_incident, sample, seed),
        "1 % training showers": replayed,
        "1 % training showers, voxels ± 1 %": partial(replayed, jitter=0.01),
        "all layers turned by a slice": partial(distortions.rotate, sample, 1),
        f"layer {turned} turned by a slice": partial(distortions.rotate, sample, 1, [turned]),
        "layers of different showers": partial(distortions.mix_layers, sample, seed),
        "fluctuations 10 % smaller": partial(distortions.shrink_fluctuations, sample, 0.1, seed),
    }


def open_samples(arguments: argparse.Namespace, geometry: Geometry) -> Samples:
    """Disjoint real samples of equal size, rows drawn at random from each file."""
    n, seed = arguments.showers, arguments.seed
    if arguments.real is None:
        made = [
            Showers.from_arrays(*generate(geometry, n, seed + number), geometry)
            for number in range(4)
        ]
        return Samples(*made)
    real = Showers.from_files([arguments.real], geometry)
    reference = Showers.from_files([arguments.reference], geometry)
    if len(real) < 3 * n or len(reference) < n:
        raise SystemExit(
            f"--showers {n} needs {3 * n} showers in {arguments.real} and {n} in "
            f"{arguments.reference}: there are {len(real)} and {len(reference)}"
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(real))
    judge = reference.subset(np.sort(rng.permutation(len(reference))[:n]))
    return Samples(judge, *(real.subset(np.sort(order[i * n : (i + 1) * n])) for i in range(3)))


def pull(value: Value, truth: Value) -> float:
    """Difference from the truth in standard errors; infinite for counts, which have none."""
    difference, error = value.value - truth.value, math.hypot(value.error, truth.error)
    if difference == 0:
        return 0.0
    return difference / error if error > 0 else math.copysign(math.inf, difference)


def write(
    folder: Path, rows: Mapping[str, Mapping[str, Value]], truth: Mapping[str, Value]
) -> None:
    """Write ``sensitivity.csv``, a line for each cell, and ``sensitivity.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "sensitivity.csv").open("w", newline="", encoding="utf-8") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(["distortion", "metric", "value", "error", "truth", "truth_error", "pull"])
        for name, found in rows.items():
            for metric, value in found.items():
                real = truth[metric]
                numbers = *value, *real, pull(value, real)
                lines.writerow([name, metric, *(f"{number:.6g}" for number in numbers)])
    texts = []
    for title, columns in TABLES.items():
        shown = {key: words for key, words in columns.items() if key in truth}
        cells = [
            [name, *(cell(found[key], truth[key]) for key in shown)]
            for name, found in rows.items()
        ]
        first = [with_error(truth[key]) for key in shown]
        grid = Grid(
            ["mistake", *shown.values()],
            [["truth (value ± error)", *first], *cells],
            range(1, 1 + len(shown)),
        )
        texts.append(f"### {title}\n\n{grid.markdown()}\n")
    (folder / "sensitivity.md").write_text("\n".join(texts), encoding="utf-8")


def cell(value: Value, truth: Value) -> str:
    """Value and pull; bold where the metric saw something."""
    sigma = pull(value, truth)
    if math.isinf(sigma):
        return f"**{value.value:.3g}**"
    text = f"{value.value:.3g} ({sigma:+.{0 if abs(sigma) >= 10 else 1}f})"
    return f"**{text}**" if abs(sigma) > SEEN else text


def with_error(value: Value) -> str:
    """Value and error; a count alone."""
    return f"{value.value:.3g}" + (f" ± {value.error:.1g}" if value.error > 0 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=official_geometries(), default="ds1_photons")
    parser.add_argument("--real", type=Path, help="HDF5 file to draw from; default: built-in")
    parser.add_argument("--reference", type=Path, help="HDF5 file that judges, with --real")
    parser.add_argument("--showers", type=int, default=8000, help="in each sample")
    parser.add_argument("--classifiers", nargs="*", choices=MODES, default=["low", "high"])
    parser.add_argument("--only", help="mistakes whose name has this text")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("outputs/sensitivity"))
    arguments = parser.parse_args()
    if (arguments.real is None) != (arguments.reference is None):
        parser.error("--real and --reference belong together")
    logging.disable(logging.WARNING)  # small samples are the purpose here
    torch.set_num_threads(1)
    samples = open_samples(arguments, official_geometries()[arguments.dataset])
    judge = Judge(samples, arguments.classifiers, arguments.seed)
    truth = judge(samples.truth)
    rows = {}
    for name, distort in mistakes(samples, arguments.seed).items():
        if arguments.only and arguments.only not in name:
            continue
        started = time.process_time()
        rows[name] = judge(distort())
        seen = [key for key, value in rows[name].items() if abs(pull(value, truth[key])) > SEEN]
        seconds = time.process_time() - started
        print(f"{name} ({seconds:.0f} s): seen by {', '.join(seen) or 'none'}", flush=True)
        write(arguments.output, rows, truth)


if __name__ == "__main__":
    main()
