"""Kolmogorov-Smirnov distances against N: the law of real showers, and where a model leaves it."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from caloman_cli.metrics.equivalent import ALL, Table
from caloman_cli.metrics.ks_curve import crossing, ks_curve, ks_distances


def one_energy(values: np.ndarray) -> Table:
    return Table(np.full(len(values), 1e3), {"widths": values})


def test_distances_are_those_of_scipy_with_equal_values_too():
    rng = np.random.default_rng(0)
    real, ours = rng.normal(size=(300, 3)), rng.normal(0.2, 1, (170, 3))
    real[:, 1], ours[:, 1] = real[:, 1].round(), ours[:, 1].round()
    real[:, 2], ours[:, 2] = real[:, 2].clip(0), ours[:, 2].clip(0)
    expected = [ks_2samp(*pair).statistic for pair in zip(real.T, ours.T, strict=True)]
    np.testing.assert_allclose(ks_distances(np.sort(real, 0), ours), expected, rtol=1e-12)


@pytest.fixture(scope="module")
def reference() -> Table:
    return one_energy(np.random.default_rng(1).normal(size=(4000, 6)))


@pytest.fixture(scope="module")
def real(reference):
    return ks_curve(reference, one_energy(np.random.default_rng(2).normal(size=(3000, 6))), 0)


def test_real_showers_follow_the_law(real):
    assert real.numbers[0] == 10
    assert real.numbers[-1] == 3000
    np.testing.assert_allclose(real.groups[ALL], real.law(), rtol=0.2)
    expected = 0.869 * np.sqrt(1 / 10 + 1 / 4000)  # mean of Kolmogorov's distribution
    assert real.groups[ALL][0] == pytest.approx(expected, rel=0.1)


def test_a_replay_meets_the_curve_where_its_showers_are(reference, real):
    rng = np.random.default_rng(3)
    found = []
    for seed in range(6):
        known = rng.normal(size=(300, 6))
        made = ks_curve(reference, one_energy(known[rng.integers(300, size=4000)]), seed)
        found.append(crossing(real, made))
        assert found[-1].beyond == ""
    numbers = np.array([one.showers for one in found])
    assert numbers.mean() == pytest.approx(300, rel=0.25)
    told = np.mean([one.error for one in found])
    assert 0.5 < told / numbers.std(ddof=1) < 2.5


def test_what_the_curve_does_not_reach_is_a_limit(reference, real):
    rng = np.random.default_rng(4)
    good = ks_curve(reference, one_energy(rng.normal(size=(20_000, 6))), 0)
    assert crossing(real, good).beyond == "more"
    assert crossing(real, good).showers == 3000
    bad = ks_curve(reference, one_energy(rng.normal(3, 1, (1000, 6))), 0)
    assert crossing(real, bad).beyond == "fewer"
    assert crossing(real, bad).showers == 10


def test_energies_are_drawn_as_the_reference_has_them():
    """A sample of other shares is as near as one of the same."""
    rng = np.random.default_rng(5)
    levels = np.array([1.0, 2.0])

    def at(energies: np.ndarray) -> Table:
        return Table(
            energies, {"layers": 50 * energies[:, None] + rng.normal(size=(len(energies), 1))}
        )

    reference = at(rng.choice(levels, 4000))
    curve = ks_curve(reference, at(rng.choice(levels, 4000, p=[0.2, 0.8])), 0)
    assert curve.numbers[-1] == pytest.approx(1600, rel=0.1)  # twice the rarer ones
    assert curve.groups[ALL][-1] < 0.05
