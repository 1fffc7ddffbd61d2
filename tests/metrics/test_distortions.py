"""Each distortion makes its one mistake and leaves alone what it says it leaves alone."""

import csv
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from caloman_cli.data.generator import generate
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.metrics.features import high_level_features
from caloman_cli.metrics.separation import group_means, separation_histograms
from scripts.studies import distortions
from tests.conftest import ROOT, load_geometry

N = 300


@pytest.fixture(scope="module")
def photons() -> Showers:
    geometry = load_geometry("ds1_photons")
    return Showers.from_arrays(*generate(geometry, N, 1), geometry)


@pytest.fixture(scope="module")
def train() -> Showers:
    geometry = load_geometry("ds1_photons")
    return Showers.from_arrays(*generate(geometry, N, 2), geometry)


def voxels(showers: Showers) -> np.ndarray:
    return showers.read(0, len(showers))[1]


def layer_energies(showers: Showers) -> np.ndarray:
    return np.stack(
        [voxels(showers)[:, part].sum(1, dtype=np.float64) for part in showers.geometry.slices], 1
    )


def one_hit(geometry, layer: int, alpha: int, ring: int, energy: float = 100.0) -> Showers:
    """One shower with a single voxel of a layer (by position) hit."""
    part = geometry.slices[layer]
    image = np.zeros((1, geometry.n_voxels), np.float32)
    image[0, part.start + alpha * geometry.layers[layer].n_r + ring] = energy
    return Showers.from_arrays(np.array([1e3]), image, geometry)


ALL = {
    "scale_energy": partial(distortions.scale_energy, factor=1.01),
    "kill_layer": partial(distortions.kill_layer, layer=3),
    "blur_rings": partial(distortions.blur_rings, share=0.2),
    "drop_faint": partial(distortions.drop_faint, share=0.5, below=3.0, seed=1),
    "shuffle_incident": partial(distortions.shuffle_incident, seed=1),
    "replay": lambda showers: distortions.replay(showers, showers, 0.1, 1, jitter=0.1),
    "rotate": partial(distortions.rotate, slices=1),
    "mix_layers": partial(distortions.mix_layers, seed=1),
    "shrink_fluctuations": partial(distortions.shrink_fluctuations, share=0.3, seed=1),
}
KEEP_LAYER_ENERGIES = ("blur_rings", "drop_faint", "shuffle_incident", "rotate")


@pytest.mark.parametrize("name", ALL)
def test_makes_new_valid_showers_and_is_repeatable(photons, name):
    before = voxels(photons).copy()
    first, again = ALL[name](photons), ALL[name](photons)
    assert len(first) == N
    assert (voxels(first) >= 0).all()
    np.testing.assert_array_equal(voxels(first), voxels(again))
    np.testing.assert_array_equal(first.energies, again.energies)
    np.testing.assert_array_equal(voxels(photons), before)
    changed = not np.array_equal(voxels(first), before)
    assert changed or not np.array_equal(first.energies, photons.energies)


@pytest.mark.parametrize("name", [*KEEP_LAYER_ENERGIES, "shrink_fluctuations"])
def test_layer_energies_stay(photons, name):
    np.testing.assert_allclose(
        layer_energies(ALL[name](photons)), layer_energies(photons), rtol=1e-6
    )


def test_energy_scale_is_exact(photons):
    scaled = distortions.scale_energy(photons, 1.01)
    np.testing.assert_allclose(voxels(scaled), 1.01 * voxels(photons).astype(float), rtol=1e-7)
    np.testing.assert_array_equal(scaled.energies, photons.energies)


def test_a_dead_layer_is_silent_and_the_others_are_not_touched(photons):
    dead = distortions.kill_layer(photons, 3)
    energies = layer_energies(dead)
    assert (energies[:, 3] == 0).all()  # layer id 3 is the fourth of five
    others = [0, 1, 2, 4]
    np.testing.assert_array_equal(energies[:, others], layer_energies(photons)[:, others])


