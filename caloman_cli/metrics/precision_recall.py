r"""Precision, recall, density and coverage of a generated sample, exactly and in bounded memory.

Every point owns a ball that reaches to its k-th nearest neighbour in its own sample.

=========  ==================================================================================
precision  share of generated points inside some real point's ball
recall     share of real points inside some generated point's ball
density    mean number of real balls that hold a generated point, over k: 1 in the mean for
           equal distributions, not bounded by it
coverage   share of real balls that hold a generated point: 1 - 2^-k for equal distributions and
           sizes
=========  ==================================================================================

References:
    Kynkäänniemi et al. (2019), Improved precision and recall metric for assessing generative
    models, arXiv:1904.06991. Naeem et al. (2020), Reliable fidelity and diversity metrics for
    generative models, arXiv:2002.09797 (density, coverage).
"""

import numpy as np
import torch

from caloman_cli.config.values import Count, Natural, checked
from caloman_cli.errors import UserError
from caloman_cli.metrics.neighbours import Axis, Screen, full_precision, nearest, squared_distances
from caloman_cli.metrics.points import Points, Subset, Table
from caloman_cli.metrics.samples import batch_errors

OFFICIAL_EMPTY = 0.1  # [MeV]: the official code's stand-in for an empty voxel before logarithms
FEW = 5_000  # points: with fewer the balls are wide, and all four numbers flatter
REFINED_PAIRS = 200_000
TIE = 1e-12  # relative; squared distances this near are compared as distances


def corrected_empty(threshold: float) -> float:
    """Energy for empty voxels [MeV] that keeps them below every voxel over the readout cut.

    The official 0.1 MeV lies above real voxels of datasets 2 and 3, whose cut is 0.015 MeV.
    """
    return threshold / 2


