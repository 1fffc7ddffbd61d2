"""Statistics that follow a training."""

import torch
from torch import Tensor, nn

_LEAST = 0.01  # weight of a batch, after the first hundred


class Running(nn.Module):
    """The mean of numbers that every batch has anew, of about the last hundred batches.

    Batch n = 0, 1, ... has the weight max(1 / (n + 1), 0.01): the first one counts wholly.

    Args:
        start: What is said before the first one; its shape is that of the numbers.
    """

    mean: Tensor
    count: Tensor

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", start.clone())
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, numbers: Tensor) -> None:
        """Take those of a batch."""
        weight = (1.0 / (self.count + 1)).clamp(min=_LEAST).to(self.mean)
        self.mean.copy_(self.mean + weight * (numbers.to(self.mean) - self.mean))
        self.count.add_(1)
