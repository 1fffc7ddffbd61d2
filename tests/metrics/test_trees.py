"""Boosted trees on features: what differs is told apart, by the group that can see it."""

import numpy as np
import pytest

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.components.classifier.trees import histograms
from caloman_cli.metrics.classifier import tree_test
from caloman_cli.metrics.classifier.scores import auc_error
from caloman_cli.metrics.classifier.telling import single_aucs
from caloman_cli.metrics.classifier.tree_table import in_words, n_features, tree_table
from caloman_cli.metrics.classifier.tree_test import TreeTest
from caloman_cli.metrics.features import high_level_features
from tests.conftest import load_geometry
from tests.metrics.test_azimuthal import N_ALPHA, N_R, THREE, detector, random_showers

pytestmark = pytest.mark.usefixtures("one_thread")
ANGLES = 2 * np.pi * (np.arange(N_ALPHA) + 0.5) / N_ALPHA - np.pi


def patterned(n: int, seed: int, wave: int, alike: bool = True) -> np.ndarray:
    """Images (n, layers, slices, rings) with a wave around the axis, turned as the shower is."""
    rng = np.random.default_rng(seed)
    turn = rng.integers(0, N_ALPHA, (n, 1 if alike else 3)) + np.zeros((1, 3), int)
    shape = 1.01 + np.cos(wave * (ANGLES - ANGLES[turn][..., None]))
    return rng.gamma(4, 1 / 4, (n, 3, N_ALPHA, N_R)) * shape[..., None]


def showers(images: np.ndarray) -> Showers:
    voxels = images.reshape(len(images), -1).astype(np.float32)
    return Showers.from_arrays(np.full(len(images), 100.0), voxels, THREE)


def shuffled(images: np.ndarray, seed: int) -> np.ndarray:
    """Slices of each layer of each shower in an order of their own."""
    order = np.random.default_rng(seed).permuted(
        np.tile(np.arange(N_ALPHA), (*images.shape[:2], 1)), axis=2
    )
    return np.take_along_axis(images, order[..., None], 2)


def groups(found: dict) -> dict[str, float]:
    return {name: one["auc"] for name, one in found["groups"].items()}


def test_layers_turned_apart_are_seen_across_layers_alone():
    """Of a wave with three crests the centres and widths of a layer know nothing."""
    found = TreeTest()(showers(patterned(800, 1, 3)), showers(patterned(800, 2, 3, alike=False)))
    aucs, error = groups(found), 4 * auc_error(0.5, 160)
    assert aucs["across_layers"] > 0.9
    assert found["auc"] > 0.9
    assert aucs["challenge"] == pytest.approx(0.5, abs=error)
    assert aucs["around_axis"] == pytest.approx(0.5, abs=error)
    best = found["telling"][0]
    assert best["group"] == "across_layers"
    assert best["feature"].startswith("overlap/")


def test_shuffled_slices_are_seen_around_the_axis():
    real, made = patterned(800, 1, 1, alike=False), patterned(800, 2, 1, alike=False)
    found = TreeTest()(showers(real), showers(shuffled(made, 3)))
    assert groups(found)["around_axis"] > 0.95
    kind = found["telling"][0]["feature"].split("/")[0]
    assert kind in ("dipole", "offset", "product_1", "product_2", "inner_dipole", "outer_dipole")


def test_one_source_is_not_told_apart():
    found = TreeTest()(showers(patterned(600, 1, 1)), showers(patterned(600, 2, 1)))
    assert found["auc_error"] == pytest.approx(auc_error(0.5, 120), rel=0.05)
    for auc in (found["auc"], *groups(found).values(), found["telling"][0]["auc"]):
        assert auc == pytest.approx(0.5, abs=4 * found["auc_error"])


