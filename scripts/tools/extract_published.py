"""Make the compact tables of published results in ``caloman_cli/published``.

    python scripts/tools/extract_published.py --results DIR

DIR holds ``ds1_photons.json``, ``ds1_pions.json``, ``ds2.json`` and ``ds3.json``: for each dataset
the table of the challenge's folder ``final_results`` (github.com/CaloChallenge/homepage, commit
91f715d) as {submission: {column: value}}. The originals are pandas HDF files; with pandas and
PyTables at hand, ``pandas.read_hdf(path).to_json(path.with_suffix(".json"), orient="index")``
writes them in this form.

References:
    Krause et al. (2024), CaloChallenge 2022: a community challenge for fast calorimeter
    simulation, arXiv:2410.21611.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from caloman_cli.published import DATASETS, TRUTH
from caloman_cli.published.quantities import BATCH_SIZES, DEVICES, QUANTITIES, time_key

HERE = Path(__file__).resolve().parents[2] / "caloman_cli/published"
DIGITS = 6
# Our name: (column, column of the spread or None, factor).
SINGLE: dict[str, tuple[str, str | None, float]] = {
    "AUC low": ("binary cls low", "binary cls low std", 1),
    "AUC high": ("binary cls high", "binary cls high std", 1),
    "AUC resnet": ("binary cls cnn", "binary cls cnn std", 1),
    "log-posterior": ("multi cls", "multi cls std", 1),
    "log-posterior resnet": ("multi cls cnn", "multi cls cnn std", 1),
    "FPD": ("FPD * 1e3", "FPD * 1e3 std", 1e-3),
    "KPD": ("KPD * 1e3", "KPD * 1e3 std", 1e-3),
    **{name: (name, None, 1) for name in ("precision", "recall", "density", "coverage")},
    **{
        time_key(device, size): (f"time {device} {size}", f"time {device} {size} std", 1)
        for device in DEVICES
        for size in BATCH_SIZES
    },
}
LAYERS = {
    "S E_ratio": "sep E total",
    "S E_layer": "sep E layer",
    "S EC_eta": "sep EC eta",
    "S EC_phi": "sep EC phi",
    "S EC_r": "sep EC r",
    "S width_eta": "sep EC eta std",
    "S width_phi": "sep EC phi std",
    "S width_r": "sep EC r std",
    "S sparsity": "sep sparsity",
    "S voxel": "sep cell",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, required=True, help="folder of the JSON tables")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    options = parser.parse_args()
    for dataset in DATASETS:
        table = json.loads((options.results / f"{dataset}.json").read_text())
        path = options.out / f"{dataset}.json"
        path.write_text(compact(dataset, table), encoding="utf-8")
        print(f"{path}: {len(table) - 1} submissions, {path.stat().st_size:,} bytes")


def compact(dataset: str, table: dict[str, dict[str, Any]]) -> str:
    """The file of one dataset, a submission per line."""
    names = [TRUTH, *(name for name in table if name != TRUTH)]
    rows = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(record(table[name]), separators=(',', ':'))}"
        for name in names
    )
    head = {
        "dataset": dataset,
        "source": "github.com/CaloChallenge/homepage, final_results, commit 91f715d",
        "cite": "arXiv:2410.21611",
        "values": "quantity: [value, spread]; see the package's docstring",
    }
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(text)}" for key, text in head.items())
    return f'{{\n{lines},\n "submissions": {{\n{rows}\n }}\n}}\n'


def record(columns: dict[str, Any]) -> dict[str, Any]:
    """Number and values of one submission; quantities without a finite value are left out."""
    values: dict[str, list[float]] = {}
    for key, (column, spread_column, factor) in SINGLE.items():
        value = columns.get(column)
        if value is not None and np.isfinite(value):
            spread = None if spread_column is None else columns[spread_column]
            values[key] = pair(value * factor, None if spread is None else spread * factor)
    for key, column in LAYERS.items():
        runs = np.atleast_2d(np.asarray(columns[column], float))  # (runs, layers)
        means = runs.mean(axis=1)
        if np.isfinite(means).all():
            values[key] = pair(means.mean(), means.std() if len(means) > 1 else None)
    if columns["Parameters generation"] is not None:
        values["parameters"] = [int(columns["Parameters generation"])]
    return {
        "number": columns["id"],
        "values": {key: values[key] for key in QUANTITIES if key in values},
    }


def pair(value: float, spread: float | None) -> list[float]:
    numbers = [value] if spread is None else [value, spread]
    return [float(f"{number:.{DIGITS}g}") for number in numbers]


if __name__ == "__main__":
    main()
