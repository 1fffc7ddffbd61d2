#!/usr/bin/env python
"""Every encoder with every density and head at one small budget: docs/models.md's tables.

python scripts/studies/grid.py TRAIN.hdf5 --out outputs/grid --jobs 2

One file is all that it reads, and no model sees the showers that judge it: the file is divided in
two. Each pair of encoder and head is trained once, with one energy model for all; its densities
take both over. What is there already is not made again. OUT/grid.csv has a row for each cell,
OUT/grid.md its tables, OUT/grid.png accuracy against time.
"""

import argparse
import csv
import itertools
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from omegaconf import OmegaConf
from tabulate import tabulate

from caloman_cli import load_model

CONF = Path(__file__).parents[2] / "conf"
# Densities of these widths in each of hundreds of dimensions would take the whole budget.
WIDE = {"identity": ["standard_normal", "gmm", "nsf", "flow_matching", "diffusion", "mean_flow"]}
# They learn from another run, serve spaces that showers do not have or latents of layers, or have
# no latents.
APART = {
    "none",
    "consistency",
    "tr0n",
    "unconditional",
    "clustered",
    "levels",
    "constrained_ebm",
    "implicit",
    "caloman_nsf",
}
JUDGE = (
    "evaluation=only",
    "evaluation.separation.plots=none",
    "evaluation.classifier.preset=small",
    "evaluation.classifier.modes=[low,high]",
)
TIMED = (
    "metric=[separation,classifier,timing]",
    "evaluation.timing.batch_sizes=[1,1000]",
    "evaluation.timing.repeats=3",
    "evaluation.timing.max_seconds=10",
)
COLUMNS = {
    "AUC low": "auc_low",
    "AUC high": "auc_high",
    "S over floor": "",
    "ms, 1,000": "ms_generation_1000",
    "ms, 1": "ms_generation_1",
    "parameters": "parameters",
}


def options(group: str) -> list[str]:
    """Options of a group that fit any detector of dataset 1."""
    every = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    return [name for name in every if name not in APART and "cylinder" not in name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path, help="file of dataset 1 photons to learn from")
    parser.add_argument("--out", type=Path, default=Path("outputs/grid"))
    parser.add_argument("--encoders", nargs="+", default=options("encoder"))
    parser.add_argument("--densities", nargs="+", default=options("density"))
    parser.add_argument("--heads", nargs="+", default=["gaussian", "autoregressive"])
    parser.add_argument(
        "--latents", type=int, default=14, help="of every encoder that has a choice"
    )
    parser.add_argument("--jobs", type=int, default=2, help="columns at once, of one thread each")
    parser.add_argument("--set", nargs="*", default=[], help="further settings of every training")
    parser.add_argument("--table", action="store_true", help="only write table and picture anew")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.table:
        Grid(args).run()
    rows = scores(args.out)
    write_csv(rows, args.out / "grid.csv")
    (args.out / "grid.md").write_text(tables(rows))
    picture(rows, args.out / "grid.png")
    print(*(args.out / name for name in ("grid.csv", "grid.md", "grid.png")), sep="\n")


