"""Intrinsic dimensions of clouds whose dimension is known."""

import numpy as np
import pytest
import torch

from caloman_cli.errors import UserError
from caloman_cli.metrics.intrinsic_dimension import (
    DimensionTable,
    estimate_latent_dim,
    levina_bickel,
    neighbour_distances,
    two_nn,
)


def embedded(d: int, n: int, width: int = 100, seed: int = 0) -> np.ndarray:
    """Normal points on a random d-plane in ``width`` dimensions, shape (n, width)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ np.linalg.qr(rng.normal(size=(width, d)))[0].T


@pytest.mark.parametrize("d", [2, 5])
def test_a_plane_has_its_dimension(d):
    distances, n_dup = neighbour_distances(embedded(d, 2500), 20)
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
    table = DimensionTable(k=[5, 10], by_energy=False, max_showers=1000, seed=0)
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
    assert [(row.energy, row.k) for row in rows] == [
        ("all", 10), ("all", 20), ("256", 10), ("256", 20), ("4096", 10), ("4096", 20)
    ]  # fmt: skip
    pooled, low, high = (row.mackay for row in rows[1::2])
    assert low == pytest.approx(2, rel=0.1)
    assert high == pytest.approx(8, rel=0.15)
    assert low < pooled < high


def test_continuous_energies_fall_into_logarithmic_bins():
    energies = np.geomspace(1e3, 1e6, 600)
    table = DimensionTable(k=[5], by_energy=True, max_showers=600, seed=0, n_bins=3)
    rows = table(embedded(2, 600, 10), energies)
    assert [row.energy for row in rows] == ["all", "1000-10000", "10000-100000", "100000-1e+06"]
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
    assert [row.energy for row in rows] == ["all", "1"]


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
