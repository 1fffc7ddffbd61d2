"""Bits of voxels that are drawn together: at least one, and no more than there is energy for."""

import torch
from torch import Tensor
from torch.nn import functional as F

TOLERANCE = 1e-3  # of the cut, for rounding
_NOTHING = 1e-12


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
