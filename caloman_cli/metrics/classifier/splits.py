"""Which showers a classifier learns from, is chosen on and is judged by."""

import logging
from collections.abc import Mapping
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
    """Row numbers of all classes for fitting, selecting and reporting."""

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
    """Equally many rows of each side; see :func:`equal_rows`."""
    first, second = equal_rows({"reference": reference, "generated": generated})
    return first, second


def equal_rows(classes: Mapping[str, Showers]) -> tuple[np.ndarray, ...]:
    """Equally many rows of each class.

    Of the longer files come the first rows where their incident energies are the others', else
    rows spread evenly over each: files may be sorted by energy.

    Args:
        classes: Two or more sets of showers by the name that messages give them.

    Raises:
        UserError: Too few showers, or different voxels.
    """
    sides = list(classes.values())
    if len({showers.geometry.n_voxels for showers in sides}) > 1:
        raise UserError(
            "a classifier needs files of one dataset, got voxels: "
            + ", ".join(f"{side.geometry.n_voxels} {name}" for name, side in classes.items())
        )
    n = min(len(showers) for showers in sides)
    numbers = ", ".join(f"{len(side):,} {name}" for name, side in classes.items())
    if n < FEWEST:
        raise UserError(
            f"a classifier needs {FEWEST} showers or more of each kind, got {numbers}: "
            "generate more"
        )
    if any(len(showers) != n for showers in sides):
        log.info("classifier: of %s showers, %d of each are used", numbers, n)
    energies = [showers.energies[:n] for showers in sides]
    if all(np.array_equal(energies[0], other) for other in energies[1:]):
        return tuple(np.arange(n) for _ in sides)
    return tuple(np.arange(n) * len(showers) // n for showers in sides)


def draw_split(
    n: int, sizes: tuple[int, int], rng: np.random.Generator, n_classes: int = 2
) -> Split:
    """Shuffle each class of n rows on its own and cut all at the same places."""
    classes = [number * n + rng.permutation(n) for number in range(n_classes)]
    cuts = np.cumsum(sizes)
    parts = zip(*(np.split(rows, cuts) for rows in classes), strict=True)
    return Split(*(np.concatenate(part) for part in parts))
