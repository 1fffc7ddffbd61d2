"""How right the energy model is, alone: its layer energies beside real ones, without any voxel.

    python scripts/studies/energy_model.py RUN REFERENCE.hdf5 [--truth TRAIN.hdf5] [--classifier 3]
        [--draws 10]

Draws layer energies at the incident energies of the reference and prints two Markdown tables: what
separates them from the reference's, and the response E_tot / E_inc at every incident energy. With
``--truth`` another real file stands beside them, a model without a fault. With ``--draws`` a third
table holds Pearson matrices of so many samples: those of one and the same model differ by half a
floor and more.
The model learned the energies of layers after the readout cut; these are compared. Of whole
showers ``metric=layer_energies`` says how far layers are apart; here no voxels are drawn, and
empty layers are counted in errors at every incident energy: what a model could have learned.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.metrics.classifier.two_sample import ClassifierTest
from caloman_cli.metrics.correlation import CorrelationTest
from caloman_cli.metrics.features import Features, voxel_histogram
from caloman_cli.metrics.histograms import Histogram, feature_histograms
from caloman_cli.metrics.separation import group_means
from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import TwoStep, load_model

CHUNK = 2000
ENERGY_BINS = 8  # of a continuous spectrum, logarithmic
RESPONSE_BINS = 20  # each holds as many showers of the reference
PER_BIN = 10  # showers of the reference, at least

Columns = dict[str, list[str]]


def layer_features(geometry: Geometry, e_inc: np.ndarray, layers: np.ndarray) -> Features:
    """Features of showers whose layer energies (N, L) MeV are all that is known."""
    values = {"E_tot": layers.sum(1)}
    for layer, column in zip(geometry.layers, layers.T, strict=True):
        values[f"E_layer/{layer.id}"] = column
    return Features(geometry, geometry.threshold, e_inc, values, max_voxel=0.0)


@torch.inference_mode()
def real_features(model: TwoStep, showers: Showers) -> Features:
    """Layer energies after the readout cut, as the energy model learned them."""
    parts = []
    for energies, voxels in showers.iterate(CHUNK):
        e_inc = torch.from_numpy(energies).float()
        parts.append(model.preprocess.context(torch.from_numpy(voxels), e_inc).layers)
    layers = torch.cat(parts).double().numpy()
    return layer_features(showers.geometry, showers.energies[:, 0], layers)


@torch.inference_mode()
def generated_features(model: TwoStep, e_inc: np.ndarray, seed: int) -> Features:
    """Layer energies drawn at the incident energies (N,) MeV."""
    given = torch.from_numpy(e_inc).float()[:, None]
    layers = model.energy.sample(given, Noise(seed, 0, len(given)))
    return layer_features(model.geometry, e_inc, layers.double().numpy())


def energy_groups(e_inc: np.ndarray, geometry: Geometry) -> Iterator[tuple[str, float, float]]:
    """Label, lower and upper end [MeV] of the incident energies that are compared apart."""
    if geometry.incident_energies is None:
        edges = np.geomspace(e_inc.min(), e_inc.max() * (1 + 1e-9), ENERGY_BINS + 1)
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            yield f"{low / 1e3:.3g} to {high / 1e3:.3g}", float(low), float(high)
        return
    for energy in geometry.incident_energies:
        low, high = energy * 0.999, energy * 1.001
        if ((e_inc > low) & (e_inc < high)).sum() >= 2 * PER_BIN:
            yield f"{energy / 1e3:.3g}", low, high


def response_histogram(label: str, real: np.ndarray, made: np.ndarray) -> Histogram:
    """E_tot / E_inc in bins that hold equally many of the reference, none out of range.

    The official bins are wider than the peaks at high energies: these see them at any.
    """
    n_bins = int(np.clip(len(real) // PER_BIN, 2, RESPONSE_BINS))
    edges = np.quantile(real, np.linspace(0, 1, n_bins + 1))
    edges[0], edges[-1] = min(real.min(), made.min()), max(real.max(), made.max())
    edges = np.unique(edges)
    counts = voxel_histogram(real, edges), voxel_histogram(made, edges)
    return Histogram(f"E_ratio_at/{label}", edges, *counts)


def responses(reference: Features, other: Features) -> list[tuple[str, Histogram, list[float]]]:
    """At each incident energy: label, histogram, and mean and width of both sides' response."""
    found = []
    for label, low, high in energy_groups(reference.e_inc, reference.geometry):
        sides = []
        for side in (reference, other):
            inside = (side.e_inc >= low) & (side.e_inc < high)
            sides.append((side["E_tot"] / side.e_inc)[inside])
        moments = [float(f(side)) for side in sides for f in (np.mean, np.std)]
        found.append((label, response_histogram(label, *sides), moments))
    return found


