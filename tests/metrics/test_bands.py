"""AUC in bands of incident energy: which bands there are, and that each says what it holds."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.components.classifier import trees
from caloman_cli.evaluation.components.classifier.bands import band_figure, band_grid
from caloman_cli.evaluation.components.classifier.rows import auc_and_jsd
from caloman_cli.metrics.classifier import bands
from caloman_cli.metrics.classifier.bands import BandScores, energy_bands
from caloman_cli.metrics.classifier.scores import auc_error
from caloman_cli.metrics.classifier.tree_test import TreeTest
from tests.metrics.test_azimuthal import N_ALPHA, N_R, RINGS, detector, random_showers
from tests.metrics.test_trees import shuffled

pytestmark = pytest.mark.usefixtures("one_thread")
ONE = detector(RINGS)
PHOTONS = 2.0 ** np.arange(8, 23)


def spectrum(n: int, seed: int, low: float = 2, high: float = 5) -> np.ndarray:
    return 10 ** np.random.default_rng(seed).uniform(low, high, n)


def leaning(n: int, seed: int) -> np.ndarray:
    """Images (n, 1, slices, rings) of one layer that lean to one side."""
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * np.arange(N_ALPHA) / N_ALPHA
    shape = 1.01 + np.cos(angles - angles[rng.integers(0, N_ALPHA, (n, 1))])
    return rng.gamma(4, 1, (n, 1, N_ALPHA, N_R)) * shape[:, None, :, None]


def showers(energies: np.ndarray, images: np.ndarray) -> Showers:
    return Showers.from_arrays(energies, images.reshape(len(images), -1).astype(np.float32), ONE)


def test_a_distortion_below_some_energy_is_seen_there_alone(monkeypatch):
    monkeypatch.setattr(bands, "FEWEST", 45)
    (real_e, real), (made_e, made) = ((spectrum(600, s), leaning(600, s)) for s in (1, 2))
    low = (made_e < 3200)[:, None, None, None]
    broken = np.where(low, shuffled(made, 3), made)
    found = TreeTest()(showers(real_e, real), showers(made_e, broken))
    assert [one["band"] for one in found["bands"]] == ["below 3.2 GeV", "above 3.2 GeV"]
    below, above = (one["aucs"] for one in found["bands"])
    for judge in ("all", "around_axis"):
        assert below[judge]["auc"] > 0.9
        assert above[judge]["auc"] == pytest.approx(0.5, abs=4 * above[judge]["auc_error"])
    assert below["challenge"]["auc"] < below["around_axis"]["auc"]
    same = TreeTest()(showers(real_e, real), showers(made_e, made))
    for one in same["bands"]:
        for auc in one["aucs"].values():
            assert auc["auc"] == pytest.approx(0.5, abs=4 * auc["auc_error"])


def test_few_showers_have_one_band_that_says_what_all_say():
    few = [random_showers(ONE, 100, seed) for seed in (1, 2)]
    few = [Showers.from_arrays(spectrum(100, 3), side.read(0, 100)[1], ONE) for side in few]
    found = TreeTest(repeats=2)(*few)
    (only,) = found["bands"]
    assert only["band"] == "all energies"
    assert only["showers"] == [20, 20]
    for key in ("auc", "auc_std", "auc_error"):
        assert only["aucs"]["all"][key] == pytest.approx(found[key])
        assert only["aucs"]["challenge"][key] == pytest.approx(found["groups"]["challenge"][key])
    assert trees.tables(found, None, "Geant4") == {}
    rows = trees.scores(auc_and_jsd("trees", found, None, ""), found, None)
    assert not [row.key for row in rows if "band" in row.key]


def test_a_continuous_spectrum_is_cut_into_four_of_equal_width():
    found = energy_bands(spectrum(3000, 1, 3, 6), spectrum(3000, 2, 3, 6), 0.2)
    np.testing.assert_allclose(found.edges, [5600, 32_000, 180_000])
    assert found.words == ("below 5.6 GeV", "5.6 to 32 GeV", "32 to 180 GeV", "above 180 GeV")
    assert found.spans[0, 0] == pytest.approx(1000, rel=0.02)
    assert found.of(np.array([1e3, 5600, 1e6])).tolist() == [0, 1, 3]


def test_discrete_energies_are_never_cut_between():
    levels = np.tile(PHOTONS, 200)
    found = energy_bands(levels, levels.astype(np.float32), 0.2)
    assert found.words == (
        "256 MeV to 2.05 GeV", "4.1 to 32.8 GeV", "65.5 to 262 GeV", "524 GeV to 4.19 TeV",
    )  # fmt: skip
    members = [PHOTONS[found.of(PHOTONS) == place] for place in range(4)]
    assert [(low, high) for low, high in found.spans] == [(m[0], m[-1]) for m in members]
    for near in (1 - 1e-6, 1 + 1e-6):  # files round
        np.testing.assert_array_equal(found.of(PHOTONS * near), found.of(PHOTONS))
    few = np.repeat([1e3, 5e4, 1e5], 600)
    assert energy_bands(few, few, 0.2).words == ("1 GeV", "50 GeV", "100 GeV")


def test_a_band_with_too_few_showers_is_joined_with_another():
    counts = {1e3: 3000, 1e4: 200, 1e5: 1000, 1e6: 3000}
    real = np.repeat(list(counts), list(counts.values()))
    assert energy_bands(real, real, 0.2).words == ("1 GeV", "10 to 100 GeV", "1 TeV")
    halves = np.repeat(PHOTONS, 40)
    assert len(energy_bands(halves, halves, 1.0)) == 4
    assert energy_bands(halves, halves, 0.5).words == (
        "256 MeV to 32.8 GeV",
        "65.5 GeV to 4.19 TeV",
    )
    # One class is enough to lack them.
    assert energy_bands(real, real[real > 1e3], 0.2).words == ("1 to 100 GeV", "1 TeV")
    assert energy_bands(real[:400], real[:400], 0.2).words == ("1 GeV",)
    assert len(energy_bands(real, real, 0.001)) == 1


def test_each_band_has_the_auc_of_its_own_rows():
    rng, n = np.random.default_rng(0), 600
    energies, real = np.concatenate([spectrum(n, 1), spectrum(n, 1)]), np.arange(2 * n) < n
    found = energy_bands(energies[:n], energies[n:], 1.0)
    said, rows = rng.random(2 * n) + real * (energies > 1e4), rng.permutation(2 * n)[:900]
    assert len(found) == 4
    by_band = BandScores(found, energies, real)
    by_band.add("all", said[rows], rows)
    for place, one in enumerate(by_band.found()):
        inside = rows[found.of(energies[rows]) == place]
        assert one["showers"] == [int(real[inside].sum()), int((~real[inside]).sum())]
        auc = roc_auc_score(real[inside], said[inside])
        assert one["aucs"]["all"]["auc"] == auc
        assert one["aucs"]["all"]["auc_error"] == auc_error(auc, *one["showers"])
        assert one["aucs"]["all"]["auc_std"] is None


def test_a_band_where_the_truth_has_no_showers_has_a_dash(monkeypatch):
    monkeypatch.setattr(bands, "FEWEST", 15)
    sides = [random_showers(ONE, 150, seed) for seed in (1, 2)]
    levels = np.tile([1e3, 1e5], 75)
    sides = [Showers.from_arrays(levels, side.read(0, 150)[1], ONE) for side in sides]
    test = TreeTest()
    ours = test(*sides)
    low = [Showers.from_arrays(np.full(150, 1e3), side.read(0, 150)[1], ONE) for side in sides]
    truth = test(*low, bands=energy_bands(levels, levels, 1.0))
    assert truth["bands"][1]["aucs"]["all"] is None
    rows = trees.scores(auc_and_jsd("trees", ours, truth, ""), ours, truth)
    of_bands = [row for row in rows if "band" in row.key]
    assert [row.quantity for row in of_bands] == ["AUC trees, 1 GeV", "AUC trees, 100 GeV"]
    assert [row.key for row in of_bands] == ["auc_trees_band_1", "auc_trees_band_2"]
    assert of_bands[1].truth is of_bands[1].truth_spread is None
    assert of_bands[0].truth == truth["bands"][0]["aucs"]["all"]["auc"]
    for row in of_bands:
        assert row.note.startswith("not a score of the challenge")
        assert row.conditions["incident energy"] in row.quantity
        assert not row.summary
    grid = band_grid(ours, truth, trees.WORDS, "real")
    assert [row[:2] for row in grid.rows[2:]] == [["100 GeV", "generated"], ["100 GeV", "real"]]
    assert grid.rows[3][3:] == ["–"] * 3
    assert len(band_figure(ours, truth, trees.WORDS, "real").axes) == 3


def test_the_error_of_unequal_numbers_is_the_spread():
    rng = np.random.default_rng(0)
    real, made = rng.standard_normal((400, 60, 1)), rng.standard_normal((400, 1, 200))
    aucs = (real + 1 > made).mean((1, 2))
    assert auc_error(float(aucs.mean()), 60, 200) == pytest.approx(aucs.std(), rel=0.1)
    assert auc_error(0.8, 60, 60) == auc_error(0.8, 60)
