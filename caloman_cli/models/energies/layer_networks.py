"""One small network per coordinate, each of which sees the coordinates before its own."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


class Steps:
    """The networks one by one, for sampling: rows last, in few tensor operations a network.

    Network k sees ``own`` and the first M k lines of ``known``, which the caller has written by
    then; what stands in the others does not matter as long as it is finite.

    Args:
        networks: The networks; what they learn meanwhile is not seen.
        context: What all of them see, shape (B, C).
        unit: What the networks' own numbers are multiples of, shape (), where they have any.

    Attributes:
        own: The next network's own number, shape (1, B); without lines where there is none.
        known: The numbers of the coordinates, shape (M L, B), M lines a coordinate.
        lines: The lines of ``known``, shape (1, B) each.
        groups: Those of each coordinate, shape (M, B).
    """

    def __init__(
        self, networks: LayerNetworks, context: Tensor, unit: Tensor | None = None
    ) -> None:
        size, hidden = networks.first_bias.shape
        n, width = context.shape[1], len(networks.first) - context.shape[1]
        # The shift is one more hidden unit, which no function bends.
        weight = torch.cat([networks.first, networks.shift.unsqueeze(2)], 2)
        told, known = (weight * networks.mask[:, :, None]).split([n, width])
        known = known.unflatten(0, (-1, size)).transpose(0, 1).flatten(0, 1)
        own = told[:0]
        if networks.own is not None and unit is not None:
            own = F.pad(networks.own * unit, (0, 1)).unsqueeze(0)
        self._first = torch.cat([own, told, known]).permute(1, 2, 0).unbind()
        self._first_bias = F.pad(networks.first_bias, (0, 1)).unsqueeze(2).unbind()
        self._second = networks.second.mT.unbind()
        self._second_bias = networks.second_bias.mT.unbind()
        self._parts = [hidden, 1]
        self._seen = context.new_zeros(len(own) + n + width, len(context))
        self.own, there, self.known = self._seen.split([len(own), n, width])
        there.copy_(context.t())
        self.lines, self.groups = self.known.split(1), self.known.split(width // size)

    def __call__(self, k: int) -> tuple[Tensor, Tensor]:
        """The second hidden layer (H, B) and the shift (1, B) of network k."""
        inner = torch.addmm(self._first_bias[k], self._first[k], self._seen)
        inner, shift = inner.split(self._parts)
        inner = torch.addmm(self._second_bias[k], self._second[k], F.silu(inner))
        return F.silu(inner), shift
