"""Axis, tilt, depths and widths of showers made by hand."""

import numpy as np
import pytest

from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.data.showers import Showers
from caloman_cli.metrics.features import high_level_features, voxel_centres
from caloman_cli.metrics.observables import observables

RNG = np.random.default_rng(0)
LAYERS = (
    Layer(0, (0.0, 4.0, 8.0), 1),
    Layer(1, (0.0, 10.0, 20.0), 4),
    Layer(2, (0.0, 10.0, 20.0, 30.0), 8),
    Layer(3, (0.0, 10.0, 20.0), 6),
)
SLICED = Geometry("sliced", "photon", LAYERS, threshold=0.1, max_response=2.0)


def found(voxels, geometry=SLICED):
    showers = Showers.from_arrays(np.full(len(voxels), 1e3), voxels, geometry)
    return {one.name: one for one in observables(high_level_features(showers))}


def voxels(n=6):
    return 1.0 + RNG.exponential(5.0, size=(n, SLICED.n_voxels))  # above the cut


def test_axis_is_the_centre_of_all_energy_in_layers_with_slices():
    showers = voxels()
    x, y, e = [], [], []
    for layer, part in zip(LAYERS, SLICED.slices, strict=True):
        if layer.n_alpha > 1:
            eta, phi, _ = voxel_centres(layer)
            x.append(eta)
            y.append(phi)
            e.append(showers[:, part])
    energies = np.concatenate(e, 1)
    axis = [(energies @ np.concatenate(c)) / energies.sum(1) for c in (x, y)]
    np.testing.assert_allclose(found(showers)["axis"].values, np.stack(axis, 1), rtol=1e-9)


def test_tilt_is_the_slope_of_centres_weighted_with_energy():
    showers, slopes = voxels(), []
    features = high_level_features(Showers.from_arrays(np.full(6, 1e3), showers, SLICED))
    for i in range(6):
        weights = features.group("E_layer")[i, 1:]
        centres = features.group("EC_eta")[i], features.group("EC_phi")[i]
        slopes.append([np.polyfit([1, 2, 3], c, 1, w=np.sqrt(weights))[0] for c in centres])
    np.testing.assert_allclose(found(showers)["tilt"].values, slopes, rtol=1e-9)


def test_width_is_that_of_all_energy():
    showers = voxels()
    r = np.concatenate([voxel_centres(layer)[2] for layer in LAYERS])
    shares = showers / showers.sum(1, keepdims=True)
    width = np.sqrt(shares @ r**2 - (shares @ r) ** 2)
    np.testing.assert_allclose(found(showers)["width"].values[:, 0], width, rtol=1e-6)


def test_depths_fractions_and_occupancies():
    showers = np.zeros((1, SLICED.n_voxels))
    showers[0, SLICED.slices[0].start] = 10.0
    showers[0, SLICED.slices[2].start : SLICED.slices[2].start + 3] = 10.0
    one = found(showers)
    assert one["depth_of_maximum"].values.tolist() == [[2.0]]
    assert one["mean_depth"].values == pytest.approx(0.25 * 0 + 0.75 * 2)
    assert one["fractions"].values.tolist() == [[0.25, 0.0, 0.75, 0.0]]
    assert one["occupancy"].values == pytest.approx(4 / SLICED.n_voxels)
    assert one["occupancies"].values[0] == pytest.approx([1 / 2, 0, 3 / 24, 0])
    given = {name for name, each in one.items() if each.given}
    assert given == {"depth_of_maximum", "mean_depth", "fractions"}


def test_dark_layers_have_no_centre_and_one_lit_layer_no_tilt():
    showers = np.zeros((2, SLICED.n_voxels))
    showers[0, SLICED.slices[1].start] = 10.0
    one = found(showers)
    assert one["axis"].known.all(1).tolist() == [True, False]
    assert not one["tilt"].known.any()
    assert one["centres"].known[0].tolist() == [True, True, False, False, False, False]
    assert one["widths"].known.tolist() == [[False, True, False, False], [False] * 4]
    assert all(np.isfinite(each.values).all() for each in one.values())


def test_layers_without_slices_have_neither_axis_nor_tilt():
    layers = tuple(Layer(i, (0.0, 5.0, 10.0), 1) for i in range(40))
    plain = Geometry("plain", "photon", layers, threshold=0.1, max_response=2.0)
    one = found(RNG.exponential(5.0, size=(4, plain.n_voxels)), plain)
    assert not {"axis", "tilt", "centres"} & set(one)
    assert one["widths"].values.shape == (4, 15)  # of many layers a few, the first and the last
