"""What two samples of one distribution score: S over its floor (K - 1)/4 (1/N1 + 1/N2).

    python scripts/benchmarks/floor.py                           # multinomial pairs, K = 2 to 100
    python scripts/benchmarks/floor.py TRAIN.hdf5 --dataset ds1_photons  # halves of real showers

Prints the mean of S / floor with its error, which is 1 where the floor is right; the pooled
voxels are left out, whose entries are not independent.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from caloman_cli.data.geometry import official_geometries
from caloman_cli.data.showers import Showers
from caloman_cli.metrics.features import Features, high_level_features
from caloman_cli.metrics.histograms import Histogram, feature_histograms
from caloman_cli.metrics.separation import group_means

BINS = (2, 3, 5, 10, 20, 40, 70, 100)
SIZES = ((5000, 5000), (5000, 2000))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--dataset", default="ds1_photons", choices=sorted(official_geometries()))
    parser.add_argument("--pairs", type=int, default=20_000, help="multinomial pairs for each K")
    parser.add_argument("--halvings", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    if arguments.file is None:
        print("| bins K | N1 | N2 | S / floor |\n|---:|---:|---:|---:|")
        for bins in BINS:
            for sizes in SIZES:
                mean = told(multinomial(bins, sizes, arguments.pairs, rng))
                print(f"| {bins} | {sizes[0]} | {sizes[1]} | {mean} |", flush=True)
        return
    geometry = official_geometries()[arguments.dataset]
    whole = high_level_features(Showers.from_files([arguments.file], geometry))
    ratios: dict[str, list[float]] = {}
    for first, second in halvings(whole, arguments.halvings, rng):
        for mean in group_means(list(feature_histograms(first, second))):
            if mean.separation is not None and mean.floor:
                ratios.setdefault(mean.group, []).append(mean.separation / mean.floor)
    print(f"| group, halves of {len(whole):,} showers | S / floor |\n|---|---:|")
    for group, values in ratios.items():
        print(f"| {group} | {told(np.array(values))} |")


def multinomial(
    bins: int, sizes: tuple[int, int], pairs: int, rng: np.random.Generator
) -> np.ndarray:
    """S / floor of pairs of samples of one distribution of uneven bins."""
    shares = np.linspace(1, 3, bins)
    counts = [rng.multinomial(n, shares / shares.sum(), pairs) for n in sizes]
    edges = np.arange(bins + 1.0)
    found = []
    for ours, theirs in zip(*(np.pad(count, ((0, 0), (1, 1))) for count in counts), strict=True):
        histogram = Histogram("sparsity/0", edges, ours, theirs)
        assert histogram.separation is not None
        assert histogram.floor
        found.append(histogram.separation / histogram.floor)
    return np.array(found)


def halvings(
    whole: Features, times: int, rng: np.random.Generator
) -> Iterator[tuple[Features, Features]]:
    """Features of two random halves."""
    for _ in range(times):
        order, half = rng.permutation(len(whole)), len(whole) // 2
        yield rows(whole, order[:half]), rows(whole, order[half:])


def rows(features: Features, index: np.ndarray) -> Features:
    values = {name: column[index] for name, column in features.values.items()}
    return replace(features, e_inc=features.e_inc[index], values=values)


def told(values: np.ndarray) -> str:
    return f"{values.mean():.3f} ± {values.std(ddof=1) / np.sqrt(len(values)):.3f}"


if __name__ == "__main__":
    main()
