"""How well gradient boosting on the voxels of some layers tells generated showers from real ones.

    python scripts/boosting.py ds1_photons REAL.hdf5 NAME=GENERATED.hdf5 ... --layers 0 3 4

Trees see narrow peaks in single voxels that the challenge's networks do not. Inputs are log E_inc,
the layers' log-energies, and their voxels as logarithms and as shares, rounded so that only
physics counts. Prints the mean AUC of halves of the showers swapped, three times, and its error.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from caloman_cli.data.geometry import Geometry, official_geometries
from caloman_cli.data.showers import Showers

REPEATS, FLOOR = 3, 1e-3  # [MeV]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", choices=list(official_geometries()))
    parser.add_argument("real", type=Path)
    parser.add_argument("generated", nargs="+", help="NAME=FILE")
    parser.add_argument("--layers", type=int, nargs="+", required=True, help="positions from 0")
    arguments = parser.parse_args()
    geometry = official_geometries()[arguments.dataset]
    real = inputs(arguments.real, geometry, arguments.layers)
    for name, _, file in (given.partition("=") for given in arguments.generated):
        values = aucs(real, inputs(Path(file), geometry, arguments.layers))
        error = np.std(values) / np.sqrt(len(values))
        print(f"{name}: AUC {np.mean(values):.4f} +- {error:.4f}")


def inputs(file: Path, geometry: Geometry, layers: list[int]) -> np.ndarray:
    """What is seen of each shower, (N, .)."""
    showers = Showers.from_files([file], geometry)
    energies, voxels = showers.read(0, len(showers))
    columns = [np.log10(energies.astype(np.float64)).round(3)]
    for layer in layers:
        part = voxels[:, geometry.slices[layer]].astype(np.float64)
        part = np.where(part >= geometry.threshold, part, 0.0)
        whole = part.sum(1, keepdims=True)
        logs = np.log10(np.concatenate([part, whole], 1) + FLOOR).round(2)
        columns += [logs, (part / np.maximum(whole, FLOOR)).round(3)]
    return np.concatenate(columns, 1)


def aucs(real: np.ndarray, generated: np.ndarray) -> list[float]:
    """Of classifiers that learn from one half and judge the other."""
    n = min(len(real), len(generated)) // 2
    found = []
    for seed in range(REPEATS):
        rng = np.random.default_rng(seed)
        order = [rng.permutation(len(side))[: 2 * n].reshape(2, n) for side in (real, generated)]
        halves = [np.concatenate([real[order[0][k]], generated[order[1][k]]]) for k in (0, 1)]
        is_real = np.repeat([1, 0], n)
        for learned, judged in (halves, halves[::-1]):
            trees = HistGradientBoostingClassifier(
                max_iter=150, learning_rate=0.06, max_leaf_nodes=15, random_state=seed
            ).fit(learned, is_real)
            found.append(float(roc_auc_score(is_real, trees.predict_proba(judged)[:, 1])))
    return found


if __name__ == "__main__":
    main()
