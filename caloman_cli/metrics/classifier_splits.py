"""Which showers a classifier learns from, is chosen on and is judged by."""

import logging
from dataclasses import dataclass

import numpy as np

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError

log = logging.getLogger(__name__)

FEWEST = 100  # showers per class: below, a split is too small for any statement
SMALLEST_VAL = 10_000  # showers per class that official splits must leave for the result


@dataclass(frozen=True)
class Split:
    """Row numbers of both classes for fitting, selecting and reporting."""

    train: np.ndarray
    test: np.ndarray
    val: np.ndarray


def split_sizes(n: int, official: Geometry | None) -> tuple[int, int]:
    """Showers per class for training and selection; the rest gives the result.

    Args:
        n: Showers per class.
        official: The geometry whose fixed sizes apply where they leave enough showers
            (60,000 and 20,000 where all layers have one shape, as in datasets 2 and 3; else
            80,000 and 20,000). None, or too few showers: 60 % and 20 %.
    """
    if official is not None:
        train = 80_000 if official.image_shape is None else 60_000
        if n >= train + 20_000 + SMALLEST_VAL:
            return train, 20_000
    return int(0.6 * n), int(0.2 * n)


def matched_rows(reference: Showers, generated: Showers) -> tuple[np.ndarray, np.ndarray]:
    """Equally many rows of each side.

    Of the longer side come its first rows where their incident energies are the other's, else
    rows spread evenly over it: files may be sorted by energy.

    Raises:
        UserError: Too few showers, or different voxels.
    """
    if reference.geometry.n_voxels != generated.geometry.n_voxels:
        raise UserError(
            f"the reference has {reference.geometry.n_voxels} voxels and the generated showers "
            f"have {generated.geometry.n_voxels}: give two files of one dataset"
        )
    n = min(len(reference), len(generated))
    if n < FEWEST:
        raise UserError(
            f"a classifier needs {FEWEST} showers or more of each kind, got {len(reference)} "
            f"reference and {len(generated)} generated: generate more"
        )
    if len(reference) != len(generated):
        log.info(
            "classifier: %d reference and %d generated showers; %d of each are used",
            len(reference),
            len(generated),
            n,
        )
    if np.array_equal(reference.energies[:n], generated.energies[:n]):
        return np.arange(n), np.arange(n)
    return np.arange(n) * len(reference) // n, np.arange(n) * len(generated) // n


def draw_split(n: int, sizes: tuple[int, int], rng: np.random.Generator) -> Split:
    """Shuffle each class on its own and cut both at the same places."""
    classes = [rng.permutation(n), n + rng.permutation(n)]
    cuts = np.cumsum(sizes)
    parts = zip(*(np.split(rows, cuts) for rows in classes), strict=True)
    return Split(*(np.concatenate(part) for part in parts))
