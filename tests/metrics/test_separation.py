"""Separation power on known cases, binnings, floors and histograms without entries."""

import dataclasses

import numpy as np
import pytest

from caloman_cli.data.generator import generate
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.components.separation.metric import _hidden, _separations, _warnings
from caloman_cli.metrics.features import high_level_features
from caloman_cli.metrics.histograms import (
    Histogram,
    feature_histograms,
    layer_ranges,
    separation_power,
    voxel_edges,
)
from caloman_cli.metrics.outside import most_outside
from caloman_cli.metrics.separation import group_means, separation_error, separation_histograms
from scripts.studies import distortions
from tests.conftest import load_geometry


def blobs(geometry: Geometry, n: int, seed: int, scale: float = 1.0) -> Showers:
    rng = np.random.default_rng(seed)
    voxels = scale * 80 * rng.random((n, geometry.n_voxels)).astype(np.float32)
    return Showers.from_arrays(np.full(n, 1000.0), voxels, geometry)


def test_equal_is_zero_and_disjoint_is_one():
    p, q = np.array([0.5, 0.5, 0, 0]), np.array([0, 0, 0.1, 0.9])
    assert separation_power(p, p) == 0
    assert separation_power(p, q) == pytest.approx(1)
    assert separation_power(p, q) == separation_power(q, p)
    by_hand = 0.5 * (0.1**2 / 0.9 + 0.1**2 / 1.1)
    assert separation_power(np.array([0.5, 0.5]), np.array([0.4, 0.6])) == pytest.approx(by_hand)


def test_a_set_against_itself(tiny_geometry):
    showers = blobs(tiny_geometry, 200, 0)
    histograms = separation_histograms(showers, showers)
    scores = {h.name: h.separation for h in histograms}
    assert {name: value for name, value in scores.items() if value not in (0, None)} == {}
    assert scores["E_layer/1"] == 0
    assert {mean.group: mean.separation for mean in group_means(histograms)}["E_layer"] == 0


def test_two_samples_of_one_truth_reach_the_floor(tiny_geometry):
    histograms = separation_histograms(
        blobs(tiny_geometry, 6000, 1), blobs(tiny_geometry, 3000, 2)
    )
    single = [h for h in histograms if h.name != "voxel"]
    assert {h.occupied for h in single} & {2, 3, 4, 5}
    power, floor = (sum(getattr(h, kind) for h in single) for kind in ("separation", "floor"))
    assert power / floor == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("bins", [2, 3, 5])
def test_the_mean_of_like_samples_is_the_floor(bins):
    rng, edges = np.random.default_rng(bins), np.arange(bins + 1.0)
    shares = np.linspace(1, 3, bins)
    counts = [rng.multinomial(n, shares / shares.sum(), 40_000) for n in (3000, 1000)]
    p, q = counts[0] / 3000, counts[1] / 1000
    powers = 0.5 * ((p - q) ** 2 / (p + q)).sum(1)
    first = Histogram("sparsity/0", edges, *(np.pad(count[0], 1) for count in counts))
    assert first.separation == pytest.approx(powers[0], rel=1e-12)
    assert powers.mean() / first.floor == pytest.approx(1, abs=0.02)


def test_one_bin_has_no_floor_to_divide_by():
    same = Histogram("sparsity/0", np.arange(3.0), *[np.array([0, n, 0, 0]) for n in (10, 20)])
    assert (same.occupied, same.separation, same.floor) == (1, 0, 0)
    assert all(score.over_floor is None for score in _separations([same], [same]))


def test_floor_by_hand():
    counts = np.array([5, 10, 0, 30, 0]), np.array([0, 10, 0, 10, 7])
    histogram = Histogram("sparsity/0", np.linspace(0, 1, 4), *counts)
    assert histogram.occupied == 2
    assert histogram.floor == pytest.approx((2 - 1) / 4 * (1 / 40 + 1 / 20))
    assert histogram.out_of_range() == pytest.approx(
        {
            "reference_below": 5 / 45,
            "reference_above": 0,
            "generated_below": 0,
            "generated_above": 7 / 27,
        }
    )
    assert histogram.reference @ np.diff(histogram.edges) == pytest.approx(1)


def test_an_empty_histogram_says_so(tiny_geometry):
    real = blobs(tiny_geometry, 50, 0)
    dead = real.read(0, 50)[1].copy()
    dead[:, tiny_geometry.slices[2]] = 0
    generated = Showers.from_arrays(real.energies, dead, tiny_geometry)
    histograms = {h.name: h for h in separation_histograms(real, generated)}
    layer = histograms["E_layer/12"]
    assert layer.separation is None
    assert layer.floor is None
    assert layer.note == "no generated entry in range"
    assert layer.out_of_range()["generated_below"] == 1
    means = {mean.group: mean for mean in group_means(list(histograms.values()))}
    assert (means["E_layer"].n, means["E_layer"].n_empty) == (2, 1)
    powers = [h.separation for h in histograms.values() if h is not layer]
    assert all(np.isfinite(value) for value in powers if value is not None)


