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
        scale = _scale(t)
        rest = self._rest(x * scale, t, c)
        return scale * torch.addcmul(rest, (2.0 * t.unsqueeze(1) - 1.0) * scale, x)

    def _rest(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        told = torch.cat((self._features(t), c), 1)
        h = self.first(torch.cat((x, told), 1))
        for block in self.blocks:
            h = block(h, told)
        rest: Tensor = self.last(F.silu(self.norm(h)))
        return rest

    def _features(self, t: Tensor) -> Tensor:
        angle = t.unsqueeze(1) * self.frequencies
        return torch.cat((angle.cos(), angle.sin()), 1)


@checked
class AverageVelocityNet(VelocityNet):
    r"""The velocity averaged over a path from t to r, u(x, t, r, c); told of r - t as well.

    It learns what is left by the path of standard normal data, which leads from x at t to
    :math:`x\, s_r / s_t` at r: its average velocity is :math:`2 (r + t - 1)\, x / (s_t (s_t +
    s_r))`. Where r is t this is :class:`VelocityNet`'s.

    Args:
        hidden: See :class:`VelocityNet`, as all arguments.
        n_blocks: See there.
        n_frequencies: See there; as many for r - t.
        dropout: See there.
        dim: See there.
        c_dim: See there.
    """

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
        wider = c_dim + 2 * n_frequencies
        super().__init__(hidden, n_blocks, n_frequencies, dropout, dim=dim, c_dim=wider)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        return self.average(x, t, t, c)

    def average(self, x: Tensor, t: Tensor, r: Tensor, c: Tensor) -> Tensor:
        """u, shape (B, D), of x (B, D) at t (B,) on its way to r (B,), given c (B, C)."""
        scale, end = _scale(t), _scale(r)
        rest = self._rest(x * scale, t, torch.cat((self._features(r - t), c), 1))
        middle = 2.0 * (r + t - 1.0).unsqueeze(1) * scale * end / (scale + end)
        return scale * torch.addcmul(rest, middle, x)


def _scale(t: Tensor) -> Tensor:
    """1 / s (B, 1): over the standard deviation of normal data on their path at t (B,)."""
    t = t.unsqueeze(1)
    return torch.rsqrt(t.square() + (1.0 - t).square())
