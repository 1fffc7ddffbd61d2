#!/usr/bin/env python
"""What boosted trees say of a run where the files to judge by are smaller.

    python scripts/studies/trees_in_parts.py RUN REFERENCE.hdf5 SHOWERS PARTS

Takes the sample that `caloman evaluate run=RUN reference=REFERENCE.hdf5` has drawn, and judges
PARTS disjoint parts of so many showers, each by itself: the more showers, the more trees see.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from caloman_cli.data.showers import Showers
from caloman_cli.metrics.classifier.tree_table import TreeTable, tree_table
from caloman_cli.metrics.classifier.tree_test import TreeTest
from caloman_cli.models.two_step import load_model
from caloman_cli.runs.directory import RunDirectory


def part_of(table: TreeTable, rows: np.ndarray) -> TreeTable:
    """The same columns of some rows."""
    return replace(table, values=table.values[rows], energies=table.energies[rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("showers", type=int)
    parser.add_argument("parts", type=int)
    arguments = parser.parse_args()
    directory = RunDirectory(arguments.run)
    geometry = load_model(directory.require_model())[0].geometry
    real = Showers.from_files([arguments.reference], geometry)
    drawn = max(directory.samples.glob("evaluate_*.hdf5"), key=lambda path: path.stat().st_mtime)
    ours = Showers.from_files([drawn], geometry)
    if len(real) != len(ours) or arguments.parts > len(real) // arguments.showers:
        parser.error(f"{len(real)} real and {len(ours)} generated showers: give less or the same")
    tables = tree_table(real), tree_table(ours)
    step, found = len(real) // arguments.showers, []
    for part in range(arguments.parts):
        rows = np.arange(part, len(real), step)[: arguments.showers]
        first, second = (part_of(table, rows) for table in tables)
        said = TreeTest(seed=part)(real, ours, tables=(first, second))
        groups = {name: group["auc"] for name, group in said["groups"].items()}
        found.append({"all": said["auc"], **groups})
        print("  ".join(f"{name} {value:.3f}" for name, value in found[-1].items()))
    for name in found[0]:
        values = [one[name] for one in found]
        print(f"{name}: {np.mean(values):.3f}, standard deviation {np.std(values, ddof=1):.3f}")


if __name__ == "__main__":
    main()