def empty_pulls(reference: Features, other: Features) -> np.ndarray:
    """Difference of each layer's fraction of empty showers in units of its error, shape (L,)."""
    empty = [(side.group("E_layer") == 0).mean(0) for side in (reference, other)]
    n = np.array([len(reference), len(other)])
    pooled = (n[0] * empty[0] + n[1] * empty[1]) / n.sum()
    error = np.sqrt(pooled * (1 - pooled) * (1 / n).sum())
    return np.divide(empty[1] - empty[0], error, out=np.zeros_like(error), where=error > 0)


def empty_pulls_at(reference: Features, other: Features) -> np.ndarray:
    """The same at every incident energy, of layers with some empty and some other showers there.

    Of equally many showers that a faultless model draws, which learned from as many again, the
    mean square is 1.5; of real ones, 1.
    """
    found = []
    for _, low, high in energy_groups(reference.e_inc, reference.geometry):
        sides = [
            layer_features(side.geometry, side.e_inc[inside], side.group("E_layer")[inside])
            for side in (reference, other)
            for inside in [(side.e_inc >= low) & (side.e_inc < high)]
        ]
        empty = (sides[0].group("E_layer") == 0).sum(0)
        some = np.minimum(empty, len(sides[0]) - empty) >= PER_BIN
        found.append(empty_pulls(*sides)[some])
    return np.concatenate(found)


def log_shares(features: Features) -> Features:
    """log10 of E_layer / E_inc, empty layers at the readout cut: correlations at equal energy."""
    cut = features.threshold
    shares = {
        name: np.log10(np.maximum(value, cut) / features.e_inc)
        for name, value in features.values.items()
        if name.startswith("E_layer/")
    }
    return replace(features, values=shares)


def log_energies(features: Features) -> Features:
    """log10 of E_layer, empty layers at the readout cut."""
    flat = replace(features, e_inc=np.ones(len(features)))
    return replace(log_shares(flat), e_inc=features.e_inc)


def over(value: float, floor: float) -> str:
    return f"{value:.4f} ({value / floor:.2f})"


def summary(reference: Features, other: Features) -> dict[str, str]:
    """Quantity -> number, with what it is over its floor in brackets."""
    histograms = list(feature_histograms(reference, other))
    means = {mean.group: mean for mean in group_means(histograms)}
    rows = {}
    for group, name in (("E_ratio", "S of E_tot/E_inc"), ("E_layer", "S of E_layer, mean")):
        separation, floor = means[group].separation, means[group].floor
        assert separation is not None
        assert floor is not None
        rows[name] = over(separation, floor)
    found = [h for _, h, _ in responses(reference, other)]
    ratios = [h.separation / h.floor for h in found if h.separation is not None and h.floor]
    rows["S over floor of E_tot/E_inc at an energy, mean"] = f"{np.mean(ratios):.2f}"
    rows["the same, largest"] = f"{np.max(ratios):.2f}"
    pulls = empty_pulls(reference, other)
    rows["empty layers, largest difference in errors"] = f"{np.abs(pulls).max():.1f}"
    rows["empty layers, rms difference in errors"] = f"{np.sqrt(np.mean(pulls**2)):.2f}"
    cells = empty_pulls_at(reference, other)
    if len(cells):
        name = f"empty layers at an energy ({len(cells)}), rms difference in errors"
        rows[name] = f"{np.sqrt(np.mean(cells**2)):.2f}"
    for name, (value, floor) in correlations(reference, other).items():
        rows[f"Pearson of {name} difference"] = over(value, floor)
    return rows


