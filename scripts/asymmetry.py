"""How lopsided rings are, and how alike neighbouring half rings and rings: files side by side.

    python scripts/asymmetry.py DATASET REAL.hdf5 NAME=GENERATED.hdf5 [NAME=GENERATED.hdf5 ...]

A low-level classifier sees this when per-ring sums, centres and widths are right. Voxels below the
readout cut count as empty, of every file. For groups of incident energies and the innermost rings
of each layer with slices it prints, as a Markdown table of real showers and each file:

* size: mean square of the dipole d = sum f_k exp(i alpha_k), where f are the slices' shares, of
  the layer and of each ring;
* uneven: standard deviation of the log ratio of the energies in even and in odd slices;
* inner: standard deviation of the innermost ring's share of the layer;
* halves: the correlation of the dipoles of the even and of the odd slices;
* next: the correlation of the dipoles of this ring and of the next one.
"""

import argparse
from pathlib import Path

import numpy as np

from caloman_cli.data.geometry import Geometry, Layer, official_geometries
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError

EDGES = (200.0, 1e3, 3e3, 1e4, 1e5, 1e6)  # of incident energies [MeV]
RINGS = 3
LEAST = 0.5  # of the median energy of a layer: emptier ones are left out
ENOUGH = 200  # showers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", choices=sorted(official_geometries()))
    parser.add_argument("real", type=Path)
    parser.add_argument("generated", nargs="+", help="NAME=FILE")
    arguments = parser.parse_args()
    geometry = official_geometries()[arguments.dataset]
    files = {"real": arguments.real}
    for item in arguments.generated:
        name, found, path = item.partition("=")
        if not found:
            parser.error(f"{item} is not NAME=FILE")
        files[name] = Path(path)
    try:
        showers = {name: Showers.from_files([path], geometry) for name, path in files.items()}
    except UserError as error:
        parser.error(str(error))
    print("| E_inc [GeV] | layer | ring | | " + " | ".join(files) + " |")
    print("|---|---|---|---|" + "---:|" * len(files))
    for low, high in zip(EDGES[:-1], EDGES[1:], strict=True):
        chosen = {name: selected(part, low, high) for name, part in showers.items()}
        if min(map(len, chosen.values())) >= ENOUGH:
            print_group(geometry, f"{low / 1e3:g} to {high / 1e3:g}", chosen)


def selected(showers: Showers, low: float, high: float) -> np.ndarray:
    """Voxels (N, V) [MeV] of showers whose incident energy lies in a range, after the cut."""
    parts = []
    for energies, voxels in showers.iterate():
        chosen = voxels[(energies[:, 0] >= low) & (energies[:, 0] < high)]
        parts.append(np.where(chosen < showers.geometry.threshold, 0.0, chosen))
    return np.concatenate(parts)


def print_group(geometry: Geometry, label: str, chosen: dict[str, np.ndarray]) -> None:
    """The rows of one group of incident energies."""
    for layer, part in zip(geometry.layers, geometry.slices, strict=True):
        if (
            layer.n_alpha < 4
            or min((v[:, part].sum(1) > 0).sum() for v in chosen.values()) < ENOUGH
        ):
            continue
        found = [layer_numbers(layer, voxels[:, part]) for voxels in chosen.values()]
        for row, quantity in enumerate(("size", "uneven", "inner")):
            cells = [f"{numbers['layer'][row]:.4f}" for numbers in found]
            print(f"| {label} | {layer.id} | all | {quantity} | {' | '.join(cells)} |")
        for ring in range(min(RINGS, layer.n_r)):
            for quantity in ("size", "halves", "next"):
                cells = [f"{numbers[quantity][ring]:.3f}" for numbers in found]
                print(f"| {label} | {layer.id} | {ring} | {quantity} | {' | '.join(cells)} |")


def layer_numbers(layer: Layer, voxels: np.ndarray) -> dict[str, list[float]]:
    """Size, uneven and inner of the layer; size, halves and next of its innermost rings.

    Args:
        layer: Tells slices and rings.
        voxels: Its energies [MeV], (N, n_alpha * n_r), slices first.
    """
    image = voxels.reshape(-1, layer.n_alpha, layer.n_r)
    total = image.sum((1, 2))
    image = image[total > LEAST * np.median(total)].astype(np.float64)
    angles = np.exp(2j * np.pi * np.arange(layer.n_alpha) / layer.n_alpha)
    whole, even, odd = (
        dipoles(image[:, slices], angles[slices])
        for slices in (slice(None), slice(0, None, 2), slice(1, None, 2))
    )
    rings = range(min(RINGS, layer.n_r))
    layer_dipole = dipoles(image.sum(2, keepdims=True), angles)
    halves = image[:, 0::2].sum((1, 2)), image[:, 1::2].sum((1, 2))
    both = (halves[0] > 0) & (halves[1] > 0)
    inner = image[:, :, 0].sum(1) / image.sum((1, 2))
    return {
        "layer": [
            float(np.mean(np.abs(layer_dipole) ** 2)),
            float(np.log(halves[0][both] / halves[1][both]).std()),
            float(inner.std()),
        ],
        "size": [float(np.nanmean(np.abs(whole[:, ring]) ** 2)) for ring in rings],
        "halves": [correlation(even[:, ring], odd[:, ring]) for ring in rings],
        "next": [
            correlation(whole[:, ring], whole[:, min(ring + 1, layer.n_r - 1)]) for ring in rings
        ],
    }


def dipoles(image: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Of each ring, (N, n_r) complex; NaN where it is dark."""
    rings = image.sum(1)
    sums = np.einsum("nar,a->nr", image, angles)
    return np.divide(sums, rings, out=np.full_like(sums, np.nan), where=rings > 0)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of two dipoles (N,) where both are there: 1 if they are one, 0 if they are independent."""
    known = ~np.isnan(a) & ~np.isnan(b)
    if known.sum() < 2:
        return float("nan")
    a, b = a[known], b[known]
    power = (np.abs(a) ** 2).mean() * (np.abs(b) ** 2).mean()
    return float((a * b.conj()).real.mean() / np.sqrt(power))


if __name__ == "__main__":
    main()
