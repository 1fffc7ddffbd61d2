#!/usr/bin/env python
"""A detector of irregular rings and slices, made of dataset 3's mesh by merging voxels.

    python scripts/studies/merged_detector.py OUT_FOLDER FILE.hdf5 [FILE.hdf5 ...]
    python scripts/studies/merged_detector.py --layers three OUT_FOLDER FILE.hdf5 [...]

Writes OUT_FOLDER/geometry.xml, in the challenge's format, and each file's showers as
OUT_FOLDER/FILE.hdf5: eight layers with 680 voxels, or three with 66. Train on it with
``dataset=custom geometry=OUT_FOLDER/geometry.xml``.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np

SLICES, RINGS, LAYERS = 50, 18, 45
WIDTH = 2.325  # of a ring [mm]
# Layers of the mesh from, to; slices; edges of rings in those of the mesh.
Layers = tuple[tuple[int, int, int, tuple[int, ...]], ...]
DETECTORS: dict[str, Layers] = {
    "eight": (
        (0, 3, 10, (0, 1, 2, 4, 8, 18)),
        (3, 6, 25, (0, 1, 3, 6, 18)),
        (6, 9, 25, (0, 1, 2, 4, 8, 18)),
        (9, 13, 25, (0, 1, 2, 4, 8, 18)),
        (13, 18, 10, (0, 1, 2, 3, 5, 8, 12, 18)),
        (18, 25, 10, (0, 1, 2, 3, 5, 8, 12, 18)),
        (25, 34, 10, (0, 1, 2, 3, 4, 6, 8, 12, 18)),
        (34, 45, 5, (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18)),
    ),
    "three": (
        (0, 9, 10, (0, 1, 2, 4, 18)),
        (9, 18, 5, (0, 1, 3, 6, 18)),
        (18, 45, 2, (0, 2, 6, 18)),
    ),
}


def merged(showers: np.ndarray, layers: Layers) -> np.ndarray:
    """Showers (N, 40500) of the mesh -> (N, V), the same energies."""
    mesh = showers.reshape(-1, LAYERS, SLICES, RINGS)
    found = []
    for first, last, slices, edges in layers:
        layer = mesh[:, first:last].sum(1).reshape(len(mesh), slices, -1, RINGS).sum(2)
        rings = [layer[:, :, start:stop].sum(2) for start, stop in pairwise(edges)]
        found.append(np.stack(rings, 2).reshape(len(mesh), -1))
    return np.concatenate(found, 1)


def geometry(layers: Layers) -> str:
    """The detector in the challenge's XML."""
    lines = ["<Bins>", '  <Bin pid="11" etaMin="0" etaMax="130" name="electron">']
    for number, (_, _, slices, edges) in enumerate(layers):
        radii = ",".join(f"{WIDTH * edge:.4g}" for edge in edges)
        lines.append(f'    <Layer id="{number}" r_edges="{radii}" n_bin_alpha="{slices}" />')
    return "\n".join([*lines, "  </Bin>", "</Bins>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", choices=DETECTORS, default="eight")
    parser.add_argument("out", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    arguments = parser.parse_args()
    layers = DETECTORS[arguments.layers]
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "geometry.xml").write_text(geometry(layers))
    for path in arguments.files:
        with h5py.File(path) as read, h5py.File(arguments.out / path.name, "w") as written:
            written["incident_energies"] = read["incident_energies"][:]
            showers = np.concatenate(
                [
                    merged(read["showers"][start : start + 500], layers)
                    for start in range(0, len(read["showers"]), 500)
                ]
            )
            written.create_dataset("showers", data=showers, compression="gzip")


if __name__ == "__main__":
    main()
