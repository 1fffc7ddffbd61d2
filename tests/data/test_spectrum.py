"""The incident energies a model knows: measured, drawn again, and told from others."""

import json
import tracemalloc

import numpy as np
import pytest

from caloman_cli.data.spectrum import Spectrum, draw_known, known_spectrum, warn_foreign
from caloman_cli.errors import UserError
from tests.conftest import load_geometry

RNG = np.random.default_rng


class Model:
    """What a spectrum wants to know of a model."""

    def __init__(self, geometry, spectrum=None):
        self.geometry, self.spectrum = geometry, spectrum


def test_few_distinct_energies_are_levels_with_their_frequencies():
    energies = RNG(0).permutation(np.repeat([256.0, 512.0, 65536.0], [600, 300, 100]))
    spectrum = Spectrum.measured(energies[:, None])
    assert spectrum == Spectrum((256.0, 512.0, 65536.0), (600.0, 300.0, 100.0))
    drawn = spectrum.draw(RNG(1), 10_000)
    assert drawn.shape == (10_000, 1)
    values, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_array_equal(values, [256, 512, 65536])
    expected = np.array([6000, 3000, 1000])
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_one_energy_is_one_level_however_few_showers():
    spectrum = Spectrum.measured(np.full((2, 1), 16384.0))
    assert (spectrum.draw(RNG(0), 50) == 16384).all()


def test_a_continuous_spectrum_is_drawn_again_as_it_was():
    """Not log-uniform: three quarters below 1 GeV."""
    rng = RNG(0)
    low, high = rng.uniform(np.log(100), np.log(1e3), 7500), rng.uniform(7, 11, 2500)
    energies = np.exp(np.concatenate([low, high]))
    spectrum = Spectrum.measured(energies)
    assert (spectrum.weights, len(spectrum.energies)) == (None, 1025)
    assert (spectrum.energies[0], spectrum.energies[-1]) == (energies.min(), energies.max())
    drawn = np.sort(spectrum.draw(RNG(1), 20_000)[:, 0])
    assert energies.min() <= drawn[0]
    assert drawn[-1] <= energies.max()
    ranks = np.searchsorted(np.sort(energies), drawn) / len(energies)
    assert np.abs(ranks - (np.arange(20_000) + 0.5) / 20_000).max() < 0.02


def test_a_handful_of_showers_of_a_continuous_spectrum_is_a_range():
    spectrum = Spectrum.measured(np.array([3e3, 1e3, 2e3]))
    assert spectrum.weights is None
    assert len(np.unique(spectrum.draw(RNG(0), 100))) == 100


def test_two_ends_are_a_log_uniform_spectrum():
    drawn = Spectrum((1e3, 1e5)).draw(RNG(0), 20_000)
    assert (drawn >= 1e3).all()
    assert (drawn <= 1e5).all()
    share = np.histogram(np.log10(drawn), 4, (3, 5))[0] / 20_000
    np.testing.assert_allclose(share, 0.25, atol=0.02)


def test_energies_outside_and_between_levels_are_told_apart():
    spectrum = Spectrum((256.0, 512.0, 1024.0), (1.0, 1.0, 1.0))
    asked = np.array([[0.256], [256.0], [np.float32(512) * 1.0000001], [700.0], [2000.0]])
    outside, between = spectrum.foreign(asked)
    assert "2 of 5 incident energies lie outside 256 ... 1024 MeV, the training data" in outside
    assert "1 of 5 incident energies lie between the levels of 256 ... 1024 MeV" in between
    assert spectrum.foreign(np.array([[512.0], [256.0]])) == []
    assert Spectrum((256.0, 1024.0)).foreign(np.array([[700.0], [256.0], [1024.0001]])) == []


@pytest.mark.parametrize("name", ["ds1_photons", "ds2"])
def test_a_model_that_does_not_say_draws_its_detectors_spectrum_and_says_so(name, caplog):
    model = Model(load_geometry(name))
    drawn = draw_known(model, RNG(0), 4000)
    low, high = {"ds1_photons": (256, 4194304), "ds2": (1e3, 1e6)}[name]
    assert low <= drawn.min() < drawn.max() <= high
    assert f"drawing from {low:g} ... {high:g} MeV, the official {name}" in caplog.text
    if name == "ds1_photons":
        share = {e: float((drawn == e).mean()) for e in (256.0, 4194304.0)}
        assert share[256.0] == pytest.approx(10 / 121, abs=0.02)
        assert share[4194304.0] == pytest.approx(1 / 121, abs=0.01)


def test_a_model_that_says_draws_what_it_learned_whatever_the_detector(tiny_geometry, caplog):
    model = Model(tiny_geometry, Spectrum((2e3,), (7.0,)))
    assert (draw_known(model, RNG(0), 9) == 2e3).all()
    assert not caplog.text
    warn_foreign(model, np.full((3, 1), 1e4))  # inside the detector's range
    assert "3 of 3 incident energies lie outside 2000 MeV, the training data" in caplog.text


def test_nothing_known_is_one_line_that_says_what_to_give(tiny_geometry):
    from dataclasses import replace

    model = Model(replace(tiny_geometry, incident_range=None))
    assert known_spectrum(model) is None
    warn_foreign(model, np.ones((2, 1)))
    with pytest.raises(UserError, match=r"energy=\[LOW,HIGH\] or energies=FILE"):
        draw_known(model, RNG(0), 3)


@pytest.mark.parametrize(
    "spectrum", [Spectrum((1.0, 2.0), (3.0, 4.0)), Spectrum(tuple(np.logspace(2, 3, 9).tolist()))]
)
def test_plain_data_and_back(spectrum):
    assert Spectrum.from_dict(json.loads(json.dumps(spectrum.to_dict()))) == spectrum


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"energies": [], "weights": None},
        {"energies": [2.0, 1.0], "weights": None},
        {"energies": [0.0, 1.0], "weights": None},
        {"energies": [1.0, float("nan")], "weights": None},
        {"energies": [1.0, 2.0], "weights": [1.0]},
        {"energies": [1.0, 2.0], "weights": [1.0, 0.0]},
        {"energies": "many", "weights": None},
        {"energies": 5, "weights": None},
    ],
)
def test_damaged_facts_are_user_errors(facts):
    with pytest.raises(UserError, match="incident energies|incident energy"):
        Spectrum.from_dict(facts)


@pytest.mark.parametrize(
    "spectrum",
    [Spectrum(tuple(np.geomspace(1e3, 1e6, 15)), (1.0,) * 15), Spectrum((1e3, 2e3, 1e6))],
)
def test_many_energies_take_little_memory(spectrum):
    """Drawn and looked at in blocks: as at once, without an array of energies times levels."""
    n = 500_000
    tracemalloc.start()
    try:
        drawn = spectrum.draw(RNG(1), n)
        assert not spectrum.foreign(drawn)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * drawn.nbytes
    if spectrum.weights is not None:
        levels, share = np.asarray(spectrum.energies), np.full(15, 1 / 15)
        np.testing.assert_array_equal(drawn, RNG(1).choice(levels, (n, 1), p=share))
    drawn[-2:] = [[1.0], [1.5e3]]
    said = spectrum.foreign(drawn)
    assert "1 of 500000 incident energies lie outside" in said[0]
    assert len(said) == (1 if spectrum.weights is None else 2)
