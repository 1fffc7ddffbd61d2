r"""Which way a layer leans: the dipole of its energy in alpha, and what is left of it in a walk.

The dipole of layer l is :math:`D_l = \sum_k E_k (\cos\alpha_k, \sin\alpha_k)` over its voxels. A
walk from ring to ring that is not told of it forgets a little in every step, and its layers come
out too round. It is told of the latents' D, which is not quite that of the voxels: a walk that
knew exactly what is left would know when its last voxel comes.
"""

import math

import torch
from torch import Tensor, nn

from caloman_cli.data.geometry import Geometry
from caloman_cli.models.heads.blocks import Blocks

_TYPICAL = 200.0  # cuts: of a layer this bright the share D / E is of order 1
_LEAST = 1e-6  # cuts
_LARGEST = 3.0  # of a scaled dipole that networks are told


class Dipoles(nn.Module):
    """Dipoles of the layers that have slices, and what blocks of voxels take of them.

    Energies are in units of the readout cut; N blocks of S voxels, L layers, B rows.

    Args:
        geometry: The detector.
        blocks: The walk.

    Attributes:
        dim: Numbers per shower, two for each of those layers.
        told_dim: Numbers that a block is told.
    """

    direction: Tensor
    member: Tensor

    def __init__(self, geometry: Geometry, blocks: Blocks) -> None:
        super().__init__()
        self.layers = [i for i, layer in enumerate(geometry.layers) if layer.n_alpha > 1]
        self.dim, self.told_dim = 2 * len(self.layers), 4
        self.n_layers, self.blocks = geometry.n_layers, blocks
        angles = [
            torch.arange(layer.n_alpha).repeat_interleave(layer.n_r) * (math.tau / layer.n_alpha)
            for layer in geometry.layers
        ]
        lean = torch.tensor([layer.n_alpha > 1 for layer in geometry.layers])
        angle, lean = torch.cat(angles), lean[torch.from_numpy(geometry.layer_index)]
        unit = torch.stack([angle.cos(), angle.sin()]) * lean  # (2, V)
        # Of each block's voxels, (N, 2, S).
        self.register_buffer("direction", blocks.split(unit).movedim(2, 1), persistent=False)
        member = blocks.layer_index == torch.arange(geometry.n_layers)[:, None]  # (L, N)
        self.register_buffer("member", member.float(), persistent=False)

    def moments(self, voxels: Tensor, energies: Tensor) -> Tensor:
        """Of shares (N, S, B) and layers (B, L): D / E times the root of E, shape (B, dim)."""
        share = self.whole(voxels)[self.layers]  # (., 2, B)
        scale = torch.sqrt(energies[:, self.layers] / _TYPICAL)
        return (share.movedim(2, 0) * scale.unsqueeze(2)).flatten(1)

    def energies(self, moments: Tensor, energies: Tensor) -> Tensor:
        """D of moments (B, dim) and layers (B, L): shape (L, 2, B), 0 without slices."""
        scale = torch.sqrt(energies[:, self.layers] * _TYPICAL)
        dipole = moments.new_zeros(self.n_layers, 2, len(moments))
        moments = moments.unflatten(1, (len(self.layers), 2)) * scale.unsqueeze(2)
        dipole[self.layers] = moments.movedim(0, 2)
        return dipole

    def whole(self, voxels: Tensor) -> Tensor:
        """D of voxels (N, S, B), shape (L, 2, B)."""
        taken = torch.bmm(self.direction, voxels)
        return (self.member @ taken.flatten(1)).unflatten(1, taken.shape[1:])

    def left(self, dipole: Tensor, voxels: Tensor) -> Tensor:
        """What is left of D (L, 2, B) before each block of voxels (N, S, B): (N, 2, B)."""
        taken = torch.bmm(self.direction, voxels)
        before = (self.blocks.later.T @ taken.flatten(1)).view_as(taken)
        return dipole[self.blocks.layer_index] - before

    def after(self, dipole: Tensor, drawn: Tensor, i: int) -> Tensor:
        """What is left, (2, B), after the voxels (S, B) of block i."""
        return torch.addmm(dipole, self.direction[i], drawn, alpha=-1.0)

    def told(self, dipole: Tensor, left: Tensor) -> Tensor:
        """What networks hear of what is left of D (\\*, 2, B) and of the energy (\\*, B):
        (\\*, told_dim, B)."""
        left = left.unsqueeze(-2)
        share = (dipole / left.clamp(min=1.0)).clamp(-1.0, 1.0) * (left > 0)
        # A root's slope at zero is infinite, and infinity times a share's zero is NaN.
        scaled = share * torch.sqrt(left.clamp(min=_LEAST) / _TYPICAL)
        return torch.cat([share, scaled.clamp(-_LARGEST, _LARGEST)], -2)
