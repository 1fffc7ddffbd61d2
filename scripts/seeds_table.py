"""One table of runs that differ in their seed alone: mean and spread of every score.

    python scripts/seeds_table.py RUN [RUN ...] [--suite small]

Reads RUN/evaluation/SUITE/table.csv and prints Markdown: the generated showers' score and the
truth row's, each with the standard deviation over the runs.
"""

import argparse
import csv
import statistics
from pathlib import Path

COLUMNS = ("generated", "generated/floor", "truth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--suite", default="small")
    arguments = parser.parse_args()
    scores: dict[str, dict[str, list[float]]] = {}
    for run in arguments.runs:
        with (run / "evaluation" / arguments.suite / "table.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                found = scores.setdefault(row["quantity"], {name: [] for name in COLUMNS})
                for name in COLUMNS:
                    if row.get(name):
                        found[name].append(float(row[name]))
    print(f"| {len(arguments.runs)} runs | generated | over floor | truth |")
    print("|---|---:|---:|---:|")
    for quantity, found in scores.items():
        print(f"| {quantity} | " + " | ".join(_cell(found[name]) for name in COLUMNS) + " |")


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4g}{spread}"


if __name__ == "__main__":
    main()
