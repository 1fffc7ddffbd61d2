"""Table and picture of scripts/studies/latents_number.sh: what latents are worth by their number.

    python scripts/studies/latents_number.py RUNS     docs/latents.csv, then the picture
    python scripts/studies/latents_number.py          the picture, from docs/latents.csv

A row is a run. *nats* is the mean divergence of the posterior from N(0, 1), *beyond* the same from
the density of the second step, which knows the energies; *spectrum* has each latent's nats.
Picture: docs/images/manifold_latents.png.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caloman_cli.evaluation.style import (
    GENERATED,
    REFERENCE_EDGE,
    SECOND,
    TRUTH,
    figure,
    house_style,
    save,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"
TABLE = DOCS / "latents.csv"
SCORES = {
    "nats": "ledger_nats",
    "beyond": "ledger_nats_second",
    "in use": "ledger_active",
    "R2 axis": "ledger_r2_axis",
    "R2 width": "ledger_r2_width",
    "R2 occupancies": "ledger_r2_occupancies",
    "low": "auc_low",
    "high": "auc_high",
    "trees": "auc_trees",
    "challenge": "auc_trees_challenge",
    "around axis": "auc_trees_around_axis",
    "across layers": "auc_trees_across_layers",
}
JUDGES = {
    "low": ("o", REFERENCE_EDGE, "network, voxels"),
    "high": ("s", SECOND, "network, features"),
    "trees": ("^", "k", "trees"),
    "challenge": ("", SECOND, "trees, challenge's features"),
    "around axis": ("", TRUTH, "trees, around the axis"),
    "across layers": ("", GENERATED, "trees, across layers"),
}
HEADS = {"gaussian": (GENERATED, "o"), "multiscale": (TRUTH, "s")}


def row(run: Path) -> dict[str, Any]:
    """What one run's evaluation and history say."""
    found = json.loads(next(run.glob("evaluation/*/metrics.json")).read_text())
    by_key = {score["key"]: score for score in found["scores"]}
    names: dict[str, Any] = {"run": run.name}
    for name, key in SCORES.items():
        names[name] = by_key[key]["generated"] if key in by_key else None
    names |= {f"truth {name}": by_key[SCORES[name]]["truth"] for name in JUDGES}
    lines = map(json.loads, (run / "history.jsonl").read_text().splitlines())
    last = [line for line in lines if line["stage"] == "encoder"][-1]
    names["loss"] = last["validation/loss"]
    names["reconstruction"] = last["validation/reconstruction"]
    nats = found["metrics"].get("ledger", {}).get("latents", {}).get("nats") or []
    names["spectrum"] = " ".join(f"{value:.3g}" for value in sorted(nats, reverse=True))
    return names


def write(runs: Path) -> None:
    found = [row(path.parents[2]) for path in sorted(runs.glob("*/evaluation/*/metrics.json"))]
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(found[0]))
        table.writeheader()
        for line in found:
            table.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in line.items()})


def read() -> dict[str, list[dict[str, str]]]:
    """Rows of a head by their number of latents; a row with another name has no place here."""
    with TABLE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found: dict[str, list[dict[str, str]]] = {head: [] for head in HEADS}
    for line in rows:
        head, _, number = line["run"].partition("_")
        if head in found and number.isdecimal():
            found[head].append({**line, "latents": number})
    return {head: sorted(rows, key=lambda r: int(r["latents"])) for head, rows in found.items()}


def picture(table: dict[str, list[dict[str, str]]]) -> Figure:
    """Nats; their spectrum; what judges say, of both heads."""
    image = figure(11.0, 7.0, "constrained")
    (nats, spectrum), (plain, drawn) = image.subplots(2, 2)
    for head, rows in table.items():
        colour, mark = HEADS[head]
        some = [line for line in rows if line["nats"]]
        numbers = [int(line["latents"]) for line in some]
        for name, style, words in (("nats", "-", "all"), ("beyond", "--", "beyond the energies")):
            nats.plot(numbers, [float(line[name]) for line in some], style, color=colour,
                      marker=mark, ms=4, label=f"{head}, {words}")  # fmt: skip
        if some:
            values = [float(value) for value in some[-1]["spectrum"].split()]
            spectrum.plot(range(1, len(values) + 1), values, color=colour, marker=mark, ms=3,
                          label=f"{head}, {len(values)} latents")  # fmt: skip
    nats.set(xlabel="latents", ylabel="nats a shower", ylim=0, title="What latents say")
    spectrum.set(xlabel="latent, by what it says", ylabel="nats", ylim=0, title="One by one")
    for ax, head in ((plain, "gaussian"), (drawn, "multiscale")):
        judges(ax, table[head])
        ax.set_title(f"head={head}")
    for ax in (nats, spectrum, plain, drawn):
        ax.legend(fontsize=7.5)
    return image


def judges(ax: Axes, rows: list[dict[str, str]]) -> None:
    numbers = [int(line["latents"]) for line in rows]
    for name, (mark, colour, words) in JUDGES.items():
        style, ms = ("-", 4.5) if mark else ("--", 0.0)
        ax.plot(numbers, [float(line[name]) for line in rows], style, color=colour, marker=mark,
                ms=ms, label=words, lw=1.5 if mark else 1.0)  # fmt: skip
    ax.axhline(0.5, color=REFERENCE_EDGE, lw=0.8, ls=":")
    ax.set(xlabel="latents", ylabel="AUC")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="?", help="OUT of the .sh beside this script")
    given = parser.parse_args()
    if given.runs is not None:
        write(given.runs)
    with house_style():
        image = picture(read())
    print(save(image, DOCS / "images" / "manifold_latents.png"))


if __name__ == "__main__":
    main()
