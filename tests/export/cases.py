"""Every option of every group in a small model, and what becomes of it when it is exported.

What differs from case to case is one group; the others are cheap ones.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from caloman_cli.data.spectrum import Spectrum
from caloman_cli.errors import UserError
from caloman_cli.export import check, facts, files
from caloman_cli.export.sampler import sampler
from caloman_cli.export.trace import traced
from caloman_cli.models.two_step import TwoStep, build
from tests.contracts.grid import DETECTORS, Cell, learns, trained
from tests.contracts.groups import options, serves, small
from tests.contracts.pairs import fits

PLAIN = {
    "preprocess": "shares",
    "energy": "nsf",
    "encoder": "ae",
    "head": "gaussian",
    "density": "standard_normal",
}
CHEAP = {
    "encoder": ("ae", "vae", "vqvae", "implicit", "vae_cylinder"),
    "density": ("standard_normal", "ar_codes", "constrained_ebm"),
    "head": ("gaussian", "hurdle_mixture"),
}
"""What an option is tried with: the first of each that takes it."""
LEARNS_FIRST = {"clustered", "constrained_ebm", "ebm", "forest", "gmm", "tr0n", "unconditional"}
"""Densities that draw nothing before they have been fitted."""


class Case(NamedTuple):
    """One option of a group."""

    group: str
    option: str

    @property
    def name(self) -> str:
        return f"{self.group}={self.option}"


def cases() -> Iterator[Case]:
    for group in PLAIN:
        yield from (Case(group, option) for option in options(group))
    yield Case("calibration", "voxel_spectrum")


def model_of(case: Case, folder: Path) -> TwoStep:
    """A small model with the option, on the first detector that it serves."""
    torch.manual_seed(5)
    if case.group in ("encoder", "head", "density"):
        cell = _cell(case)
        if cell.density in LEARNS_FIRST or cell.encoder in ("implicit", "pca"):
            return trained(cell, folder).eval()
        groups = {**PLAIN, "encoder": cell.encoder, "head": cell.head, "density": cell.density}
        detector = DETECTORS[cell.detector]
    else:
        groups, detector = {**PLAIN, case.group: case.option}, DETECTORS["ds1"]
    model = build({group: small(group, name) for group, name in groups.items()}, detector)
    return model.eval()


def _cell(case: Case) -> Cell:
    """The first cell with the option whose parts take each other, of cheap ones."""
    chosen = {
        group: (case.option,) if group == case.group else few for group, few in CHEAP.items()
    }
    for names in itertools.product(*(chosen[group] for group in CHEAP)):
        encoder, density, head = names
        for detector, geometry in DETECTORS.items():
            if serves(head, geometry) and fits(encoder, head) and learns(density, encoder):
                return Cell(encoder, density, head, detector)
    raise AssertionError(f"no other parts for {case.name}")


def outcome(case: Case, folder: Path) -> str:
    """``onnx``, ``exported_program`` or the line that refuses it."""
    model = model_of(case, folder)
    model.spectrum = Spectrum((1e3, 1e5))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    energies = Spectrum((1e3, 1e5)).draw(np.random.default_rng(1), 8)
    e_inc = torch.as_tensor(energies, dtype=torch.float32)
    said = ""
    try:
        module = sampler(model, "inside").eval()
        program = traced(module, e_inc, None)
    except UserError as error:
        return str(error)
    for name in ("onnx", "exported_program"):
        described = facts.facts_of(module, "plain", "inside", None, {})

        def run(runner: files.Runner) -> None:
            check.compared(module, runner, e_inc, None)

        try:
            files.write(folder / f"m{files.SUFFIX[name]}", name, program, module, described, run)
        except UserError as error:
            said = str(error)
            continue
        return f"{name} ({said})" if said else name
    return said
