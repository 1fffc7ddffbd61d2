"""Bits of voxels: which are lit, no more of them than there is energy for."""

import itertools
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from caloman_cli.models.nn.marks import mark

TOLERANCE = 1e-3  # of the cut, for rounding
_NOTHING = 1e-12


class Bits(NamedTuple):
    """Which voxels are lit, one after the other; each field of shape (\\*, S, B).

    Args:
        logit: Of a voxel's probability.
        first: Added to it where a voxel of the block is lit before it.
        each: Added for each further one.
    """

    logit: Tensor
    first: Tensor
    each: Tensor

    def voxel(self, s: int) -> "Bits":
        """Of one voxel, fields (B,)."""
        return Bits(*(field[s] for field in self))

    def given(self, n_lit: Tensor) -> Tensor:
        """The logit, given how many voxels of the block are lit before."""
        return self.logit + torch.where(n_lit > 0, self.first + self.each * (n_lit - 1.0), 0.0)

    def draw(self, logistic: Tensor, budget: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Bits (S, B) of a block, and how many are set: no more than there are cuts.

        Args:
            logistic: Standard logistic numbers: a voxel is lit where its logit is larger.
            budget: The energy in cuts, (B,).
            size: Voxels of the block, the others are dark.
        """
        distance, first = logistic - self.logit, self.first - self.each
        lit, before = [mark(torch.lt, distance[0], 0.0)], [torch.zeros_like(budget)]
        n_lit = lit[0]
        places = zip(distance.unbind(0), first.unbind(0), self.each.unbind(0), strict=True)
        for far, any_before, each in itertools.islice(places, 1, size):
            given = torch.addcmul(any_before * n_lit.clamp(max=1.0), each, n_lit)
            lit.append(mark(torch.lt, far, given))
            before.append(n_lit)
            n_lit = n_lit + lit[-1]
        # So many may be lit before one more; of what is no cut, none.
        most = (budget - 1.0).clamp(min=0.0) - mark(torch.lt, budget, 1.0 - TOLERANCE)
        bits = torch.stack(lit) * mark(torch.le, torch.stack(before), most)
        bits = F.pad(bits, (0, 0, 0, len(distance) - size))
        return bits, bits.sum(0)


def cross_entropy(logits: Tensor, bits: Tensor) -> Tensor:
    """Minus the log-probability of each bit [nats]."""
    return F.binary_cross_entropy_with_logits(logits, bits, reduction="none")


def log_any(logits: Tensor) -> Tensor:
    """Log-probability that one voxel at least is lit, (N, A, R) -> (N,)."""
    none = F.logsigmoid(-logits).sum((1, 2))
    return torch.log(-torch.expm1(none.clamp(max=-_NOTHING)))


def some_lit(logits: Tensor, uniform: Tensor) -> Tensor:
    """Bits (N, A, R), one at least; given that, as likely as they were.

    Args:
        logits: Of the bits, (N, A, R).
        uniform: Numbers in [0, 1), the same.
    """
    p = torch.sigmoid(logits).flatten(1)
    uniform = uniform.flatten(1)
    before = torch.log1p(-p.clamp(max=1.0 - _NOTHING)).cumsum(1)
    some = -torch.expm1(before)  # that one of these voxels is lit
    first = (some < uniform[:, :1] * some[:, -1:]).sum(1).clamp(max=p.shape[1] - 1)
    places = torch.arange(p.shape[1], device=p.device)
    later = (places > first[:, None]) & (uniform < p)
    # The number that chose the first one is used up: the first voxel is never a later one.
    return (later | (places == first[:, None])).unflatten(1, logits.shape[1:])


def affordable(lit: Tensor, logits: Tensor, budget: Tensor) -> Tensor:
    """No more lit voxels than there are cuts: the most probable of them.

    Args:
        lit: Boolean, (N, A, R).
        logits: Of the bits, the same.
        budget: The energy in cuts, (N,).
    """
    most = torch.floor(budget + TOLERANCE)
    over = torch.nonzero(lit.sum((1, 2)) > most)[:, 0]
    if not len(over):
        return lit
    sure = torch.where(lit[over], logits[over], -torch.inf).flatten(1)
    rank = sure.argsort(1, descending=True).argsort(1)
    kept = (rank < most[over, None]) & lit[over].flatten(1)
    return lit.index_copy(0, over, kept.unflatten(1, lit.shape[1:]))


def must_end(budget: Tensor, n_lit: Tensor) -> Tensor:
    """Whether n lit voxels leave nothing of an energy in cuts that would reach another's."""
    return budget < n_lit + 1.0
