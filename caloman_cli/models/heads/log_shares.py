"""Means and widths of log-shares, which heads standardise with."""

import torch
from torch import Tensor, nn

_PSEUDO = 20.0  # lit entries that a group of voxels lends to each of its members
_WIDTHS = (0.05, 0.2)  # smallest standard deviation of a log-share: of a voxel, of a group


class LogShares(nn.Module):
    """Mean and standard deviation of log-shares (\\*, S), per place, over lit voxels.

    A place with few lit entries leans on its group (the last axis), so that a voxel that was
    never lit has sensible numbers too.

    Args:
        shape: Of the statistics; the last axis is a group.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))
        self._sums: list[Tensor] = []

    def add(self, log_share: Tensor, lit: Tensor) -> None:
        """Take rows (B, \\*shape); only lit entries count."""
        value, weight = log_share.double(), lit.double()
        sums = [weight.sum(0), (weight * value).sum(0), (weight * value.square()).sum(0)]
        before = self._sums or [torch.zeros_like(part) for part in sums]
        self._sums = [a + b for a, b in zip(before, sums, strict=True)]

    def finish(self) -> None:
        """Set the statistics from what was added."""
        n, first, second = self._sums
        count = n.sum(-1, keepdim=True).clamp(min=1.0)
        mean = first.sum(-1, keepdim=True) / count
        square = second.sum(-1, keepdim=True) / count
        square = mean.square() + (square - mean.square()).clamp(min=_WIDTHS[1] ** 2)
        shrunk = (first + _PSEUDO * mean) / (n + _PSEUDO)
        variance = (second + _PSEUDO * square) / (n + _PSEUDO) - shrunk.square()
        self.mean.copy_(shrunk)
        self.std.copy_(variance.clamp(min=_WIDTHS[0] ** 2).sqrt())
        self._sums = []
