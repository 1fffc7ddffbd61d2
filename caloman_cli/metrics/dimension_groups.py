"""Parts of a cloud of showers that may have dimensions of their own."""

import numpy as np
from sklearn.cluster import KMeans

_FEW = 20  # different incident energies that are a group each

Group = tuple[str, np.ndarray]
"""A label, and which showers belong to it, bool, shape (N,)."""


def energy_groups(e_inc: np.ndarray, n_bins: int, like: np.ndarray | None = None) -> list[Group]:
    """Showers by incident energy.

    Args:
        e_inc: Incident energies [MeV], shape (N,).
        n_bins: Where there are more than 20 values: bins of equal width in the logarithm.
        like: Incident energies [MeV] that values and bins are taken from, (M,). None: these.
            Showers outside of them belong to no group.

    Returns:
        Groups in rising order, labelled by their value or range [MeV].
    """
    values = np.unique(e_inc if like is None else like)
    if len(values) <= _FEW:
        return [(f"{value:.6g}", e_inc == value) for value in values]
    edges = np.geomspace(values[0], values[-1], n_bins + 1)
    edges[[0, -1]] = values[[0, -1]]  # which rounding may have missed
    which = np.searchsorted(edges[:-1], e_inc, side="right") - 1
    which[e_inc > edges[-1]] = n_bins
    return [
        (f"{low:.6g}-{high:.6g}", which == i)
        for i, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True))
    ]


class Clusters:
    """A partition by k-means: a union of manifolds need not have one dimension.

    Args:
        x: Showers that the centres are found with, shape (N, D).
        n: Clusters; fewer where there are fewer distinct showers.
        seed: Of the first centres.

    References:
        Brown et al. (2023), Verifying the union of manifolds hypothesis for image data,
        arXiv:2207.02862.
    """

    def __init__(self, x: np.ndarray, n: int, seed: int = 0) -> None:
        n = min(n, len(np.unique(x, axis=0)))
        self._means = KMeans(n, n_init=4, random_state=seed % 2**32).fit(x)
        sizes = np.bincount(self._means.labels_, minlength=n)
        self._order = np.argsort(-sizes, kind="stable")  # the first is the largest

    def __call__(self, x: np.ndarray) -> list[Group]:
        """The groups of showers (N, D), each with the centre that is nearest."""
        which = self._means.predict(x)
        return [(f"cluster {i}", which == label) for i, label in enumerate(self._order, 1)]
