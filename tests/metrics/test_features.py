"""High-level features against a slow readable twin and by hand."""

import math

import numpy as np
import pytest

from caloman_cli.data.showers import Showers
from caloman_cli.metrics.features import (
    VOXEL_GROUPS,
    feature_matrix,
    feature_names,
    high_level_features,
    voxel_histogram,
)
from caloman_cli.metrics.histograms import voxel_groups


def slow_features(voxels: np.ndarray, geometry, cut: float) -> dict[str, float]:
    """Features of one shower, voxel by voxel."""
    found = {"E_tot": 0.0}
    place = 0
    for layer in geometry.layers:
        energy, hits = 0.0, 0
        first = {"eta": 0.0, "phi": 0.0, "r": 0.0}
        second = {"eta": 0.0, "phi": 0.0, "r": 0.0}
        for j in range(layer.n_alpha):
            alpha = -math.pi + (j + 0.5) * 2 * math.pi / layer.n_alpha
            for i in range(layer.n_r):
                e = float(voxels[place])
                place += 1
                if e < cut:
                    continue
                r = (layer.r_edges[i] + layer.r_edges[i + 1]) / 2
                at = {"eta": r * math.cos(alpha), "phi": r * math.sin(alpha), "r": r}
                energy, hits = energy + e, hits + (e > 0)
                for axis, x in at.items():
                    first[axis] += x * e
                    second[axis] += x * x * e
        found["E_tot"] += energy
        found[f"E_layer/{layer.id}"] = energy
        found[f"sparsity/{layer.id}"] = 1 - hits / layer.n_voxels
        for axis in ("eta", "phi", "r") if layer.n_alpha > 1 else ("r",):
            centre = first[axis] / (energy + 1e-16)
            variance = second[axis] / (energy + 1e-16) - centre**2
            found[f"EC_{axis}/{layer.id}"] = centre
            found[f"width_{axis}/{layer.id}"] = math.sqrt(max(variance, 0))
    return found


def random_showers(geometry, n: int, seed: int = 0, dtype: type = np.float32) -> Showers:
    """Sparse voxels around the readout cut, with an empty layer here and there."""
    rng = np.random.default_rng(seed)
    voxels = geometry.threshold * rng.lognormal(1, 2, (n, geometry.n_voxels))
    voxels *= rng.random(voxels.shape) < 0.1
    voxels[0] = 0
    for row in range(1, n):
        voxels[row, geometry.slices[row % geometry.n_layers]] = 0
    energies = voxels.sum(1, keepdims=True) + 1000
    return Showers.from_arrays(energies, voxels.astype(dtype), geometry)


@pytest.mark.parametrize(
    ("dtype", "precision", "noise"), [(np.float64, 1e-12, 2e-6), (np.float32, 1e-5, 1)]
)
def test_features_equal_the_loop_over_voxels(geometry, dtype, precision, noise):
    """A width is what two numbers of order 1e6 mm2 leave: in float32 its noise is visible."""
    showers = random_showers(geometry, 10, dtype=dtype)
    found = high_level_features(showers)
    assert list(found.values) == feature_names(geometry)
    ((_, every),) = showers.iterate(10, showers.number_type)
    for row, voxels in enumerate(every):
        for name, value in slow_features(voxels, geometry, geometry.threshold).items():
            near = pytest.approx(
                value, rel=precision, abs=noise if name.startswith("width") else 1e-9
            )
            assert found[name][row] == near, name


def test_energies_add_up_in_the_numbers_of_the_file(geometry):
    for dtype in (np.float32, np.float64):
        showers = random_showers(geometry, 30, dtype=dtype)
        found = high_level_features(showers, 0.0)
        assert found.number_type == np.dtype(dtype).name
        assert (found.energy_type, found["E_tot"].dtype) == ("float64", np.float64)
        ((_, voxels),) = showers.iterate(30, found.number_type)
        assert voxels.dtype == dtype
        np.testing.assert_array_equal(found["E_tot"], voxels.sum(1))


