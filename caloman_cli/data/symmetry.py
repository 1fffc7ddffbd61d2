"""Whether showers are symmetric about the axis: what each slice holds of its layer's energy.

With :math:`f_k` the share of slice k of n in a layer's energy, a detector that is symmetric about
the axis has :math:`\\langle f_k \\rangle = 1/n` for all k. The error of a mean is taken from the
variance of all slices together, which are alike then; a slice that is never lit has none itself.
"""

from typing import NamedTuple

import numpy as np

from caloman_cli.data.geometry import Geometry

_SURE = 5.0  # standard errors: of some thousand slices none departs that far by chance
_TELLING = 0.02  # of an even share; less is the grain of voxels, and turning loses little
_PER_SLICE = 25  # showers that light the layer; fewer make few lit voxels look like a direction


class Departure(NamedTuple):
    """The slice of a layer that departs most from an even share.

    Args:
        layer: The detector's number of the layer.
        lowest, highest: Mean shares of the slices that have least and most, times n.
        errors: Standard errors by which the one further from 1 departs.
    """

    layer: int
    lowest: float
    highest: float
    errors: float

    def __str__(self) -> str:
        return (
            f"slices hold {self.lowest:.2f} to {self.highest:.2f} of an even share,"
            f" {self.errors:.0f} standard errors from it"
        )

    @property
    def seen(self) -> bool:
        """Whether the layer is not symmetric, beyond chance and beyond next to nothing."""
        return self.errors >= _SURE and max(1 - self.lowest, self.highest - 1) >= _TELLING


class SliceShares:
    """Sums over showers, a block at a time.

    Args:
        geometry: Where the voxels are.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.layers = [
            (layer, part)
            for layer, part in zip(geometry.layers, geometry.slices, strict=True)
            if layer.n_alpha > 1
        ]
        self._n = np.zeros(len(self.layers))
        self._sums = [np.zeros((2, layer.n_alpha)) for layer, _ in self.layers]

    def add(self, voxels: np.ndarray) -> None:
        """Take showers (B, V) [MeV], without negative energies."""
        for place, (layer, part) in enumerate(self.layers):
            slices = voxels[:, part].reshape(len(voxels), layer.n_alpha, -1).sum(2, dtype=float)
            slices = slices[slices.any(1)]
            shares = slices / slices.sum(1, keepdims=True)
            self._n[place] += len(shares)
            self._sums[place] += shares.sum(0), (shares**2).sum(0)

    def departures(self) -> list[Departure]:
        """One for each layer that has slices and was lit often enough, in their order."""
        found = []
        for (layer, _), n, (total, squares) in zip(self.layers, self._n, self._sums, strict=True):
            if n < _PER_SLICE * layer.n_alpha:
                continue
            mean = total / n
            error = np.sqrt(max(float((squares / n - mean**2).mean()), 1e-12) / n)
            furthest = float(np.abs(mean - 1 / layer.n_alpha).max())
            low, high = (float(x) * layer.n_alpha for x in (mean.min(), mean.max()))
            found.append(Departure(layer.id, low, high, float(furthest / error)))
        return found
