r"""How many dimensions a cloud of showers has, from distances to nearest neighbours.

With :math:`T_j` the distance of a point to its j-th neighbour, the maximum-likelihood estimate at
that point from k neighbours is

.. math:: \hat m_k(x) = \Big[ \frac{1}{k-1} \sum_{j=1}^{k-1} \log\frac{T_k(x)}{T_j(x)} \Big]^{-1}.

All estimates are too small for a finite sample, the more so the larger the dimension: read them as
lower bounds.

References:
    Levina, Bickel (2004), Maximum likelihood estimation of intrinsic dimension, NeurIPS 17.
    MacKay, Ghahramani (2005), Comments on maximum likelihood estimation of intrinsic dimension.
    Facco, d'Errico, Rodriguez, Laio (2017), arXiv:1803.06992.
"""

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, MinLen
from torch import Tensor

from caloman_cli.config.values import Count, checked
from caloman_cli.errors import UserError
from caloman_cli.metrics.dimension_groups import Clusters, energy_groups
from caloman_cli.metrics.local_pca import local_pca
from caloman_cli.metrics.neighbours import nearest
from caloman_cli.metrics.points import Table

AUTO_K = (10, 20)
_TWO_NN_KEPT = 0.9  # the largest tenth of the ratios is noise of the tail


class Estimates(NamedTuple):
    """Intrinsic dimensions from k neighbours.

    Args:
        mle: Mean over points of the maximum-likelihood estimate.
        unbiased: The same with k - 2 in place of k - 1, unbiased for a Poisson process.
        mackay: The inverse of the mean over points of the inverse estimates.
    """

    mle: float
    unbiased: float
    mackay: float


class Row(NamedTuple):
    """One line of the table of intrinsic dimensions.

    Args:
        group: Showers of the line: ``all``, of one incident energy or a range [MeV], a cluster.
        n: Distinct showers used.
        n_dup: Showers left out because they equal an earlier one.
        k: Neighbours.
        mle: See :class:`Estimates`.
        unbiased: See :class:`Estimates`.
        mackay: See :class:`Estimates`.
        two_nn: Estimate from the first two neighbours; it does not depend on k.
        local_pca: Directions of local principal components, see
            :func:`~caloman_cli.metrics.local_pca.local_pca`; None where it was not asked for, or
            there are fewer showers than a neighbourhood has.
        local_pca_error: Its standard error.
    """

    group: str
    n: int
    n_dup: int
    k: int
    mle: float
    unbiased: float
    mackay: float
    two_nn: float
    local_pca: float | None = None
    local_pca_error: float | None = None


def distinct_rows(x: np.ndarray) -> tuple[np.ndarray, int]:
    """The rows that differ, sorted, and how many equal an earlier one.

    Raises:
        UserError: For numbers that are not finite.
    """
    if not np.isfinite(x).all():
        rows = int((~np.isfinite(x)).any(1).sum())
        raise UserError(f"{rows} of {len(x)} showers have values that are not finite")
    distinct = np.unique(x, axis=0)
    return distinct, len(x) - len(distinct)


def neighbour_distances(x: np.ndarray, k: int) -> tuple[Tensor, int]:
    """Distances to the k nearest neighbours among the distinct rows.

    Args:
        x: Points, shape (N, D).
        k: Neighbours.

    Returns:
        Distances in growing order, float64, shape (N - n_dup, k), and the number n_dup of rows
        that equal an earlier one.

    Raises:
        UserError: For numbers that are not finite, or fewer than k + 1 distinct rows.
    """
    distinct, n_dup = distinct_rows(x)
    n = len(distinct)
    if n <= k:
        raise UserError(
            f"k={k} neighbours need at least {k + 1} distinct showers, there are {n} of {len(x)}; "
            "lower k or give more showers"
        )
    return torch.from_numpy(nearest(Table(distinct), k)[0]), n_dup


def levina_bickel(distances: Tensor, k: int) -> Estimates:
    """The three estimates from the first k columns of sorted distances (N, >= k), k >= 3.

    The mean of inverses (``mackay``) is the maximum-likelihood estimate of one dimension for all
    points.
    """
    nearest = distances[:, :k]
    sums = torch.log(nearest[:, -1:] / nearest[:, :-1]).sum(1)
    # Points whose k neighbours are all at one distance (a lattice) say nothing finite.
    each = 1 / sums.clamp(min=torch.finfo(sums.dtype).tiny)
    return Estimates(
        mle=float(((k - 1) * each).mean()),
        unbiased=float(((k - 2) * each).mean()),
        mackay=float((k - 1) / sums.mean()),
    )


