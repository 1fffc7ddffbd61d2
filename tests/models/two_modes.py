"""Two normals of one dimension, and the exact velocity that leads to them."""

import torch
from torch import Tensor

CENTRES = torch.tensor([-1.0, 1.0])
WIDTH = 0.25


def draw(n: int) -> Tensor:
    """Draws (n, 1), evenly from both."""
    return CENTRES[torch.arange(n) % 2, None] + WIDTH * torch.randn(n, 1)


def velocity(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
    """E[x_1 - x_0 | x] on straight paths from noise (t = 0) to the two."""
    t, centres = t.unsqueeze(1), CENTRES.to(x)
    variance = (1 - t) ** 2 + (WIDTH * t) ** 2
    whose = (-((x - t * centres) ** 2) / (2 * variance)).softmax(1)
    each = centres + (WIDTH**2 * t - (1 - t)) / variance * (x - t * centres)
    return (whose * each).sum(1, keepdim=True)


def wasserstein(first: Tensor, second: Tensor) -> float:
    """W1 of as many draws of each."""
    return float((first.flatten().sort()[0] - second.flatten().sort()[0]).abs().mean())
