"""What coordinates of layer energies share out in sampling: which exist, how much is allowed."""

import math

import torch
from torch import Tensor

from caloman_cli.models.energies.ratios import LARGEST_RESPONSE

HIGHEST = math.log(LARGEST_RESPONSE / (1 - LARGEST_RESPONSE))  # logit of the response
NARROWEST = 1e-4  # interval of a coordinate
_LEAST_SHARE = 1e-13  # of what is left


class Shares:
    """The coordinates of B showers whose empty layers are known, with rows last.

    Args:
        filled: Which layers are not empty, booleans, shape (L, B).
        floor: log of the least energy of such a layer, counted from wherever the caller counts
            logs from, shape ().

    Attributes:
        valid: Which rows have coordinate k, L booleans of shape (1, B), as
            :func:`~caloman_cli.models.energies.ratios.valid_ratios`.
        kept: The same as 0.0 or 1.0, float64.
    """

    def __init__(self, filled: Tensor, floor: Tensor) -> None:
        left = filled.flip(0).cumsum(0).flip(0)
        valid = left > 0
        valid[1:] &= filled[:-1]
        self.valid, self.kept = valid.split(1), valid.double().split(1)
        behind = left.clamp(min=1).double().log() + floor
        self._floors = torch.stack([floor.expand_as(behind), behind], 1).unbind()

    def limits(self, k: int, below: Tensor) -> tuple[Tensor, Tensor]:
        """Lowest and highest coordinate k that leave every non-empty layer its floor, (1, B).

        Args:
            k: The coordinate.
            below: How far the log of what is shared out lies below where logs are counted from,
                float64, shape (1, B).
        """
        shares = (self._floors[k] + below).exp()
        one, behind = torch.logit(shares, eps=_LEAST_SHARE).split(1)
        if k == 0:
            return behind, (behind + NARROWEST).clamp(min=HIGHEST)
        return one, torch.maximum(-behind, one + NARROWEST)