class Grid:
    """The runs, a folder each: OUT/runs/ENCODER/HEAD/DENSITY."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.parts = args, args.out / "parts"
        self.energy = args.out / "energy"

    def run(self) -> None:
        if not self.parts.is_dir():
            caloman("data", "split", self.args.train, "dataset=ds1_photons", f"out={self.parts}",
                    "parts={train: 0.9, truth: null, reference: 0.1}")  # fmt: skip
        self.train(self.energy, "encoder=pca", "density=standard_normal")
        columns = list(itertools.product(self.args.heads, self.args.encoders))
        with ThreadPoolExecutor(self.args.jobs) as pool:
            list(pool.map(lambda column: self.column(*column), columns))

    def train(self, output: Path, *settings: str) -> bool:
        """One run; False where it failed, which says why."""
        shower = f"[{self.parts / 'train.hdf5'}]"
        files = f"dataset.train={shower}", f"dataset.reference=[{self.parts / 'reference.hdf5'}]"
        return caloman("train", "experiment=grid", *files, *settings, *self.args.set,
                       f"output={output}")  # fmt: skip

    def column(self, head: str, encoder: str) -> None:
        """One encoder with one head, and all densities upon it."""
        folder = self.args.out / "runs" / encoder / head
        group = [f"encoder={encoder}", f"head={head}"]
        config = OmegaConf.load(CONF / f"encoder/{encoder}.yaml")
        if "latent_dim" in config and encoder != "vqvae":
            group.append(f"encoder.latent_dim={self.args.latents}")
        first = None
        for density in self.args.densities:
            if density not in WIDE.get(encoder, self.args.densities):
                continue
            run = folder / density
            if not (run / "model.pt").is_file():
                source = f"reuse={self.energy if first is None else first}"
                if not self.train(run, *group, f"density={density}", source):
                    continue
            first = run if first is None else first
            if not list(run.glob("evaluation/*/metrics.json")):
                self.judge(run)

    def judge(self, run: Path) -> None:
        reference = self.parts / "reference.hdf5"
        if not caloman("sample", f"run={run}", f"energies={reference}", "overwrite=true"):
            return
        caloman("evaluate", f"run={run}", f"reference={reference}", *JUDGE, *TIMED)


def caloman(*words: str | Path) -> bool:
    """One command; what it says goes to a file only where it fails."""
    command = [sys.executable, "-m", "caloman_cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"failed ({done.returncode}): caloman {' '.join(command[3:])}\n  {last}", flush=True)
    return done.returncode == 0


def scores(out: Path) -> list[dict[str, Any]]:
    """A row for each cell that was judged."""
    rows = []
    for path in sorted(out.glob("runs/*/*/*/evaluation/*/metrics.json")):
        run = path.parents[2]
        found = json.loads(path.read_text())["scores"]
        by_key = {score["key"]: score for score in found}
        over = [
            s["over_floor"] for s in found if s["section"] == "separation power" and s["summary"]
        ]
        row = dict(zip(("encoder", "head", "density"), run.parts[-3:], strict=True))
        row["kind"] = load_model(run / "model.pt").kind
        for column, key in COLUMNS.items():
            row[column] = by_key[key]["generated"] if key else sum(over) / len(over)
        row["truth low"], row["truth high"] = (
            by_key[f"auc_{x}"]["truth"] for x in ("low", "high")
        )
        rows.append(row)
    return rows


def write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            short = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
            writer.writerow(short)


def tables(rows: list[dict[str, Any]]) -> str:
    """One for each head and score: densities down, encoders across."""
    parts = []
    for head, column in itertools.product(
        sorted({r["head"] for r in rows}), ("AUC low", "AUC high")
    ):
        own = {(r["density"], r["encoder"]): f"{r[column]:.3f}" for r in rows if r["head"] == head}
        densities, encoders = (sorted({key[i] for key in own}) for i in (0, 1))
        lines = [[name, *(own.get((name, e), "") for e in encoders)] for name in densities]
        table = tabulate(lines, ["", *encoders], "github", disable_numparse=True)
        parts.append(f"**{column}, head={head}**\n\n{table}\n")
    return "\n".join(parts)


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """How well networks tell showers apart, against the time that one takes in a thousand."""
    densities = sorted({row["density"] for row in rows})
    colours = dict(zip(densities, plt.get_cmap("tab20").colors, strict=False))
    heads = dict(zip(sorted({row["head"] for row in rows}), "os^v", strict=False))
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharex=True, layout="constrained")
    for ax, column in zip(axes, ("AUC low", "AUC high"), strict=True):
        for row in rows:
            style = {"marker": heads[row["head"]], "color": colours[row["density"]], "s": 28}
            ax.scatter(row["ms, 1,000"], row[column], edgecolors="k", linewidths=0.3, **style)
        ax.axhline(rows[0][f"truth {column.split()[1]}"], color="0.5", lw=0.8, ls="--")
        ax.set(xscale="log", xlabel="ms per shower, batches of 1,000, one thread", ylabel=column)
    marks = [plt.Line2D([], [], color=colours[d], marker="o", ls="", label=d) for d in densities]
    marks += [
        plt.Line2D([], [], color="k", marker=m, ls="", mfc="w", label=h) for h, m in heads.items()
    ]
    figure.legend(handles=marks, loc="outside right center", fontsize=8, frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
