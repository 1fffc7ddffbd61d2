"""The splits of a run as files of showers, to compare models without the reference.

    python scripts/studies/split_file.py RUN TRAIN.hdf5 [TRAIN.hdf5 ...] OUT_FOLDER

Writes OUT_FOLDER/validation.hdf5 and, for the truth row, OUT_FOLDER/train.hdf5 with as many
showers of the training split.
"""

import argparse
from pathlib import Path

import numpy as np

from caloman_cli.data.showers import Showers
from caloman_cli.data.writer import ShowerWriter
from caloman_cli.models.two_step import load_model
from caloman_cli.runs.directory import RunDirectory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("train", type=Path, nargs="+")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    directory = RunDirectory(arguments.run)
    geometry = load_model(directory.require_model())[0].geometry
    showers = Showers.from_files(arguments.train, geometry)
    with np.load(directory.split_path) as split:
        rows = {"validation": np.sort(split["validation"])}
        rows["train"] = np.sort(split["train"][: len(rows["validation"])])
    for name, index in rows.items():
        start = 0
        path = arguments.out / f"{name}.hdf5"
        with ShowerWriter(path, len(index), geometry, {"split": name}) as writer:
            for energies, voxels in showers.iterate():
                here = index[(index >= start) & (index < start + len(voxels))] - start
                writer.write(energies[here], voxels[here])
                start += len(voxels)


if __name__ == "__main__":
    main()
