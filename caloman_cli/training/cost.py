"""What a training will cost: a few steps of every stage, on a copy of the model."""

import copy
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from caloman_cli.config.settings import StageSettings, TrainerSettings
from caloman_cli.data.memory import available_memory
from caloman_cli.errors import counted
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource, Trainable
from caloman_cli.models.two_step import TwoStep
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.runs.progress import duration
from caloman_cli.runs.provenance import Usage
from caloman_cli.runs.stages import StageFolder
from caloman_cli.training.fit import Fit
from caloman_cli.training.latents import read_latents, write_latents
from caloman_cli.training.rows import ShowerRows, VoxelRows, layer_rows
from caloman_cli.training.takeover import take_over
from caloman_cli.training.trainer import Trainer

HOURS = 3600.0
"""Seconds from which on a training is one of hours."""
_STEPS, _SECONDS = 6, 1.0  # timed for each stage, at most
_ROWS, _DRAWN = 1000, 128  # showers that are looked at, at least; that are drawn


class Sizes(NamedTuple):
    """How many showers a training learns from, and validates with."""

    train: int
    validation: int


class StageCost(NamedTuple):
    """What one stage will cost.

    Args:
        stage: Its name.
        parameters: How many are learned.
        epochs: At most.
        steps: In each epoch.
        step: Seconds of one.
        seconds: Of the whole stage, at most.
    """

    stage: str
    parameters: int
    epochs: int
    steps: int
    step: float
    seconds: float

    def __str__(self) -> str:
        if not self.parameters:
            return f"{self.stage} {duration(self.seconds)} (fitted in one go)"
        return (
            f"{self.stage} {duration(self.seconds)} ({self.epochs} epochs of {self.steps} steps, "
            f"{self.step:.2g} s each)"
        )


class Cost(NamedTuple):
    """What a training will cost.

    Args:
        stages: Those that learn.
        after: Seconds for what comes behind them: latents, calibration.
        memory: Peak of the process, or of tensors on a CUDA device [MiB].
        device: Where it was measured.
    """

    stages: tuple[StageCost, ...]
    after: float
    memory: float
    device: torch.device

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages) + self.after

    def __str__(self) -> str:
        where, free = str(self.device), available_memory()
        if self.device.type == "cuda":
            free = torch.cuda.mem_get_info(self.device)[0] / 2**20
        else:
            where += f" with {counted(torch.get_num_threads(), 'thread')}"
        return (
            f"about {duration(self.seconds)} at most on {where}: "
            f"{', '.join(map(str, self.stages))}, latents and calibration "
            f"{duration(self.after)}; memory about {self.memory / 1024:.1f} GiB "
            f"({free / 1024:.1f} GiB are free)"
        )


def rehearse(
    settings: TrainerSettings,
    model: TwoStep,
    showers: ShowerRows,
    sizes: Sizes,
    device: torch.device,
    stages: Sequence[str] = ("energy", "encoder", "density"),
) -> Cost:
    """Time a few steps of every stage; the model, torch's generators and the disk stay as is.

    Args:
        settings: The group ``trainer``.
        model: With fitted preprocessing, on the device.
        showers: Some that it will learn from, :func:`enough` of them.
        sizes: How many there will be.
        device: Where it will be trained.
        stages: Those that are still to be trained; others are gone through, and not counted.
    """
    cuda = [device] if device.type == "cuda" else []
    with (
        tempfile.TemporaryDirectory() as folder,
        torch.random.fork_rng(devices=cuda),
        Usage(device) as usage,
    ):
        trial = _Trial(settings, copy.deepcopy(model), showers, sizes, device, Path(folder))
        costs = {name: trial.stage(name) for name in ("energy", "encoder", "density")}
        after = trial.encoding + trial.calibration()
    peak = usage.peak_rss_mib if usage.peak_cuda_mib is None else usage.peak_cuda_mib
    latents = 8 * sum(sizes) * trial.latents_of_each / 2**20
    return Cost(tuple(costs[name] for name in stages), after, peak + latents, device)


def enough(settings: TrainerSettings, sizes: Sizes) -> int:
    """How many showers :func:`rehearse` wants."""
    blocks = (settings.energy, settings.encoder, settings.density)
    return min(sizes.train, max(_ROWS, *(_batch(block, sizes)[1] for block in blocks)))


