"""What the networks of an autoregressive head know of one block of voxels, or of all at once."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from caloman_cli.models.heads.portions import Offsets
from caloman_cli.models.heads.shares import LogShares

Hidden = tuple[Tensor, Tensor, Tensor]
"""A block's hidden units before their nonlinearity: of bits, total and split, each (hidden, B)."""


class Follow(NamedTuple):
    """How a block follows those near it.

    Args:
        bits: Added to the logits of its bits, (\\*, S, B).
        split: Added to the centres of its division, the same.
        gates: How near the layer's energy is to each of G energies, sum 1, (\\*, G, B).
    """

    bits: Tensor
    split: Tensor
    gates: Tensor


class Standard(NamedTuple):
    """Mean and standard deviation of logarithms, (\\*, S, 1)."""

    mean: Tensor
    std: Tensor

    def __call__(self, log: Tensor) -> Tensor:
        """Standardised, (\\*, S, B)."""
        return (log - self.mean) / self.std


class Linear(NamedTuple):
    """Of a block: weight (O, I) and bias (O, 1); of all blocks with N before them."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(\\*, I, B) -> (\\*, O, B)."""
        return torch.matmul(self.weight, x).add_(self.bias)


class Weights(NamedTuple):
    """What :class:`BlockNetworks` knows of one block, or of all N with an axis N before others.

    Args:
        read: How what is seen of it enters the state.
        left: How what its layer has left does.
        step: ``read`` of the block before it, and ``left``, in one matrix.
        near: Which blocks are near.
        follows: How it follows them, for each gate.
        within: How its voxels follow those before, (S S, G).
        hidden, bits, total_hears, total, split_hears, split: The perceptrons.
        parts, shares, totals, wholes: Of the logarithms that networks see.
        total_offsets, split_offsets: What components are relative to.
        limit: The largest energy that ended it.
    """

    read: Tensor
    left: Tensor
    step: Tensor
    near: Tensor
    follows: Tensor
    within: Tensor
    hidden: Linear
    bits: Linear
    total_hears: Tensor
    total: Linear
    split_hears: Tensor
    split: Linear
    parts: Standard
    shares: Standard
    totals: Standard
    wholes: Standard
    total_offsets: Offsets
    split_offsets: Offsets
    limit: Tensor


class Linears(nn.Module):
    """A linear layer for each of N blocks."""

    def __init__(self, n: int, size: int, out: int, gain: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(gain * torch.randn(n, out, size) / math.sqrt(size))
        self.bias = nn.Parameter(torch.zeros(n, out, 1))

    @property
    def weights(self) -> Linear:
        return Linear(self.weight, self.bias)


def standard(shares: LogShares) -> Standard:
    """As :class:`Weights` holds what was measured of all blocks."""
    return Standard(shares.mean.unsqueeze(-1), shares.std.unsqueeze(-1))


def unbound(whole: Any) -> Any:
    """A tensor, or named tuples of them, with an axis N before others: a list of N."""
    if isinstance(whole, Tensor):
        return whole.unbind(0)
    return [type(whole)(*one) for one in zip(*map(unbound, whole), strict=True)]
