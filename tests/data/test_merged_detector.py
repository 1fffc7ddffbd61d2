"""Detectors merged of dataset 3's mesh: each voxel of the mesh goes where it lies."""

import sys

import h5py
import numpy as np
import pytest

from caloman_cli.data.binning import read_binning
from scripts.studies import merged_detector as study


@pytest.mark.parametrize(("detector", "n_voxels"), [("eight", 680), ("three", 66)])
def test_a_voxel_of_the_mesh_goes_where_it_lies(detector, n_voxels, tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    showers = np.zeros((40, study.LAYERS * study.SLICES * study.RINGS), np.float32)
    lit = rng.integers(showers.shape[1], size=len(showers))
    showers[np.arange(len(showers)), lit] = 1 + np.arange(len(showers))
    with h5py.File(tmp_path / "mesh.hdf5", "w") as file:
        file["incident_energies"] = np.full((len(showers), 1), 1e3)
        file["showers"] = showers
    out = tmp_path / "out"
    command = ["merged_detector.py", "--layers", detector, str(out), str(tmp_path / "mesh.hdf5")]
    monkeypatch.setattr(sys, "argv", command)
    study.main()

    binning = read_binning(out / "geometry.xml")
    with h5py.File(out / "mesh.hdf5") as file:
        merged = file["showers"][:]
        assert len(file["incident_energies"]) == len(showers)
    assert merged.shape == (len(showers), n_voxels)
    np.testing.assert_array_equal(merged.sum(1), showers.max(1))
    depth, turn, ring = np.unravel_index(lit, (study.LAYERS, study.SLICES, study.RINGS))
    for row, (at, place) in enumerate(zip(depth, merged.argmax(1), strict=True)):
        for first, last, slices, edges in study.DETECTORS[detector]:
            if first <= at < last:
                break
            place -= slices * (len(edges) - 1)
        slice_, ring_ = divmod(place, len(edges) - 1)
        assert slice_ == turn[row] * slices // study.SLICES
        assert edges[ring_] <= ring[row] < edges[ring_ + 1]
    layers = study.DETECTORS[detector]
    assert [layer.n_alpha for layer in binning.layers] == [slices for _, _, slices, _ in layers]
    for layer, (_, _, _, edges) in zip(binning.layers, layers, strict=True):
        np.testing.assert_allclose(layer.r_edges, study.WIDTH * np.array(edges), rtol=1e-3)
