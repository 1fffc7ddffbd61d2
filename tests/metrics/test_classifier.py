"""The classifier test on cases with a known answer."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from sklearn.isotonic import IsotonicRegression

from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.metrics.classifier import inputs as classifier_inputs
from caloman_cli.metrics.classifier import scores as classifier_scores
from caloman_cli.metrics.classifier import training as classifier_training
from caloman_cli.metrics.classifier import two_sample as classifier
from caloman_cli.metrics.classifier.inputs import LowLevelInput, classifier_rows
from caloman_cli.metrics.classifier.splits import draw_split, matched_rows, split_sizes
from caloman_cli.metrics.classifier.training import Plan
from caloman_cli.metrics.classifier.two_sample import ClassifierTest, auc_error, parameter_count
from caloman_cli.metrics.features import high_level_features
from caloman_cli.metrics.protocol import find_protocol
from tests.conftest import load_geometry

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"units": 32, "epochs": 8, "batch_size": 100, "learning_rate": 2e-3}


def gaussian(geometry, n: int, seed: int, shift: float = 0.0) -> Showers:
    """The logarithm of one voxel is a Gaussian; the rest are alike in every sample."""
    rng = np.random.default_rng(seed)
    voxels = rng.random((n, geometry.n_voxels)).astype(np.float32)
    voxels[:, 0] = 300 * np.exp(0.8 * (rng.standard_normal(n) + shift))
    return Showers.from_arrays(np.full(n, 1000.0), voxels, geometry)


def test_the_official_network_has_the_official_size():
    assert parameter_count(369, 2048) == 9_152_513


@pytest.mark.parametrize("mode", ["low", "high"])
def test_a_shifted_gaussian_has_its_known_auc(tiny_geometry, mode):
    found = ClassifierTest(mode, **SMALL)(
        gaussian(tiny_geometry, 4000, 1), gaussian(tiny_geometry, 4000, 2, shift=1.0)
    )
    expected = 0.5 * (1 + math.erf(1 / 2))  # Phi(shift / sqrt(2)) at a shift of one width
    assert found["auc"] == pytest.approx(expected, abs=0.03)
    assert found["auc_raw"] == pytest.approx(expected, abs=0.03)
    assert 0.1 < found["jsd"] < 0.25
    assert np.all(np.diff(found["roc"]["tpr"]) >= 0)
    assert trapezoid(found["roc"]["tpr"], found["roc"]["fpr"]) == pytest.approx(
        found["auc_raw"], abs=0.01
    )


def test_voxel_trees_tell_apart_what_differs_and_nothing_else(tiny_geometry):
    real = gaussian(tiny_geometry, 3000, 1)
    found = ClassifierTest("voxel_trees")(real, gaussian(tiny_geometry, 3000, 2, shift=6.0))
    assert found["auc"] > 0.99
    assert (found["units"], found["epochs"], found["preset"]) == (None, 150, "trees")
    same = ClassifierTest("voxel_trees")(real, gaussian(tiny_geometry, 3000, 2))
    # Trees that learned these showers by heart would say 1 on the rows that they learned from.
    assert abs(same["auc_raw"] - 0.5) < 4 * same["auc_error"]
    assert same["auc_error"] == pytest.approx(auc_error(0.5, same["n_val"] // 2), rel=0.05)


def test_voxel_trees_see_a_narrow_peak(tiny_geometry):
    """A line of one per cent width in one voxel, under as many showers of any energy."""
    rng = np.random.default_rng(0)
    sides = []
    for seed, line in ((1, True), (2, False)):
        showers = gaussian(tiny_geometry, 2000, seed)
        energies, voxels = (np.array(part) for part in showers.read(0, 2000))
        voxels[:, 3] = rng.uniform(50, 400, 2000)
        if line:
            voxels[::4, 3] = 200 + rng.standard_normal(500)
        sides.append(Showers.from_arrays(energies, voxels, tiny_geometry))
    expected = 0.5 + 0.25 / 2  # the quarter on the line is known, the others are not
    found = ClassifierTest("voxel_trees")(*sides)
    assert found["auc_raw"] == pytest.approx(expected, abs=4 * found["auc_error"])
    assert found["auc_raw"] > 0.5 + 2 * found["auc_error"]


def test_voxel_trees_learn_and_judge_other_rows(tiny_geometry, monkeypatch):
    used = {}

    def recorded(source, real, train, judged, rng):
        used.update(train=set(train), test=set(judged[0]), val=set(judged[1]))
        return [real[rows].astype(float) for rows in judged], 1

    monkeypatch.setattr(classifier, "voxel_tree_scores", recorded)
    ClassifierTest("voxel_trees")(gaussian(tiny_geometry, 200, 1), gaussian(tiny_geometry, 200, 2))
    assert not used["train"] & used["test"]
    assert not used["val"] & (used["train"] | used["test"])
    assert len(used["train"] | used["test"] | used["val"]) == 400


def test_voxel_trees_refuse_more_voxels_than_they_can_see():
    electrons = load_geometry("ds2")
    few = Showers.from_arrays(
        np.full(100, 1e4), np.ones((100, electrons.n_voxels), np.float32), electrons
    )
    with pytest.raises(UserError, match="up to 1,000 voxels, ds2 has 6,480: use modes trees"):
        ClassifierTest("voxel_trees")(few, few)


def test_one_source_is_not_told_apart(tiny_geometry):
    found = ClassifierTest("low_normed", **SMALL)(
        gaussian(tiny_geometry, 4000, 1), gaussian(tiny_geometry, 4000, 2)
    )
    assert found["auc"] == pytest.approx(0.5, abs=0.05)
    assert -0.1 < found["jsd"] < 0.02  # calibration on few showers overfits: below zero


@pytest.mark.shared
@pytest.mark.parametrize("mode", ["low", "low_normed", "high"])
def test_two_halves_of_a_geant4_file_are_not_told_apart(shared, mode):
    path = shared / "data/geant4/ds1_photons_reference.hdf5"
    whole = Showers.from_files([path], load_geometry("ds1_photons"))
    halves = [whole.subset(np.arange(first, 8000, 2)) for first in (0, 1)]
    found = ClassifierTest(mode, units=128, epochs=5)(*halves)
    assert found["auc"] == pytest.approx(0.5, abs=0.05)


def noise(geometry, n: int, seed: int) -> Showers:
    voxels = np.random.default_rng(seed).random((n, geometry.n_voxels))
    return Showers.from_arrays(np.full(n, 100.0), (50 * voxels).astype(np.float32), geometry)


def test_a_network_that_memorises_noise_has_learnt_nothing():
    """All showers are the same noise; scored on the rows it learned from AUC is above 0.9."""
    memory = {"units": 64, "epochs": 15, "batch_size": 20, "learning_rate": 3e-3, "repeats": 4}
    geometry = load_geometry("ds1_photons")
    found = ClassifierTest("low", **memory)(*(noise(geometry, 300, seed) for seed in (1, 2)))
    error = auc_error(0.5, 60) / 2  # of the mean of four
    assert found["auc"] == pytest.approx(0.5, abs=3 * error)
    assert found["auc_raw"] == pytest.approx(0.5, abs=3 * error)
    assert found["jsd"] < 0  # calibrated on the rows that are reported it would be above


def test_no_row_serves_twice(tiny_geometry, monkeypatch):
    """Rows to fit, to select and calibrate, and to report have none in common."""
    seen: dict[str, list[np.ndarray]] = {"step": [], "score": [], "calibrate": []}

    class Watched(IsotonicRegression):
        def fit(self, x, y):
            seen["calibrate"].append(x)
            return super().fit(x, y)

    class WatchedRows:
        def __init__(self, source):
            self.source, self.width = source, source.width

        def rows(self, index):
            kind = "step" if torch.is_grad_enabled() else "score"
            seen[kind].append(np.asarray(index))
            return self.source.rows(index)

    scored = []

    def watched_logits(*arguments):
        scored.append((arguments[2], classifier_training.logits(*arguments)))
        return scored[-1][1]

    monkeypatch.setattr(classifier_scores, "IsotonicRegression", Watched)
    monkeypatch.setattr(
        classifier, "classifier_rows", lambda *a, **k: WatchedRows(classifier_rows(*a, **k))
    )
    monkeypatch.setattr(classifier, "logits", watched_logits)
    sides = [noise(tiny_geometry, 150, seed) for seed in (1, 2)]
    ClassifierTest("low", **{**SMALL, "epochs": 2})(*sides)
    (selected, answers), (reported, _) = scored
    learnt = np.unique(np.concatenate(seen["step"]))
    assert (len(learnt), len(selected), len(reported)) == (180, 60, 60)
    assert sorted(np.concatenate([learnt, selected, reported])) == list(range(300))
    chosen = np.unique(np.concatenate(seen["score"]))
    assert set(chosen) == {*selected, *reported}  # the epoch was not chosen by what was learnt
    (calibrated,) = seen["calibrate"]
    np.testing.assert_array_equal(calibrated, torch.sigmoid(answers[:, 0]).numpy())


def test_the_best_epoch_is_the_one_that_is_reported(tiny_geometry, monkeypatch):
    """Not the last: the weights of a later, worse epoch must not reach those that were kept."""
    kept, accuracies = [], iter([0.6, 0.9, 0.5])

    def scripted(model, source, index, size):
        kept.append(next(iter(model.parameters())).detach().clone())
        right = round(next(accuracies) * len(index))
        signs = np.where(np.arange(len(index)) < right, 1.0, -1.0)
        return torch.from_numpy(signs * (2.0 * (index < 150) - 1))[:, None]

    monkeypatch.setattr(classifier_training, "logits", scripted)
    final = []
    monkeypatch.setattr(classifier, "logits", lambda *a: final.append(a[0]) or torch.rand(60, 1))
    sides = [noise(tiny_geometry, 150, seed) for seed in (1, 2)]
    ClassifierTest("low", **{**SMALL, "epochs": 3})(*sides)
    assert torch.equal(next(iter(final[0].parameters())), kept[1])
    assert not torch.equal(kept[1], kept[2])


def test_disjoint_samples_are_told_apart_and_the_swap_changes_nothing(tiny_geometry):
    sides = gaussian(tiny_geometry, 600, 1), gaussian(tiny_geometry, 600, 2, shift=10.0)
    test = ClassifierTest("low", **SMALL)
    found, swapped = test(*sides), test(*reversed(sides))
    assert found["auc"] == swapped["auc"] == 1
    assert found["jsd"] == pytest.approx(1, abs=1e-3)
    assert found["accuracy"] == 1


def test_a_seed_fixes_the_result_and_leaves_the_global_state(tiny_geometry):
    sides = gaussian(tiny_geometry, 500, 1), gaussian(tiny_geometry, 500, 2, shift=0.5)
    test = ClassifierTest("low", repeats=2, seed=3, **SMALL)
    state = torch.random.get_rng_state()
    first, second = test(*sides), test(*sides)
    assert torch.equal(state, torch.random.get_rng_state())
    assert first == second
    assert first["repeats"][0] != first["repeats"][1]
    assert first["auc"] == pytest.approx(np.mean([run["auc"] for run in first["repeats"]]))
    assert first["auc_std"] > 0
    assert ClassifierTest("low", seed=4, **SMALL)(*sides)["repeats"] != first["repeats"][:1]


def test_sizes_of_the_splits():
    photons, electrons = load_geometry("ds1_photons"), load_geometry("ds2")
    assert split_sizes(121_000, photons) == (80_000, 20_000)
    assert split_sizes(100_000, electrons) == (60_000, 20_000)
    assert split_sizes(50_000, electrons) == (30_000, 10_000)
    assert split_sizes(121_000, None) == (72_600, 24_200)
    split = draw_split(50, (30, 10), np.random.default_rng(0))
    rows = np.concatenate([split.train, split.test, split.val])
    assert sorted(rows) == list(range(100))
    for part, size in ((split.train, 30), (split.test, 10), (split.val, 10)):
        assert (part < 50).sum() == (part >= 50).sum() == size


def test_the_preset_follows_the_number_of_showers(tiny_geometry):
    sides = gaussian(tiny_geometry, 150, 1), gaussian(tiny_geometry, 150, 2)
    found = ClassifierTest("low", epochs=1)(*sides)
    assert (found["preset"], found["units"], found["epochs"]) == ("small", 512, 1)
    assert (found["n_train"], found["n_test"], found["n_val"]) == (180, 60, 60)
    assert "150 showers per class" in found["warning"]
    assert found["auc_error"] == pytest.approx(auc_error(found["auc"], 30))


def test_roc_curves_are_averaged_over_repeats(tiny_geometry):
    sides = gaussian(tiny_geometry, 500, 1), gaussian(tiny_geometry, 500, 2, shift=0.5)
    found = ClassifierTest("low", repeats=3, **{**SMALL, "epochs": 4})(*sides)
    roc, raw = found["roc"], [run["auc_raw"] for run in found["repeats"]]
    assert len(roc["curves"]) == 3
    for curve, auc in zip(roc["curves"], raw, strict=True):
        assert trapezoid(curve, roc["fpr"]) == pytest.approx(auc, abs=0.02)
    np.testing.assert_allclose(roc["tpr"], np.mean(roc["curves"], 0))
    np.testing.assert_allclose(roc["tpr_std"], np.std(roc["curves"], 0, ddof=1))
    assert found["warning"] == (
        "classifier 'low': 500 showers per class; an AUC of 0.5 has an error of 0.041"
    )


def test_known_features_are_used_and_foreign_ones_refused(tiny_geometry, monkeypatch):
    sides = gaussian(tiny_geometry, 300, 1), gaussian(tiny_geometry, 300, 2, shift=0.5)
    test = ClassifierTest("high", **{**SMALL, "epochs": 2})
    expected = test(*sides)
    known = tuple(high_level_features(showers) for showers in sides)
    with pytest.raises(ValueError, match=r"cut at 0.1 MeV were given for 300 showers to cut at 0"):
        ClassifierTest("high", protocol="legacy2022")(*sides, features=known)
    monkeypatch.setattr(classifier_inputs, "high_level_features", None)
    assert test(*sides, features=known) == expected


@pytest.mark.parametrize(("name", "final", "legacy"), [("ds1_photons", 30, 14), ("ds2", 362, 226)])
def test_the_inputs_of_both_protocols(name, final, legacy):
    """The 2022 code cut nothing and knew neither visible energy, sparsity nor radial moments."""
    geometry = load_geometry(name)
    voxels = np.full((2, geometry.n_voxels), geometry.threshold / 2, np.float32)
    showers = Showers.from_arrays(np.full(2, 1e4), voxels, geometry)
    for protocol, width in (("final", final), ("legacy2022", legacy)):
        rules = find_protocol(protocol)
        settings = ClassifierTest("high", protocol=protocol).settings
        rows = classifier_rows(
            "high",
            (showers,),
            (np.arange(2),),
            torch.device("cpu"),
            None,
            threshold=settings.plan(100, geometry).threshold,
            feature_set=rules.features,
        ).rows(np.arange(2))
        assert rows.shape == (2, width)
        log_energy = -8 if protocol == "final" else math.log10(voxels[0, geometry.slices[0]].sum())
        assert rows[0, 1].item() == pytest.approx(log_energy, abs=1e-5)


def test_the_networks_and_splits_of_both_protocols():
    photons, electrons = load_geometry("ds1_photons"), load_geometry("ds2")
    final = ClassifierTest(preset="official").settings
    legacy = ClassifierTest(preset="official", protocol="legacy2022").settings
    assert final.plan(121_000, photons) == Plan("official", 2048, 50, (80_000, 20_000), 1.0)
    assert legacy.plan(121_000, photons) == Plan("official", 512, 50, (72_600, 24_200), 0.0)
    assert find_protocol("legacy2022").histogram_threshold(photons) == 10
    assert find_protocol("final").histogram_threshold(photons) == 1
    assert find_protocol("legacy2022").histogram_threshold(electrons) == electrons.threshold


def test_the_error_of_an_auc_is_its_spread():
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((2, 400, 80, 1))
    aucs = (real > fake.swapaxes(1, 2) - 1).mean((1, 2))
    assert auc_error(float(aucs.mean()), 80) == pytest.approx(aucs.std(), rel=0.1)


def test_the_longer_side_is_thinned(tiny_geometry):
    long, short = gaussian(tiny_geometry, 400, 1), gaussian(tiny_geometry, 200, 2)
    rows, every = matched_rows(long, short)
    np.testing.assert_array_equal(rows, np.arange(200))  # the energies are the same, row by row
    long.energies[:] = 1000 + np.arange(400)[:, None]
    rows, every = matched_rows(long, short)
    np.testing.assert_array_equal(rows, np.arange(0, 400, 2))
    np.testing.assert_array_equal(every, np.arange(200))


def test_low_level_inputs_by_hand(tiny_geometry):
    voxels = np.zeros((1, 12), np.float32)
    voxels[0, [0, 1, 2, 10]] = 6.0, 2.0, 5.0, 0.05
    energies = np.array([[100.0]])
    low = LowLevelInput(tiny_geometry, 0.1, normed=False)(energies, voxels)
    assert low.dtype == np.float32
    assert low[0] == pytest.approx([2, 0.06, 0.02, 0.05, *[0] * 9])
    normed = LowLevelInput(tiny_geometry, 0.1, normed=True)(energies, voxels)
    logs = [math.log10(8), math.log10(5), -8]
    assert normed[0] == pytest.approx([2, 0.75, 0.25, 1, *[0] * 9, *logs])
    official = LowLevelInput(tiny_geometry, 0.1, normed=True, uncut_voxels=True)
    assert official(energies, voxels)[0, 11] == pytest.approx(0.05 / 1e-16)


@pytest.mark.parametrize("mode", ["low", "low_normed"])
def test_streamed_inputs_equal_those_in_memory(tiny_geometry, tmp_path, monkeypatch, mode):
    sizes = 120, 300  # subsets are mapped, plain arrays need not be
    sides = tuple(gaussian(tiny_geometry, n, n).subset(np.arange(n)) for n in sizes)
    selected = np.arange(120), np.arange(0, 240, 2)
    cpu = torch.device("cpu")
    table = classifier_rows(mode, sides, selected, cpu, None)
    monkeypatch.setattr(classifier_inputs, "MEMORY_LIMIT", 0)
    stream = classifier_rows(mode, sides, selected, cpu, tmp_path)
    assert isinstance(stream, classifier_inputs.VoxelStream)
    assert all(isinstance(voxels, np.memmap) for voxels in stream.voxels)
    index = np.random.default_rng(0).permutation(240)[:77]
    assert stream.width == table.width
    torch.testing.assert_close(stream.rows(index), table.rows(index), rtol=0, atol=0)


def test_inputs_of_empty_showers_are_finite(geometry):
    voxels = np.zeros((2, geometry.n_voxels), np.float32)
    showers = Showers.from_arrays(np.full(2, 1e3), voxels, geometry)
    small = geometry.n_voxels <= classifier_inputs.MOST_TREE_VOXELS
    for mode in classifier_inputs.MODES if small else ("low", "low_normed", "high", "resnet"):
        rows = classifier_rows(
            mode, (showers, showers), (np.arange(2),) * 2, torch.device("cpu"), None
        )
        assert torch.isfinite(rows.rows(np.arange(4))).all()


def test_mistakes_are_named(tiny_geometry):
    few, enough = gaussian(tiny_geometry, 99, 1), gaussian(tiny_geometry, 150, 2)
    with pytest.raises(UserError, match="needs 100 showers or more"):
        ClassifierTest()(few, enough)
    with pytest.raises(UserError, match="mode=lo: must be low, low_normed, high"):
        ClassifierTest("lo")
    with pytest.raises(UserError, match="preset=big: must be auto, official, small"):
        ClassifierTest(preset="big")
    with pytest.raises(UserError, match="epochs=0: must be an integer, 1 or more"):
        ClassifierTest(epochs=0)
    with pytest.raises(UserError, match="learning_rate=0: must be a number, above 0"):
        ClassifierTest(learning_rate=0)
    with pytest.raises(UserError, match="protocol=old: must be final, legacy2022"):
        ClassifierTest(protocol="old")
