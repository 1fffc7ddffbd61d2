"""Two small files of showers to evaluate, and what an evaluation left."""

import csv
import json
import re
from typing import get_args

from caloman_cli.data.writer import ShowerWriter
from caloman_cli.metrics.goals import Goal
from tests.conftest import load_geometry

N = 300
FAST = ("evaluation.classifier.units=8", "evaluation.classifier.epochs=2")


def write(path, energies, voxels, **attributes):
    with ShowerWriter(path, len(energies), load_geometry("ds1_photons"), attributes) as writer:
        writer.write(energies, voxels)
    return path


def check_keys(folder):
    """Every score that an evaluation wrote has a key of its own and a direction."""
    metrics = json.loads((folder / "metrics.json").read_text())
    keys = [score["key"] for score in metrics["scores"]]
    assert len(keys) == len(set(keys)), sorted(keys)
    assert all(re.fullmatch(r"\w+", key) for key in keys), keys
    assert {score["goal"] for score in metrics["scores"]} <= set(get_args(Goal))
    return {score["key"]: score for score in metrics["scores"]}


def scores_of(folder):
    check_keys(folder)
    with (folder / "table.csv").open() as file:
        return {(row["section"], row["quantity"]): row for row in csv.DictReader(file)}
