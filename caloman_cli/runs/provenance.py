"""Where a result comes from: software, hardware, data, command."""

import hashlib
import json
import os
import platform
import shlex
import socket
import subprocess
import sys
import threading
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType

import psutil
import torch

import caloman_cli

_PACKAGES = ("torch", "numpy", "scipy", "h5py", "nflows", "hydra-core", "omegaconf")
_SAMPLE_SECONDS = 0.05
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

    The system's record of the peak is left alone: resetting it would falsify what ``time`` and a
    cluster's accounting report. Where the block does not raise that record, its peak is the
    largest of samples, 20 per second and one at either end.

    Attributes:
        seconds: Wall time [s].
        peak_rss_mib: Largest resident memory of the process in the block [MiB].
        peak_cuda_mib: Largest memory of tensors on the device [MiB], None on a CPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds, self.peak_rss_mib = 0.0, 0.0
        self.peak_cuda_mib: float | None = None

    def __enter__(self) -> "Usage":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._record, self._sampled = _peak_rss_mib(), _rss_mib()
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        self._start = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self._start
        self._over.set()
        self._sampler.join()
        record, now = _peak_rss_mib(), _rss_mib()  # the sampler may have had no turn
        self._sampled = max(self._sampled, now)
        self.peak_rss_mib = round(record if record > self._record else self._sampled, 1)
        if self.device.type == "cuda":
            self.peak_cuda_mib = round(torch.cuda.max_memory_allocated(self.device) / 2**20, 1)

    def _sample(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            self._sampled = max(self._sampled, _rss_mib())

    def memory(self) -> dict[str, float | None]:
        """Plain types for JSON."""
        return {"peak_rss_mib": self.peak_rss_mib, "peak_cuda_mib": self.peak_cuda_mib}


def _peak_rss_mib() -> float:
    """The system's record for this process, from its beginning."""
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource  # not on Windows; psutil has no such record elsewhere

    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def _rss_mib() -> float:
    """Resident memory now."""
    return float(psutil.Process().memory_info().rss) / 2**20
