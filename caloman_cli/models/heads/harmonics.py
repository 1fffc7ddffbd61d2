"""The first harmonics in alpha of layers: which way they lean, and how they are drawn out."""

import math

import torch
from torch import Tensor, nn

from caloman_cli.data.geometry import Geometry

_TYPICAL = 200.0  # cuts: of a layer this bright the share of a harmonic is of order 1
_LEAST = 1e-6  # of a variance


class Harmonics(nn.Module):
    r""":math:`\sum_k v_k e^{i m \alpha_k}` of a layer's shares v, for m from 1 to M.

    Times the root of the layer's energy, since bright layers are rounder. Of more than R layers
    it is R combinations of them for each m that vary most, with real weights, so that they turn
    with a shower: neighbouring layers lean alike.

    Args:
        geometry: The detector; layers of more than 2 m slices have a harmonic m.
        most: M.
        rank: R.

    Attributes:
        dim: Numbers per shower, two for each harmonic of a layer or a combination.
    """

    waves: Tensor
    layers: Tensor

    def __init__(self, geometry: Geometry, most: int, rank: int) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.dim = 0
        waves, layers = [], []
        for m in range(1, most + 1):
            own = [i for i, layer in enumerate(geometry.layers) if layer.n_alpha > 2 * m]
            kept = min(rank, len(own))
            self.sizes.append(len(own))
            self.dim += 2 * kept
            layers += own
            waves += [_waves(geometry, number, m) for number in own]
            self.register_buffer(f"weights_{m}", torch.eye(len(own))[:, :kept])
        whole = torch.stack(waves, 1) if waves else torch.zeros(geometry.n_voxels, 0, 2)
        self.register_buffer("waves", whole.flatten(1), persistent=False)
        self.register_buffer("layers", torch.tensor(layers, dtype=torch.long), persistent=False)
        self._rows = 0
        self._sums = [torch.zeros(size, size, dtype=torch.float64) for size in self.sizes]

    def add(self, shares: Tensor, energies: Tensor) -> None:
        """Take rows: shares (B, V) and layers in units of the cut (B, L)."""
        self._rows += len(shares)
        for sums, own in zip(self._sums, self._of_layers(shares, energies), strict=True):
            sums.add_(torch.einsum("blp,bkp->lk", own.double(), own.double()).cpu() / 2)

    def finish(self) -> None:
        """Find the combinations that vary most, of what was added."""
        for weights, sums in zip(self._weights(), self._sums, strict=True):
            kept = weights.shape[1]
            if kept < len(weights):
                variance, vectors = torch.linalg.eigh(sums / max(self._rows, 1))
                found = vectors[:, -kept:] / variance[-kept:].clamp(min=_LEAST).sqrt()
                weights.copy_(found.flip(1))
            sums.zero_()
        self._rows = 0

    def moments(self, shares: Tensor, energies: Tensor) -> Tensor:
        """Of shares (B, V) and layers in units of the cut (B, L), shape (B, dim)."""
        found = [shares[:, :0]]
        for weights, own in zip(self._weights(), self._of_layers(shares, energies), strict=True):
            found.append((own.mT @ weights).mT.flatten(1))
        return torch.cat(found, 1)

    def _weights(self) -> list[Tensor]:
        return [getattr(self, f"weights_{m}") for m in range(1, len(self.sizes) + 1)]

    def _of_layers(self, shares: Tensor, energies: Tensor) -> tuple[Tensor, ...]:
        """Real and imaginary parts of each harmonic of all its layers, (B, L, 2) each."""
        bright = torch.sqrt(energies.index_select(1, self.layers) / _TYPICAL)
        found = (shares @ self.waves).unflatten(1, (-1, 2)) * bright.unsqueeze(2)
        return found.split(self.sizes, 1)


def _waves(geometry: Geometry, number: int, m: int) -> Tensor:
    """Cosine and sine of a harmonic of a layer, (V, 2)."""
    layer = geometry.layers[number]
    angle = torch.arange(layer.n_alpha).repeat_interleave(layer.n_r)
    angle = angle * (m * math.tau / layer.n_alpha)
    waves = torch.zeros(geometry.n_voxels, 2)
    waves[geometry.slices[number]] = torch.stack([angle.cos(), angle.sin()], 1)
    return waves
