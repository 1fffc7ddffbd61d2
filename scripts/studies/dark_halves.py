#!/usr/bin/env python
"""How often a multiscale head leaves a half dark, by a patch's energy: expected and seen.

    python scripts/studies/dark_halves.py RUN REAL.hdf5 [MEV] [SHOWERS]

Halvings of real showers, those next to an incident energy if one is given, each predicted from the
real patches that are known before it, with latents of the posterior. Printed of each step and of
patches between so many cuts of energy: how many there are, of how many one half is expected to be
dark, of how many it is. A patch that is bright and half dark leaves a hole in its layer, which
trees see though it costs hardly any likelihood.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from caloman_cli.data.showers import Showers
from caloman_cli.models.heads.multiscale import Multiscale
from caloman_cli.models.two_step import TwoStep, load_model
from caloman_cli.runs.directory import RunDirectory

ROWS = 48
EDGES = (2, 5, 10, 20, 50, 100, 200, 500, 1000, 3000, 10000)
NEAR = 1.35  # times the incident energy, up and down


@torch.inference_mode()
def counted(model: TwoStep, head: Multiscale, real: Showers) -> np.ndarray:
    """Patches, expected and seen dark halves, of each step and energy: (steps, 3, bins)."""
    edges = torch.tensor(EDGES).float()
    found = torch.zeros(len(head.scales.n_halved), 3, len(EDGES) + 1, dtype=torch.float64)
    for energies, voxels in real.iterate(ROWS):
        e_inc = torch.as_tensor(energies).float().view(-1, 1)
        x, c = model.preprocess(torch.as_tensor(voxels).float(), e_inc)
        params = model.encoder.decode(model.encoder.posterior(x, c).sample(), c)
        halves = (part.split(head.scales.n_halved) for part in head.halves(x, params.energies))
        steps = zip(head.said(params, x), head.halving.steps(), *halves, strict=True)
        for step, (raw, at, first, second) in enumerate(steps):
            energy = first + second
            lit = energy > 0
            alone, other, _ = head.halving.probabilities(raw, energy, at)
            dark = ((first == 0) | (second == 0))[lit]
            bins = torch.bucketize(energy[lit], edges)
            for row, weight in enumerate((torch.ones_like(dark), (alone + other)[lit], dark)):
                found[step, row] += torch.bincount(bins, weight.double(), minlength=len(EDGES) + 1)
    return found.numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("real", type=Path)
    parser.add_argument("mev", type=float, nargs="?")
    parser.add_argument("showers", type=int, nargs="?", default=500)
    arguments = parser.parse_args()
    model, _ = load_model(RunDirectory(arguments.run).require_model())
    head = model.eval().encoder.head
    if not isinstance(head, Multiscale):
        raise SystemExit(f"{arguments.run}: its head is no multiscale one")
    real = Showers.from_files([arguments.real], model.geometry)
    rows = np.arange(len(real))
    if arguments.mev is not None:
        apart = np.abs(np.log(real.energies[:, 0] / arguments.mev))
        rows = np.flatnonzero(apart < np.log(NEAR))
    real = real.subset(rows[: arguments.showers])
    torch.manual_seed(0)
    names = [f"to {edge}" for edge in EDGES] + ["above"]
    print(f"{len(real)} showers; cuts of energy: patches, dark halves expected / seen")
    for step, table in enumerate(counted(model, head, real)):
        kept = [
            f"{name}: {n:.0f}, {expected:.1f} / {seen:.0f}"
            for name, n, expected, seen in zip(names, *table, strict=True)
            if n
        ]
        print(f"step {step}  " + "; ".join(kept), flush=True)


if __name__ == "__main__":
    main()
