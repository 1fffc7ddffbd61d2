"""The guard against losses and gradients that are not finite."""

import torch
from torch import Tensor

from caloman_cli.errors import UserError


class Diverged(UserError):
    """A loss, a gradient or every validation score became NaN or infinite."""


class FiniteGuard:
    """Remembers the first step whose loss or gradient was not finite.

    It remembers on the device: asking after every step would make CUDA wait for the CPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._first = {
            name: torch.full((), -1, dtype=torch.int64, device=device)
            for name in ("loss", "gradient")
        }

    def watch(self, what: str, value: Tensor, step: int) -> None:
        """Note whether ``value`` (a scalar: a ``loss`` or a norm of a ``gradient``) is finite."""
        bad = ~torch.isfinite(value.detach())
        first = self._first[what]
        self._first[what] = torch.where(bad & (first < 0), step, first)

    def broken(self) -> tuple[str, int] | None:
        """What became non-finite and at which step, or None."""
        found = [(int(step), what) for what, step in self._first.items() if int(step) >= 0]
        if not found:
            return None
        step, what = min(found, key=lambda item: item[0])
        return what, step