def test_an_unknown_layer_is_named_with_those_that_exist(photons):
    with pytest.raises(UserError, match=r"layer 4 is not in ds1_photons: it has 0, 1, 2, 3, 12"):
        distortions.kill_layer(photons, 4)
    with pytest.raises(UserError, match="layer 4"):
        distortions.rotate(photons, 1, [4])


def test_a_dead_layer_leaves_the_mean_separation_of_layer_energies_blind(photons):
    dead = distortions.kill_layer(photons, 3)
    means = {m.group: m for m in group_means(separation_histograms(photons, dead))}
    assert means["E_layer"].separation == 0  # the other layers are the very same
    assert means["E_layer"].n_empty == 1
    assert means["sparsity"].separation > 3 * means["sparsity"].floor


@pytest.mark.parametrize(
    ("ring", "expected"),
    [(0, {0: 90.0, 1: 10.0}), (5, {4: 10.0, 5: 80.0, 6: 10.0}), (15, {14: 10.0, 15: 90.0})],
)
def test_blur_moves_half_a_share_to_either_ring(photons, ring, expected):
    geometry = photons.geometry
    blurred = distortions.blur_rings(one_hit(geometry, 1, 3, ring), 0.2)
    rings = voxels(blurred)[0, geometry.slices[1]].reshape(10, 16)
    assert dict(enumerate(rings[3])) | expected == pytest.approx(dict(enumerate(rings[3])))
    assert np.count_nonzero(rings) == len(expected)


def test_blur_widens_showers(photons):
    before, after = (
        high_level_features(side, threshold=0.0)  # the readout cut takes faint halos away
        for side in (photons, distortions.blur_rings(photons, 0.3))
    )
    assert after["width_eta/2"].mean() > before["width_eta/2"].mean()


def test_dropping_faint_voxels_empties_about_the_share(photons):
    before = voxels(photons)
    after = voxels(distortions.drop_faint(photons, 0.5, 3.0, 1))
    faint, bright = (before > 0) & (before < 3), before >= 3
    assert np.mean(after[faint] == 0) == pytest.approx(0.5, abs=0.05)
    assert (after[bright] >= before[bright] * (1 - 1e-6)).all()
    assert (after[before == 0] == 0).all()


def test_a_layer_of_faint_voxels_alone_is_kept(photons):
    single = one_hit(photons.geometry, 1, 0, 0, energy=2.0)
    kept = distortions.drop_faint(single, 1.0, 3.0, 1)
    np.testing.assert_array_equal(voxels(kept), voxels(single))


def test_shuffled_incident_energies_are_the_same_ones(photons):
    shuffled = distortions.shuffle_incident(photons, 1)
    np.testing.assert_array_equal(np.sort(shuffled.energies, 0), np.sort(photons.energies, 0))
    np.testing.assert_array_equal(voxels(shuffled), voxels(photons))
    assert not np.array_equal(shuffled.energies, photons.energies)


def test_replay_puts_exact_training_showers_in_the_share(photons, train):
    replayed = distortions.replay(photons, train, 0.1, 1)
    rows = zip(voxels(train), train.energies[:, 0], strict=True)
    known = {row.tobytes(): energy for row, energy in rows}
    copies = [row.tobytes() in known for row in voxels(replayed)]
    assert sum(copies) == 30
    rows = np.flatnonzero(copies)
    for row in rows:
        assert replayed.energies[row, 0] == known[voxels(replayed)[row].tobytes()]
    others = np.delete(np.arange(N), rows)
    np.testing.assert_array_equal(voxels(replayed)[others], voxels(photons)[others])


def test_jittered_replays_are_near_copies_and_no_copies(photons, train):
    exact, near = (
        voxels(distortions.replay(photons, train, 0.1, 1, jitter)) for jitter in (0.0, 0.01)
    )
    changed = (exact != near).any(1)
    assert changed.sum() == 30
    hit = exact[changed] > 0
    assert np.std(near[changed][hit] / exact[changed][hit]) == pytest.approx(0.01, rel=0.1)
    assert (near[changed][~hit] == 0).all()


