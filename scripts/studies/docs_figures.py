"""The pictures of docs/reading.md and docs/sensitivity.md.

    OMP_NUM_THREADS=1 python scripts/studies/docs_figures.py

Showers are built-in ones; the table of mistakes is read from docs/sensitivity.csv.
"""

import argparse
import csv
import logging
import math
from pathlib import Path

import distortions
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from scipy.stats import norm

from caloman_cli.data.generator import generate
from caloman_cli.data.geometry import official_geometries
from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.style import (
    GENERATED,
    REFERENCE,
    REFERENCE_EDGE,
    TRUTH,
    figure,
    house_style,
    save,
)
from caloman_cli.metrics.classifier.two_sample import ClassifierTest, auc_error
from caloman_cli.metrics.histograms import Histogram
from caloman_cli.metrics.neighbours import nearest
from caloman_cli.metrics.points import Table
from caloman_cli.metrics.precision_recall import NeighbourTest
from caloman_cli.metrics.separation import separation_histograms

DOCS = Path(__file__).resolve().parents[2] / "docs"
SIZES = (500, 1000, 2000, 4000)
TRIALS = 4


def photons(n: int, seed: int) -> Showers:
    geometry = official_geometries()["ds1_photons"]
    return Showers.from_arrays(*generate(geometry, n, seed), geometry)


def separation() -> Figure:
    """E_tot / E_inc of real showers, of other real ones, and with the energy scale 2 % up."""
    reference, truth, sample = (photons(20_000, seed) for seed in (1, 2, 3))
    sides = {
        "other real showers": (truth, TRUTH),
        "energies 2 % too high": (distortions.scale_energy(sample, 1.02), GENERATED),
    }
    image = figure(8.0, 3.6, "constrained")
    axes = image.subplots(2, 2, sharex=True, sharey="row", height_ratios=[2.4, 1])
    for column, (words, (showers, colour)) in enumerate(sides.items()):
        found = separation_histograms(reference, showers)
        draw_histogram(axes[:, column], found[0], words, colour)
    axes[0, 0].set_ylabel("showers (density)")
    axes[1, 0].set_ylabel("ratio")
    return image


def draw_histogram(axes: np.ndarray, item: Histogram, words: str, colour: str) -> None:
    """A histogram above its ratio to the reference with the band of both sides' errors."""
    assert item.separation is not None
    assert item.floor is not None
    top, bottom = axes
    top.stairs(item.reference, item.edges, fill=True, color=REFERENCE)
    top.stairs(item.generated, item.edges, color=colour, lw=1.3)
    top.set_title(f"{words}: S = {1e3 * item.separation:.3g} × 10⁻³")
    text = f"{item.occupied} occupied bins\nfloor {1e3 * item.floor:.2f} × 10⁻³\n"
    text += f"S / floor = {item.separation / item.floor:.1f}"
    top.text(0.03, 0.93, text, transform=top.transAxes, va="top", fontsize=9)
    counts = [side[1:-1].astype(float) for side in (item.reference_counts, item.generated_counts)]
    full = np.minimum(*counts) >= 8
    ratio = np.where(full, item.generated / np.where(full, item.reference, 1), np.nan)
    error = np.sqrt(sum(1 / np.where(full, side, np.inf) for side in counts))
    bottom.stairs(1 + error, item.edges, baseline=1 - error, fill=True, color=REFERENCE)
    bottom.stairs(ratio, item.edges, color=colour, lw=1.3, baseline=None)
    bottom.axhline(1, color=REFERENCE_EDGE, lw=0.6)
    bottom.set(ylim=(0.5, 1.5), xlim=(0.6, 1.2), xlabel=item.label)


