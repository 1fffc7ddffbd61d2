"""Vendi, sliced Wasserstein, feature likelihood, correlations, and all metrics at once."""

import numpy as np
import pytest
import torch

from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.metrics.correlation import CorrelationTest, layer_correlations
from caloman_cli.metrics.features import high_level_features
from caloman_cli.metrics.sample_quality import (
    FeatureLikelihood,
    QualityTest,
    fitted_widths,
    likelihoods,
    sliced_wasserstein,
    vendi_score,
)


def normal(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def test_vendi_counts_different_rows():
    assert vendi_score(np.ones((50, 7))) == pytest.approx(1)
    assert vendi_score(3 * np.eye(20)) == pytest.approx(20)
    assert vendi_score(np.repeat(np.eye(4), 25, axis=0)) == pytest.approx(4)
    assert vendi_score(np.eye(20)[:, :5] + np.eye(20)[:, 5:10]) <= 6


def test_vendi_of_many_rows_is_that_of_the_kernel_matrix():
    sample = normal(60, 5, 0)
    unit = sample / np.linalg.norm(sample, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(unit @ unit.T / 60)
    values = values[values > 1e-12]
    assert vendi_score(sample) == pytest.approx(np.exp(-np.sum(values * np.log(values))))


def test_sliced_wasserstein_of_moments():
    sample = normal(400, 3, 0)
    assert sliced_wasserstein(sample, sample) == 0
    assert sliced_wasserstein(sample, sample + 2) == pytest.approx(2)
    spread = np.sqrt(sample.var(0).mean())
    assert sliced_wasserstein(sample, 3 * sample - 2 * sample.mean(0)) == pytest.approx(2 * spread)


def test_widths_are_at_a_maximum_of_the_likelihood():
    points, centres = (torch.from_numpy(normal(120, 3, seed)) for seed in (0, 1))
    widths = fitted_widths(points, centres)

    def loss(values):
        return -likelihoods(points, centres, values).logsumexp(1).mean()

    start = torch.zeros_like(widths)
    assert loss(widths) < loss(start) - 0.05
    assert loss(widths) < min(loss(widths + 0.5), loss(widths - 0.5))


def test_feature_likelihood_of_equal_distributions_and_of_copies():
    held, generated, train = (normal(800, 10, i) for i in range(3))
    metric = FeatureLikelihood(max_samples=400)
    honest = metric(held, generated, train)
    assert honest["fls"] == pytest.approx(100, abs=4 * honest["fls_error"])
    assert abs(honest["overfit"]) < 4 * honest["overfit_error"]
    assert honest["fls_samples"] == 400
    rows = np.random.default_rng(0).permutation(train)[:400]  # those that the widths are fitted to
    copied = metric(held, rows + 1e-3 * normal(400, 10, 3), train)
    assert copied["fls"] < honest["fls"] - 20
    assert copied["overfit"] > 40
    off = metric(held, generated + 2, train)
    assert off["fls"] < honest["fls"] - 20


def test_all_at_once():
    held, generated = (normal(500, 6, i) for i in range(2))
    found = QualityTest(n_subsets=10)(held, generated)
    names = ("fd", "fd_inf", "kd", "precision", "recall", "density", "coverage", "vendi", "sw")
    for name in names:
        assert np.isfinite(found[name]), name
        assert found[f"{name}_error"] > 0, name
    assert found["vendi"] == pytest.approx(6, abs=0.1)


def showers(geometry, n: int, seed: int, mixing: float):
    """Layer energies that share a fraction of their fluctuations; the last layer is empty."""
    rng = np.random.default_rng(seed)
    shared, own = rng.exponential(size=(n, 1)), rng.exponential(size=(n, geometry.n_layers))
    layers = 100 * (mixing * shared + (1 - mixing) * own)
    layers[:, -1] = 0
    voxels = np.concatenate(
        [
            np.repeat(layers[:, [i]] / layer.n_voxels, layer.n_voxels, 1)
            for i, layer in enumerate(geometry.layers)
        ],
        axis=1,
    )
    source = Showers.from_arrays(np.full(n, 1e3), voxels.astype(np.float32), geometry)
    return high_level_features(source)


def test_correlations_are_pearson_s_and_empty_layers_are_named(tiny_geometry):
    features = showers(tiny_geometry, 400, 0, 0.5)
    matrix = layer_correlations(features)
    assert matrix.layers == (0, 1, 12)
    assert matrix.constant == (12,)
    expected = np.corrcoef(features.group("E_layer")[:, :2], rowvar=False)
    np.testing.assert_allclose(matrix.values[:2, :2], expected, rtol=1e-12)
    assert np.isnan(matrix.values[2]).all()


def test_correlation_differences(tiny_geometry):
    base, same, other = (
        showers(tiny_geometry, 800, seed, mixing)
        for seed, mixing in ((0, 0.5), (1, 0.5), (2, 0.1))
    )
    null, seen = CorrelationTest()(base, same), CorrelationTest()(base, other)
    assert null["pairs"] == seen["pairs"] == 1
    assert null["correlation_rms"] < 4 * null["correlation_rms_floor"]
    assert seen["correlation_rms"] > 6 * seen["correlation_rms_floor"]
    assert seen["correlation_max"] == pytest.approx(0.5, abs=0.12)
    assert seen["correlation_rms_error"] > 0


def test_mistakes_are_told(tiny_geometry):
    with pytest.raises(UserError, match="from 100 or more"):
        CorrelationTest()(*[showers(tiny_geometry, 50, seed, 0.5) for seed in (0, 1)])
    with pytest.raises(UserError, match="max_samples=10"):
        FeatureLikelihood(10)
    with pytest.raises(UserError, match="batches=1: must be an integer, 2"):
        QualityTest(batches=1)
