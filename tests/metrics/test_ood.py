"""Two thresholds find what either alone lets pass; sets are what their names say."""

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu, norm

from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.components import OOD
from caloman_cli.metrics.lid import LocalDimension
from caloman_cli.metrics.ood import DualTest, at_equal_energy, auc, dual_auc
from caloman_cli.metrics.ood_sets import Distortion
from tests.metrics.lid import Gaussians

N = 300


def test_only_the_pair_finds_thin_and_inflated_points():
    """20 normal dimensions, and a millionth of the points within 1e-4 of three of them."""
    one = torch.ones(20).double()
    thin = torch.cat([one[:3], 1e-8 * one[3:]])
    model = Gaussians([1 - 1e-6, 1e-6], torch.zeros(2, 20), torch.stack([one, thin]))
    generator = torch.Generator().manual_seed(0)
    inside, other, far = torch.randn(3, N, 20, generator=generator).double()
    sets = {"thin": other * thin.sqrt(), "inflated": 3 * far}
    dimension, nothing, t = LocalDimension(), inside[:, :0], torch.zeros(N).double()

    def told(x):
        found = [model.log_density(x, t).numpy(), dimension.flipd(model, x, nothing, 0.01)]
        return np.stack([*found, np.zeros(N)], 1)

    real, outside = told(inside), {name: told(x) for name, x in sets.items()}
    assert real[:, 0].mean() == pytest.approx(-28.4, abs=0.3)
    assert outside["thin"][:, 0].mean() == pytest.approx(114.4, abs=0.3)
    np.testing.assert_allclose(
        [real[:, 1].mean(), outside["thin"][:, 1].mean()], [20, 3], atol=0.01
    )
    found = {
        name: DualTest(permutations=10, resamplings=3)(real, real, points)
        for name, points in outside.items()
    }
    assert found["thin"]["log_prob"] < 0.01 and found["thin"]["lid"] > 0.99
    assert found["inflated"]["log_prob"] > 0.99 and found["inflated"]["lid"] < 0.01
    for areas in found.values():
        assert areas["dual"] > 0.99
        assert 0.5 < areas["dual_null"] < 0.55
    accepted = {name: DualTest().accepted(real, points) for name, points in outside.items()}
    assert accepted["thin"]["pair"] == accepted["inflated"]["pair"] == 0
    assert DualTest().accepted(real, real)["pair"] == pytest.approx(0.9, abs=0.02)


def test_the_area_of_one_column():
    rng = np.random.default_rng(0)
    inside, outside = rng.integers(0, 20, 300), rng.integers(3, 23, 400)
    expected = mannwhitneyu(inside, outside).statistic / 300 / 400
    assert auc(inside, outside) == pytest.approx(expected)
    endless = np.array([np.inf, 1.0, -np.inf])
    assert auc(endless, np.array([0.0, 0.0])) == pytest.approx(2 / 3)


def test_the_dual_area_of_one_column_that_knows_is_its_own():
    rng = np.random.default_rng(1)
    inside, outside = rng.normal(1, 1, (4000, 2)), rng.normal(0, 1, (4000, 2))
    inside[:, 1] = outside[:, 1] = 0
    assert dual_auc(inside, outside) == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.015)
    both = rng.normal(1, 1, (4000, 2)), rng.normal(0, 1, (4000, 2))
    assert dual_auc(*both) > dual_auc(inside, outside) + 0.05


@pytest.mark.parametrize(("n", "low", "high"), [(200, 0.52, 0.57), (1000, 0.51, 0.54)])
def test_the_oracle_sees_something_in_nothing(n, low, high):
    rng = np.random.default_rng(2)
    found = [dual_auc(*rng.standard_normal((2, n, 2))) for _ in range(20)]
    assert low < np.mean(found) < high
    points = np.concatenate([rng.standard_normal((2, n, 2)), np.zeros((2, n, 1))], 2)
    told = DualTest(permutations=40, resamplings=2)(points[0], *points)["dual_null"]
    assert told == pytest.approx(np.mean(found), abs=4 * np.std(found) / np.sqrt(20))


def test_more_of_both_is_refused_on_both_sides():
    """Points that have a larger density in fewer directions pass the test that has one side."""
    rng = np.random.default_rng(6)
    train, inside, outside = rng.standard_normal((3, 400, 3))
    outside[:, :2] += 4
    test = DualTest(permutations=1, resamplings=2)
    found, accepted = test(train, inside, outside), test.accepted(train, outside)
    assert found["dual"] < 0.01 and accepted["pair"] == 1
    assert found["both_sides"] > 0.99 and accepted["both_sides"] < 0.01
    kept = test.accepted(train, inside)
    assert kept["both_sides"] == pytest.approx(0.95**2, abs=0.03)
    assert kept["triple"] == pytest.approx(0.95**3, abs=0.04)