def test_replay_needs_enough_training_showers(photons, train):
    with pytest.raises(UserError, match="30 training showers to replay, but there are 10"):
        distortions.replay(photons, train.subset(np.arange(10)), 0.1, 1)


def test_a_slice_further_and_around(photons):
    geometry = photons.geometry
    turned = distortions.rotate(one_hit(geometry, 2, 9, 4), 1)
    np.testing.assert_array_equal(voxels(turned), voxels(one_hit(geometry, 2, 0, 4)))
    np.testing.assert_array_equal(voxels(distortions.rotate(photons, 10)), voxels(photons))


def test_turning_keeps_what_is_radial(photons):
    before, after = (
        high_level_features(side) for side in (photons, distortions.rotate(photons, 3))
    )
    for name in ("EC_r/1", "width_r/2", "sparsity/1", "E_layer/2"):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-6)
    assert not np.allclose(after["EC_eta/2"], before["EC_eta/2"])


def test_one_turned_layer_leaves_the_others(photons):
    turned = distortions.rotate(photons, 1, [2])
    same = (voxels(turned) == voxels(photons)).all(0)
    part = photons.geometry.slices[2]
    assert not same[part].all()
    assert np.delete(same, np.arange(part.start, part.stop)).all()


def test_mixed_layers_keep_each_layer_at_each_energy(photons):
    mixed = distortions.mix_layers(photons, 1)
    before, after = layer_energies(photons), layer_energies(mixed)
    for energy in np.unique(photons.energies):
        rows = photons.energies[:, 0] == energy
        np.testing.assert_allclose(np.sort(after[rows], 0), np.sort(before[rows], 0), rtol=1e-6)
    assert not np.allclose(after.sum(1), before.sum(1))


def test_mixing_a_continuous_spectrum_stays_among_neighbours():
    geometry = load_geometry("ds2")
    energies, images = generate(geometry, 200, 1)
    mixed = distortions.mix_layers(Showers.from_arrays(energies, images, geometry), 1)
    order = np.argsort(energies[:, 0])
    before, after = (side[order].reshape(10, 20, -1) for side in (images, voxels(mixed)))
    np.testing.assert_allclose(after.sum((1, 2)), before.sum((1, 2)), rtol=1e-5)
    assert not np.array_equal(before, after)


def test_fluctuations_shrink_around_the_mean_shape(photons):
    part, rows = photons.geometry.slices[2], photons.energies[:, 0] == 4096
    shapes = []
    for share in (0.0, 0.5, 1.0):
        image = voxels(distortions.shrink_fluctuations(photons, share, 1)).astype(float)
        block = image[rows][:, part]
        shapes.append(block / block.sum(1, keepdims=True))
    np.testing.assert_allclose(shapes[1].mean(0), shapes[0].mean(0), rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(shapes[1].std(0), shapes[0].std(0) / 2, rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(shapes[2].std(0), 0, atol=1e-7)


@pytest.mark.slow
def test_the_script_of_the_table_runs(tmp_path):
    """What the documentation tells to run, on few showers."""
    command = [
        sys.executable,
        "scripts/studies/sensitivity.py",
        "--showers",
        "200",
        "--classifiers",
    ]
    subprocess.run(
        [*command, "--only", "energy scale", "--output", str(tmp_path)], cwd=ROOT, check=True
    )
    with (tmp_path / "sensitivity.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["distortion"] for row in rows} == {"energy scale +1 %"}
    for row in rows:
        error = np.hypot(float(row["error"]), float(row["truth_error"]))
        difference = float(row["value"]) - float(row["truth"])
        if error > 0:
            assert float(row["pull"]) == pytest.approx(difference / error, rel=1e-2, abs=1e-3)
    assert "| energy scale +1 %" in (tmp_path / "sensitivity.md").read_text()