def steps_of(settings: TrainerSettings, sizes: Sizes) -> int:
    """Steps of all stages together, at most."""
    blocks = (settings.energy, settings.encoder, settings.density)
    return sum(block.epochs * _batch(block, sizes)[0] for block in blocks)


def _batch(settings: StageSettings, sizes: Sizes) -> tuple[int, int]:
    """Batches of an epoch, and rows of a batch."""
    count = math.ceil(sizes.train / settings.batch_size)
    return count, math.ceil(sizes.train / count)


class _Trial:
    """A training of a few steps for each stage, one after the other."""

    def __init__(
        self,
        settings: TrainerSettings,
        model: TwoStep,
        showers: ShowerRows,
        sizes: Sizes,
        device: torch.device,
        folder: Path,
    ) -> None:
        self.model, self.showers, self.sizes, self.folder = model, showers, sizes, folder
        self.trainer = Trainer(RunDirectory(folder), settings, seed=0, device=device)
        self.encoding, self.latents_of_each = 0.0, 0

    def stage(self, name: str) -> StageCost:
        part: Trainable = getattr(self.model, name)
        rows, more = self._rows(name)
        folder = StageFolder(self.folder / name)
        folder.path.mkdir()
        prepare, seconds = part.prepare, 0.0

        def timed(train: RowSource) -> None:
            nonlocal seconds
            began = time.perf_counter()
            prepare(train)
            seconds = time.perf_counter() - began

        part.prepare = timed  # type: ignore[method-assign]  # of this copy
        fit = _Rehearsal(self.trainer, name, folder, part, rows, more)
        cost = fit.cost(self.sizes, seconds * self.sizes.train / len(rows))
        part.eval()
        return cost

    def _rows(self, name: str) -> tuple[Any, Any]:
        if name == "energy":
            rows: RowSource = layer_rows(self.showers, self.model.preprocess)
            return rows, rows
        voxels = VoxelRows(self.showers, self.model.preprocess)
        if name == "encoder":
            return voxels, voxels
        path, n = self.folder / "latents.h5", len(voxels)
        began = time.perf_counter()
        write_latents(path, self.model.encoder, voxels, np.arange(max(1, n - max(1, n // 10))))
        self.encoding = (time.perf_counter() - began) * sum(self.sizes) / n
        take_over(self.model)
        found = read_latents(path, self.trainer.settings.latents, self.trainer.device)
        self.latents_of_each = found[0].mean[0].numel()
        return found

    def calibration(self) -> float:
        """Seconds of drawing the showers that it is measured with."""
        # What is measured with showers says with how many.
        n = min(self.sizes.train, vars(self.model.calibration).get("showers", 0))
        if not n:
            return 0.0
        _, e_inc = self.showers.rows(np.arange(min(len(self.showers), _DRAWN)))
        began = time.perf_counter()
        self.model.eval().draw(e_inc, Noise(0, 0, len(e_inc), e_inc.device))
        _wait(self.trainer.device)
        return (time.perf_counter() - began) * n / len(e_inc)


class _Rehearsal(Fit):
    """The first steps of a stage, which lead nowhere."""

    def cost(self, sizes: Sizes, prepared: float) -> StageCost:
        """Args: sizes: Of the training. prepared: Seconds for what comes before its steps."""
        epochs, (count, rows) = self.settings.epochs, _batch(self.settings, sizes)
        if not self.n_parameters:
            return StageCost(self.stage, 0, 0, 0, 0.0, prepared)
        index = np.arange(min(rows, len(self.train)))
        self.model.train()
        taken = [self._timed(index)]  # the first one is slower
        while len(taken) < _STEPS and sum(taken) < _SECONDS:
            taken.append(self._timed(index))
        step = sum(taken[1:] or taken) / len(taken[1:] or taken) * rows / len(index)
        epoch = count * step + self._validation(sizes.validation)
        seconds = prepared + epochs * epoch
        return StageCost(self.stage, self.n_parameters, epochs, count, step, seconds)

    def _timed(self, index: np.ndarray) -> float:
        began = time.perf_counter()
        self._step(index)
        self.state.step += 1
        _wait(self.device)
        return time.perf_counter() - began

    def _validation(self, n: int) -> float:
        """Seconds for n rows."""
        index = np.arange(min(self.settings.batch_size, len(self.validation)))
        self.model.eval()
        with self.average.applied(), torch.no_grad(), self._autocast():
            began = time.perf_counter()
            self.model.scores(self.validation.rows(index))
            _wait(self.device)
        return (time.perf_counter() - began) * n / len(index)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
