"""Networks that say where a density's ODE goes."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.config.values import Count, Fraction, checked


class _Block(nn.Module):
    """h + W2 silu(W1 (norm(h), told)); every block is told the time and the conditions."""

    def __init__(self, width: int, told: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width + told, width)
        self.second = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        hidden = F.silu(self.first(torch.cat((self.norm(h), told), 1)))
        return h + self.second(self.dropout(hidden))


class Velocity(nn.Module):
    """The contract of a network v(x (B, D), t (B,), c (B, C)) -> (B, D).

    Args (given at build time, never in YAML):
        dim: D.
        c_dim: C.
    """


@checked
class VelocityNet(Velocity):
    r"""v(x, t, c): a residual network on x (B, D), Fourier features of t (B,) and c (B, C).

    It learns what the best velocity for standard normal data, :math:`(2t - 1)\, x / s^2` with
    :math:`s^2 = t^2 + (1 - t)^2`, leaves: at all times the network's input :math:`x / s` and what
    is wanted of it, s times the rest, are then of order 1, and noise need not pass through it.

    Args:
        hidden: Width.
        n_blocks: Residual blocks.
        n_frequencies: Cosines and sines of pi k t, k = 1 ... n_frequencies.
        dropout: Drop-out probability.
        dim: D.
        c_dim: C.

    Raises:
        UserError: A size is below 1.
    """

    frequencies: Tensor

    def __init__(
        self,
        hidden: Count = 256,
        n_blocks: Count = 3,
        n_frequencies: Count = 16,
        dropout: Fraction = 0.0,
        *,
        dim: int,
        c_dim: int,
    ) -> None:
        super().__init__()
        frequencies = math.pi * torch.arange(1, n_frequencies + 1)
        self.register_buffer("frequencies", frequencies, persistent=False)
        told = 2 * n_frequencies + c_dim
        self.first = nn.Linear(dim + told, hidden)
        self.blocks = nn.ModuleList(_Block(hidden, told, dropout) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(hidden)
        self.last = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        t = t.unsqueeze(1)
        scale = torch.rsqrt(t.square() + (1.0 - t).square())
        angle = t * self.frequencies
        told = torch.cat((angle.cos(), angle.sin(), c), 1)
        h = self.first(torch.cat((x * scale, told), 1))
        for block in self.blocks:
            h = block(h, told)
        rest = self.last(F.silu(self.norm(h)))
        return scale * torch.addcmul(rest, (2.0 * t - 1.0) * scale, x)