def test_showers_without_any_energy_do_not_fail(geometry):
    nothing = Showers.from_arrays(
        np.full(3, 1000.0), np.zeros((3, geometry.n_voxels), np.float32), geometry
    )
    scores = {h.name: h.separation for h in separation_histograms(nothing, nothing)}
    assert scores["voxel"] is None
    assert scores["sparsity/0"] == 0


def test_every_official_layer_has_its_official_ranges():
    ends = {}
    for name in ("ds1_photons", "ds1_pions", "ds2", "ds3"):
        for layer in load_geometry(name).layers:
            ends[name, layer.id] = dataclasses.astuple(layer_ranges(layer))
    assert ends["ds2", 0] == ends["ds3", 44] == (30, 30, 42, 20)
    for name in ("ds1_photons", "ds1_pions"):
        assert all(ends[name, layer] == (100, 100, 500, 500) for layer in (0, 1, 2, 3))
    assert ends["ds1_photons", 12] == (500, 400, 1500, 1500)
    assert all(ends["ds1_pions", layer] == (500, 400, 1500, 1500) for layer in (12, 13, 14))


def test_a_layer_of_another_size_is_covered(tiny_geometry):
    ranges = layer_ranges(tiny_geometry.layers[1])
    assert ranges.centre_r == 10
    histograms = separation_histograms(blobs(tiny_geometry, 500, 1), blobs(tiny_geometry, 500, 2))
    inside = [h for h in histograms if h.group.startswith(("EC", "width"))]
    assert inside
    assert all(sum(h.out_of_range().values()) == 0 for h in inside)


def test_response_at_each_discrete_energy():
    geometry = load_geometry("ds1_photons")
    energies = np.repeat([256.0, 4096.0], 20)
    voxels = np.zeros((40, geometry.n_voxels), np.float32)
    voxels[:, 0] = energies * np.tile(np.linspace(0.95, 1.05, 20), 2)
    found = high_level_features(Showers.from_arrays(energies, voxels, geometry))
    histograms = {h.name: h for h in feature_histograms(found, found)}
    at = {name: h for name, h in histograms.items() if h.group == "E_ratio_at"}
    assert len(at) == 15
    assert at["E_ratio_at/256"].edges[[0, -1]] == pytest.approx([0.4, 1.4])
    assert at["E_ratio_at/4096"].edges[[0, -1]] == pytest.approx([0.9, 1.1])
    assert at["E_ratio_at/4096"].reference_counts.sum() == 20
    assert at["E_ratio_at/4194304"].note == "no reference and no generated entry in range"


def test_different_voxels_and_no_showers_are_refused(tiny_geometry):
    real = blobs(tiny_geometry, 10, 0)
    with pytest.raises(UserError, match=r"12 voxels .* 368"):
        separation_histograms(real, blobs(load_geometry("ds1_photons"), 10, 0))
    with pytest.raises(UserError, match="generated showers are empty"):
        separation_histograms(real, real.subset(np.arange(0)))


def fluctuating(geometry: Geometry, n: int, rng: np.random.Generator, scale: float) -> Showers:
    """All voxels of a shower up or down together, as in real ones."""
    voxels = scale * rng.lognormal(2, 1, (n, 1)) * rng.lognormal(0, 0.5, (n, geometry.n_voxels))
    return Showers.from_arrays(voxels.sum(1), voxels.astype(np.float32), geometry)


@pytest.mark.parametrize(("scale", "lowest", "highest"), [(1.0, 1.1, 1.8), (1.5, 0.8, 1.25)])
def test_error_of_the_voxel_histogram_is_its_spread(tiny_geometry, scale, lowest, highest):
    """Against the spread over 100 pairs; of like samples it is too large, by about sqrt 2."""
    rng = np.random.default_rng(0)
    powers, errors, naive = [], [], []
    for _ in range(100):
        pair = (
            fluctuating(tiny_geometry, 400, rng, 1.0),
            fluctuating(tiny_geometry, 600, rng, scale),
        )
        voxel = separation_histograms(*pair)[-1]
        powers.append(voxel.separation)
        errors.append(separation_error(voxel))
        naive.append(separation_error(dataclasses.replace(voxel, generated_groups=None)))
    spread = np.std(powers)
    assert lowest < np.mean(errors) / spread < highest
    assert np.mean(naive) < 0.75 * spread  # entries taken for independent ones


def bootstrapped(pair: tuple[Showers, Showers], edges: np.ndarray) -> float:
    """The slow twin: separation powers of whole showers drawn anew, 100 times."""
    rng, found = np.random.default_rng(0), []
    counts = [
        np.stack([np.histogram(row, edges)[0] for row in showers.read(0, len(showers))[1]])
        for showers in pair
    ]
    for _ in range(100):
        drawn = [n[rng.integers(len(n), size=len(n))].sum(0) for n in counts]
        found.append(separation_power(*(sums / sums.sum() for sums in drawn)))
    return float(np.std(found, ddof=1))


