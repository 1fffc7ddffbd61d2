"""Samples of a run: its model loaded, showers drawn and written, where they come from."""

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import caloman_cli
from caloman_cli.config.settings import TrainerSettings
from caloman_cli.config.values import Compression
from caloman_cli.data.files import checksum
from caloman_cli.data.memory import values_at_once
from caloman_cli.data.writer import ShowerWriter
from caloman_cli.errors import UserError
from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import SAMPLING, TwoStep, load_model
from caloman_cli.runs.device import configure_cuda
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.runs.progress import RowsDone, duration
from caloman_cli.runs.provenance import Usage, config_hash, git_state

log = logging.getLogger(__name__)

ENERGIES_STREAM = 0x656E6572
"""Keeps incident energies that are drawn with a sample's seed apart from the model's noise."""
_STEP_VALUES = 1 << 26  # 256 MiB of float32 for each temporary of a step
_TEMPORARIES = 12  # of a step's size, about, that are in memory at once, measured on a CPU
_TRIED = (8, 64, 512)  # showers that are drawn to see how long they take
_MOMENT, _HOURS = 10.0, 3600.0  # seconds


class Pace(NamedTuple):
    """What drawing showers costs.

    Args:
        each: Seconds for a shower.
        memory: Peak of the process, or of tensors on a CUDA device [MiB].
    """

    each: float
    memory: float


def pace(model: TwoStep, energies: np.ndarray, *, seed: int, batch_size: int) -> Pace:
    """What drawing these showers will cost, from a few of them that are dropped.

    Args:
        model: The model, on its device.
        energies: Incident energies [MeV], float64, shape (N, 1).
        seed: The sample's seed.
        batch_size: See :func:`drawn`.
    """
    n, device, each = len(energies), next(model.buffers()).device, math.inf
    with Usage(device) as usage:
        for rows in _TRIED:
            some = energies[np.linspace(0, n - 1, min(rows, n)).astype(int)]
            began = time.perf_counter()
            for _, voxels in drawn(model, some, seed=seed, batch_size=batch_size):
                voxels[:1].cpu()  # waits for a GPU
            seconds = time.perf_counter() - began
            each = min(each, seconds / len(some))
            if seconds > 1 or n < 20 * rows:  # a try is no large part of the work
                break
    peak = usage.peak_rss_mib if usage.peak_cuda_mib is None else usage.peak_cuda_mib
    step = min(n, batch_size) * model.geometry.n_voxels
    step = min(step, values_at_once(device, _STEP_VALUES))
    kept = 8 * n if usage.peak_cuda_mib is None else 0  # energies, by what writes the file
    return Pace(each, peak + (_TEMPORARIES * 4 * step + kept) / 2**20)


def say_pace(found: Pace, n: int, device: torch.device) -> None:
    """Say what drawing n showers will cost; where that is hours, what makes it less."""
    seconds = found.each * n
    log.info(
        "about %s for %d showers on %s (%.3g ms each), memory about %.1f GiB",
        *(duration(seconds), n, device, 1e3 * found.each, found.memory / 1024),
    )
    if seconds > _HOURS:
        log.warning(
            "this takes hours: n=%d takes a quarter of an hour; where the density is an ODE, a run"
            " made by 'caloman distill' draws in one network evaluation",
            max(1, int(900 / found.each)),
        )


def drawn(
    model: TwoStep, energies: np.ndarray, *, seed: int, batch_size: int, first: int = 0
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Draw one shower per incident energy, in order and within memory.

    Args:
        model: The model, on its device.
        energies: Incident energies [MeV], float64, shape (N, 1).
        seed: The sample's seed.
        batch_size: Showers per step, fewer where voxels are many; row i has the same noise in any.
        first: The row of the whole sample that these begin with.

    Yields:
        Energies (B, 1) and voxels (B, V) [MeV], the latter on the model's device.
    """
    device = next(model.buffers()).device
    most = values_at_once(device, _STEP_VALUES) // model.geometry.n_voxels
    step = max(1, min(batch_size, most))
    for start in range(0, len(energies), step):
        rows = energies[start : start + step]
        e_inc = torch.as_tensor(rows, dtype=torch.float32, device=device)
        with torch.inference_mode():
            voxels = model.sample(e_inc, Noise(seed, first + start, len(rows), device))
        yield rows, voxels


def write_sample(
    model: TwoStep,
    energies: np.ndarray,
    out: Path,
    *,
    seed: int,
    batch_size: int,
    attributes: dict[str, str | int | float],
    compression: Compression = "gzip",
    first: int = 0,
) -> None:
    """Draw one shower per incident energy and write them in order.

    Memory does not grow with N: one batch is computed while the one before is being written.

    Args:
        model: The model, on its device.
        energies: Incident energies [MeV], float64, shape (N, 1).
        out: The file; it appears when it is complete.
        seed: The sample's seed.
        batch_size: See :func:`drawn`.
        attributes: Provenance that the file carries.
        compression: See :class:`caloman_cli.data.writer.ShowerWriter`.
        first: The row of the whole sample that these begin with.
    """
    n = len(energies)
    cost = pace(model, energies, seed=seed, batch_size=batch_size)
    if cost.each * n > _MOMENT:
        say_pace(cost, n, next(model.buffers()).device)
    with (
        ShowerWriter(out, n, model.geometry, attributes, compression) as writer,
        RowsDone("sample", n, "shower") as progress,
    ):
        for rows, voxels in drawn(model, energies, seed=seed, batch_size=batch_size, first=first):
            writer.write(rows, voxels.cpu().numpy())
            progress.add(len(rows))


def loaded(model_path: Path, device: torch.device) -> tuple[TwoStep, dict]:
    """The model and its config; CUDA computes as it did in the training.

    Raises:
        UserError: The file is not a model file.
    """
    model, trained = load_model(model_path, device)
    settings = asdict(TrainerSettings()) | trained.get("trainer", {})
    configure_cuda(device, deterministic=settings["deterministic"], tf32=settings["tf32"])
    return model, trained


def provenance(
    model_path: Path, trained: dict, seed: int, device: torch.device
) -> dict[str, str | int | float]:
    """What the file of showers says about its origin.

    Raises:
        UserError: The run is being trained again.
    """
    git = git_state()
    data = _training_data(RunDirectory(model_path.parent))
    try:
        digest = checksum(model_path)
    except FileNotFoundError as error:
        raise _replaced(model_path.parent) from error
    return {
        "caloman_version": caloman_cli.__version__,
        "git_commit": "none" if git is None else f"{git['commit']}{'+' if git['dirty'] else ''}",
        "config_sha256": config_hash(trained),
        "model": str(model_path),
        "model_sha256": digest,
        "training_data": json.dumps(data, sort_keys=True),
        "sampling_version": SAMPLING,
        "seed": int(seed),
        "device": str(device),
        "torch_version": str(torch.__version__),
    }


def _training_data(directory: RunDirectory) -> dict:
    """What the run says of the showers it learned from; a model file on its own says nothing."""
    known = directory.files.read()
    if "data" not in known and directory.status.text().startswith("running"):
        raise _replaced(directory.path)
    data: dict = known.get("data", {})  # the student of a lone model file has none either
    return data


def _replaced(folder: Path) -> UserError:
    return UserError(f"{folder} is being trained again by another process: wait until it is done")
