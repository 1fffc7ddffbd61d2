#!/usr/bin/env python
"""Which part of a two-step model boosted trees see: the head, the density or the energy model.

    python scripts/studies/whose_fault.py RUN REAL.hdf5 OUT_FOLDER [SHOWERS]

Of REAL's showers it takes the layers' energies and draws voxels, with latents of each shower's
own posterior (what is wrong then is the head's) and with those of the density; then it draws all.
Trees judge each against REAL. Files are left in OUT_FOLDER.
"""

import argparse
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from caloman_cli.data.showers import Showers
from caloman_cli.data.writer import ShowerWriter
from caloman_cli.metrics.classifier.tree_test import TreeTest
from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import TwoStep, load_model
from caloman_cli.runs.directory import RunDirectory

PARTS = ("posterior", "density", "energies")
ROWS = 256


@torch.inference_mode()
def drawn(model: TwoStep, e_inc: torch.Tensor, voxels: torch.Tensor, start: int) -> list:
    """Showers (B, V) of each of :data:`PARTS`."""
    context, (x, c) = model.preprocess.context(voxels, e_inc), model.preprocess(voxels, e_inc)
    noise, head = Noise(7, start, len(e_inc)), model.encoder.head
    latents = (model.encoder.posterior(x, c).sample(), model.density.sample(c, noise))
    found = [
        model.preprocess.inverse(head.sample(model.encoder.decode(z, c), noise), context)
        for z in latents
    ]
    return [*found, model.sample(e_inc, Noise(8, start, len(e_inc)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("real", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("showers", type=int, nargs="?", default=6000)
    arguments = parser.parse_args()
    model = load_model(RunDirectory(arguments.run).require_model())[0].eval()
    real = Showers.from_files([arguments.real], model.geometry)
    real = real.subset(np.arange(min(len(real), arguments.showers)))
    torch.manual_seed(0)
    paths = [arguments.out / f"{name}.hdf5" for name in PARTS]
    arguments.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        writers = [
            stack.enter_context(ShowerWriter(path, len(real), model.geometry, {}))
            for path in paths
        ]
        start = 0
        for energies, voxels in real.iterate(ROWS):
            e_inc = torch.as_tensor(energies).float().view(-1, 1)
            made = drawn(model, e_inc, torch.as_tensor(voxels).float(), start)
            for writer, showers in zip(writers, made, strict=True):
                writer.write(energies, showers.numpy())
            start += len(energies)
    for name, path in zip(PARTS, paths, strict=True):
        said = TreeTest(seed=1)(real, Showers.from_files([path], model.geometry))
        groups = "  ".join(f"{group} {one['auc']:.3f}" for group, one in said["groups"].items())
        print(f"{name}: trees {said['auc']:.3f}  {groups}  (error {said['auc_error']:.3f})")


if __name__ == "__main__":
    main()
