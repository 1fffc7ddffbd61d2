"""Numbers that the networks of a halving are told of patches, of all showers at once."""

from collections.abc import Callable

import torch
from torch import Tensor

from caloman_cli.models.heads.shares import LogShares

TOLD = 2
"""Numbers that are told of all patches: whether one is lit, and how bright."""
LEAST = 1e-5
"""Of a layer's energy, that is told."""
FAR = 5.0
"""Standard deviations that are told."""
_E_FOLDS = 2.0  # over the cut that are a one

Write = Callable[[Tensor, slice, Tensor], Tensor]
"""(whole, where, values) -> the whole with values in its rows where."""


def standards(levels: LogShares) -> tuple[Tensor, Tensor]:
    """Scale and shift, (N, 1) each, that standardise logarithms of shares of layers."""
    scale = 1.0 / levels.std.unsqueeze(1)
    return scale, -levels.mean.unsqueeze(1) * scale


def told(
    shares: Tensor, energies: Tensor, scale: Tensor, shift: Tensor, count: int
) -> tuple[Tensor, ...]:
    """Whether patches are lit, with which share of their layer, and their energies, (N, B) each.

    Args:
        shares: Of their layers, (N, B).
        energies: In cuts, the same.
        scale, shift: Of the logarithms of shares, see :func:`standards`.
        count: :data:`TOLD`, or one more: with the energies.
    """
    lit = shares.sign()
    bright = torch.addcmul(shift, scale, shares.clamp(min=LEAST).log())
    first = lit, bright.clamp(-FAR, FAR) * lit
    return first if count == TOLD else (*first, torch.log1p(energies) / _E_FOLDS)


def tell(
    table: Tensor, where: slice, known: tuple[Tensor, ...], patches: int, write: Write
) -> Tensor:
    """A table with what is told of patches ``where``, of as many ``patches`` and one of zeros."""
    for number, rows in enumerate(known):
        behind = number * (patches + 1)
        table = write(table, slice(where.start + behind, where.stop + behind), rows)
    return table


def put(whole: Tensor, where: slice, values: Tensor) -> Tensor:
    """``whole`` with ``values`` in its rows ``where``."""
    whole[where] = values
    return whole


def written(whole: Tensor, where: slice, values: Tensor) -> Tensor:
    """A copy of it, for gradients of all kinds."""
    return whole.slice_scatter(values, 0, where.start, where.stop)
