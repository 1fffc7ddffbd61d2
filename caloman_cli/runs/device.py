"""Where tensors live and how many threads compute them."""

import os
import re
import warnings

import torch

from caloman_cli.errors import UserError


def resolve_device(name: str) -> torch.device:
    """The device of ``device=auto|cpu|cuda|cuda:1``.

    Args:
        name: ``auto`` takes CUDA where there is one, else the CPU.

    Raises:
        UserError: The name is none of these, or the machine has no such device.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise UserError(f"device={name} does not exist: use auto, cpu, cuda or cuda:<index>")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise UserError(f"device={name}: no CUDA device is visible here; use device=cpu")
        if (device.index or 0) >= count:
            raise UserError(f"device={name}: the last CUDA device here is cuda:{count - 1}")
    return device


def configure_cuda(device: torch.device, *, deterministic: bool, tf32: bool) -> None:
    """How CUDA computes from here on: the same for who trains, samples and times a model.

    Args:
        device: Where the model is; nothing is changed for the CPU.
        deterministic: Ask for deterministic kernels: the same seed gives the same showers.
        tf32: Multiply float32 matrices in TF32.
    """
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Kernels without a deterministic form are used all the same, and say so once.
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    warnings.filterwarnings("once", message=".*deterministic.*", category=UserWarning)
    torch.backends.cuda.matmul.allow_tf32 = tf32


def available_threads() -> int:
    """The threads this process may use: those granted by the batch system, else its cores.

    More threads than cores make small matrix products many times slower, and a cluster's node
    shows all its cores to a job that was given two.
    """
    for variable in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS"):
        granted = os.environ.get(variable, "").split(",")[0]
        if granted.isdigit() and int(granted) > 0:
            return int(granted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def configure_threads() -> int:
    """Give torch :func:`available_threads` threads and return their number."""
    threads = available_threads()
    torch.set_num_threads(threads)
    return threads
