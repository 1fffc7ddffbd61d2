"""The first harmonics in alpha of layers: which way they lean, how they are drawn out, where
their centres are."""

import math

import torch
from torch import Tensor, nn

from caloman_cli.data.geometry import Geometry

_TYPICAL = 200.0  # cuts: of a layer this bright the share of a harmonic is of order 1
_LEAST = 1e-6  # of a variance


class Harmonics(nn.Module):
    r""":math:`\sum_k v_k e^{i m \alpha_k}` of a layer's shares v, for m from 1 to M.

    And, with ``centres``, :math:`\sum_k v_k r_k e^{i \alpha_k}`: where a layer's centre is, which
    a few voxels far out can say and harmonics do not. Times the root of the layer's energy, since
    bright layers are rounder, in units of how much each varies. Of more than R layers it is R
    combinations of each that vary most, with real weights, so that they turn with a shower:
    neighbouring layers lean alike.

    Args:
        geometry: The detector; layers of more than 2 m slices have a harmonic m.
        most: M.
        rank: R.
        centres: Whether these are among them, if M is 1 or more.

    Attributes:
        dim: Numbers per shower, two for each of a layer or a combination.
    """

    waves: Tensor
    layers: Tensor

    def __init__(self, geometry: Geometry, most: int, rank: int, centres: bool = False) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.names: list[str] = []
        self.dim = 0
        waves, layers = [], []
        kinds = [(f"weights_{m}", m, False) for m in range(1, most + 1)]
        for name, m, far in kinds + [("weights_centres", 1, True)] * (centres and most > 0):
            own = [i for i, layer in enumerate(geometry.layers) if layer.n_alpha > 2 * m]
            kept = min(rank, len(own))
            self.sizes.append(len(own))
            self.names.append(name)
            self.dim += 2 * kept
            layers += own
            waves += [_waves(geometry, number, m, far) for number in own]
            self.register_buffer(name, torch.eye(len(own))[:, :kept])
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
            variance, vectors = sums.diagonal() / max(self._rows, 1), weights
            if kept < len(weights):
                variance, vectors = torch.linalg.eigh(sums / max(self._rows, 1))
                variance, vectors = variance[-kept:].flip(0), vectors[:, -kept:].flip(1)
            weights.copy_(vectors / variance.clamp(min=_LEAST).sqrt())
            sums.zero_()
        self._rows = 0

    def moments(self, shares: Tensor, energies: Tensor) -> Tensor:
        """Of shares (B, V) and layers in units of the cut (B, L), shape (B, dim)."""
        found = [shares[:, :0]]
        for weights, own in zip(self._weights(), self._of_layers(shares, energies), strict=True):
            found.append((own.mT @ weights).mT.flatten(1))
        return torch.cat(found, 1)

    def _weights(self) -> list[Tensor]:
        return [getattr(self, name) for name in self.names]

    def _of_layers(self, shares: Tensor, energies: Tensor) -> tuple[Tensor, ...]:
        """Real and imaginary parts of each harmonic of all its layers, (B, L, 2) each."""
        bright = torch.sqrt(energies.index_select(1, self.layers) / _TYPICAL)
        found = (shares @ self.waves).unflatten(1, (-1, 2)) * bright.unsqueeze(2)
        return found.split(self.sizes, 1)


def _waves(geometry: Geometry, number: int, m: int, far: bool) -> Tensor:
    """Cosine and sine of a harmonic of a layer, times radii if ``far``, (V, 2)."""
    layer = geometry.layers[number]
    angle = torch.arange(layer.n_alpha).repeat_interleave(layer.n_r)
    angle = angle * (m * math.tau / layer.n_alpha)
    own = torch.stack([angle.cos(), angle.sin()], 1)
    if far:
        edges = torch.tensor(layer.r_edges)
        middles = (edges[1:] + edges[:-1]) / (2 * edges[1])
        own = own * middles.repeat(layer.n_alpha).unsqueeze(1)
    waves = torch.zeros(geometry.n_voxels, 2)
    waves[geometry.slices[number]] = own
    return waves