def classifier() -> Figure:
    """AUCs of equal samples beside their error; what many small differences add up to."""
    image = figure(8.0, 3.2, "constrained")
    left, right = image.subplots(1, 2)
    sizes = np.geomspace(300, 120_000, 100)
    band = np.array([auc_error(0.5, n) for n in 0.2 * sizes])
    for width, alpha in ((2, 0.45), (1, 1.0)):
        left.fill_between(sizes, 0.5 - width * band, 0.5 + width * band, color=REFERENCE,
                          alpha=alpha, lw=0, label=f"± {width} σ")  # fmt: skip
    measured = [
        (
            n,
            ClassifierTest("high", "small", seed=trial)(
                photons(n, 2 * trial), photons(n, 2 * trial + 1)
            ),
        )
        for n in SIZES
        for trial in range(1, 1 + TRIALS)
    ]
    left.plot(*zip(*((n, found["auc"]) for n, found in measured), strict=True), "o", ms=4,
              color=TRUTH, label="measured, equal samples")  # fmt: skip
    left.set(xscale="log", ylim=(0.36, 0.64), xlabel="showers of each class", ylabel="AUC")
    left.set_title("Equal samples: 0.5, but within an error")
    left.legend(loc="lower right")
    shift = np.linspace(0, 1, 200)
    for number, colour in ((1, REFERENCE_EDGE), (30, TRUTH), (368, GENERATED)):
        label = f"{number} feature{'s' if number > 1 else ''}"
        right.plot(shift, norm.cdf(shift * math.sqrt(number / 2)), color=colour, label=label)
    right.set(xlabel="shift of each independent feature [its σ]", ylabel="best possible AUC")
    right.set(xlim=(0, 1), ylim=(0.48, 1.02))
    right.set_title("Many small differences add up (calculated)")
    right.legend(loc="lower right")
    return image


def neighbours() -> Figure:
    """Balls of 60 points in a plane; the numbers are of 1,500, in the plane and in 20 dimensions.

    In the plane a ball holds as many shrunk points as others: density needs many dimensions.
    """
    rng = np.random.default_rng(4)
    real, sample = rng.standard_normal((2, 1500, 20))
    half = sample.copy()
    half[:, 0] = np.abs(half[:, 0])
    cases = {
        "same distribution": sample,
        "fluctuations halved": sample / 2,
        "one half missing": half,
        "too wide": 1.8 * sample,
    }
    few = real[:60, :2]
    reach = nearest(Table(few), 5)[0][:, -1]
    image = figure(9.0, 3.3, "constrained")
    for axis, (words, points) in zip(image.subplots(1, 4), cases.items(), strict=True):
        for centre, radius in zip(few, reach, strict=True):
            axis.add_patch(Circle(tuple(centre), radius, color=REFERENCE, alpha=0.12, lw=0))
        axis.plot(*few.T, ".", ms=4, color=REFERENCE_EDGE)
        axis.plot(*points[:60, :2].T, ".", ms=4, color=GENERATED)
        axis.set(xlim=(-4, 4), ylim=(-4, 4), xticks=[], yticks=[], aspect="equal", title=words)
        plane, space = (
            NeighbourTest(batches=0)(real[:, :d], points[:, :d]) for d in (2, real.shape[1])
        )
        lines = [f"{'':9}  plane  20 dim."]
        for name in ("precision", "recall", "density", "coverage"):
            lines.append(f"{name:9}{plane[name]:7.2f}{space[name]:9.2f}")
        axis.set_xlabel("\n".join(lines), fontsize=8.5, family="monospace")
    return image


def sensitivity(table: Path) -> Figure:
    """Pulls of all metrics and mistakes of docs/sensitivity.csv."""
    with table.open(encoding="utf-8") as stream:
        cells = {(r["distortion"], r["metric"]): float(r["pull"]) for r in csv.DictReader(stream)}
    rows = list(dict.fromkeys(row for row, _ in cells))
    columns = list(dict.fromkeys(column for _, column in cells))
    pulls = np.abs([[cells[row, column] for column in columns] for row in rows])
    image = figure(9.0, 4.4, "constrained")
    axis: Axes = image.subplots()
    norms = BoundaryNorm([0, 3, 5, 10, 30], 256, extend="max")
    mesh = axis.pcolormesh(pulls.clip(max=1e3), cmap="Oranges", norm=norms, ec="white", lw=1)
    axis.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=60, ha="right", fontsize=8)
    axis.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=8.5)
    axis.tick_params(length=0)
    axis.invert_yaxis()
    for (row, column), value in np.ndenumerate(pulls):
        if value > 3:
            text = "∞" if math.isinf(value) else f"{value:.0f}"
            colour = "white" if value > 10 else "black"
            axis.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=6.5,
                      color=colour)  # fmt: skip
    image.colorbar(mesh, ax=axis, label="|value − truth| / error", pad=0.01)
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", choices=("separation", "classifier", "neighbours", "sensitivity")
    )
    parser.add_argument("--output", type=Path, default=DOCS / "images")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    pictures = {
        "separation": separation,
        "classifier": classifier,
        "neighbours": neighbours,
        "sensitivity": lambda: sensitivity(DOCS / "sensitivity.csv"),
    }
    for name, draw in pictures.items():
        if arguments.only in (None, name):
            with house_style():
                image = draw()
            path = save(image, arguments.output / f"{name}.png")
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
