"""One small network per coordinate, each of which sees the coordinates before its own."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Step = Callable[[int, Tensor, Tensor | None], tuple[Tensor, Tensor]]


class LayerNetworks(nn.Module):
    """L perceptrons with two hidden layers, evaluated together.

    Network k sees a context, the numbers of the coordinates before k, and one number of its own.
    Beside its outputs it has a shift, linear in what it sees: nearly the whole truth where layers
    are nearly Gaussian, and learned from few showers.

    Args:
        size: L.
        context_dim: Width C of the context.
        per_coordinate: Numbers per coordinate, M; they come as (B, M L), L of a kind at a time.
        hidden: Width of the hidden layers.
        out_dim: Outputs O of a network.
        own: Whether a network has a number of its own.
    """

    mask: Tensor

    def __init__(
        self,
        size: int,
        context_dim: int,
        per_coordinate: int,
        hidden: int,
        out_dim: int,
        own: bool = True,
    ) -> None:
        super().__init__()
        width = context_dim + per_coordinate * size
        before = torch.ones(size, size).triu(1)  # [j, k]: network k knows coordinate j
        seen = torch.cat([torch.ones(context_dim, size), before.repeat(per_coordinate, 1)])
        self.register_buffer("mask", seen, persistent=False)

        def uniform(fan_in: int, *shape: int) -> nn.Parameter:
            return nn.Parameter((2 * torch.rand(*shape) - 1) / math.sqrt(fan_in))

        self.first = uniform(width + 1, width, size, hidden)
        self.own = uniform(width + 1, size, hidden) if own else None
        self.first_bias = nn.Parameter(torch.zeros(size, hidden))
        self.second = uniform(hidden, size, hidden, hidden)
        self.second_bias = nn.Parameter(torch.zeros(size, 1, hidden))
        self.last = uniform(100 * hidden, size, hidden, out_dim)
        self.last_bias = nn.Parameter(torch.zeros(size, 1, out_dim))
        self.shift = nn.Parameter(torch.zeros(width, size))

    @torch.no_grad()
    def start_at(self, outputs: Tensor) -> None:
        """Begin with outputs (O,) that depend on next to nothing."""
        self.last_bias.copy_(outputs.expand_as(self.last_bias))

    def forward(self, context: Tensor, known: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
        """All networks at once, for training.

        Args:
            context: Shape (B, C).
            known: Shape (B, M L).
            own: One number for each network, shape (B, L), or None where they have none.

        Returns:
            Outputs (B, L, O) and shifts (B, L).
        """
        seen = torch.cat([context, known], 1)
        weight = (self.first * self.mask[:, :, None]).flatten(1)
        inner = (seen @ weight).unflatten(1, self.first_bias.shape) + self.first_bias
        if self.own is not None and own is not None:
            inner = inner + own[:, :, None] * self.own
        inner = F.silu(inner).transpose(0, 1)
        inner = F.silu(torch.baddbmm(self.second_bias, inner, self.second))
        outputs = torch.baddbmm(self.last_bias, inner, self.last).transpose(0, 1)
        return outputs, seen @ (self.shift * self.mask)

    def stepper(self, context: Tensor) -> Step:
        """The networks one by one, for sampling: what a context (B, C) says is computed once.

        Returns:
            A function of k, ``known`` (B, M L), of which later coordinates are not read, and the
            own number (B,) or None. It gives the outputs (B, O) and the shift (B,) of network k.
        """
        n = context.shape[1]
        weight, shift = self.first * self.mask[:, :, None], self.shift * self.mask
        told = (context @ weight[:n].flatten(1)).unflatten(
            1, self.first_bias.shape
        ) + self.first_bias
        shifted = context @ shift[:n]

        def step(k: int, known: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
            inner = torch.addmm(told[:, k], known, weight[n:, k])
            if self.own is not None and own is not None:
                inner = torch.addcmul(inner, own[:, None], self.own[k])
            inner = F.silu(torch.addmm(self.second_bias[k], F.silu(inner), self.second[k]))
            outputs = torch.addmm(self.last_bias[k], inner, self.last[k])
            return outputs, shifted[:, k] + known @ shift[n:, k]

        return step
