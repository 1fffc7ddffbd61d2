"""Which points of a timing sweep are not tried, and why."""

from collections.abc import Callable

import torch

from caloman_cli.data.memory import available_memory
from caloman_cli.evaluation.timing_points import Status, TimingPoint, TimingSettings

MANY = 100  # showers in a batch: enough that memory and time grow with their number
_GROWTH = 4  # from one batch to the next that is tried on the way to a large one


def batches(batch_size: int, generating: float | None, settings: TimingSettings) -> int:
    """Batches written by an end-to-end repetition, one of which takes ``generating`` [ms per
    shower] without writing, if that is known."""
    wanted = -(-settings.min_showers // batch_size)
    if generating is None:
        return wanted
    allowed = int(settings.max_seconds * 1e3 / (generating * batch_size))
    return max(1, min(wanted, allowed))


def hopeless(
    point: TimingPoint,
    previous: TimingPoint | None,
    device: torch.device,
    settings: TimingSettings,
) -> tuple[Status, str] | None:
    """Why a point is not tried, judged by the smaller batch before it and by memory.

    Linux grants memory it does not have and then kills the process, so on the CPU too large a
    batch is predicted, not tried.
    """
    if previous is None:
        return None
    if previous.status != "ok" or previous.median is None:
        return previous.status, f"not tried after batch {previous.batch_size:,}"
    if device.type != "cpu" or previous.memory is None:
        return None
    needed = previous.memory * point.batch_size / previous.batch_size
    allowed = available_memory()
    if settings.max_memory is not None:
        allowed = min(allowed, settings.max_memory * 1024)
    if previous.batch_size >= MANY and needed > allowed:
        return "out of memory", f"about {needed:,.0f} MiB, {allowed:,.0f} MiB are allowed"
    return None


def slow_generation(
    size: int,
    previous: TimingPoint,
    generate: Callable[[int], float],
    settings: TimingSettings,
) -> tuple[Status, str] | None:
    """Why generating a batch would take too long, judged by smaller ones.

    A single shower may cost as much as a hundred together, so batches between are tried, each
    of which cannot take longer than allowed.

    Args:
        size: The batch.
        previous: Generation of the batch before it.
        generate: Generates a batch of a size and returns how long that took [s].
        settings: Has the bound.
    """
    assert previous.median is not None
    tried, seconds = previous.batch_size, previous.median * previous.showers / 1e3
    while seconds * size / tried > settings.max_seconds:
        growth = min(_GROWTH, int(settings.max_seconds / seconds))
        if growth < 2:
            return _too_slow(seconds * size / tried, f"judged by batch {tried:,}", settings)
        tried = min(tried * growth, size)
        try:
            seconds = generate(tried)
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                return None  # the point itself will say so
            raise
    return None


def slow_writing(
    point: TimingPoint, alone: TimingPoint, writing: float, settings: TimingSettings
) -> tuple[Status, str] | None:
    """Why an end-to-end point would take too long, which the generation of its batch did not.

    Args:
        point: The point.
        alone: Generation of its batch.
        writing: What a shower cost more in a smaller batch [ms].
        settings: Has the bound.
    """
    if alone.median is None:
        return alone.status, "as its generation"
    if writing * point.showers / 1e3 <= settings.max_seconds:
        return None
    seconds = (alone.median + writing) * point.showers / 1e3
    return _too_slow(seconds, "judged by smaller files", settings)


def _too_slow(seconds: float, judged: str, settings: TimingSettings) -> tuple[Status, str]:
    limit = f"max_seconds={settings.max_seconds:g}"
    return "too slow", f"about {seconds:.0f} s, {judged}, {limit}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or numpy means that memory ran out."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "alloc" in text)
