"""How the voxels of a block divide the block's energy while they are drawn."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from caloman_cli.models.heads.block_networks import sum_after
from caloman_cli.models.nn.marks import choose

_NOTHING = 1e-12

Odds = Callable[[Tensor, Tensor], Tensor]
"""(the free excess, what is added to the centre) -> exp(y) of a voxel's portion, (B,)."""


def divide(taken: Tensor, lit: Tensor, odds: Sequence[Odds], follows: Tensor, size: int) -> Tensor:
    """One voxel after the other takes a portion of what those before it leave.

    Args:
        taken: The block's energy over the cut, (B,).
        lit: How much each voxel is lit, (S, B).
        odds: Of the portion of each.
        follows: What portions add to the centres of later ones, (S, S, B).
        size: Voxels of the block; the other places are dark.

    Returns:
        Energies over the cut, (S, B).
    """
    every, some = sum_after(lit), lit.sign()
    divides = some * every.sign()
    fields = (
        *(lit, 1.0 - some, every, lit + every, -1.0 / every.clamp(min=_NOTHING)),
        *(divides, 2.0 * divides, 4.0 * divides, follows),
    )
    fields_of_each = zip(odds, *(field.unbind(0) for field in fields), strict=True)
    shift, rest, voxels = torch.zeros_like(lit), taken, []
    for s, place in enumerate(itertools.islice(fields_of_each, size - 1)):
        odds_of, mine, dark, others, cuts, share, divides, two, four, follow = place
        free = rest - cuts
        odd = odds_of(free, shift[s])
        log_left = torch.log1p(odd) * share
        # Not by subtraction: little may be left of much.
        part = torch.addcmul(mine, torch.expm1(log_left), free, value=-1.0)
        left = torch.addcmul(others, torch.exp(log_left), free)
        unchanged = rest * dark
        voxels.append(choose(divides, part, rest - unchanged))
        rest = choose(divides, left, unchanged)
        # Bounded y, as the networks see it: 2 - 4 / (1 + odds), 0 where nothing is divided.
        bounded = torch.addcdiv(two, four, 1.0 + odd, value=-1.0)
        shift = torch.addcmul(shift, follow, bounded)
    voxels.append(rest * some[size - 1])
    return F.pad(torch.stack(voxels), (0, 0, 0, len(lit) - size))
