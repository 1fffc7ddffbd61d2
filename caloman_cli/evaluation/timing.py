"""How long a shower takes: milliseconds over batch sizes, measured so that peers can compare.

Two times are taken, because the field quotes both:

- ``generation``: incident energies on the device to showers [MeV] on the device;
- ``end to end``: incident energies in memory to a closed gzip HDF5 file, transfer included.

Every point is warmed up, synchronised with the device and repeated; the median and the
interquartile range are reported. What cannot be measured is a row too: out of memory, or longer
than allowed.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from caloman_cli.config.values import Compression
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.memory import resident_memory
from caloman_cli.data.spectrum import KnowsEnergies
from caloman_cli.data.writer import ShowerWriter
from caloman_cli.evaluation.timing_limits import (
    MANY,
    batches,
    hopeless,
    is_out_of_memory,
    slow_generation,
    slow_writing,
)
from caloman_cli.evaluation.timing_points import (
    Status,
    TimingPoint,
    TimingSettings,
    describe,
)
from caloman_cli.runs.provenance import Usage, device_name

if TYPE_CHECKING:  # to score two files loads no model
    from caloman_cli.models.noise import Noise

logger = logging.getLogger(__name__)


class Sampler(KnowsEnergies, Protocol):
    """What is timed: incident energies (B, 1) [MeV] to voxels (B, V) [MeV]."""

    def sample(self, e_inc: Tensor, noise: "Noise") -> Tensor: ...

    def generating_parameters(self) -> int: ...


def sweep(
    model: Sampler,
    energies: np.ndarray,
    geometry: Geometry,
    device: torch.device,
    scratch: Path,
    settings: TimingSettings,
) -> list[TimingPoint]:
    """Time a model over batch sizes.

    Args:
        model: The model, on ``device``.
        energies: Incident energies (N, 1) [MeV]; repeated in order where a batch needs more.
        geometry: The showers' geometry.
        device: Where the model runs.
        scratch: Directory for the end-to-end files; they are removed again.
        settings: Batch sizes, repetitions and bounds.

    Returns:
        The points of ``generation``, then of ``end to end``, by rising batch size.
    """

    def generation(size: int) -> Callable[[], None]:
        return _generation(model, np.resize(energies, (size, 1)), device)

    def seconds(size: int) -> float:
        return _seconds(generation(size), device)

    alone: dict[int, TimingPoint] = {}
    previous = None
    for size in sorted(settings.batch_sizes):
        point = TimingPoint("generation", size, size)
        reason = hopeless(point, previous, device, settings)
        if reason is None and previous is not None:
            reason = slow_generation(size, previous, seconds, settings)
        if reason is None:
            point = _measure(point, generation(size), device, settings)
        previous = alone[size] = _said(point, reason)
    written: dict[int, TimingPoint] = {}
    previous, writing = None, 0.0  # ms per shower
    for size in sorted(settings.batch_sizes):
        showers = size * batches(size, alone[size].median, settings)
        point = TimingPoint("end to end", size, showers)
        reason = hopeless(point, previous, device, settings)
        if reason is None:
            reason = slow_writing(point, alone[size], writing, settings)
        if reason is None:
            e_inc = np.resize(energies, (showers, 1))
            once = _end_to_end(model, e_inc, size, geometry, device, scratch, settings.compression)
            point = _measure(point, once, device, settings)
        previous = written[size] = _said(point, reason)
        if size >= MANY:
            writing = max((previous.median or 0.0) - (alone[size].median or 0.0), 0.0)
    return [*alone.values(), *written.values()]


def environment(model: Sampler, device: torch.device) -> dict[str, str | int]:
    """What a time depends on: device, threads, precision and size of the model.

    ``parameters`` counts what generation needs, as published numbers do.
    """
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    total = sum(parameter.numel() for parameter in parameters)
    floating = [parameter for parameter in parameters if parameter.is_floating_point()]
    return {
        "device": device.type,
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "dtype": str(floating[0].dtype if floating else torch.get_default_dtype()).split(".")[1],
        "parameters": model.generating_parameters(),
        "parameters_training_only": total - model.generating_parameters(),
        "torch": torch.__version__,
    }


def _generation(model: Sampler, e_inc: np.ndarray, device: torch.device) -> Callable[[], None]:
    from caloman_cli.models.noise import Noise

    rows = torch.as_tensor(e_inc, dtype=torch.float32, device=device)

    def once() -> None:
        with torch.inference_mode():
            model.sample(rows, Noise(0, 0, len(rows), device))

    return once


def _end_to_end(
    model: Sampler,
    e_inc: np.ndarray,
    batch_size: int,
    geometry: Geometry,
    device: torch.device,
    scratch: Path,
    compression: Compression,
) -> Callable[[], None]:
    from caloman_cli.models.noise import Noise

    path = scratch / "timing.hdf5"

    def once() -> None:
        try:
            with (
                torch.inference_mode(),
                ShowerWriter(
                    path, len(e_inc), geometry, {"purpose": "timing"}, compression
                ) as writer,
            ):
                for start in range(0, len(e_inc), batch_size):
                    rows = e_inc[start : start + batch_size]
                    batch = torch.as_tensor(rows, dtype=torch.float32, device=device)
                    voxels = model.sample(batch, Noise(0, start, len(rows), device))
                    writer.write(rows, voxels.cpu().numpy())
        finally:
            path.unlink(missing_ok=True)

    return once


def _measure(
    point: TimingPoint, once: Callable[[], None], device: torch.device, settings: TimingSettings
) -> TimingPoint:
    before = resident_memory(device)
    usage = Usage(device)
    failure: str | None = None
    times: list[float] = []
    repeats = 1
    try:
        with usage:
            spent = 0.0
            for _ in range(settings.warmup):
                spent += (last := _seconds(once, device))
                if spent + last > settings.max_seconds:
                    break
            times.append(_seconds(once, device))
            repeats = max(1, min(settings.repeats, int(settings.max_seconds / times[0])))
            times += [_seconds(once, device) for _ in range(repeats - 1)]
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        failure = str(error).splitlines()[0] if str(error) else type(error).__name__
    if failure is not None:
        # Outside the except block, whose traceback would keep the failed call's tensors alive.
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return _missing(point, "out of memory", failure)
    per_shower = np.asarray(times) * 1e3 / point.showers
    several = len(times) > 1
    short = f"{repeats} of {settings.repeats} repetitions in {settings.max_seconds:g} s"
    return TimingPoint(
        point.measure,
        point.batch_size,
        point.showers,
        repeats=len(times),
        median=float(np.median(per_shower)),
        lower=float(np.quantile(per_shower, 0.25)) if several else None,
        upper=float(np.quantile(per_shower, 0.75)) if several else None,
        memory=_memory(usage, before),
        note=short if repeats < settings.repeats else "",
    )


def _memory(usage: Usage, before: float | None) -> float | None:
    peak = usage.peak_rss_mib if usage.peak_cuda_mib is None else usage.peak_cuda_mib
    return None if before is None else max(peak - before, 0.0)


def _seconds(once: Callable[[], None], device: torch.device) -> float:
    _synchronise(device)
    start = time.perf_counter()
    once()
    _synchronise(device)
    return max(time.perf_counter() - start, 1e-9)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _said(point: TimingPoint, reason: tuple[Status, str] | None) -> TimingPoint:
    """The point in the log; with a reason it was not tried."""
    point = point if reason is None else _missing(point, *reason)
    logger.info("timing: %s", describe(point))
    return point


def _missing(point: TimingPoint, status: Status, note: str) -> TimingPoint:
    return TimingPoint(
        point.measure, point.batch_size, point.showers, status=status, note=note[:200]
    )
