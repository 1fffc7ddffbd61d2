#!/usr/bin/env python
"""How lit voxels of a generated file differ from real ones, and which features trees see it by.

    python scripts/studies/lit_voxels.py DATASET REFERENCE.hdf5 GENERATED.hdf5

For one of the challenge's datasets. Prints, of layers with at least 1 % of the lit voxels:

* pairs of lit voxels of a ring, one to five slices apart: ours over real ones;
* how much the number of lit voxels varies at an energy of the layer: the same;
* AUC of boosted trees on one kind of feature at a time, beside the layers' energies.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from caloman_cli.data.geometry import official_geometries
from caloman_cli.data.showers import Showers
from caloman_cli.metrics.classifier.tree_table import TreeTable, tree_table
from caloman_cli.metrics.classifier.tree_test import TreeTest

LAGS = (1, 2, 3, 5)
LEAST = 0.01  # of all lit voxels: layers with fewer are left out
BINS = 12  # of a layer's energy, equally many showers in each
CHUNK = 250
ENERGIES = ("E_inc", "E_layer", "E_ratio", "E_tot")


def counts(showers: Showers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energies and lit voxels of layers (N, L), pairs by layer and lag (L, lags)."""
    geometry, energies, lit, found = showers.geometry, [], [], 0
    for _, rows in showers.iterate(CHUNK):
        cut = np.where(rows < geometry.threshold, 0, rows)
        images = [
            cut[:, part].reshape(-1, layer.n_alpha, layer.n_r) > 0
            for layer, part in zip(geometry.layers, geometry.slices, strict=True)
        ]
        energies.append(np.stack([cut[:, part].sum(1) for part in geometry.slices], 1))
        lit.append(np.stack([image.sum((1, 2)) for image in images], 1))
        found = found + np.array(
            [[(image & np.roll(image, lag, 1)).sum() for lag in LAGS] for image in images]
        )
    return np.concatenate(energies), np.concatenate(lit), found


def varies(energy: np.ndarray, lit: np.ndarray, edges: np.ndarray) -> float:
    """Root of the mean variance of log lit voxels within bins of the layer's energy."""
    place = np.searchsorted(edges, energy)
    log_lit = np.log1p(lit)
    inside = [log_lit[place == i].var() for i in range(1, BINS) if (place == i).sum() > 1]
    return float(np.sqrt(np.mean(inside)))


def of_kind(table: TreeTable, kind: str) -> TreeTable:
    """The columns of one kind, and those of energies."""
    kept = [i for i, name in enumerate(table.names) if name.split("/")[0] in (kind, *ENERGIES)]
    return replace(
        table,
        names=tuple(table.names[i] for i in kept),
        groups=tuple(table.groups[i] for i in kept),
        values=table.values[:, kept],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    geometries = official_geometries()
    parser.add_argument("dataset", choices=sorted(geometries))
    parser.add_argument("reference", type=Path)
    parser.add_argument("generated", type=Path)
    arguments = parser.parse_args()
    files = arguments.reference, arguments.generated
    real, ours = (Showers.from_files([file], geometries[arguments.dataset]) for file in files)

    (energy, lit, pairs), (our_energy, our_lit, our_pairs) = counts(real), counts(ours)
    kept = np.flatnonzero(lit.sum(0) >= LEAST * lit.sum())
    print("pairs of lit voxels:")
    for lag, share in zip(LAGS, our_pairs[kept].sum(0) / pairs[kept].sum(0), strict=True):
        print(f"  {lag} apart {share:.3f}")
    print("variation of the number of lit voxels at a layer's energy:")
    for layer in kept:
        edges = np.quantile(energy[:, layer], np.linspace(0, 1, BINS))
        of_real = varies(energy[:, layer], lit[:, layer], edges)
        ratio = varies(our_energy[:, layer], our_lit[:, layer], edges) / of_real
        print(f"  layer {real.geometry.layers[layer].id} {ratio:.2f}")
    print("trees:")
    tables = tree_table(real), tree_table(ours)
    for kind in dict.fromkeys(name.split("/")[0] for name in tables[0].names):
        said = TreeTest()(real, ours, tables=tuple(of_kind(table, kind) for table in tables))
        print(f"  {kind} {said['auc']:.3f}", flush=True)


if __name__ == "__main__":
    main()
