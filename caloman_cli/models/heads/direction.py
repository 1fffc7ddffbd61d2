"""Which way a whole shower leans: the dipole of its energy in alpha."""

import math

import torch
from torch import Tensor, nn

_NOTHING = 1e-12


class Direction(nn.Module):
    """The dipole over the energy, in units of its root mean square in training.

    Args:
        slices: A, in alpha.
    """

    unit: Tensor
    typical: Tensor
    dim = 2

    def __init__(self, slices: int) -> None:
        super().__init__()
        angle = torch.arange(slices) * (math.tau / slices)
        self.register_buffer("unit", torch.stack([angle.cos(), angle.sin()], 1), persistent=False)
        self.register_buffer("typical", torch.ones(()))
        self._squares: list[Tensor] = []

    def measure(self, slices: Tensor) -> None:
        """Take rows: the slices' energies (N, A)."""
        self._squares.append(self._dipole(slices).square().sum(1))

    def measured(self) -> None:
        """Set the unit from what was taken."""
        self.typical.copy_(torch.cat(self._squares).mean().sqrt().clamp(min=_NOTHING))
        self._squares = []

    def moments(self, slices: Tensor) -> Tensor:
        """The dipole (B, 2) of slices' energies (B, A)."""
        return self._dipole(slices) / self.typical

    def told(self, moments: Tensor) -> Tensor:
        """Its parts along each slice and across it, (B, A, 2)."""
        along = moments @ self.unit.T
        across = moments @ torch.stack([-self.unit[:, 1], self.unit[:, 0]])
        return torch.stack([along, across], 2)

    def _dipole(self, slices: Tensor) -> Tensor:
        return slices @ self.unit / slices.sum(1, keepdim=True).clamp(min=_NOTHING)
