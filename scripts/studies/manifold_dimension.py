"""What an estimator of intrinsic dimension says of showers, and of showers without a manifold.

    OMP_NUM_THREADS=1 python scripts/studies/manifold_dimension.py SHOWERS.hdf5
    OMP_NUM_THREADS=1 python scripts/studies/manifold_dimension.py --runs FOLDER

SHOWERS.hdf5 are photons of dataset 1. docs/dimension.csv has MacKay and Ghahramani's form of
Levina and Bickel's estimate for each incident energy, each number of neighbours and

real        shares of the layers' energies, as ``evaluation=intrinsic_dimension`` takes them
logarithm   their logarithms, with 10^-4 for darker voxels
shuffled    shares, each voxel shuffled among the showers by itself: nothing depends on anything
normal      normal points with the mean and the covariance of the shares

In column k, two_nn is TwoNN; *lit* and *ten* are no estimates: how many shares of a shower are
free (lit voxels less lit layers), and which part of all variance is that of ten voxels.

The second line adds as many showers of each model that scripts/studies/latents_number.sh has
trained, at one energy. Picture: docs/images/manifold_dimension.png; without arguments it is made
anew from the table.
"""

import argparse
import csv
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caloman_cli import load_model
from caloman_cli.data.geometry import Geometry, official_geometries
from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.components.intrinsic_dimension import voxel_shares
from caloman_cli.evaluation.style import (
    GENERATED,
    REFERENCE_EDGE,
    SECOND,
    TRUTH,
    figure,
    house_style,
    save,
)
from caloman_cli.metrics.intrinsic_dimension import levina_bickel, neighbour_distances, two_nn

DOCS = Path(__file__).resolve().parents[2] / "docs"
TABLE = DOCS / "dimension.csv"
NEIGHBOURS = (3, 5, 10, 20, 50, 100, 200, 500)
LEAST = 700  # showers of an energy
SIZES = (475, 950, 1900)  # of parts of the showers at AT
AT = 4096  # MeV, of the models and the parts
FLOOR = 1e-4
K = 10
LOOKS = {
    "real": (REFERENCE_EDGE, "o", "Geant4"),
    "shuffled": (GENERATED, "s", "each voxel shuffled by itself"),
    "normal": (SECOND, "^", "normal of that covariance"),
    "logarithm": (TRUTH, "v", "Geant4, logarithms"),
}


def rows(points: np.ndarray, **names: Any) -> Iterator[dict[str, Any]]:
    """The estimates of one cloud of points (N, D)."""
    several = [k for k in NEIGHBOURS if 4 * k <= len(points)]
    distances, _ = neighbour_distances(points.astype(np.float32), max(several))
    names |= {"n": len(distances)}
    yield {**names, "k": "two_nn", "dimension": two_nn(distances)}
    for k in several:
        yield {**names, "k": k, "dimension": levina_bickel(distances, k).mackay}


def clouds(shares: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Real showers of one energy, and what is made of their shares (N, V)."""
    yield "real", shares
    yield "logarithm", np.log(np.maximum(shares, FLOOR))
    yield "shuffled", np.stack([rng.permutation(column) for column in shares.T], 1)
    values, vectors = np.linalg.eigh(np.cov(shares.T))
    drawn = rng.standard_normal(shares.shape) * np.sqrt(values.clip(min=0))
    yield "normal", shares.mean(0) + drawn @ vectors.T


def facts(shares: np.ndarray, geometry: Geometry) -> dict[str, float]:
    """What is known of shares (N, V) without an estimator."""
    lit = shares > 0
    layers = sum(lit[:, part].any(1) for part in geometry.slices)
    variance = np.sort(shares.var(0, dtype=np.float64))[::-1]
    return {"lit": (lit.sum(1) - layers).mean(), "ten": variance[:10].sum() / variance.sum()}


def of_showers(path: Path, geometry: Geometry) -> Iterator[dict[str, Any]]:
    """All rows that need no model."""
    showers = Showers.from_files([path], geometry)
    shares, energies = voxel_shares(showers), np.asarray(showers.energies).reshape(-1)
    rng = np.random.default_rng(1)
    for energy in np.unique(energies):
        some = shares[energies == energy]
        if len(some) < LEAST:
            continue
        for name, value in facts(some, geometry).items():
            yield {"showers": "real", "energy": int(energy), "n": len(some), "k": name,
                   "dimension": value}  # fmt: skip
        for name, points in clouds(some, rng):
            yield from rows(points, showers=name, energy=int(energy))
        if energy == AT:
            for size in SIZES:
                yield from rows(some[:size], showers="real", energy=AT)
                yield from rows(
                    np.stack([rng.permutation(column) for column in some[:size].T], 1),
                    showers="shuffled", energy=AT,
                )  # fmt: skip


def of_models(folder: Path, geometry: Geometry, n: int) -> Iterator[dict[str, Any]]:
    """Of n showers of each model at one energy; a run's name is HEAD_NUMBER."""
    for run in sorted(folder.glob("*_[0-9]*")):
        if (run / "model.pt").is_file():
            voxels = load_model(run).sample(np.full(n, float(AT)))
            made = Showers.from_arrays(np.full((n, 1), float(AT)), voxels, geometry)
            yield from rows(voxel_shares(made), showers=run.name, energy=AT)


def write(found: Iterable[dict[str, Any]]) -> None:
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["showers", "energy", "n", "k", "dimension"])
        table.writeheader()
        for row in found:
            table.writerow({**row, "dimension": f"{row['dimension']:.2f}"})