def test_trainings_differ_in_splits_and_the_spread_is_told():
    found = TreeTest(repeats=2)(random_showers(THREE, 100, 1), random_showers(THREE, 100, 2))
    first, second = (run["auc_raw"] for run in found["repeats"])
    assert first != second
    assert found["auc_std"] >= 0
    assert found["groups"]["challenge"]["auc_std"] >= 0


@pytest.mark.shared
@pytest.mark.parametrize("name", ["ds1_photons", "ds2"])
def test_two_halves_of_a_geant4_file_are_not_told_apart(shared, name):
    geometry = load_geometry(name)
    whole = Showers.from_files([shared / f"data/geant4/{name}_reference.hdf5"], geometry)
    halves = [whole.subset(np.arange(first, 1200, 2)) for first in (0, 1)]
    found = TreeTest()(*halves)
    for auc in (found["auc"], *groups(found).values()):
        assert auc == pytest.approx(0.5, abs=4 * auc_error(0.5, 120))


def test_the_most_telling_feature_is_chosen_on_other_rows(monkeypatch):
    def drawn(values, real, train, judged):
        names = values.shape[1]
        return np.stack([np.linspace(0.5, 0.6, names), np.linspace(0.6, 0.4, names)])

    monkeypatch.setattr(tree_test, "single_aucs", drawn)
    found = TreeTest()(random_showers(THREE, 100, 1), random_showers(THREE, 100, 2))
    first = found["telling"][0]
    assert first["feature"] == tree_table(random_showers(THREE, 2, 1)).names[-1]
    assert first["auc"] == pytest.approx(0.4)
    assert [one["group"] for one in found["telling"][:3]] == [first["group"]] * 3
    assert len(found["telling"]) == 9


def test_each_group_sees_its_features_and_the_incident_energy(monkeypatch):
    seen = []

    def recorded(rows, real, train, judged, rng, share):
        seen.append(rows(train).shape[1])
        return [real[some].astype(float) for some in judged], 1

    monkeypatch.setattr(tree_test, "tree_scores", recorded)
    found = TreeTest()(random_showers(THREE, 100, 1), random_showers(THREE, 100, 2))
    table = tree_table(random_showers(THREE, 5, 1))
    sizes = [sum(group == of for of in table.groups) for group in table.present()]
    assert seen == [len(table.names), sizes[0], *(size + 1 for size in sizes[1:])]
    assert [one["features"] for one in found["groups"].values()] == seen[1:]


def test_rows_learned_from_judge_nothing(monkeypatch):
    used = {}

    def recorded(rows, real, train, judged, rng, share):
        used.update(train=set(train), test=set(judged[0]), val=set(judged[1]))
        return [real[some].astype(float) for some in judged], 1

    monkeypatch.setattr(tree_test, "tree_scores", recorded)
    TreeTest()(random_showers(THREE, 200, 1), random_showers(THREE, 150, 2))
    assert not used["train"] & used["test"]
    assert not used["val"] & (used["train"] | used["test"])
    assert len(used["train"] | used["test"] | used["val"]) == 300


def test_large_files_are_thinned(monkeypatch):
    table = tree_table(random_showers(THREE, 5, 1))
    monkeypatch.setattr(tree_test, "MOST_NUMBERS", 2 * 150 * len(table.names))
    found = TreeTest()(random_showers(THREE, 400, 1), random_showers(THREE, 400, 2))
    assert (found["n_train"], found["n_test"], found["n_val"]) == (180, 60, 60)


def test_a_table_of_some_rows_is_those_rows_of_the_whole():
    some = random_showers(THREE, 40, 1)
    rows = np.array([3, 4, 17, 39])
    whole = tree_table(some)
    for known in (None, high_level_features(some)):
        part = tree_table(some, known=known, rows=rows)
        assert part.names == whole.names
        np.testing.assert_array_equal(part.values, whole.values[rows])
    assert n_features(THREE) == len(whole.names)


