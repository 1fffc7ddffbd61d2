"""Sliced distances of normals, and p-values that are uniform where nothing differs."""

import numpy as np
import pytest
from scipy.stats import ks_2samp, kstest, wasserstein_distance

from caloman_cli.errors import UserError
from caloman_cli.metrics.samples import standardised
from caloman_cli.metrics.sliced import OUTERMOST, PLACES, SlicedTest, one_list


def normal(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def test_a_sample_against_itself_has_no_distance():
    found = SlicedTest(20, 50)(normal(1500, 3, 0), normal(1500, 3, 0)[::-1])
    assert found["ks"] == found["w1"] == 0
    assert found["ks_p"] == found["w1_p"] == 1
    assert found["ks_null"] > 0.02


def test_distances_along_one_direction_are_those_of_scipy():
    first, second = normal(300, 1, 1), normal(250, 1, 2).round(1)
    second[:100] = 0.5  # many in one place
    found = SlicedTest(1, 10)(first, second)
    scaled = [sample[:, 0] for sample in standardised(first, second)]
    assert found["ks"] == pytest.approx(ks_2samp(*scaled).statistic)
    assert found["w1"] == pytest.approx(wasserstein_distance(*scaled))


def test_some_places_say_nearly_what_all_values_do():
    """Outliers count with their distance, however few places there are between the others."""
    first, second = normal(20_000, 1, 3), 1.05 * normal(20_000, 1, 4) + 0.05
    second[:20] = np.geomspace(10, 400, 20)[:, None]
    assert len(first) > PLACES > 2 * OUTERMOST
    found = SlicedTest(1, 2)(first, second)
    scaled = [sample[:, 0] for sample in standardised(first, second)]
    assert found["ks"] == pytest.approx(ks_2samp(*scaled).statistic, rel=0.03)
    assert found["w1"] == pytest.approx(wasserstein_distance(*scaled), rel=0.03)


def test_a_shift_has_its_mean_projection():
    """Along a direction at an angle a: |shift cos a|, whose mean over the sphere is known."""
    reference, shift, d = normal(10_000, 3, 5), 1.0, 3
    moved = normal(10_000, d, 6)
    moved[:, 0] += shift
    found = SlicedTest(120, 2)(reference, moved)
    assert found["w1"] == pytest.approx(shift / 2, rel=0.1)  # in three dimensions a half
    assert found["w1_p"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("whiten", [False, True])
def test_p_values_are_uniform_where_nothing_differs(whiten):
    rng, found = np.random.default_rng(7), []
    for seed in range(100):
        sides = rng.exponential(size=(80, 3)), rng.exponential(size=(60, 3))
        found.append(SlicedTest(5, 39, whiten, seed)(*sides))
    for name in ("ks_p", "w1_p"):
        values = np.array([one[name] for one in found])
        assert kstest(values - rng.random(len(values)) / 40, "uniform").pvalue > 0.01
    told = np.mean([one["w1_null_error"] for one in found])
    assert told == pytest.approx(np.std([one["w1"] for one in found]), rel=0.3)
    null = np.mean([one["w1_null"] for one in found])
    assert null == pytest.approx(np.mean([one["w1"] for one in found]), rel=0.1)


def test_a_small_shift_is_seen_and_a_correlation_too():
    real = normal(2000, 2, 8)
    assert SlicedTest(20, 99)(real, normal(2000, 2, 9) + 0.15)["w1_p"] == 0.01
    mixed = normal(2000, 2, 10)
    mixed[:, 1] = 0.6 * mixed[:, 0] + 0.8 * mixed[:, 1]  # each feature is as it was
    found = SlicedTest(20, 99)(real, mixed)
    assert found["ks_p"] == found["w1_p"] == 0.01


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_errors_are_the_spread_of_other_samples(shift):
    rng, found = np.random.default_rng(13), []
    for _ in range(60):
        found.append(SlicedTest(10, 2)(rng.normal(size=(400, 3)), rng.normal(shift, 1, (400, 3))))
    for name in ("ks", "w1"):
        told = np.mean([one[f"{name}_error"] for one in found])
        assert told == pytest.approx(np.std([one[name] for one in found], ddof=1), rel=0.3)


def test_whitened_features_show_what_varies_little():
    """Half a per cent across a line that all showers lie along."""
    rng = np.random.default_rng(14)
    along = rng.normal(size=(2, 1500))
    sides = [
        np.stack([x, x + rng.normal(shift, 0.01, 1500), 5 + 0 * x], 1)
        for x, shift in zip(along, (0, 0.005), strict=True)
    ]
    assert SlicedTest(20, 99)(*sides)["w1_p"] > 0.1
    found = SlicedTest(20, 99, whiten=True)(*sides)
    assert found["ks_p"] == found["w1_p"] == 0.01
    assert SlicedTest(20, 9, whiten=True)(sides[0], sides[0])["w1"] == 0


def test_labels_are_exchanged_among_showers_of_one_energy():
    """What energies do to features is on both sides: a difference at given energies shows."""
    rng = np.random.default_rng(11)
    energies = rng.choice(np.arange(1.0, 9.0), 600)
    others = rng.permutation(energies)
    real, made = (
        np.stack([side, 10 * side + rng.normal(shift, 1, 600)], 1)
        for side, shift in ((energies, 0), (others, 0.5))
    )
    assert one_list(energies, others)
    test = SlicedTest(20, 99)
    assert test(real, made, (energies, others))["w1_p"] == 0.01
    assert test(real, made)["w1_p"] > 0.5
    drawn = np.stack([others, 10 * others + rng.normal(size=600)], 1)
    assert test(real, drawn, (energies, others))["w1_p"] > 0.02


def test_other_energies_are_a_difference():
    rng = np.random.default_rng(12)
    energies = rng.choice([1.0, 2.0], 500), rng.choice([1.0, 2.0], 500, p=[0.3, 0.7])
    assert not one_list(*energies)
    sides = [np.stack([side, rng.normal(size=500)], 1) for side in energies]
    assert SlicedTest(20, 99)(*sides, energies)["ks_p"] == 0.01


def test_mistakes_are_told():
    with pytest.raises(UserError, match="30 generated showers: this metric needs 50"):
        SlicedTest()(normal(100, 2, 0), normal(30, 2, 1))
    with pytest.raises(UserError, match="permutations=1: must be an integer, 2"):
        SlicedTest(permutations=1)
