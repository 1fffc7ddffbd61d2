"""How many directions the neighbours of a point spread in: local principal components."""

from typing import NamedTuple

import numpy as np
import torch

from caloman_cli.errors import UserError
from caloman_cli.metrics.neighbours import nearest
from caloman_cli.metrics.points import Table

ALPHA = 0.05
_CHUNK_VALUES = 1 << 23  # coordinates of neighbourhoods at once


class LocalPCA(NamedTuple):
    """Local principal components of a cloud.

    Args:
        dimension: Mean over neighbourhoods of the number of directions.
        error: Its standard error. Neighbourhoods overlap: N points count for 4 N / k of them at
            most, within a quarter of the spread that normal points in 12 unequal directions gave
            for N = 500 and 2,000, k = 30 and 100.
    """

    dimension: float
    error: float


def local_pca(
    x: np.ndarray, k: int = 100, alpha: float = ALPHA, n_points: int = 300, seed: int = 0
) -> LocalPCA:
    r"""Directions in which the variance exceeds ``alpha`` times the largest, near single points.

    Neighbours are points of the cloud, so k bounds the dimension; and since the variances of k
    normal points in d directions differ by :math:`((1 - r) / (1 + r))^2, r = \sqrt{d / k}`,
    a plane of more than about 0.4 k directions is taken for less.

    Args:
        x: Distinct points, shape (N, D).
        k: Points of a neighbourhood, its centre among them, at least 3.
        alpha: Share of the largest variance that a direction must exceed.
        n_points: Centres, drawn without replacement.
        seed: Of that draw.

    Raises:
        UserError: There are fewer than k points.

    References:
        Fukunaga, Olsen (1971), An algorithm for finding intrinsic dimensionality of data, IEEE
        Trans. Comput. C-20.
    """
    n, width = x.shape
    if n < k:
        raise UserError(f"neighbourhoods of {k} showers need as many distinct ones, there are {n}")
    rng = np.random.default_rng(seed)
    centres = np.sort(rng.choice(n, min(n_points, n), replace=False))
    members = nearest(Table(x), k, Table(x[centres]))[1]
    rows = max(1, _CHUNK_VALUES // (k * width))
    counts = []
    for start in range(0, len(members), rows):
        cloud = torch.from_numpy(x[members[start : start + rows]]).double()
        cloud = cloud - cloud.mean(1, keepdim=True)
        # Of the two products that have these variances the smaller one.
        product = cloud @ cloud.mT if k < width else cloud.mT @ cloud
        variances = torch.linalg.eigvalsh(product)
        counts.append((variances > alpha * variances[:, -1:]).sum(1))
    found = torch.cat(counts).double()
    alone = max(1.0, min(len(found), 4 * n / k))
    spread = float(found.std()) if len(found) > 1 else 0.0
    return LocalPCA(float(found.mean()), spread / alone**0.5)
