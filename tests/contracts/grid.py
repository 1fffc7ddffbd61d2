"""The grid: which encoder, density and head go together in which detector, and which are tried.

All cells are thousands, and what goes wrong nearly always goes wrong between two parts. So the
slow tests take a pairwise covering of them: in each detector every encoder with every density,
every density with every head, every encoder with every head. The default run has a small part of
it in which every option and every detector is. ``CALOMAN_GRID=all`` takes all cells.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Sized
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from caloman_cli.config.settings import StageSettings, TrainerSettings
from caloman_cli.config.stages import STAGES
from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.errors import UserError
from caloman_cli.models.latents import Latents
from caloman_cli.models.trainable import Trainable
from caloman_cli.models.two_step import TwoStep, build
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.training.rows import ShowerRows, VoxelStore
from caloman_cli.training.stages import MAKERS, Workshop
from caloman_cli.training.trainer import Trainer
from tests.contracts.groups import maker, options, plane, serves, showers, small, tiny
from tests.contracts.pairs import fits, latents_of

ALL = os.environ.get("CALOMAN_GRID") == "all"
TRAINED = "encoder", "density"
ROWS, VALIDATION = 32, 8
SETTINGS = {"epochs": 2, "batch_size": 16, "ema": 0.5, "clip": 10.0, "schedule": "cosine"}
LAST_STEP = 3


def _detectors() -> dict[str, Geometry]:
    """Layers with and without slices as in dataset 1, a regular grid, and one like no other."""
    span = (1e3, 1e5)
    grid = tuple(Layer(i, (0.0, 5.0, 10.0), 4) for i in range(3))
    odd = (
        Layer(1, (0.0, 5.0), 1),  # one voxel
        Layer(4, (0.0, 3.0, 9.0, 10.0), 3),
        Layer(5, (2.0, 4.0), 5),  # one ring, and a hole in the middle
    )
    return {
        "ds1": tiny(),
        "grid": Geometry("grid", "electron", grid, 0.015, 2.0, incident_range=span),
        "odd": Geometry("odd", "pion", odd, 0.3, 3.0, incident_range=span),
    }


DETECTORS = _detectors()


class Cell(NamedTuple):
    """A model and a detector."""

    encoder: str
    density: str
    head: str
    detector: str

    @property
    def pairs(self) -> set[tuple[str, ...]]:
        """What of it is to be seen at least once."""
        return {
            ("encoder density", self.encoder, self.density, self.detector),
            ("density head", self.density, self.head, self.detector),
            ("encoder head", self.encoder, self.head, self.detector),
        }

    @property
    def options(self) -> set[tuple[str, str]]:
        return set(zip(self._fields, self, strict=True))


def fitting() -> list[Cell]:
    """All cells whose parts take each other, in the detectors that the head serves.

    A detector may yet refuse an encoder or a density, which says so.
    """
    heads = [
        (head, name)
        for head in options("head")
        for name, geometry in DETECTORS.items()
        if serves(head, geometry)
    ]
    return [
        Cell(encoder, density, head, detector)
        for encoder, (head, detector) in itertools.product(options("encoder"), heads)
        if fits(encoder, head)
        for density in options("density")
        if learns(density, encoder)
    ]


def learns(density: str, encoder: str) -> bool:
    """Whether a density takes what an encoder hands over, with a head that both serve."""
    head = next(head for head in options("head") if fits(encoder, head))
    latents = latents_of(encoder, head)
    constraint = None if latents.constraint is None else plane
    # Making a density is dear, and it asks of latents only what is here.
    return takes(density, replace(latents, encoder="?", constraint=None), constraint)


@cache
def takes(density: str, latents: Latents, constraint: Callable | None) -> bool:
    """Whether a density learns such latents, on such a manifold."""
    latents = replace(latents, constraint=constraint)
    try:
        maker("density", density)(latents=latents, c_dim=3)
    except UserError:
        return False
    return True


def _worth(cell: Cell, new: Sized) -> tuple[int, bool]:
    """Of what is as new, a plain head: the volume of a walk's decoder costs most."""
    return len(new), cell.head == "gaussian"


def covering(cells: Iterable[Cell]) -> list[Cell]:
    """A part of them in which every pair of options is that is in any, in each detector."""
    cells = sorted(cells, key=lambda cell: (cell.detector, cell.encoder, cell.density))
    left = set().union(*(cell.pairs for cell in cells))
    chosen = []
    for _, group in itertools.groupby(cells, lambda cell: (*cell[:2], cell.detector)):
        best = max(group, key=lambda cell: _worth(cell, cell.pairs & left))
        chosen.append(best)
        left -= best.pairs
    for cell in cells:
        if cell.pairs & left:
            chosen.append(cell)
            left -= cell.pairs
    return chosen


def thinnest(cells: Iterable[Cell]) -> list[Cell]:
    """Few of them in which every option and every detector is."""
    cells = list(cells)
    left, chosen = set().union(*(cell.options for cell in cells)), []
    while left:
        best = max(cells, key=lambda cell: _worth(cell, cell.options & left))
        chosen.append(best)
        left -= best.options
    return chosen


def config(cell: Cell) -> dict:
    """Of a small model."""
    groups = {
        "preprocess": "shares",
        "energy": "nsf",
        "encoder": cell.encoder,
        "head": cell.head,
        "density": cell.density,
    }
    return {group: small(group, name) for group, name in groups.items()}


class PowerCut(Exception):
    """What ends a run without a word."""


def fail_in_the_second_epoch(model: Trainable) -> None:
    """Once: what goes on with a run has other models."""
    plain = model.loss

    def loss(batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        if model.training and model.step.number == LAST_STEP:
            raise PowerCut
        return plain(batch, player)

    model.loss = loss  # type: ignore[method-assign]


def untrained(cell: Cell) -> TwoStep:
    """A small model with weights that are always the same.

    Raises:
        UserError: The cell's parts refuse each other.
    """
    torch.manual_seed(5)
    return build(config(cell), DETECTORS[cell.detector])


def trained(cell: Cell, path: Path, cut: str | None = None) -> TwoStep:
    """A model after the encoder's and the density's stage, which go on where they were.

    The energy model is no part of a cell: it is left as it is.

    Args:
        cell: Which model, in which detector.
        path: The run's directory.
        cut: A stage that fails on its way.

    Raises:
        PowerCut: It did.
    """
    model = untrained(cell)
    voxels, e_inc = showers(model.geometry, ROWS + VALIDATION)
    store = VoxelStore(voxels.numpy(), e_inc.numpy(), torch.device("cpu"))
    train, validation = (
        ShowerRows(store, index) for index in np.split(np.arange(ROWS + VALIDATION), [ROWS])
    )
    model.preprocess.fit(train)
    if cut is not None:
        fail_in_the_second_epoch(getattr(model, cut))
    path.mkdir(exist_ok=True)
    settings = TrainerSettings(*[StageSettings(**SETTINGS)] * 3)
    shop = Workshop(Trainer(RunDirectory(path), settings, seed=3), model, train, validation)
    for stage in STAGES:
        if stage.name in TRAINED:
            MAKERS[stage.name](shop, stage)
    return model.eval()
