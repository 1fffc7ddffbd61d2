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
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.spectrum import KnowsEnergies
from caloman_cli.data.writer import ShowerWriter
from caloman_cli.metrics.memory import available_memory, resident_memory
from caloman_cli.metrics.timing_points import (
    Measure,
    Status,
    TimingPoint,
    TimingSettings,
    describe,
)
from caloman_cli.noise import Noise
from caloman_cli.provenance import Usage, device_name

logger = logging.getLogger(__name__)


class Sampler(KnowsEnergies, Protocol):
    """What is timed: incident energies (B, 1) [MeV] to voxels (B, V) [MeV]."""

    def sample(self, e_inc: Tensor, noise: Noise) -> Tensor: ...


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
    points: list[TimingPoint] = []
    generating: dict[int, float | None] = {}  # ms per shower
    measures: tuple[Measure, ...] = ("generation", "end to end")
    for measure in measures:
        previous: TimingPoint | None = None
        for batch_size in sorted(settings.batch_sizes):
            showers = batch_size
            if measure == "end to end":
                showers = batch_size * _batches(batch_size, generating[batch_size], settings)
            point = TimingPoint(measure, batch_size, showers)
            reason = _hopeless(point, previous, device, settings)
            if reason is None:
                e_inc = np.resize(energies, (showers, 1))
                if measure == "generation":
                    once = _generation(model, e_inc, device)
                else:
                    once = _end_to_end(model, e_inc, batch_size, geometry, device, scratch)
                point = _measure(point, once, device, settings)
            else:
                point = _missing(point, *reason)
            logger.info("timing: %s", describe(point))
            points.append(point)
            previous = point
            if measure == "generation":
                generating[batch_size] = point.median
    return points


def environment(model: Sampler, device: torch.device) -> dict[str, str | int]:
    """What a time depends on: device, threads, precision and size of the model."""
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    floating = [parameter for parameter in parameters if parameter.is_floating_point()]
    return {
        "device": device.type,
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "dtype": str(floating[0].dtype if floating else torch.get_default_dtype()).split(".")[1],
        "parameters": sum(parameter.numel() for parameter in parameters),
        "torch": torch.__version__,
    }


def _generation(model: Sampler, e_inc: np.ndarray, device: torch.device) -> Callable[[], None]:
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
) -> Callable[[], None]:
    path = scratch / "timing.hdf5"

    def once() -> None:
        try:
            with (
                torch.inference_mode(),
                ShowerWriter(path, len(e_inc), geometry, {"purpose": "timing"}) as writer,
            ):
                for start in range(0, len(e_inc), batch_size):
                    rows = e_inc[start : start + batch_size]
                    batch = torch.as_tensor(rows, dtype=torch.float32, device=device)
                    voxels = model.sample(batch, Noise(0, start, len(rows), device))
                    writer.write(rows, voxels.cpu().numpy())
        finally:
            path.unlink(missing_ok=True)

    return once


def _batches(batch_size: int, generating: float | None, settings: TimingSettings) -> int:
    """Batches written by an end-to-end repetition, one of which takes ``generating`` [ms per
    shower] without writing, if that is known."""
    wanted = -(-settings.min_showers // batch_size)
    if generating is None:
        return wanted
    allowed = int(settings.max_seconds * 1e3 / (generating * batch_size))
    return max(1, min(wanted, allowed))


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


def _hopeless(
    point: TimingPoint,
    previous: TimingPoint | None,
    device: torch.device,
    settings: TimingSettings,
) -> tuple[Status, str] | None:
    """Why a point is not tried, judged by the smaller batch before it.

    Linux grants memory it does not have and then kills the process, so on the CPU too large a
    batch is predicted, not tried.
    """
    if previous is None:
        return None
    if previous.status != "ok" or previous.median is None:
        return previous.status, f"not tried after batch {previous.batch_size:,}"
    seconds = previous.median * point.showers / 1e3
    if point.showers > previous.showers and seconds > settings.max_seconds:
        return "too slow", f"about {seconds:.0f} s, max_seconds={settings.max_seconds:g}"
    if device.type != "cpu" or previous.memory is None:
        return None
    needed = previous.memory * point.batch_size / previous.batch_size
    allowed = available_memory()
    if settings.max_memory is not None:
        allowed = min(allowed, settings.max_memory * 1024)
    if previous.batch_size >= 100 and needed > allowed:
        return "out of memory", f"about {needed:,.0f} MiB, {allowed:,.0f} MiB are allowed"
    return None


def _missing(point: TimingPoint, status: Status, note: str) -> TimingPoint:
    return TimingPoint(
        point.measure, point.batch_size, point.showers, status=status, note=note[:200]
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or numpy means that memory ran out."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "alloc" in text)
