"""Intrinsic dimensions of clouds whose dimension is known."""

import numpy as np
import pytest
import torch

from caloman_cli.errors import UserError
from caloman_cli.metrics.dimension_groups import Clusters, energy_groups
from caloman_cli.metrics.intrinsic_dimension import (
    DimensionTable,
    estimate_latent_dim,
    levina_bickel,
    neighbour_distances,
    two_nn,
)
from caloman_cli.metrics.local_pca import local_pca


def embedded(d: int, n: int, width: int = 100, seed: int = 0) -> np.ndarray:
    """Normal points on a random d-plane in ``width`` dimensions, shape (n, width)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ np.linalg.qr(rng.normal(size=(width, d)))[0].T


@pytest.mark.parametrize(
    ("d", "width"),
    [(2, 100), (5, 100), *(pytest.param(d, 368, marks=pytest.mark.slow) for d in (2, 5))],
)
def test_a_plane_has_its_dimension(d, width):
    distances, n_dup = neighbour_distances(embedded(d, 4000, width), 20)
    assert n_dup == 0
    assert levina_bickel(distances, 20).mackay == pytest.approx(d, rel=0.05)
    assert levina_bickel(distances, 20).unbiased == pytest.approx(d, rel=0.05)
    assert two_nn(distances) == pytest.approx(d, rel=0.05)


def test_estimates_by_hand():
    distances = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64)
    total = np.log(4) + np.log(2)
    assert levina_bickel(distances, 3) == pytest.approx((2 / total, 1 / total, 2 / total))


def test_estimators_differ_on_unequal_points():
    """MacKay's averages the inverses: the mean of 1/m, not the mean of m."""
    distances = torch.tensor([[1.0, 2.0, 4.0], [1.0, 1.0, 1.2]], dtype=torch.float64)
    sums = np.array([np.log(8), 2 * np.log(1.2)])
    estimates = levina_bickel(distances, 3)
    assert estimates.mle == pytest.approx((2 / sums).mean())
    assert estimates.mackay == pytest.approx(2 / sums.mean())
    assert estimates.mackay < estimates.mle


def test_scale_and_rotation_change_nothing():
    x = embedded(3, 400, 30)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(30, 30)))[0]
    table = DimensionTable(k=[5, 10], by_energy=False, max_showers=1000, seed=0, pca_k=50)
    for before, after in zip(table(x), table(1000 * x @ rotation), strict=True):
        assert after[4:] == pytest.approx(before[4:], rel=1e-6)


def test_far_from_the_origin_distances_do_not_cancel():
    x = embedded(2, 500, 20)
    near, _ = neighbour_distances(x, 5)
    far, _ = neighbour_distances(x + 1e5, 5)
    np.testing.assert_allclose(far, near, rtol=1e-6)


def test_energies_separate_a_union_of_manifolds():
    x = np.concatenate([embedded(2, 1000), 50 + embedded(8, 1000, seed=1)])
    energies = np.repeat([256.0, 4096.0], 1000).reshape(-1, 1)
    rows = DimensionTable(k=[10, 20], by_energy=True, max_showers=2000, seed=0)(x, energies)
    assert [(row.group, row.k) for row in rows] == [
        ("all", 10), ("all", 20), ("256", 10), ("256", 20), ("4096", 10), ("4096", 20)
    ]  # fmt: skip
    pooled, low, high = (row.mackay for row in rows[1::2])
    assert low == pytest.approx(2, rel=0.1)
    assert high == pytest.approx(8, rel=0.15)
    assert low < pooled < high


def test_clusters_separate_a_union_of_manifolds():
    x = np.concatenate([embedded(2, 300, 30), 20 + embedded(8, 700, 30, seed=1)])
    x = x[np.random.default_rng(2).permutation(len(x))]
    table = DimensionTable(k=[20], by_energy=False, max_showers=1000, seed=0, pca_k=100)
    pooled, first, second = table(x, clusters=Clusters(x[::2], 2))
    assert [row.group for row in (pooled, first, second)] == ["all", "cluster 1", "cluster 2"]
    assert (first.n, second.n) == (700, 300)
    for row, d in ((first, 8), (second, 2)):
        assert row.mackay == pytest.approx(d, rel=0.15)
        assert row.two_nn == pytest.approx(d, rel=0.15)
        assert row.local_pca == pytest.approx(d, abs=0.02)
    for estimate in (pooled.mackay, pooled.two_nn, pooled.local_pca):
        assert 3 < estimate < 7


def test_clusters_of_fewer_showers_than_asked():
    x = np.repeat(embedded(2, 3, 5), 4, axis=0)
    groups = Clusters(x, 7)(x)
    assert [int(member.sum()) for _, member in groups] == [4, 4, 4]


@pytest.mark.parametrize("d", [1, 4, 20])
def test_local_components_of_a_plane(d):
    found = local_pca(embedded(d, 500, 30), 100, n_points=50)
    assert found.dimension == pytest.approx(d, abs=0.01)
    assert found == local_pca(1000 * embedded(d, 500, 30), 100, n_points=50)