@checked
class NeighbourTest:
    """Precision, recall, density and coverage from k nearest neighbours.

    On :class:`caloman_cli.metrics.points.LogVoxels` with ``empty=OFFICIAL_EMPTY`` these are the
    challenge's numbers, with ``empty=corrected_empty(threshold)`` those without its trap.

    Args:
        k: Number of neighbours that a ball reaches to.
        batches: Disjoint parts of the samples that give the errors; fewer where parts would have
            less than 10 k points. Costs about 1/batches of the whole.
        seed: Of the distribution to parts.
        device: Where distances are screened in float32; results do not depend on it.
    """

    def __init__(
        self,
        k: Count = 5,
        batches: Natural = 10,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.k, self.batches, self.seed = k, batches, seed
        self.device = torch.device(device)

    def __call__(
        self,
        reference: Points | np.ndarray,
        generated: Points | np.ndarray,
        *,
        reference_radii: np.ndarray | None = None,
        generated_radii: np.ndarray | None = None,
    ) -> dict[str, float | None]:
        """Compare two samples.

        Args:
            reference: N real points.
            generated: M points to judge.
            reference_radii: What :meth:`radii` gave for the reference, where it is known.
            generated_radii: The same of the generated points.

        Returns:
            ``precision``, ``recall``, ``density``, ``coverage`` and the error of each, such as
            ``precision_error``; None where the samples are too small for one.

        Raises:
            UserError: A sample has fewer than k + 2 points or the two have other coordinates.
        """
        real, sample = _points(reference), _points(generated)
        if real.width != sample.width:
            raise UserError(
                f"reference points have {real.width} coordinates, generated ones {sample.width}: "
                "give files of one dataset"
            )
        n = min(len(real), len(sample))
        if n < self.k + 2:
            raise UserError(f"PRDC with k={self.k} needs {self.k + 2} showers or more, not {n}")
        if reference_radii is None:
            reference_radii = self.radii(real)
        if generated_radii is None:
            generated_radii = self.radii(sample)
        values = self._count(real, sample, reference_radii, generated_radii)
        batches = min(self.batches, n // (10 * self.k))
        rows = [np.arange(len(points)) for points in (real, sample)]
        errors = batch_errors(
            lambda i, j: self._values(Subset(real, i), Subset(sample, j)), rows, batches, self.seed
        )
        return {
            **values,
            **{f"{name}_error": errors[name] if errors else None for name in values},
        }

    def radii(self, points: Points | np.ndarray) -> np.ndarray:
        """Distance of each point to its k-th nearest neighbour, float64, shape (N,)."""
        return nearest(_points(points), self.k, device=self.device)[0][:, -1]

    def _values(self, real: Points, sample: Points) -> dict[str, float]:
        return self._count(real, sample, self.radii(real), self.radii(sample))

    def _count(
        self, real: Points, sample: Points, real_radii: np.ndarray, sample_radii: np.ndarray
    ) -> dict[str, float]:
        balls = _Balls(real, sample, real_radii, sample_radii, self.device)
        balls.visit()
        return {
            "precision": float(balls.precise.mean()),
            "recall": float(balls.recalled.mean()),
            "density": float(balls.held.sum() / (self.k * len(sample))),
            "coverage": float((balls.held > 0).mean()),
        }


class _Balls:
    """Which points of each sample lie inside of balls of the other.

    ``held`` counts the generated points in each real ball, shape (N,); ``precise`` marks
    generated points in some real ball, shape (M,); ``recalled`` marks real points in some
    generated ball, shape (N,).
    """

    def __init__(
        self,
        real: Points,
        sample: Points,
        real_radii: np.ndarray,
        sample_radii: np.ndarray,
        device: torch.device,
    ) -> None:
        self.real, self.sample = real, sample
        self.radii = real_radii, sample_radii
        axis = Axis(real)
        self.screens = Screen(real, axis, device), Screen(sample, axis, device)
        self.held = np.zeros(len(real), np.int64)
        self.precise = np.zeros(len(sample), bool)
        self.recalled = np.zeros(len(real), bool)

    def visit(self) -> None:
        """Look at all pairs of blocks that are not too far apart."""
        ours, theirs = self.screens
        limits = [
            radii[screen.order] for radii, screen in zip(self.radii, self.screens, strict=True)
        ]
        with full_precision():
            for block in ours.blocks():
                rows = None
                for other in theirs.blocks():
                    largest = max(limits[0][block].max(), limits[1][other].max())
                    if ours.gap(block, theirs, other) > _up(largest**2):
                        continue
                    rows = ours.read(block) if rows is None else rows
                    lower = ours.lower(block, rows, theirs, other)
                    for side in (0, 1):
                        self._inside(side, limits[side], lower, block, other)

    def _inside(
        self, side: int, limits: np.ndarray, lower: torch.Tensor, block: slice, other: slice
    ) -> None:
        """Note the pairs of a block that are nearer than the ball of this side reaches."""
        ours, theirs = self.screens
        part = limits[block] if side == 0 else limits[other]
        reach = torch.from_numpy(_up(part**2)).to(lower.device)
        mask = lower < (reach[:, None] if side == 0 else reach)
        row, column = mask.nonzero(as_tuple=True)
        if len(row) == 0:
            return
        bounds = lower[row, column].double().cpu().numpy()
        a, b = row.cpu().numpy(), column.cpu().numpy()
        norms = ours.norms[block][a] + theirs.norms[other][b]
        limit = part[a if side == 0 else b]
        sure = bounds + 2 * ours.gamma * norms < limit**2 * (1 - TIE)
        i, j = ours.order[block][a], theirs.order[other][b]
        self._note(side, i[sure], j[sure])
        i, j, limit = i[~sure], j[~sure], limit[~sure]
        for start in range(0, len(i), REFINED_PAIRS):
            few = slice(start, start + REFINED_PAIRS)
            exact = squared_distances(self.real, i[few], self.sample, j[few])
            inside = np.sqrt(exact) < limit[few]  # no squared radii: rounding would break ties
            self._note(side, i[few][inside], j[few][inside])

    def _note(self, side: int, real: np.ndarray, sample: np.ndarray) -> None:
        if side == 0:
            self.precise[sample] = True
            self.held += np.bincount(real, minlength=len(self.held))
        else:
            self.recalled[real] = True


def _up(values: np.ndarray) -> np.ndarray:
    """float32 numbers that are not below the float64 ones."""
    return np.nextafter(np.asarray(values, np.float32), np.float32(np.inf))


def _points(points: Points | np.ndarray) -> Points:
    return Table(points) if isinstance(points, np.ndarray) else points
