"""A few single showers, each generated one beside the real one of its incident energy."""

import numpy as np
from matplotlib.figure import Figure

from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.components.separation.pages import energy_label
from caloman_cli.evaluation.components.separation.rows import Side, shower_rows
from caloman_cli.evaluation.components.separation.space import showers_in_space

QUANTILES = (0.15, 0.5, 0.85)  # of the reference's incident energies
IN_SPACE = (
    "A real shower of the median incident energy and the generated one nearest to it: the 3,000 "
    "brightest voxels, layers evenly spaced, across them to scale"
)
Labels = tuple[str, str]


def single_showers(
    reference: Showers, generated: Showers, labels: Labels = ("reference", "generated")
) -> Figure:
    """Showers at three incident energies, layer by layer in polar view.

    The rows were not chosen by looks: the reference's shower at each quantile of its incident
    energies, and the generated one nearest in incident energy.

    Args:
        reference: Real showers.
        generated: Generated showers of the same geometry.
        labels: Names of both.
    """
    pairs = _pairs(reference.energies[:, 0], generated.energies[:, 0], QUANTILES)
    sides = [_sides((reference, generated), rows, labels) for rows in pairs]
    geometry = reference.geometry
    return shower_rows(geometry, sides, f"Single showers ({geometry.name}): voxel energies")


def shower_in_space(
    reference: Showers, generated: Showers, labels: Labels = ("reference", "generated")
) -> Figure:
    """The real shower of the median incident energy and the generated one nearest to it, in 3-D.

    Args:
        reference: Real showers.
        generated: Generated showers of the same geometry.
        labels: Names of both.
    """
    (rows,) = _pairs(reference.energies[:, 0], generated.energies[:, 0], (0.5,))
    return showers_in_space(reference.geometry, _sides((reference, generated), rows, labels))


def _sides(
    both: tuple[Showers, Showers], rows: tuple[int, int], labels: Labels
) -> tuple[Side, Side]:
    """One shower of each after the readout cut, with name, incident energy and sum."""
    real, ours = (
        _side(showers, row, label) for showers, row, label in zip(both, rows, labels, strict=True)
    )
    return real, ours


def _side(showers: Showers, row: int, label: str) -> Side:
    voxels = showers.read(row, row + 1)[1][0]
    kept = np.where(voxels >= showers.geometry.threshold, voxels, 0).astype(np.float64)
    energy = energy_label(f"{showers.energies[row, 0]:.4g}")
    return Side(kept, f"{label}\n{energy}\nsum {energy_label(f'{kept.sum():.4g}')}")


def _pairs(
    reference: np.ndarray, generated: np.ndarray, quantiles: tuple[float, ...]
) -> list[tuple[int, int]]:
    """Rows of both sides with like incident energies, each generated row once."""
    order = np.argsort(reference, kind="stable")
    pairs: list[tuple[int, int]] = []
    for quantile in quantiles:
        real = int(order[int(quantile * (len(order) - 1))])
        distances = np.abs(generated - reference[real])
        distances[[pair[1] for pair in pairs]] = np.inf
        ours = int(np.argmin(distances))
        if np.isfinite(distances[ours]) and real not in [pair[0] for pair in pairs]:
            pairs.append((real, ours))
    return pairs
