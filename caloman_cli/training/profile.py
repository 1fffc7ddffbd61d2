"""What torch's profiler says of a stage's first steps."""

import logging
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from caloman_cli.data.files import write_text

log = logging.getLogger(__name__)

_ROWS = 30  # of the table


class StepProfile:
    """Watches some steps of a stage and writes where their time goes; nothing where none is asked.

    Args:
        path: The table.
        steps: How many are watched, behind the first.
        device: Where the steps are computed.
    """

    def __init__(self, path: Path, steps: int, device: torch.device) -> None:
        self.path, self.device = path, device
        self._left = steps + 1 if steps else 0
        self._profile: profile | None = None
        if not steps:
            return
        activities = [ProfilerActivity.CPU]
        if device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self._profile = profile(
            activities=activities,
            schedule=schedule(wait=0, warmup=1, active=steps, repeat=1),
            on_trace_ready=self._write,
        )
        self._profile.start()

    def step(self) -> None:
        """A step has been done."""
        if self._profile is not None:
            self._profile.step()
            self._left -= 1
            if not self._left:
                self.close()

    def close(self) -> None:
        """Nothing more is watched; a table of fewer steps is better than none."""
        if self._profile is not None:
            found, self._profile = self._profile, None
            found.stop()

    def _write(self, found: profile) -> None:
        by = "self_cuda_time_total" if self.device.type == "cuda" else "self_cpu_time_total"
        table = found.key_averages().table(sort_by=by, row_limit=_ROWS)
        self.path.parent.mkdir(exist_ok=True)
        write_text(self.path, table)
        log.info("where the time of its steps goes: %s", self.path)
