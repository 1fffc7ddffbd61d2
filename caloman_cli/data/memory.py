"""How much memory is in use and how much there is [MiB]."""

from pathlib import Path

import psutil
import torch

_CGROUP = Path("/sys/fs/cgroup")


def resident_memory(device: torch.device) -> float:
    """Memory of this process, or of its tensors on a CUDA device [MiB]."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 2**20
    return float(psutil.Process().memory_info().rss) / 2**20


def available_memory() -> float:
    """Memory that this process may still take [MiB]: of the machine, and of its control group."""
    limits = [psutil.virtual_memory().available / 2**20]
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = (_CGROUP / "memory.current").read_text().strip()
    except OSError:  # no control group limits this process; psutil knows of the machine only
        return limits[0]
    if limit != "max":
        limits.append((float(limit) - float(used)) / 2**20)
    return min(limits)