def test_too_few_showers_are_refused_and_few_are_warned_of():
    with pytest.raises(UserError, match="needs 100 showers or more"):
        TreeTest()(random_showers(THREE, 99, 1), random_showers(THREE, 99, 2))
    found = TreeTest()(random_showers(THREE, 100, 1), random_showers(THREE, 100, 2))
    assert found["warning"].startswith("classifier 'trees': 100 showers per class; an AUC of 0.5")


def test_a_detector_without_slices_has_the_challenges_features():
    plain = detector({"r_edges": [0, 5], "n_alpha": 1}, {"r_edges": [0, 5, 9], "n_alpha": 2})
    found = TreeTest()(random_showers(plain, 100, 1), random_showers(plain, 100, 2))
    assert list(found["groups"]) == ["challenge"]
    assert 0 <= found["auc"] <= 1


def test_the_table_holds_the_features_in_their_units():
    some = random_showers(THREE, 30, 1)
    features, table = high_level_features(some), tree_table(some)
    for name, values in features.values.items():
        column = table.values[:, table.names.index(name)]
        wanted = np.log10(values + 1e-8) if name.startswith("E_") else values
        np.testing.assert_allclose(column, wanted, atol=6e-4)
    ratio = table.values[:, table.names.index("E_ratio")]
    np.testing.assert_allclose(ratio, features["E_tot"] / 100, atol=1e-4)
    assert table.names[0] == "E_inc"
    assert np.unique(table.values[:, 0]).tolist() == [2.0]
    with pytest.raises(ValueError, match="were given for"):
        tree_table(random_showers(THREE, 31, 1), known=features)


def test_the_last_digits_of_a_file_are_not_seen():
    some = random_showers(THREE, 50, 1)
    energies, voxels = some.read(0, 50)
    other = Showers.from_arrays(
        energies, np.nextafter(voxels, np.float32(np.inf)) * (voxels > 0), THREE
    )
    np.testing.assert_allclose(tree_table(some).values, tree_table(other).values, atol=1.1e-3)
    equal = tree_table(some).values == tree_table(other).values
    assert equal.mean() > 0.99


def test_every_feature_has_words(geometry: Geometry):
    table = tree_table(random_showers(geometry, 1, 1))
    words = [in_words(name) for name in table.names]
    assert len(set(words)) == len(words)
    assert "layer 1: dipole" in words


def test_a_single_feature_has_its_known_auc():
    """Shifted by a width: Phi(1 / sqrt 2). Twice as wide: 2 atan(2) / pi. Else 0.5."""
    rng, n = np.random.default_rng(0), 40_000
    values = rng.standard_normal((2 * n, 4))
    values[:n, 0] += 1
    values[:n, 1] *= 2
    values[:, 3] = 7
    rows = rng.permutation(2 * n)
    found = single_aucs(values, np.arange(2 * n) < n, rows[:n], (rows[n:], rows[:n]))
    assert found[0, 0] == pytest.approx(0.760, abs=0.01)
    assert found[0, 1] == pytest.approx(2 * np.arctan(2) / np.pi, abs=0.01)
    assert found[0, 2] == pytest.approx(0.5, abs=0.01)
    assert found[:, 3] == pytest.approx(0.5)


def test_the_longest_words_stay_below_their_panel():
    """And inside the picture, whichever features are shown."""
    table = tree_table(showers(patterned(20, 0, 1)))
    groups = {group: table.columns(group) for group in table.present()}
    shown = [
        {"feature": max((table.names[i] for i in columns), key=lambda name: len(in_words(name))),
         "group": group, "auc": 0.5}
        for group, columns in groups.items()
    ]  # fmt: skip
    image = histograms(shown, [table, table], ["real", "ours"])
    image.canvas.draw()
    for ax in image.axes:
        label = ax.xaxis.label.get_window_extent()
        assert label.x0 >= 0 and label.x1 <= image.bbox.width
        assert label.width < 1.15 * ax.get_window_extent().width