def test_a_shower_by_hand(tiny_geometry):
    voxels = np.zeros((1, 12), np.float32)
    voxels[0, 0] = 8  # layer 0, ring 0 to 5 mm
    voxels[0, 2 + 2] = 3  # layer 1, second slice (alpha = -pi/4), ring 0 to 5 mm
    voxels[0, 2 + 5] = 1  # layer 1, third slice (alpha = +pi/4), ring 5 to 10 mm
    found = high_level_features(Showers.from_arrays(np.array([100.0]), voxels, tiny_geometry))
    assert found["E_tot"] == pytest.approx([12])
    assert found["E_layer/0"] == pytest.approx([8])
    assert found["EC_r/0"] == pytest.approx([2.5])
    assert found["width_r/0"] == pytest.approx([0])
    assert found["EC_r/1"] == pytest.approx([(3 * 2.5 + 7.5) / 4])
    assert found["EC_eta/1"] == pytest.approx([(3 * 2.5 + 7.5) / 4 / math.sqrt(2)])
    assert found["EC_phi/1"] == pytest.approx([0], abs=1e-12)
    assert found["width_phi/1"] == pytest.approx([math.sqrt((3 * 2.5**2 + 7.5**2) / 8)])
    assert found["sparsity/1"] == pytest.approx([0.75])
    assert found["E_layer/12"] == found["EC_r/12"] == found["width_r/12"] == 0
    assert found["sparsity/12"] == 1


def test_the_cut_removes_what_is_below_and_keeps_what_is_on_it(tiny_geometry):
    voxels = np.zeros((1, 12), np.float32)
    voxels[0, :3] = 0.5, 1.0, 2.0
    showers = Showers.from_arrays(np.array([100.0]), voxels, tiny_geometry)
    assert high_level_features(showers, 1.0)["E_tot"] == pytest.approx([3])
    assert high_level_features(showers, 0.0)["E_tot"] == pytest.approx([3.5])


def test_chunks_do_not_show(tiny_geometry, monkeypatch):
    showers = random_showers(tiny_geometry, 23)
    edges = np.logspace(-1, 2, 20)
    whole = high_level_features(showers, voxel_edges=edges)
    monkeypatch.setattr("caloman_cli.metrics.features.CHUNK_BYTES", 8 * 12 * 4)
    chunked = high_level_features(showers, voxel_edges=edges)
    for name in whole.values:
        np.testing.assert_array_equal(whole[name], chunked[name])
    np.testing.assert_array_equal(whole.voxel_groups, chunked.voxel_groups)
    assert whole.max_voxel == chunked.max_voxel


def test_empty_showers_give_finite_inputs(geometry):
    voxels = np.zeros((3, geometry.n_voxels), np.float32)
    found = high_level_features(Showers.from_arrays(np.full(3, 1e3), voxels, geometry))
    assert np.isfinite(feature_matrix(found)).all()
    assert found.max_voxel == 0


def test_histogram_counts_like_numpy_and_keeps_the_rest():
    edges = np.array([0.0, 1.0, 2.0, 4.0])
    values = np.array([-1.0, 0.0, 0.5, 1.0, 2.0, 4.0, 4.5, 9.0], np.float32)
    np.testing.assert_array_equal(voxel_histogram(values, edges), [1, 2, 1, 2, 2])
    np.testing.assert_array_equal(
        voxel_histogram(values, edges)[1:-1], np.histogram(values, edges)[0]
    )


def test_voxel_groups_are_the_same_in_the_pass_and_after_it(tiny_geometry):
    showers = random_showers(tiny_geometry, 60)
    edges = np.logspace(-1, 1, 12)
    within = high_level_features(showers, voxel_edges=edges)
    after = voxel_groups(showers, high_level_features(showers), edges)
    np.testing.assert_array_equal(within.voxel_groups, after)
    assert len(after) == VOXEL_GROUPS
    assert after.sum(1).tolist() == [24] * 7 + [12] * 46
    voxels = showers.read(53, 54)[1]
    alone = voxel_histogram(np.where(voxels >= 0.1, voxels, 0), edges)
    first = showers.read(0, 1)[1]
    np.testing.assert_array_equal(
        after[0], alone + voxel_histogram(np.where(first >= 0.1, first, 0), edges)
    )
