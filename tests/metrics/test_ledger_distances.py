"""Distances of a ledger's rivals: alike at other numbers of showers, after a protocol's cuts."""

from dataclasses import replace

import numpy as np
import pytest

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.components.ledger.distances import Side, frechet, separations
from caloman_cli.metrics.protocol import FINAL, LEGACY_2022
from tests.conftest import load_geometry
from tests.metrics.test_azimuthal import RINGS, detector

ONE = replace(detector(RINGS), threshold=0.01)


def side(n: int, seed: int, wider: float = 1.0, geometry: Geometry = ONE) -> Side:
    """Showers of one layer; ``wider`` carries energy outwards."""
    rng = np.random.default_rng(seed)
    shape = np.tile([1.0, 1.0, wider], ONE.n_voxels // 3)
    voxels = rng.gamma(2, 1, (n, ONE.n_voxels)) * shape
    energies = np.full(n, 100.0)
    return Side.of(Showers.from_arrays(energies, voxels.astype(np.float32), geometry), FINAL)


def test_real_showers_are_at_zero_whatever_their_numbers():
    """Else a truth of fewer showers would look worse than a model."""
    for n in (300, 1500):
        drawn = [frechet(side(n, seed), side(n, seed + 50)) for seed in range(10)]
        error = np.mean([one.error for one in drawn]) / np.sqrt(len(drawn))
        assert np.mean([one.value for one in drawn]) == pytest.approx(0, abs=3 * error)
        for power in separations(side(n, 1), side(n, 2)).values():
            assert power.value == pytest.approx(0, abs=4 * power.error)


def test_a_rival_that_is_wider_is_farther_at_all_numbers():
    found = [(frechet(side(n, 1), side(n, 2, 1.3)), separations(side(n, 1), side(n, 2, 1.3)))
             for n in (1000, 5000)]  # fmt: skip
    (few, few_s), (many, many_s) = found
    assert many.value > 10 * many.error
    assert few.value == pytest.approx(many.value, abs=4 * few.error)
    assert many_s["EC_r"].value > 10 * many_s["EC_r"].error
    assert few_s["EC_r"].value == pytest.approx(many_s["EC_r"].value, abs=4 * few_s["EC_r"].error)


def test_a_detector_without_a_cut_has_no_histograms_and_a_distance():
    real, other = (side(200, seed, geometry=replace(ONE, threshold=0.0)) for seed in (1, 2))
    assert separations(real, other) == {}
    assert np.isfinite(frechet(real, other)).all()


def test_classifiers_and_histograms_have_the_cuts_of_their_protocol():
    photons = load_geometry("ds1_photons")
    showers = Showers.from_arrays(
        np.full(3, 1e3), np.full((3, photons.n_voxels), 0.5, np.float32), photons
    )
    made = Side.of(showers, LEGACY_2022)
    assert (made.features.threshold, made.binned.threshold) == (0.0, 10.0)
    made = Side.of(showers, FINAL)
    assert made.features is made.binned
    assert made.features.threshold == photons.threshold