def two_nn(distances: Tensor) -> float:
    """The slope of -log(1 - F) against log(T_2 / T_1) through the origin."""
    ratios = torch.log(distances[:, 1] / distances[:, 0]).sort().values
    n = len(ratios)
    kept = max(1, int(_TWO_NN_KEPT * n))
    quantiles = torch.arange(1, kept + 1, dtype=ratios.dtype) / n
    ratios = ratios[:kept]
    return float(-(ratios * torch.log1p(-quantiles)).sum() / ratios.square().sum())


def estimate_latent_dim(
    x: np.ndarray,
    k: Sequence[int] = AUTO_K,
    factor: float = 1.0,
    max_showers: int = 10_000,
    seed: int = 0,
) -> int:
    """The latent dimension that ``latent_dim: auto`` stands for: ceil(factor * mackay).

    The estimate at the largest k is taken: it is the least noisy. It is a lower bound; a factor
    above 1 gives the encoder room.

    Args:
        x: Showers as the encoder sees them, shape (N, D): the estimate depends on their scaling.
        k: Numbers of neighbours.
        factor: Multiplies the estimate.
        max_showers: Showers used, drawn without replacement.
        seed: Of that draw.

    Returns:
        The dimension, at least 1 and at most D.

    Raises:
        UserError: For too few distinct showers, or a factor that is not positive.
    """
    if not factor > 0:
        raise UserError(f"factor={factor} must be positive; 1 takes the estimate itself")
    rows = DimensionTable(k=[max(k)], by_energy=False, max_showers=max_showers, seed=seed)(x)
    return min(max(1, math.ceil(factor * rows[0].mackay)), x.shape[1])


Neighbours = Annotated[list[Annotated[int, Ge(3)]], MinLen(1)]
"""One or more numbers of neighbours."""


@checked
class DimensionTable:
    """The table of intrinsic dimensions: for all showers, and for parts of them, for every k.

    Args:
        k: Numbers of neighbours, each at least 3.
        by_energy: Add lines per incident energy: its values where there are at most 20, else bins
            of equal width in its logarithm. Parts with too few distinct showers for the
            largest k get no line.
        max_showers: Showers used per line, drawn without replacement.
        seed: Of that draw.
        n_bins: Bins of a continuous energy.
        pca_k: Showers of a neighbourhood of the local principal components. None: no such.

    Raises:
        UserError: For values out of range.
    """

    def __init__(
        self,
        k: Neighbours,
        by_energy: bool,
        max_showers: int,
        seed: int,
        n_bins: Count = 6,
        pca_k: Annotated[int, Ge(3)] | None = None,
    ) -> None:
        if max_showers <= max(k):
            raise UserError(f"max_showers={max_showers} must exceed the largest k, {max(k)}")
        self.k, self.by_energy, self.max_showers = sorted(k), by_energy, max_showers
        self.seed, self.n_bins, self.pca_k = seed, n_bins, pca_k

    def __call__(
        self,
        x: np.ndarray,
        e_inc: np.ndarray | None = None,
        clusters: Clusters | None = None,
        like: np.ndarray | None = None,
    ) -> list[Row]:
        """The lines of the table.

        Args:
            x: Showers, shape (N, D), in the scaling that the dimension is asked for.
            e_inc: Incident energies [MeV], shape (N,) or (N, 1); needed for lines per energy.
            clusters: Add lines per cluster.
            like: Incident energies [MeV] that parts are made by, shape (M,). None: these.

        Raises:
            UserError: For too few distinct showers, or energies that are needed and missing.
        """
        lines, groups = self._lines("all", self._draw(x)), []
        if self.by_energy:
            if e_inc is None or e_inc.size != len(x):
                given = "none" if e_inc is None else str(e_inc.size)
                raise UserError(f"lines per energy need {len(x)} incident energies, got {given}")
            groups += energy_groups(e_inc.reshape(-1), self.n_bins, like)
        if clusters is not None:
            groups += clusters(x)
        for label, member in groups:
            drawn = self._draw(x[member])
            if len(np.unique(drawn, axis=0)) > max(self.k):
                lines += self._lines(label, drawn)
        return lines

    def _draw(self, x: np.ndarray) -> np.ndarray:
        """At most ``max_showers`` of the rows, in their order."""
        if len(x) <= self.max_showers:
            return x
        chosen = np.random.default_rng(self.seed).choice(len(x), self.max_showers, replace=False)
        return x[np.sort(chosen)]

    def _lines(self, label: str, x: np.ndarray) -> list[Row]:
        distances, n_dup = neighbour_distances(x, max(self.k))
        second, n = two_nn(distances), len(distances)
        local = None
        if self.pca_k is not None and n >= self.pca_k:
            local = local_pca(distinct_rows(x)[0], self.pca_k, seed=self.seed)
        of_pca = (None, None) if local is None else (local.dimension, local.error)
        return [
            Row(label, n, n_dup, k, *levina_bickel(distances, k), second, *of_pca) for k in self.k
        ]
