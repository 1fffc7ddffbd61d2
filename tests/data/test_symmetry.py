"""Whether showers are symmetric about the axis."""

import numpy as np
import pytest

from caloman_cli.data.check import check_file
from caloman_cli.data.symmetry import SliceShares
from tests.data.conftest import write_hdf5


def showers(geometry, n, seed=1, factor=1.0, per_layer=2):
    """Each lights some voxels of layer 1, none favoured but for a factor on the first slice."""
    rng = np.random.default_rng(seed)
    voxels = np.zeros((n, geometry.n_voxels))
    lit = rng.integers(8, size=(n, per_layer))
    np.add.at(
        voxels[:, geometry.slices[1]],
        (np.arange(n)[:, None], lit),
        rng.exponential(size=lit.shape),
    )
    voxels[:, geometry.slices[1]][:, :2] *= factor  # four slices of two rings
    voxels[:, 0] = 1.0
    return voxels


def departures(geometry, voxels, block=70):
    shares = SliceShares(geometry)
    for start in range(0, len(voxels), block):
        shares.add(voxels[start : start + block])
    return shares.departures()


def test_a_dim_slice_is_seen_with_its_size(tiny_geometry):
    (found,) = departures(tiny_geometry, showers(tiny_geometry, 4000, factor=0.5))
    assert found.layer == 1 and found.seen
    image = showers(tiny_geometry, 4000, factor=0.5)[:, tiny_geometry.slices[1]].reshape(-1, 4, 2)
    slices = image.sum(2)[image.any((1, 2))]
    mean = 4 * (slices / slices.sum(1, keepdims=True)).mean(0)
    np.testing.assert_allclose((found.lowest, found.highest), (mean[0], mean[1:].max()))
    assert str(found).startswith(f"slices hold {mean[0]:.2f} to ")


def test_a_dead_slice_is_seen(tiny_geometry):
    (found,) = departures(tiny_geometry, showers(tiny_geometry, 400, factor=0.0))
    assert found.seen and found.lowest == 0


@pytest.mark.parametrize("per_layer", [1, 3])
def test_errors_are_those_of_samples_drawn_anew(tiny_geometry, per_layer):
    """The furthest of four slices, over the error, is as far as four normal numbers get."""
    found = [departures(tiny_geometry, showers(tiny_geometry, 150, seed, per_layer=per_layer))[0]
             for seed in range(300)]  # fmt: skip
    normal = np.random.default_rng(0).normal(size=(100_000, 4))
    normal = (normal - normal.mean(1, keepdims=True)) / np.sqrt(3 / 4)
    expected = np.abs(normal).max(1)
    errors = np.array([one.errors for one in found])
    assert abs(errors.mean() - expected.mean()) < 4 * expected.std() / np.sqrt(len(errors))
    assert not any(one.seen for one in found)


def test_layers_that_are_seldom_lit_say_nothing(tiny_geometry):
    assert not departures(tiny_geometry, showers(tiny_geometry, 99, factor=0.0))
    assert not departures(tiny_geometry, np.zeros((500, tiny_geometry.n_voxels)))


def test_next_to_nothing_is_not_told_however_sure(tiny_geometry):
    (found,) = departures(
        tiny_geometry, showers(tiny_geometry, 60_000, factor=0.985, per_layer=40)
    )
    assert found.errors > 5
    assert not found.seen


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_a_check_says_it(tmp_path, tiny_geometry, factor):
    voxels = 300 * showers(tiny_geometry, 2000, factor=factor)
    path = write_hdf5(tmp_path / "a.hdf5", np.full((2000, 1), 2000.0), voxels)
    report = check_file(path, tiny_geometry)
    (departure,) = departures(tiny_geometry, voxels)
    said = {"layer 1": str(departure)} if factor < 1 else "none of 1"
    assert report.facts["layers not symmetric about the axis"] == said
    assert not any("symmetric" in text for text in report.warnings)  # detectors may be so