@pytest.mark.slow
def test_errors_of_areas_are_those_of_samples_drawn_anew():
    rng = np.random.default_rng(3)

    def once():
        inside, outside = rng.normal(0.5, 1, (150, 3)), rng.normal(0, 1, (150, 3))
        found = DualTest(permutations=1)(inside, inside, outside)
        return [(found[name], found[f"{name}_error"]) for name in ("log_prob", "dual")]

    for column in np.array([once() for _ in range(30)]).transpose(1, 2, 0):
        assert column[1].mean() == pytest.approx(column[0].std(ddof=1), rel=0.35)


@pytest.mark.parametrize("continuous", [False, True])
def test_values_at_equal_energy(continuous):
    """A median and a width that follow the energy are taken off; infinite values stay so."""
    rng = np.random.default_rng(4)
    energies = rng.choice([1e3, 1e4, 1e5], (2, 3000))
    if continuous:
        energies = 10 ** rng.uniform(3, 5, (2, 3000))
    depth = np.log10(energies) if not continuous else np.round(np.log10(energies), 1)
    train, values = (
        np.stack([100 * x + x * rng.standard_normal(3000), rng.standard_normal(3000)], 1)
        for x in depth
    )
    values[0, 0] = -np.inf
    found = at_equal_energy(train, energies[0], values, energies[1])
    assert found[0, 0] == -np.inf
    assert np.median(found, axis=0) == pytest.approx([0, 0], abs=0.15)
    if not continuous:
        assert found[1:].std(0) == pytest.approx([1, 1], rel=0.1)
        far = at_equal_energy(train, energies[0], values, np.full(3000, 3e5))
        np.testing.assert_array_equal(  # an energy beyond all goes with the largest
            far, at_equal_energy(train, energies[0], values, np.full(3000, 1e5))
        )


@pytest.fixture
def geometry():
    layers = [Layer(0, (0.0, 1.0, 2.0), 4), Layer(1, (0.0, 1.0, 2.0), 4), Layer(2, (0.0, 1.0), 1)]
    return Geometry("three", "photon", tuple(layers), 0.1, 2.0)


def test_the_sets(geometry):
    rng = np.random.default_rng(5)
    voxels = rng.uniform(1, 2, (6, 17)).astype(np.float32)
    voxels[:, geometry.slices[1]] *= 3
    real = Showers.from_arrays(np.full(6, 1e3), voxels, geometry)

    def made(name, **settings):
        energies, found = Distortion(**settings)(name, real).read(0, 6)
        return energies[:, 0], found

    energies, found = made("energy", factor=3.0)
    np.testing.assert_array_equal(energies, 3e3)
    np.testing.assert_array_equal(found, voxels)
    _, found = made("dead_layer")
    assert not found[:, 8:16].any()
    np.testing.assert_array_equal(found[:, :8], voxels[:, :8])
    _, found = made("hot_layer", layer=2)
    np.testing.assert_array_equal(found[:, 16], 2 * voxels[:, 16])
    np.testing.assert_array_equal(found[:, :16], voxels[:, :16])
    _, found = made("rolled")
    np.testing.assert_array_equal(found[:, 8:12], voxels[:, 12:16])  # alpha is slower than r
    np.testing.assert_array_equal(found[:, 12:16], voxels[:, 8:12])
    np.testing.assert_array_equal(found[:, :8], voxels[:, :8])
    _, found = made("swapped")
    np.testing.assert_array_equal(found[:, :8], voxels[:, 8:16])
    np.testing.assert_array_equal(found[:, 8:16], voxels[:, :8])
    np.testing.assert_array_equal(real.read(0, 6)[1], voxels)  # are as they were


def test_what_a_detector_cannot_show(geometry):
    flat = Geometry("flat", "photon", geometry.layers[1:], 0.1, 2.0)
    real = Showers.from_arrays(np.full(2, 1e3), np.ones((2, 9), np.float32), flat)
    for name, said in (("rolled", "not two layers with slices"), ("swapped", "no two layers")):
        with pytest.raises(UserError, match=said):
            Distortion()(name, real)
    with pytest.raises(UserError, match="layer=7: flat has the layers 1, 2"):
        Distortion(layer=7)("dead_layer", real)
    with pytest.raises(UserError, match="name a set or give a file"):
        OOD([], [])