def correlations(reference: Features, other: Features) -> dict[str, tuple[float, float]]:
    """What is correlated and how it is summed -> difference of Pearson matrices, and its floor."""
    compare, found = CorrelationTest(), {}
    for name, view in (
        ("E_layer", lambda side: side),
        ("log E_layer", log_energies),
        ("log E_layer/E_inc", log_shares),
    ):
        result = compare(view(reference), view(other))
        for kind in ("rms", "max"):
            key = f"correlation_{kind}"
            found[f"{name}, {kind}"] = result[key], result[f"{key}_floor"]
    return found


def print_draws(model: TwoStep, reference: Features, truth: Features | None, seeds: range) -> None:
    """Differences of Pearson matrices over floor, of several samples."""
    drawn = [generated_features(model, reference.e_inc, seed) for seed in seeds]
    found = [correlations(reference, features) for features in drawn]
    real = {} if truth is None else correlations(reference, truth)
    rows = []
    for name in found[0]:
        ratios = [value / floor for value, floor in (one[name] for one in found)]
        row = [f"Pearson of {name}", f"{np.mean(ratios):.2f} ± {np.std(ratios, ddof=1):.2f}"]
        if real:
            row.append(f"{real[name][0] / real[name][1]:.2f}")
        rows.append(row)
    sides = ["model", "truth"] if real else ["model"]
    print_table([f"over floor, {len(seeds)} samples", *sides], rows)


def classifier_row(
    showers: Showers, reference: Features, others: list[tuple[Showers, Features]], repeats: int
) -> list[str]:
    """AUC of the high-level classifier that sees E_inc, E_layer and E_tot only."""
    cells = []
    for other, features in others:
        test = ClassifierTest("high", preset="small", repeats=repeats)
        scores = test(showers, other, features=(reference, features))
        cells.append(f"{scores['auc']:.3f} ± {scores['auc_error'] / repeats**0.5:.3f}")
    return cells


def print_table(head: list[str], rows: list[list[str]]) -> None:
    for row in (head, ["---", *["---:"] * (len(head) - 1)], *rows):
        print(f"| {' | '.join(row)} |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory with a model.pt")
    parser.add_argument("reference", type=Path, help="real showers the model has not seen")
    parser.add_argument("--truth", type=Path, help="other real showers, e.g. the train file")
    parser.add_argument("--seed", type=int, default=1, help="of the drawn layer energies")
    parser.add_argument("--draws", type=int, default=1, help="samples for the Pearson matrices")
    parser.add_argument("--classifier", type=int, default=0, help="trainings of a classifier")
    arguments = parser.parse_args()
    model, _ = load_model(arguments.run / "model.pt")
    showers = Showers.from_files([arguments.reference], model.geometry)
    reference = real_features(model, showers)
    sides = {"model": (showers, generated_features(model, reference.e_inc, arguments.seed))}
    if arguments.truth is not None:
        truth = Showers.from_files([arguments.truth], model.geometry)
        sides["truth"] = (truth, real_features(model, truth))

    columns = [summary(reference, features) for _, features in sides.values()]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    if arguments.classifier:
        cells = classifier_row(showers, reference, list(sides.values()), arguments.classifier)
        rows.append(["AUC, E_inc and layer energies", *cells])
    print_table(["over floor in brackets", *sides], rows)

    found = [responses(reference, features) for _, features in sides.values()]
    rows = []
    for each in zip(*found, strict=True):
        label, _, (mean, width, *_) = each[0]
        row = [label, f"{mean:.4f} ± {width:.4f}"]
        for _, histogram, moments in each:
            assert histogram.separation is not None
            assert histogram.floor is not None
            ratio = histogram.separation / histogram.floor
            row.append(f"{moments[2]:.4f} ± {moments[3]:.4f}, {ratio:.2f}")
        rows.append(row)
    print_table(["E_inc [GeV]", "E_tot/E_inc", *(f"{side}, S over floor" for side in sides)], rows)
    if arguments.draws > 1:
        seeds = range(arguments.seed, arguments.seed + arguments.draws)
        print_draws(model, reference, sides["truth"][1] if "truth" in sides else None, seeds)


if __name__ == "__main__":
    main()
