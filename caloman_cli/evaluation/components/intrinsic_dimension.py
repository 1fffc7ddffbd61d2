"""Intrinsic dimension of real and of generated showers, side by side."""

import math
from typing import ClassVar

import numpy as np

from caloman_cli.config.values import Count
from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.truth import spread
from caloman_cli.metrics.features import chunk_rows
from caloman_cli.metrics.intrinsic_dimension import DimensionTable, Row
from caloman_cli.metrics.score import Score, key_of

_BYTES = 512 * 2**20  # of voxel shares in memory


class IntrinsicDimension:
    """How many directions voxel shares vary in, per number of neighbours and incident energy.

    A voxel's share is its energy after the readout cut over the energy of its layer.

    Args:
        k: Numbers of neighbours, each at least 3.
        by_energy: Add lines per incident energy.
        max_showers: Showers per line, drawn without replacement.
        n_bins: Bins of a continuous energy.

    References:
        Levina, Bickel (2004), Maximum likelihood estimation of intrinsic dimension. MacKay,
        Ghahramani (2005), comments on it. Facco et al. (2017), TwoNN, arXiv:1803.06992.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference",)

    def __init__(
        self, k: list[int], by_energy: bool = True, max_showers: Count = 5_000, n_bins: Count = 6
    ) -> None:
        self.table = DimensionTable(k, by_energy, max_showers, 0, n_bins)

    def __call__(self, comparison: Comparison) -> Section:
        self.table.seed = comparison.seed
        real = self._rows(comparison.reference)
        ours = self._rows(comparison.generated) if comparison.is_judging else []
        same = {(row.energy, row.k): row for row in ours}
        scores = []
        for row in real:
            other = same.get((row.energy, row.k))
            energy = row.energy if row.energy == "all" else f"{row.energy} MeV"
            scores.append(
                Score(
                    "intrinsic dimension",
                    f"{energy}, k = {row.k}",
                    None if other is None else other.mackay,
                    row.mackay,
                    spread=None if other is None else _error(other),
                    truth_spread=_error(row),
                    note=f"{row.n} showers, TwoNN {row.two_nn:.3g}",
                    summary=row.energy == "all",
                    key=key_of("dimension", row.energy, "k", row.k),
                    goal="truth",
                )
            )
        details = {
            "reference": [row._asdict() for row in real],
            "generated": [row._asdict() for row in ours],
        }
        note = (
            "Intrinsic dimension: Levina and Bickel's estimate in MacKay and Ghahramani's form, "
            "of voxel shares; 'truth' is the reference. It is a lower bound and depends on the "
            "number of showers and on the scaling: compare only like with like. Spread: "
            "statistical."
        )
        used: dict[str, str | float | None] = {
            "showers at most": self.table.max_showers,
            "energy bins": self.table.n_bins,
        }
        return Section(scores, details, [note], conditions=used)

    def _rows(self, showers: Showers) -> list[Row]:
        chosen = spread(showers, max(1, _BYTES // (4 * showers.geometry.n_voxels)))
        return self.table(voxel_shares(chosen), chosen.energies)


def _error(row: Row) -> float:
    """Standard error of an estimate.

    Each of n points knows the dimension to d / sqrt(k - 1). Points share neighbours, which makes
    the mean's spread larger by a quarter: normal points in 1 to 10 dimensions, n = 300 and 1,000,
    k = 10 and 20 gave 1.07 to 1.44.
    """
    return 1.25 * row.mackay / math.sqrt(row.n * (row.k - 1))


def voxel_shares(showers: Showers) -> np.ndarray:
    """Voxel energies after the readout cut over their layer's energy, float32, shape (N, V)."""
    geometry, start = showers.geometry, 0
    shares = np.empty((len(showers), geometry.n_voxels), np.float32)
    for _, voxels in showers.iterate(chunk_rows(geometry)):
        block = shares[start : start + len(voxels)]
        block[:] = np.where(voxels >= geometry.threshold, voxels, 0)
        for part in geometry.slices:
            total = block[:, part].sum(1, keepdims=True)
            block[:, part] /= np.where(total > 0, total, 1)
        start += len(voxels)
    return shares
