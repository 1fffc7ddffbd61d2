#!/usr/bin/env python
"""What a multiscale head's halvings leave unsaid: correlations of their residuals.

    python scripts/studies/residuals.py RUN REAL.hdf5 [SHOWERS]

For detectors whose layers have one shape. Each halving of a real shower is predicted from the real
patches that are known before it, with latents of the posterior. A residual is what happened less
its probability: of both halves being lit, and of the first one being it. Printed of each scale
are correlations, in units of the binomial noise, between a patch and those 1, 2, ... further on
in alpha (a), in r (r), in depth at the same place (d); zero where a step knows all there is to
know. What is drawn in the same step cannot be known.
"""

import argparse
from pathlib import Path
from typing import cast

import numpy as np
import torch

from caloman_cli.data.showers import Showers
from caloman_cli.models.heads.multiscale import Multiscale
from caloman_cli.models.two_step import TwoStep, load_model
from caloman_cli.runs.directory import RunDirectory

ROWS = 64
LAST = 4  # scales
AWAY = {"a": (1, 2, 3, 4), "r": (1, 2), "d": (1, 2)}
AXES = {"d": 0, "a": 1, "r": 2}


def places(head: Multiscale, step: int) -> np.ndarray:
    """Layer, first slice and first ring of what a step halves, (H, 3)."""
    scales, found = head.scales, {}
    for tree, stand in zip(scales.trees, scales.places, strict=True):
        for patch in tree.steps[step].now:
            start, _, inner, _ = tree.patches[patch]
            for layer, place in zip(tree.layers, stand[patch].tolist(), strict=True):
                found[place] = (layer, start, inner)
    return np.array([found[place] for place in scales.halved(step).tolist()])


@torch.inference_mode()
def residuals(model: TwoStep, real: Showers, steps: list[int]) -> dict[int, np.ndarray]:
    """Of each step, (4, H, N): both and first, and the variances of each."""
    head = cast(Multiscale, model.encoder.head)
    starts = np.cumsum([0, *head.scales.n_halved])
    found: dict[int, list[np.ndarray]] = {step: [] for step in steps}
    for energies, voxels in real.iterate(ROWS):
        e_inc = torch.as_tensor(energies).float().view(-1, 1)
        x, c = model.preprocess(torch.as_tensor(voxels).float(), e_inc)
        params = model.encoder.decode(model.encoder.posterior(x, c).sample(), c)
        halves = head.halves(x, params.energies)
        for step, (raw, at) in enumerate(
            zip(head.said(params, x), head.halving.steps(), strict=True)
        ):
            if step not in found:
                continue
            first, second = (part[starts[step] : starts[step + 1]] for part in halves)
            energy, lit = first + second, (first + second > 0).to(first)
            alone, _, both = head.halving.probabilities(raw, energy, at) * lit
            one, pair = (first > 0).to(first), ((first > 0) & (second > 0)).to(first)
            half, was = alone + both / 2, one - pair / 2
            found[step].append(
                torch.stack(
                    [pair - both, was - half, both * (1 - both), alone + both / 4 - half**2]
                ).numpy()
            )
    return {step: np.concatenate(parts, 2) for step, parts in found.items()}


def correlations(grid: np.ndarray, variance: np.ndarray) -> str:
    """Of residuals (layers, slices, rings, N)."""
    width, said = np.sqrt(variance), []
    for name, steps in AWAY.items():
        for away in steps:
            if name == "a":
                other, wide = (np.roll(part, -away, 1) for part in (grid, width))
                product, noise = grid * other, width * wide
            else:
                axis = AXES[name]
                ends = (slice(None, -away), slice(away, None))
                ends = [(slice(None),) * axis + (end,) for end in ends]
                product, noise = (part[ends[0]] * part[ends[1]] for part in (grid, width))
            said.append(f"{name}{away} {product.sum() / max(noise.sum(), 1e-9):+.3f}")
    return "  ".join(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("real", type=Path)
    parser.add_argument("showers", type=int, nargs="?", default=500)
    arguments = parser.parse_args()
    model, config = load_model(RunDirectory(arguments.run).require_model())
    head = model.eval().encoder.head
    if not isinstance(head, Multiscale):
        raise SystemExit(f"{arguments.run}: its head is no multiscale one")
    real = Showers.from_files([arguments.real], model.geometry)
    real = real.subset(np.arange(min(len(real), arguments.showers)))
    torch.manual_seed(0)
    n, phases = len(head.scales.n_halved), config["head"]["phases"]
    steps = list(range(max(0, n - LAST * phases), n))
    found = residuals(model, real, steps)
    for first in range(steps[0], n, phases):
        scale = range(first, first + phases)
        stand = np.concatenate([places(head, step) for step in scale])
        values = np.concatenate([found[step] for step in scale], 1)
        shape, index = [], []
        for column in stand.T:
            levels, where = np.unique(column, return_inverse=True)
            shape.append(len(levels))
            index.append(where)
        for kind, name in enumerate(("both", "first")):
            grid = np.zeros((2, *shape, len(real)), np.float32)
            grid[(slice(None), *index)] = values[[kind, kind + 2]]
            slices, rings = shape[1:]
            print(f"{slices:3d} x {rings:2d} {name:5s}  {correlations(*grid)}", flush=True)


if __name__ == "__main__":
    main()
