"""How much memory is in use and how much there is [MiB]."""

import sys
from pathlib import Path

import psutil
import torch

_CGROUP = Path("/sys/fs/cgroup")
_TEMPORARIES = 16  # that a computation holds beside the one that is counted


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


def values_at_once(device: torch.device, on_cpu: int) -> int:
    """Numbers of float32 that one temporary of a computation may have.

    Args:
        device: Where it is. On a CUDA device as many as fit into what is free, sixteen times over.
        on_cpu: How many on a CPU: what its caches hold decides there.

    While a graph is made nothing is cut in parts.
    """
    if torch.compiler.is_compiling():
        return sys.maxsize
    if device.type != "cuda":
        return on_cpu
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(1, free // (4 * _TEMPORARIES))
