"""The truth row compares independent real showers, and says which."""

import dataclasses

import numpy as np
import pytest

from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.truth import (
    asked_truth,
    shared_showers,
    spread,
    truth_note,
    truth_pair,
)
from caloman_cli.metrics.features import high_level_features
from caloman_cli.metrics.separation import separation_histograms
from tests.conftest import load_geometry


def real(geometry, n: int, seed: int, name: str = "memory", low: float = 1e3) -> Showers:
    rng = np.random.default_rng(seed)
    energies = low * 10 ** rng.random(n)
    voxels = (energies[:, None] * rng.random((n, geometry.n_voxels)) / 20).astype(np.float32)
    return Showers.from_arrays(energies, voxels, geometry, name)


def test_the_training_file_serves_where_it_is_independent(tiny_geometry):
    reference, train = real(tiny_geometry, 300, 0), real(tiny_geometry, 500, 1, "train.hdf5")
    pair = truth_pair(reference, 200, train)
    assert pair.reference is reference
    assert len(pair.sample) == 200
    assert "200 showers of train.hdf5" in pair.label
    assert truth_pair(reference, 900, train).sample is train
    assert pair.stands_for(reference, train.subset(np.arange(200)))
    assert pair.note == ""


@pytest.mark.parametrize(
    ("seed", "low", "said"),
    [(0, 1e3, "the reference's own"), (1, 3e3, "incident energies have another spectrum")],
)
def test_a_truth_that_was_asked_for_and_does_not_fit_is_an_error(tiny_geometry, seed, low, said):
    reference = real(tiny_geometry, 300, 0)
    with pytest.raises(UserError, match=f"truth=mine: the .*{said}; give independent"):
        asked_truth(reference, 300, real(tiny_geometry, 300, seed, "mine", low))
    fits = asked_truth(reference, 200, real(tiny_geometry, 300, 2, "mine"))
    assert (fits.reference, len(fits.sample), fits.halves) == (reference, 200, False)


@pytest.mark.parametrize("case", ["itself", "other spectrum", "none"])
def test_else_the_reference_is_halved(tiny_geometry, caplog, case):
    caplog.set_level("INFO")
    reference = real(tiny_geometry, 301, 0, "reference.hdf5")
    train = {
        "itself": real(tiny_geometry, 301, 0),
        "other spectrum": real(tiny_geometry, 300, 1, low=3e3),
        "none": None,
    }[case]
    pair = truth_pair(reference, 400, train)
    assert (len(pair.reference), len(pair.sample)) == (151, 150)
    assert "151 even against 150 odd rows of reference.hdf5" in pair.label
    assert pair.note == "truth: halves of the reference"
    assert not pair.stands_for(reference, reference)
    (said,) = caplog.messages
    assert said.startswith("no truth= given: halves of the reference")
    assert ("memory" in said) == (train is not None)
    seen = np.concatenate([pair.reference.energies, pair.sample.energies])
    np.testing.assert_array_equal(np.sort(seen, 0), np.sort(reference.energies, 0))
    assert len(truth_pair(reference, 50, train).sample) == 50


def test_halves_score_the_floor(tiny_geometry):
    pair = truth_pair(real(tiny_geometry, 6000, 0), 6000)
    histograms = separation_histograms(pair.reference, pair.sample)
    single = [h for h in histograms if h.name != "voxel" and h.floor is not None]
    power, floor = (sum(getattr(h, kind) for h in single) for kind in ("separation", "floor"))
    assert power / floor == pytest.approx(1, abs=0.1)


def test_one_shower_has_no_truth(tiny_geometry):
    with pytest.raises(UserError, match="has 1 showers"):
        truth_pair(real(tiny_geometry, 1, 0), 10)


def test_thinning_covers_a_sorted_file(tiny_geometry):
    showers = real(tiny_geometry, 100, 0)
    thin = spread(showers, 10)
    np.testing.assert_array_equal(thin.energies, showers.energies[::10])
    assert spread(showers, 100) is showers


def test_showers_in_both_files_are_counted(tiny_geometry):
    first, other = real(tiny_geometry, 60, 0), real(tiny_geometry, 60, 1)
    features = [high_level_features(showers) for showers in (first, other)]
    assert shared_showers(*features) == 0
    assert shared_showers(features[0], high_level_features(first.subset(np.arange(7)))) == 7


def test_the_official_pions_come_with_a_warning(tiny_geometry):
    pions = load_geometry("ds1_pions")
    empty = Showers.from_arrays(np.ones(1), np.zeros((1, pions.n_voxels), np.float32), pions)
    assert "0.609" in truth_note(empty)
    named = dataclasses.replace(tiny_geometry, name="mine")
    assert truth_note(real(named, 1, 0)) is None