def read() -> list[dict[str, Any]]:
    with TABLE.open(encoding="utf-8") as file:
        return [
            {**row, "energy": int(row["energy"]), "n": int(row["n"]),
             "dimension": float(row["dimension"])}
            for row in csv.DictReader(file)
        ]  # fmt: skip


def most(table: list[dict[str, Any]]) -> dict[int, int]:
    """Showers that there are of each energy."""
    found: dict[int, int] = {}
    for row in table:
        found[row["energy"]] = max(row["n"], found.get(row["energy"], 0))
    return found


def picture(table: list[dict[str, Any]]) -> Figure:
    """By neighbours; by energy; of models whose number of latents is known."""
    most = {
        row["energy"]: max(r["n"] for r in table if r["energy"] == row["energy"]) for row in table
    }
    whole = [row for row in table if row["n"] == most[row["energy"]]]
    image = figure(11.0, 3.7, "constrained")
    left, middle, right = image.subplots(1, 3)
    by_neighbours(left, whole)
    by_energy(middle, whole)
    by_latents(right, whole)
    return image


def by_neighbours(ax: Axes, table: list[dict[str, Any]]) -> None:
    energies = (512, 1024, 2048, 4096, 16384)
    for place, energy in enumerate(energies):
        colour = f"C{place}"
        for name, style in (("real", "-"), ("shuffled", "--")):
            line = [r for r in table if (r["showers"], r["energy"]) == (name, energy)]
            line = [r for r in line if r["k"].isdecimal()]
            label, mark = (f"{energy} MeV", "o") if name == "real" else (None, "")
            ax.plot([int(r["k"]) for r in line], [r["dimension"] for r in line], style,
                    color=colour, label=label, marker=mark, ms=3)  # fmt: skip
    ax.plot([], [], "--", color="0.4", label="each voxel shuffled")
    ax.set(xscale="log", xlabel="neighbours k", ylabel="estimated dimension", ylim=(0, 25))
    ax.set_title("By scale")
    ax.legend(fontsize=7.5)


def by_energy(ax: Axes, table: list[dict[str, Any]]) -> None:
    for name, (colour, mark, label) in LOOKS.items():
        line = [r for r in table if r["showers"] == name and r["k"] == str(K)]
        ax.plot([r["energy"] for r in line], [r["dimension"] for r in line], color=colour,
                marker=mark, ms=4, label=label)  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="incident energy [MeV]", title=f"By energy, k = {K}")
    ax.set_ylim(4, 130)
    ax.set_yticks([5, 10, 20, 50, 100], ["5", "10", "20", "50", "100"])
    ax.minorticks_off()
    ax.legend(fontsize=7.5)


def by_latents(ax: Axes, table: list[dict[str, Any]]) -> None:
    here = [r for r in table if r["energy"] == AT and r["k"] == str(K)]
    marks = {"gaussian": ("o", GENERATED), "multiscale": ("s", TRUTH)}
    for head, (mark, colour) in marks.items():
        line = sorted((int(r["showers"].rpartition("_")[2]), r["dimension"])
                      for r in here if r["showers"].startswith(head))  # fmt: skip
        if line:
            ax.plot(
                *zip(*line, strict=True), color=colour, marker=mark, ms=4, label=f"head={head}"
            )
    for name in ("real", "shuffled"):
        colour, _, label = LOOKS[name]
        value = next(r["dimension"] for r in here if r["showers"] == name)
        ax.axhline(value, color=colour, ls="--", lw=1.0, label=label)
    ax.set(xlabel="latents", ylim=(0, 14), title=f"Models at {AT} MeV, k = {K}")
    ax.legend(fontsize=7.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("showers", type=Path, nargs="?", help="photons of dataset 1")
    parser.add_argument("--runs", type=Path, help="OUT of scripts/studies/latents_number.sh")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    geometry = official_geometries()["ds1_photons"]
    if given.showers is not None:
        write(list(of_showers(given.showers, geometry)))
    if given.runs is not None:
        found = [row for row in read() if row["showers"] in LOOKS]
        write([*found, *of_models(given.runs, geometry, most(found)[AT])])
    with house_style():
        image = picture(read())
    print(save(image, DOCS / "images" / "manifold_dimension.png"))


if __name__ == "__main__":
    main()
