"""Separation power of every official histogram, beside its statistical floor.

References:
    Diefenbacher et al. (2020), DCTRGAN: improving the precision of generative models with
    reweighting, arXiv:2009.03796 (separation power). Krause et al. (2024), CaloChallenge 2022,
    arXiv:2410.21611 (groups and binnings).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caloman_cli.errors import UserError
from caloman_cli.metrics.features import Features, ShowerSource, high_level_features
from caloman_cli.metrics.histograms import (
    GROUPS,
    Histogram,
    feature_histograms,
    separation_power,
    voxel_edges,
    voxel_groups,
)


@dataclass(frozen=True)
class GroupMean:
    """Mean over the histograms of one group, as published tables report it.

    Args:
        group: A key of :data:`caloman_cli.metrics.histograms.GROUPS`.
        separation: Mean separation power of the histograms that have one, or None.
        floor: Mean statistical floor of the same histograms, or None.
        n: Number of histograms that entered the means.
        n_empty: Number of histograms without an entry in range on one side or both.
        error: Mean statistical error of the same histograms: the mean's error where all of them
            go up and down together, which the layers of one shower nearly do, else more than it.
    """

    group: str
    separation: float | None
    floor: float | None
    n: int
    n_empty: int
    error: float | None = None


def separation_histograms(
    reference: ShowerSource,
    generated: ShowerSource,
    threshold: float | None = None,
    *,
    reference_features: Features | None = None,
    generated_features: Features | None = None,
) -> list[Histogram]:
    """Every histogram of two sets of showers; voxels come last.

    Args:
        reference: Real showers; the logarithmic bins end at their maxima.
        generated: The showers to judge.
        threshold: Readout cut [MeV] on both sides. None: the geometry's.
        reference_features: Features of the reference with this threshold, where known.
        generated_features: The same of the generated showers. Computing them here saves a pass
            over the voxels.

    Raises:
        UserError: One side has no showers or the two have different voxels.
    """
    _check(reference, generated)
    if reference_features is None:
        reference_features = high_level_features(reference, threshold)
    edges = voxel_edges(reference_features)
    if generated_features is None:
        generated_features = high_level_features(generated, threshold, edges)
    cuts = reference_features.threshold, generated_features.threshold
    if cuts[0] != cuts[1]:
        raise ValueError(f"features were computed with different readout cuts: {cuts} MeV")
    real = voxel_groups(reference, reference_features, edges)
    made = voxel_groups(generated, generated_features, edges)
    return [
        *feature_histograms(reference_features, generated_features),
        Histogram("voxel", edges, real.sum(0), made.sum(0), real, made),
    ]


def group_means(histograms: Sequence[Histogram]) -> list[GroupMean]:
    """Means over the layers (or incident energies) of each group, in the order of ``GROUPS``."""
    means = []
    for group in GROUPS:
        members = [histogram for histogram in histograms if histogram.group == group]
        powers = [h.separation for h in members if h.separation is not None]
        floors = [h.floor for h in members if h.floor is not None]
        errors = [separation_error(h) for h in members if h.separation is not None]
        if members:
            means.append(
                GroupMean(
                    group,
                    float(np.mean(powers)) if powers else None,
                    float(np.mean(floors)) if floors else None,
                    len(powers),
                    len(members) - len(powers),
                    float(np.mean(errors)) if errors else None,
                )
            )
    return means


def separation_error(histogram: Histogram) -> float:
    r"""Standard error of a separation power from the numbers of showers.

    Where a shower has many entries, which are not independent, groups of whole showers are left
    out in turn: :math:`\frac{G-1}{G} \sum_g (S_{-g} - \bar S)^2`, summed over both sides, is the
    variance (delete-a-group jackknife). Where both sides are alike it is on average twice the
    true one, as of every statistic whose derivatives vanish there.

    Else entries are showers: to first order :math:`\sum_i p_i g_i^2 - (\sum_i p_i g_i)^2` over N
    for either side, with the derivatives g; where both sides are alike these vanish, and what is
    left is the spread of the floor, a chi-squared of K - 1 degrees of freedom over K occupied
    bins.
    """
    real, made = histogram.reference_groups, histogram.generated_groups
    if real is not None and made is not None and min(len(real), len(made)) > 1:
        return float(np.sqrt(_jackknife(real, made) + _jackknife(made, real)))
    width = np.diff(histogram.edges)
    p, q = histogram.reference * width, histogram.generated * width
    share = (p - q) / np.where(p + q > 0, p + q, 1)
    variance, inverse = 0.0, 0.0
    sides = ((p, histogram.reference_counts, 1), (q, histogram.generated_counts, -1))
    for fractions, counts, sign in sides:
        gradient = sign * share - share**2 / 2
        n = max(int(counts[1:-1].sum()), 1)
        variance += (fractions @ gradient**2 - (fractions @ gradient) ** 2) / n
        inverse += 1 / n
    free = max(histogram.occupied - 1, 0)
    # Noise alone makes the derivatives of like samples differ from zero, in the mean by this.
    variance = max(variance - free * inverse**2 / 4, 0.0) + 2 * free * (inverse / 4) ** 2
    return float(np.sqrt(variance))


def _jackknife(groups: np.ndarray, others: np.ndarray) -> float:
    """Variance of a separation power from the groups of one side, shape (G, bins + 2)."""
    inside, other = groups[:, 1:-1], others[:, 1:-1].sum(0)
    rest = inside.sum(0) - inside
    rest = rest / np.maximum(rest.sum(1, keepdims=True), 1)
    other = other / max(int(other.sum()), 1)
    return float((len(groups) - 1) * np.var([separation_power(left, other) for left in rest]))


def _check(reference: ShowerSource, generated: ShowerSource) -> None:
    voxels = reference.geometry.n_voxels, generated.geometry.n_voxels
    if voxels[0] != voxels[1]:
        raise UserError(
            f"the reference has {voxels[0]} voxels and the generated showers have {voxels[1]}: "
            "give two files of one dataset"
        )
    for who, showers in (("reference", reference), ("generated", generated)):
        if len(showers) == 0:
            raise UserError(f"the {who} showers are empty: give at least one shower")
