"""Two small files of showers to evaluate, and what an evaluation left."""

import csv

from caloman_cli.data.writer import ShowerWriter
from tests.conftest import load_geometry

N = 300
FAST = ("evaluation.classifier.units=8", "evaluation.classifier.epochs=2")


def write(path, energies, voxels, **attributes):
    with ShowerWriter(path, len(energies), load_geometry("ds1_photons"), attributes) as writer:
        writer.write(energies, voxels)
    return path


def scores_of(folder):
    with (folder / "table.csv").open() as file:
        return {(row["section"], row["quantity"]): row for row in csv.DictReader(file)}
