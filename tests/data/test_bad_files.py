"""Each bad file has an error of its own, in one line, that says what to do."""

import gzip
import os

import h5py
import numpy as np
import pytest

from caloman_cli.data.showers import Showers, read_energies
from caloman_cli.errors import UserError
from tests.conftest import load_geometry
from tests.data.conftest import make_showers, write_hdf5


def complaint(path, geometry):
    with pytest.raises(UserError) as caught:
        list(Showers.from_files([path], geometry).iterate())
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    return text


def hdf5(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            file[name] = data
    return path


def test_missing(tmp_path, tiny_geometry):
    assert "does not exist" in complaint(tmp_path / "none.hdf5", tiny_geometry)


def test_folder(tmp_path, tiny_geometry):
    assert "is a folder" in complaint(tmp_path, tiny_geometry)


def test_no_file_at_all(tiny_geometry):
    with pytest.raises(UserError, match="no file"):
        Showers.from_files([], tiny_geometry)


def test_the_same_file_twice(showers_file, tiny_geometry):
    with pytest.raises(UserError, match="given twice"):
        Showers.from_files([showers_file[0], showers_file[0]], tiny_geometry)


def test_no_permission(showers_file, tiny_geometry, monkeypatch):
    path = showers_file[0]
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read everything

        def refuse(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(type(path), "open", refuse)
    assert "no permission to read" in complaint(path, tiny_geometry)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty (0 bytes)"),
        (b"<html>404</html>", "is not an HDF5 file"),
        (gzip.compress(b"something", mtime=0), "gunzip"),
    ],
)
def test_another_kind(tmp_path, tiny_geometry, content, expected):
    path = tmp_path / "file.hdf5"
    path.write_bytes(content)
    assert expected in complaint(path, tiny_geometry)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated(showers_file, tiny_geometry, share):
    path = showers_file[0]
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "truncated" in complaint(path, tiny_geometry)


def test_damaged_inside(tmp_path, tiny_geometry):
    energies, voxels = make_showers(tiny_geometry, 2000)
    path = write_hdf5(tmp_path / "damaged.hdf5", energies, voxels, chunks=(500, 12))
    with h5py.File(path) as file:
        where = file["showers"].id.get_chunk_info(2).byte_offset
    content = bytearray(path.read_bytes())
    content[where : where + 100] = bytes(100)
    path.write_bytes(content)
    assert "damaged" in complaint(path, tiny_geometry)


def test_misnamed_dataset(tmp_path, tiny_geometry):
    energies, voxels = make_showers(tiny_geometry, 5)
    path = hdf5(tmp_path / "a.hdf5", incident_energy=energies, showers=voxels)
    text = complaint(path, tiny_geometry)
    assert "no dataset 'incident_energies'" in text
    assert "'incident_energy' (5, 1)" in text
    assert "rename it to 'incident_energies'" in text.lower()
    assert "no dataset at all" in complaint(hdf5(tmp_path / "b.hdf5"), tiny_geometry)


def test_dataset_in_a_group(tmp_path, tiny_geometry):
    energies, voxels = make_showers(tiny_geometry, 5)
    path = hdf5(tmp_path / "a.hdf5", incident_energies=energies)
    with h5py.File(path, "a") as file:
        file["showers/raw"] = voxels
    assert "'showers/raw' (5, 12)" in complaint(path, tiny_geometry)


def test_not_numbers(tmp_path, tiny_geometry):
    path = hdf5(tmp_path / "a.hdf5", incident_energies=np.ones((2, 1)), showers=[b"a", b"b"])
    assert "not numbers" in complaint(path, tiny_geometry)


def test_wrong_voxel_count_names_the_dataset_that_fits(tmp_path, tiny_geometry):
    path = hdf5(tmp_path / "a.hdf5", incident_energies=np.ones((2, 1)), showers=np.ones((2, 533)))
    text = complaint(path, load_geometry("ds1_photons"))
    assert "533 voxels" in text
    assert "368" in text
    assert "dataset=ds1_pions" in text
    path = hdf5(tmp_path / "b.hdf5", incident_energies=np.ones((2, 1)), showers=np.ones((2, 77)))
    assert "geometry=FILE" in complaint(path, load_geometry("ds1_photons"))
    own = complaint(path, tiny_geometry)
    assert "77 voxels" in own and "tiny has 12: its layers have 2 + 8 + 2, see" in own


def test_not_flat(tmp_path):
    images = np.ones((2, 45, 16, 9), np.float32)
    path = hdf5(tmp_path / "a.hdf5", incident_energies=np.ones((2, 1)), showers=images)
    assert "must be flat (N, 6480)" in complaint(path, load_geometry("ds2"))


def test_rows_that_do_not_pair(tmp_path, tiny_geometry):
    energies, voxels = make_showers(tiny_geometry, 5)
    path = hdf5(tmp_path / "a.hdf5", incident_energies=energies, showers=voxels[:4])
    assert "has 5 rows and 'showers' has 4" in complaint(path, tiny_geometry)


def test_wide_incident_energies(tmp_path, tiny_geometry):
    _, voxels = make_showers(tiny_geometry, 5)
    path = hdf5(tmp_path / "a.hdf5", incident_energies=np.ones((5, 2)), showers=voxels)
    assert "has shape (5, 2), must be (N, 1)" in complaint(path, tiny_geometry)


def test_no_rows(tmp_path, tiny_geometry):
    path = hdf5(tmp_path / "a.hdf5", incident_energies=np.ones((0, 1)), showers=np.ones((0, 12)))
    assert "no showers" in complaint(path, tiny_geometry)
    with pytest.raises(UserError, match="0 rows"):
        read_energies(path)


@pytest.mark.parametrize("value", [0.0, -5.0, np.nan, np.inf])
def test_incident_energies_must_be_positive(tmp_path, tiny_geometry, value):
    energies, voxels = make_showers(tiny_geometry, 5)
    energies[3] = value
    path = hdf5(tmp_path / "a.hdf5", incident_energies=energies, showers=voxels)
    assert f"incident energy {value:g} MeV in row 3" in complaint(path, tiny_geometry)
    with pytest.raises(UserError, match="row 3"):
        read_energies(path)


def test_arrays_that_do_not_fit(tiny_geometry):
    energies, voxels = make_showers(tiny_geometry, 5)
    with pytest.raises(UserError, match=r"must be \(5, 12\)"):
        Showers.from_arrays(energies, voxels[:, :11], tiny_geometry)