def test_error_of_the_voxel_histogram_is_that_of_a_bootstrap_of_showers():
    geometry = load_geometry("ds1_photons")
    real, other = (
        Showers.from_arrays(*generate(geometry, 1000, seed), geometry) for seed in (1, 2)
    )
    pair = real, distortions.blur_rings(other, 0.4)
    voxel = separation_histograms(*pair)[-1]
    edges = voxel_edges(high_level_features(real))
    ratio = separation_error(voxel) / bootstrapped(pair, edges)
    assert 1 / 1.5 < ratio < 1.5


def test_one_shower_has_no_groups_to_leave_out(tiny_geometry):
    voxel = separation_histograms(blobs(tiny_geometry, 1, 0), blobs(tiny_geometry, 80, 1))[-1]
    assert len(voxel.reference_groups) == 1
    naive = dataclasses.replace(voxel, reference_groups=None, generated_groups=None)
    assert separation_error(voxel) == separation_error(naive) > 0


def test_a_mean_says_that_it_leaves_out_what_only_the_truth_fills(tiny_geometry, caplog):
    real, other = blobs(tiny_geometry, 50, 0), blobs(tiny_geometry, 50, 1)
    dead = separation_histograms(real, distortions.kill_layer(other, 12))
    truth = separation_histograms(real, other)
    caplog.clear()

    def note(histograms: list[Histogram], truth: list[Histogram]) -> str:
        scores = {score.quantity: score for score in _separations(histograms, truth)}
        return scores["E_layer, mean of 3"].note

    assert note(dead, truth) == "1 without entries, the truth 0: left out of this mean"
    (warning,) = (line for line in caplog.messages if line.startswith("E_layer:"))
    assert "1 with the generated showers, 0 with the truth" in warning
    caplog.clear()
    assert note(truth, truth) == ""
    assert note(dead, dead) == note(dead, []) == "1 without entries"
    assert not caplog.messages


def damaged(geometry: Geometry, n: int, seed: int, factor: float) -> Showers:
    """Showers of one voxel a layer with a response of about one; every second one times factor."""
    rng = np.random.default_rng(seed)
    voxels = np.zeros((n, geometry.n_voxels), np.float32)
    for part in geometry.slices:
        voxels[:, part.start] = 1000 / geometry.n_layers * (1 + 0.1 * rng.standard_normal(n))
    voxels[1::2] *= factor
    return Showers.from_arrays(np.full(n, 1000.0), voxels, geometry)


@pytest.mark.parametrize(
    ("factor", "group", "said"),
    [
        (0, "E_ratio", "50 % of the generated below"),
        (2.5, "E_ratio", "50 % of the generated above"),
    ],
)
def test_showers_outside_of_the_bins_are_told_where_s_is_at_its_floor(
    tiny_geometry, caplog, factor, group, said
):
    real, truth = (damaged(tiny_geometry, 2000, seed, 1.0) for seed in (0, 1))
    bad = damaged(tiny_geometry, 2000, 2, factor)
    for generated in (bad, truth):
        histograms = separation_histograms(real, generated)
        score = {each.quantity: each for each in _separations(histograms, [])}[group]
        assert score.over_floor < 3
        hidden = _hidden(histograms)
        notes = _warnings(histograms, hidden)
        if generated is bad:
            assert said in score.note
            assert hidden[group].generated == pytest.approx(0.5, abs=0.01)
            assert said in notes[-1]
            (warning,) = (line for line in caplog.messages if "within the bins" in line)
            assert f"E_ratio: {said}" in warning
        else:
            assert hidden == {}
            assert all(
                "of the generated" not in each.note for each in _separations(histograms, [])
            )


def test_a_few_more_entries_outside_are_chance():
    edges = np.arange(3.0)

    def told(real: tuple[int, int], made: tuple[int, int]) -> str:
        sides = [
            np.array([below, inside // 2, inside - inside // 2, 0])
            for below, inside in (real, made)
        ]
        return str(most_outside([Histogram("E_ratio", edges, *sides)]))

    assert told((10, 990), (30, 970)) == "None"  # three deviations
    assert told((10, 990), (60, 940)) == (
        "6 % of the generated below the bins, 1 % of the reference"
    )
    assert told((1000, 99_000), (1900, 98_100)) == "None"  # certain, and less than a per cent
    assert told((60, 940), (10, 990)) == "None"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_largest_shower_falls_where_the_file_s_numbers_say(tiny_geometry, dtype):
    """10 to the power of the maximum's logarithm may lie below it: less often in float32."""
    rng, seen = np.random.default_rng(0), set()
    for highest in rng.uniform(100, 1000, 40).astype(dtype):
        voxels = np.full((3, tiny_geometry.n_voxels), 1, dtype)
        voxels[:, 2:] = 0
        voxels[2, 0] = highest
        showers = Showers.from_arrays(np.full(3, 1e3), voxels, tiny_geometry)
        layer = {h.name: h for h in separation_histograms(showers, showers)}["E_layer/0"]
        most = voxels[2, :2].sum()
        edges = np.logspace(np.log10(0.1), np.log10(most), 40)
        assert (layer.reference_counts[-1] == 1) == (most > edges[-1])
        np.testing.assert_array_equal(layer.edges, edges)
        seen.add(bool(most > edges[-1]))
    assert seen == {True, False}
