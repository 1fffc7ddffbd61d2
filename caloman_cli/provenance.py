"""Where a result comes from: software, hardware, data, command."""

import contextlib
import hashlib
import json
import os
import platform
import shlex
import socket
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType

import torch

import caloman_cli

_PACKAGES = ("torch", "numpy", "scipy", "h5py", "nflows", "hydra-core", "omegaconf")
_CHECKOUT = Path(caloman_cli.__file__).resolve().parents[1]


def config_hash(config: dict) -> str:
    """SHA-256 of a config of plain types, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of those that numbers depend on."""
    found = {"python": platform.python_version(), "caloman": caloman_cli.__version__}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def git_state() -> dict[str, str | bool] | None:
    """Commit of the running checkout and whether it has changes; None without a checkout."""
    if not (_CHECKOUT / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(_CHECKOUT), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(changes)}


def device_name(device: torch.device) -> str:
    """The accelerator's or the processor's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def collect(config: dict, device: torch.device) -> dict:
    """What is known before anything is computed.

    Args:
        config: The resolved config, plain types only.
        device: Where the computation will run.
    """
    return {
        "versions": versions(),
        "git": git_state(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "device": {"type": device.type, "name": device_name(device)},
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "command": shlex.join(sys.argv),
        "config_sha256": config_hash(config),
    }


class Usage:
    """Wall time and peak memory of a block.

    Attributes:
        seconds: Wall time [s].
        peak_rss_mib: Largest resident memory of the process in the block [MiB]; where the system
            cannot reset its record, since the process began.
        peak_cuda_mib: Largest memory of tensors on the device [MiB], None on a CPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds, self.peak_rss_mib = 0.0, 0.0
        self.peak_cuda_mib: float | None = None

    def __enter__(self) -> "Usage":
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._start = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self._start
        self.peak_rss_mib = round(_peak_rss_mib(), 1)
        if self.device.type == "cuda":
            self.peak_cuda_mib = round(torch.cuda.max_memory_allocated(self.device) / 2**20, 1)

    def memory(self) -> dict[str, float | None]:
        """Plain types for JSON."""
        return {"peak_rss_mib": self.peak_rss_mib, "peak_cuda_mib": self.peak_cuda_mib}


def _peak_rss_mib() -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        import resource

        scale = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
