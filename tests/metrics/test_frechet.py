"""Fréchet distances know Gaussians, and what finite samples add."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from caloman_cli.errors import UserError
from caloman_cli.metrics.frechet import (
    FrechetDistance,
    FrechetPhysicsDistance,
    far_out,
    frechet_distance,
    moments,
)


def normal(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def test_shifted_gaussians_are_the_square_of_the_shift_apart():
    sample = normal(500, 4, 0)
    shift = np.array([0.3, -1.0, 0.0, 2.0])
    value = frechet_distance(moments(sample), moments(sample + shift))
    assert value == pytest.approx(shift @ shift, rel=1e-10)
    assert frechet_distance(moments(sample), moments(sample)) == pytest.approx(0, abs=1e-12)


def test_trace_of_the_root_is_the_matrix_root_s():
    a, b = moments(normal(300, 6, 1)), moments(normal(300, 6, 2) @ normal(6, 6, 3))
    root = np.trace(sqrtm(a.covariance @ b.covariance)).real
    expected = np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance + b.covariance) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)


def test_moments_of_draws_are_those_of_the_drawn_rows():
    sample = 1e6 + normal(200, 3, 4)  # far from zero: naive sums of squares lose the spread
    drawn = np.random.default_rng(5).choice(200, size=700)
    found = moments(sample, np.bincount(drawn, minlength=200))
    np.testing.assert_allclose(found.mean, sample[drawn].mean(0), rtol=1e-14)
    np.testing.assert_allclose(found.covariance, np.cov(sample[drawn], rowvar=False), rtol=1e-9)


@pytest.mark.parametrize(("n", "d", "bias"), [(1000, 10, 0.072), (1000, 35, 0.69)])
def test_equal_distributions_have_the_known_bias(n, d, bias):
    pairs = [(normal(n, d, 2 * seed), normal(n, d, 2 * seed + 1)) for seed in range(5)]
    values = [FrechetDistance(standardise=False)(*pair) for pair in pairs]
    assert np.mean([value["fd"] for value in values]) == pytest.approx(bias, rel=0.2)
    for value in values:
        assert value["fd_inf"] < value["fd"]
        assert value["fd_error"] > 0


@pytest.mark.parametrize("n", [500, 2000])
def test_small_samples_say_how_much_is_bias(n):
    value = FrechetPhysicsDistance(n_draws=8)(normal(n, 10, 6), normal(n, 10, 7))
    assert value["fpd"] > 2 * abs(value["fpd_unbiased"])
    assert abs(value["fpd_unbiased"]) < 3 * value["fpd_sampling_error"]
    assert value["min_samples"] == 1000


def test_a_shift_shows_in_units_of_the_reference_s_maximum():
    reference, generated = normal(3000, 2, 8), normal(3000, 2, 9) + [1.0, 0.0]
    value = FrechetPhysicsDistance(n_draws=5)(reference, generated)
    expected = 1 / np.abs(reference[:, 0]).max() ** 2
    assert value["fpd"] == pytest.approx(expected, abs=4 * value["fpd_sampling_error"])


def test_constant_features_are_no_problem():
    reference, generated = normal(300, 4, 10), normal(300, 4, 11)
    reference[:, 1] = generated[:, 1] = 0.0
    reference[:, 2] = generated[:, 2] = -8.0
    value = FrechetPhysicsDistance(n_draws=3)(reference, generated)
    assert np.isfinite(list(value.values())).all()


def test_a_few_outliers_are_left_out_of_both_and_counted():
    """Three wild rows rule the official value; without them it is that of all others."""
    reference, generated = normal(2000, 4, 12), normal(2000, 4, 13)
    metric = FrechetPhysicsDistance(n_draws=5)
    clean = metric(reference, generated)
    wild, rare = generated.copy(), reference.copy()
    wild[:3, 1] = 1000
    rare[5, 2] = -50  # the reference has one, too, by which the feature is then divided
    assert metric(reference, wild)["fpd"] > 100 * clean["fpd"]
    found = metric.trimmed(reference, wild)
    assert found["fpd"] == pytest.approx(clean["fpd"], abs=3 * clean["fpd_sampling_error"])
    assert found["left_out"] == 3 / 2000
    assert found["left_out_reference"] == 0
    moved = metric.trimmed(rare, generated + [0, 0, 1, 0])  # 1 / 50 in the official units
    assert moved["left_out_reference"] == 1 / 2000
    assert moved["fpd"] < 0.01


def test_nothing_is_left_out_where_nothing_is_far():
    """Not of normals, nor of a fault that many showers have: that stays in the value."""
    reference, generated = normal(2000, 4, 14), normal(2000, 4, 15) + [0.5, 0, 0, 0]
    metric = FrechetPhysicsDistance(n_draws=5)
    found, official = metric.trimmed(reference, generated), metric(reference, generated)
    assert found == {**official, "left_out": 0, "left_out_reference": 0}


def test_outliers_are_told_by_the_reference():
    reference = np.stack([np.linspace(0, 1, 5001), np.zeros(5001), np.zeros(5001)], 1)
    reference[:3, 2] = 1.0  # of five thousand: too rare to widen what is usual
    sample = np.array([[0.5, 0, 0], [1.49, 0, 0], [1.51, 0, 0], [-0.6, 0, 0], [0.5, 1e-3, 0]])
    np.testing.assert_array_equal(far_out(reference, sample), [False, False, True, True, True])
    assert far_out(reference, reference).sum() == 3


def test_mistakes_are_told():
    metric, good = FrechetPhysicsDistance(), normal(200, 3, 0)
    with pytest.raises(UserError, match="50 generated showers: this metric needs 100"):
        metric(good, good[:50])
    with pytest.raises(UserError, match="2 features and the others 3"):
        metric(good, good[:, :2])
    bad = good.copy()
    bad[7, 1] = np.nan
    with pytest.raises(UserError, match="1 generated .* not finite, the first is number 7"):
        metric(good, bad)
    with pytest.raises(UserError, match="min_samples is 60000"):
        FrechetPhysicsDistance(min_samples=60_000)
    with pytest.raises(UserError, match="trimmed FPD leaves 0 generated showers"):
        metric.trimmed(good, good + 100)