def test_a_direction_counts_by_its_share_of_the_largest_variance():
    x = np.random.default_rng(0).normal(size=(400, 3)) * np.sqrt([1, 0.3, 0.03])
    assert local_pca(x, 400, n_points=1).dimension == 2
    assert local_pca(x, 400, alpha=0.02, n_points=1).dimension == 3


def test_local_components_leave_small_directions_out():
    x = embedded(2, 500, 10) + 0.01 * embedded(5, 500, 10, seed=1)
    assert local_pca(x, 100).dimension == pytest.approx(2, abs=0.1)
    assert local_pca(x, 100, alpha=1e-7).dimension == pytest.approx(7, abs=0.1)
    with pytest.raises(UserError, match="100 showers.*there are 99"):
        local_pca(x[:99], 100)


def test_components_of_few_showers_are_left_out():
    table = DimensionTable(k=[5], by_energy=False, max_showers=200, seed=0, pca_k=100)
    (row,) = table(embedded(2, 99, 10))
    assert row.local_pca is None and row.local_pca_error is None


def test_continuous_energies_fall_into_logarithmic_bins():
    energies = np.geomspace(1e3, 1e6, 600)
    table = DimensionTable(k=[5], by_energy=True, max_showers=600, seed=0, n_bins=3)
    rows = table(embedded(2, 600, 10), energies)
    assert [row.group for row in rows] == ["all", "1000-10000", "10000-100000", "100000-1e+06"]
    assert [row.n for row in rows] == [600, 200, 200, 200]


def test_duplicates_are_left_out_and_reported():
    x = embedded(2, 300, 10)
    table = DimensionTable(k=[5], by_energy=False, max_showers=1000, seed=0)
    (clean,) = table(x)
    (padded,) = table(np.concatenate([x, np.zeros((50, 10)), x[:20]]))
    assert clean.n_dup == 0
    assert padded.n_dup == 49 + 20
    assert padded.n == 301
    assert padded.mackay == pytest.approx(clean.mackay, rel=0.05)


def test_energies_with_too_few_showers_have_no_line():
    x = np.concatenate([embedded(2, 100, 10), np.zeros((50, 10)), embedded(2, 3, 10, seed=2)])
    energies = np.repeat([1.0, 2.0, 3.0], [100, 50, 3])
    rows = DimensionTable(k=[5], by_energy=True, max_showers=200, seed=0)(x, energies)
    assert [row.group for row in rows] == ["all", "1"]


def test_fewer_showers_than_asked_are_drawn_with_the_seed():
    x = embedded(2, 400, 10)
    first, again, other = (
        DimensionTable(k=[5], by_energy=False, max_showers=200, seed=seed)(x)[0]
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first.n == 200
    assert first.mackay != other.mackay


def test_automatic_latent_dimension_rounds_up():
    x = embedded(5, 2000)
    mackay = DimensionTable(k=[20], by_energy=False, max_showers=2000, seed=0)(x)[0].mackay
    assert estimate_latent_dim(x, k=[10, 20]) == np.ceil(mackay)
    assert estimate_latent_dim(x, k=[10, 20], factor=1.5) == np.ceil(1.5 * mackay)
    assert estimate_latent_dim(embedded(2, 500, 2), factor=3.0) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": []}, "3 or more.*1 or more of them"),
        ({"k": [2]}, "3 or more"),
        ({"max_showers": 5}, "largest k"),
        ({"n_bins": 0}, "n_bins"),
        ({"pca_k": 2}, "pca_k=2.*3 or more"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(UserError, match=message):
        DimensionTable(**{"k": [5], "by_energy": False, "max_showers": 100, "seed": 0} | settings)


def test_data_that_cannot_be_used():
    table = DimensionTable(k=[5], by_energy=True, max_showers=100, seed=0)
    with pytest.raises(UserError, match="6 distinct showers, there are 1 of 50"):
        table(np.zeros((50, 4)))
    with pytest.raises(UserError, match="1 of 50 showers"):
        table(np.where(np.arange(50)[:, None] == 3, np.nan, np.ones((50, 4))))
    with pytest.raises(UserError, match="incident energies"):
        table(embedded(2, 50, 4))
    with pytest.raises(UserError, match="factor"):
        estimate_latent_dim(embedded(2, 50, 4), factor=0)


def test_other_energies_are_put_into_the_same_bins():
    reference = np.geomspace(1e3, 1e5, 60)
    labels = [label for label, _ in energy_groups(reference, 3)]
    others = np.array([500.0, 1e3, 3e3, 1e5, 2e5, *np.geomspace(2e3, 9e4, 40)])
    groups = energy_groups(others, 3, reference)
    assert [label for label, _ in groups] == labels
    inside = sum(member.astype(int) for _, member in groups)
    np.testing.assert_array_equal(inside, (others >= 1e3) & (others <= 1e5))
    assert groups[0][1][1] and groups[-1][1][3]  # the ends belong to the bins
    x = np.random.default_rng(0).normal(size=(45, 3))
    rows = DimensionTable(k=[3], by_energy=True, max_showers=100, seed=0, n_bins=3)(
        x, others, like=reference
    )
    assert {row.group for row in rows} == {"all", *labels}
