"""Points of a neighbour search: arrays, logarithms of voxels, parts of either."""

from pathlib import Path
from typing import Protocol

import numpy as np

from caloman_cli.data.cache import voxel_array
from caloman_cli.data.showers import Showers


class Points(Protocol):
    """N points with d coordinates, which need not be in memory."""

    @property
    def width(self) -> int: ...

    def __len__(self) -> int: ...

    def rows(self, index: np.ndarray) -> np.ndarray:
        """Coordinates of rows, float64, shape (len(index), d)."""
        ...


class Table:
    """Points of an array of shape (N, d)."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.width = array, array.shape[1]

    def __len__(self) -> int:
        return len(self.array)

    def rows(self, index: np.ndarray) -> np.ndarray:
        return np.asarray(self.array[index], dtype=np.float64)


class LogVoxels:
    """Decimal logarithms of voxel energies after the readout cut, taken when they are asked for.

    Args:
        voxels: Energies [MeV], shape (N, V), in memory or mapped.
        threshold: Readout cut [MeV]: smaller energies count as empty.
        empty: Energy that stands for an empty voxel [MeV]: below the cut, lest an empty voxel
            have a higher logarithm than a faint one.
    """

    def __init__(self, voxels: np.ndarray, threshold: float, empty: float) -> None:
        self.voxels, self.threshold, self.empty = voxels, threshold, empty
        self.width = voxels.shape[1]

    @classmethod
    def of(cls, showers: Showers, cache_dir: Path, threshold: float, empty: float) -> "LogVoxels":
        """Voxels of showers, mapped from the cache where they do not fit in memory."""
        return cls(voxel_array(showers, cache_dir), threshold, empty)

    def __len__(self) -> int:
        return len(self.voxels)

    def rows(self, index: np.ndarray) -> np.ndarray:
        energies = np.asarray(self.voxels[index], dtype=np.float64)
        return np.log10(np.where(energies < self.threshold, self.empty, energies))


class Subset:
    """Some rows of points."""

    def __init__(self, points: Points, index: np.ndarray) -> None:
        self.points, self.index, self.width = points, index, points.width

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, index: np.ndarray) -> np.ndarray:
        return self.points.rows(self.index[index])
