"""How much memory is in use and how much there is [MiB]."""

from pathlib import Path

import torch

_CGROUP = Path("/sys/fs/cgroup")


def resident_memory(device: torch.device) -> float | None:
    """Memory of this process, or of its tensors on a CUDA device [MiB]; None where unknown."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 2**20
    return _kib(Path("/proc/self/status"), "VmRSS")


def available_memory() -> float:
    """Memory that this process may still take [MiB]; infinite where unknown."""
    free = _kib(Path("/proc/meminfo"), "MemAvailable")
    limits = [float("inf") if free is None else free]
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = (_CGROUP / "memory.current").read_text().strip()
    except OSError:  # no control group limits this process
        return limits[0]
    if limit != "max":
        limits.append((float(limit) - float(used)) / 2**20)
    return min(limits)


def _kib(path: Path, key: str) -> float | None:
    """A value that the kernel gives in KiB, as MiB."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    values = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return float(values[0]) / 1024 if values else None
