"""What the walk through a cylinder's layers sees of the layers before."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_REACH = 2  # slices on either side that are seen
_UNEVEN = 3.0  # largest log ratio of halves that is told


class History(NamedTuple):
    """Of one layer or of all, each field of shape (\\*, A, R).

    Args:
        energy, lit: Of the layer before; log-energies over the cut, and bits.
        energy_2, lit_2: Of the layer before that.
        sum: Log of the energy so far.
    """

    energy: Tensor
    lit: Tensor
    energy_2: Tensor
    lit_2: Tensor
    sum: Tensor

    def after(self, voxels: Tensor, total: Tensor) -> "History":
        """Of the next layer, given this one's voxels over the cut and the sum with them."""
        return History(*told(voxels), self.energy, self.lit, _told_sum(total))

    def windows(self) -> Tensor:
        """Each slice with its neighbours, circularly: (\\*, A, WIDTH R)."""
        slices = torch.stack(self, -1).flatten(-2)
        return torch.cat([slices.roll(k, -2) for k in range(-_REACH, _REACH + 1)], -1)

    def summary(self) -> Tensor:
        """Means over the slices: (\\*, 3 R)."""
        return torch.cat([part.mean(-2) for part in (self.energy, self.lit, self.sum)], -1)

    def balance(self) -> Tensor:
        """Log ratios of the even to the odd slices' energies, within bounds: of the layer before,
        of that before it and of all, (\\*, 3)."""
        energies = [
            torch.exp(4.0 * self.energy) * self.lit,
            torch.exp(4.0 * self.energy_2) * self.lit_2,
            torch.expm1(6.0 * self.sum),
        ]
        even, odd = (
            torch.stack([part[..., parity::2, :].sum((-2, -1)) for part in energies], -1)
            for parity in (0, 1)
        )
        return (torch.log1p(even) - torch.log1p(odd)).clamp(-_UNEVEN, _UNEVEN)


WIDTH = len(History._fields) * (2 * _REACH + 1)
"""Numbers of a window per ring."""


def of_all(voxels: Tensor) -> History:
    """Of all layers at once; voxels over the cut (B, L, A, R)."""

    def before(values: Tensor, layers: int) -> Tensor:
        return F.pad(values, (0, 0, 0, 0, layers, 0))[:, : values.shape[1]]

    energy, lit = told(voxels)
    return History(
        before(energy, 1),
        before(lit, 1),
        before(energy, 2),
        before(lit, 2),
        _told_sum(voxels.cumsum(1) - voxels),
    )


def told(voxels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-energies, 0 where empty, and bits of voxels over the cut."""
    return torch.log(voxels.clamp(min=1.0)) / 4.0, (voxels > 0).to(voxels)


def _told_sum(total: Tensor) -> Tensor:
    return torch.log1p(total) / 6.0
