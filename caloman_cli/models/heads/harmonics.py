"""The first harmonics in alpha of layers: which way they lean, and how they are drawn out."""

import math

import torch
from torch import Tensor, nn

from caloman_cli.data.geometry import Geometry

_TYPICAL = 200.0  # cuts: of a layer this bright the share of a harmonic is of order 1


class Harmonics(nn.Module):
    r""":math:`\sum_k v_k e^{i m \alpha_k}` of a layer's shares v, for m from 1 to M.

    Times the root of the layer's energy, since bright layers are rounder.

    Args:
        geometry: The detector; layers of more than 2 m slices have a harmonic m.
        most: M.

    Attributes:
        dim: Numbers per shower, two for each harmonic of a layer.
    """

    waves: Tensor

    def __init__(self, geometry: Geometry, most: int) -> None:
        super().__init__()
        self.of_layer: list[int] = []
        waves = []
        for number, (layer, part) in enumerate(zip(geometry.layers, geometry.slices, strict=True)):
            angle = torch.arange(layer.n_alpha).repeat_interleave(layer.n_r)
            angle = angle * (math.tau / layer.n_alpha)
            for m in range(1, most + 1):
                if layer.n_alpha > 2 * m:
                    for wave in ((m * angle).cos(), (m * angle).sin()):
                        of_all = torch.zeros(geometry.n_voxels)
                        of_all[part] = wave
                        waves.append(of_all)
                        self.of_layer.append(number)
        self.dim = len(waves)
        whole = torch.stack(waves, 1) if waves else torch.zeros(geometry.n_voxels, 0)
        self.register_buffer("waves", whole, persistent=False)

    def moments(self, shares: Tensor, energies: Tensor) -> Tensor:
        """Of shares (B, V) and layers in units of the cut (B, L), shape (B, dim)."""
        return shares @ self.waves * torch.sqrt(energies[:, self.of_layer] / _TYPICAL)
