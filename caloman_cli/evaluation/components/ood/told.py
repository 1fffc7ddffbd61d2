"""What a model says of showers."""

from typing import NamedTuple

import numpy as np


class Told(NamedTuple):
    """What a model says of n showers: log p, local dimension, minus the reconstruction error.

    Args:
        raw: As they are, float64, shape (n, 3).
        energies: Incident energies [MeV], shape (n,).
        values: What is compared, shape (n, 3).
    """

    raw: np.ndarray
    energies: np.ndarray
    values: np.ndarray


def plain(found: Told) -> dict[str, list[float | None]]:
    """The numbers as they are kept: those that are not finite are None."""
    names = ("log_prob", "lid", "reconstruction_error")
    columns = (found.raw[:, 0], found.raw[:, 1], -found.raw[:, 2])
    return {
        name: [float(x) if np.isfinite(x) else None for x in column.round(4)]
        for name, column in zip(names, columns, strict=True)
    }
