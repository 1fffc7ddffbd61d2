"""Showers that no detector and no particle of a dataset would make, from those that they make."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError

SetName = Literal["energy", "dead_layer", "hot_layer", "rolled", "swapped"]
Arrays = tuple[np.ndarray, np.ndarray]


class Distortion:
    """Makes sets of showers that are out of the distribution.

    ==============  ==========================================================================
    ``energy``      voxels as they are, told to come from ``factor`` times the incident energy
    ``dead_layer``  no energy in one layer
    ``hot_layer``   ``factor`` times the energy in one layer
    ``rolled``      every second layer that has slices turned by half a turn against the others
    ``swapped``     the two brightest layers of one shape exchanged
    ==============  ==========================================================================

    Args:
        factor: See above.
        layer: The detector's number of the dead or hot layer. None: the brightest on average.
    """

    def __init__(self, factor: float = 2.0, layer: int | None = None) -> None:
        self.factor, self.layer = factor, layer

    def __call__(self, name: SetName, showers: Showers) -> Showers:
        """The showers of one set, in memory.

        Raises:
            UserError: The detector has no such layer, or none that could be turned or exchanged.
        """
        energies, voxels = showers.read(0, len(showers))
        makers: dict[SetName, Callable[[Geometry, np.ndarray, np.ndarray], Arrays]] = {
            "energy": self._energy, "dead_layer": self._dead, "hot_layer": self._hot,
            "rolled": self._rolled, "swapped": self._swapped,
        }  # fmt: skip
        made = makers[name](showers.geometry, energies.copy(), voxels.copy())
        return Showers.from_arrays(*made, showers.geometry, name)

    def _energy(self, geometry: Geometry, energies: np.ndarray, voxels: np.ndarray) -> Arrays:
        return self.factor * energies, voxels

    def _dead(self, geometry: Geometry, energies: np.ndarray, voxels: np.ndarray) -> Arrays:
        voxels[:, self._part(geometry, voxels)] = 0.0
        return energies, voxels

    def _hot(self, geometry: Geometry, energies: np.ndarray, voxels: np.ndarray) -> Arrays:
        voxels[:, self._part(geometry, voxels)] *= self.factor
        return energies, voxels

    def _part(self, geometry: Geometry, voxels: np.ndarray) -> slice:
        """The voxels of the layer that is meant."""
        if self.layer is None:
            return geometry.slices[int(_brightness(geometry, voxels).argmax())]
        ids = [layer.id for layer in geometry.layers]
        if self.layer not in ids:
            raise UserError(
                f"layer={self.layer}: {geometry.name} has the layers {', '.join(map(str, ids))}"
            )
        return geometry.slices[ids.index(self.layer)]

    def _rolled(self, geometry: Geometry, energies: np.ndarray, voxels: np.ndarray) -> Arrays:
        sliced = [i for i, layer in enumerate(geometry.layers) if layer.n_alpha > 1]
        if len(sliced) < 2:
            raise UserError(f"{geometry.name} has not two layers with slices to turn")
        for i in sliced[1::2]:
            layer, part = geometry.layers[i], geometry.slices[i]
            image = voxels[:, part].reshape(-1, layer.n_alpha, layer.n_r)
            turned = np.roll(image, layer.n_alpha // 2, axis=1)
            voxels[:, part] = turned.reshape(len(voxels), -1)
        return energies, voxels

    def _swapped(self, geometry: Geometry, energies: np.ndarray, voxels: np.ndarray) -> Arrays:
        order = np.argsort(-_brightness(geometry, voxels), kind="stable")
        shapes = [(layer.n_alpha, layer.n_r) for layer in geometry.layers]
        pairs = [(i, j) for n, j in enumerate(order) for i in order[:n] if shapes[i] == shapes[j]]
        if not pairs:
            raise UserError(f"{geometry.name} has no two layers of one shape to exchange")
        one, other = (geometry.slices[i] for i in pairs[0])
        voxels[:, one], voxels[:, other] = voxels[:, other].copy(), voxels[:, one].copy()
        return energies, voxels


def _brightness(geometry: Geometry, voxels: np.ndarray) -> np.ndarray:
    """Mean energy of each layer, shape (L,)."""
    return np.array([voxels[:, part].sum(1, dtype=np.float64).mean() for part in geometry.slices])
