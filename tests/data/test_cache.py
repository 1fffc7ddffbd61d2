"""The cache gives the showers back, is made once, and follows content."""

import os
import shutil

import h5py
import numpy as np
import pytest

from caloman_cli.data import cache, fingerprint
from caloman_cli.data.cache import default_cache_dir, voxel_array
from caloman_cli.data.fingerprint import content_fingerprint
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from tests.data.conftest import make_showers, write_hdf5


@pytest.fixture
def streamed(monkeypatch):
    """Names of the showers that were streamed."""
    names = []
    iterate = Showers.iterate

    def spy(self, chunk=None):
        names.append(self.name)
        return iterate(self, chunk)

    monkeypatch.setattr(Showers, "iterate", spy)
    return names


def mapped(path, geometry, folder):
    return voxel_array(Showers.from_files([path], geometry), folder, memory_limit=0)


def test_small_showers_are_in_memory(showers_file, tiny_geometry, tmp_path):
    path, _, voxels = showers_file
    found = voxel_array(Showers.from_files([path], tiny_geometry), tmp_path / "cache")
    assert not isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, voxels)
    assert not (tmp_path / "cache").exists()


def test_large_showers_are_mapped_and_streamed_once(
    showers_file, tiny_geometry, tmp_path, streamed
):
    path, _, voxels = showers_file
    for _ in range(2):
        found = mapped(path, tiny_geometry, tmp_path / "cache")
        assert isinstance(found, np.memmap)
        assert found.dtype == np.float32
        assert not found.flags.writeable
        np.testing.assert_array_equal(found, voxels)
    assert streamed == ["showers"]
    assert [item.suffix for item in (tmp_path / "cache/voxels").iterdir()] == [".npy"]


def test_arrays_are_checked_and_returned(tiny_geometry, tmp_path):
    energies, voxels = make_showers(tiny_geometry, 5)
    source = Showers.from_arrays(energies, voxels, tiny_geometry)
    assert voxel_array(source, tmp_path) is voxels
    voxels[3, 1] = np.nan
    with pytest.raises(UserError, match="row 3"):
        voxel_array(source, tmp_path)


def test_a_copy_elsewhere_uses_the_same_cache(showers_file, tiny_geometry, tmp_path, streamed):
    copy = tmp_path / "copy.hdf5"
    copy.write_bytes(showers_file[0].read_bytes())
    for path in (showers_file[0], copy):
        mapped(path, tiny_geometry, tmp_path / "cache")
    assert streamed == ["showers"]


def test_new_content_under_the_old_name_is_seen(tmp_path, tiny_geometry):
    """Even where size and modification time are those of the old content."""
    energies, voxels = make_showers(tiny_geometry, 20)
    path = tmp_path / "showers.hdf5"
    with h5py.File(path, "w") as file:
        file["incident_energies"], file["showers"] = energies, voxels
    os.utime(path, (1, 1))
    size = path.stat().st_size
    np.testing.assert_array_equal(mapped(path, tiny_geometry, tmp_path / "cache"), voxels)
    with h5py.File(path, "r+") as file:
        file["showers"][0, 0] = voxels[0, 0] = 7
    os.utime(path, (1, 1))
    assert path.stat().st_size == size
    np.testing.assert_array_equal(mapped(path, tiny_geometry, tmp_path / "cache"), voxels)


def test_hashes_are_remembered_between_processes(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"showers")
    os.utime(path, (1, 1))
    known = content_fingerprint(path, tmp_path / "memory")
    fingerprint._known.clear()  # as a new process finds it

    def refuse(*_):
        raise AssertionError("the file was hashed again")

    monkeypatch.setattr(fingerprint.hashlib, "file_digest", refuse)
    assert content_fingerprint(path, tmp_path / "memory") == known


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = content_fingerprint(path, tmp_path / "memory")
    path.write_bytes(b"two")
    assert content_fingerprint(path, tmp_path / "memory") != first
    assert not (tmp_path / "memory").exists()


def test_bad_showers_leave_no_cache(tmp_path, tiny_geometry):
    energies, voxels = make_showers(tiny_geometry, 20)
    voxels[19, 0] = -1
    path = write_hdf5(tmp_path / "bad.hdf5", energies, voxels)
    with pytest.raises(UserError, match="row 19"):
        mapped(path, tiny_geometry, tmp_path / "cache")
    assert not list((tmp_path / "cache/voxels").iterdir())


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "unsealed"])
def test_a_damaged_cache_is_made_again(showers_file, tiny_geometry, tmp_path, caplog, damage):
    path, _, voxels = showers_file
    mapped(path, tiny_geometry, tmp_path / "cache")
    (entry,) = (tmp_path / "cache/voxels").iterdir()
    content = entry.read_bytes()
    entry.write_bytes(
        {
            "cut": content[:1000],
            "flipped": content[:-40] + bytes(255 - byte for byte in content[-40:]),
            "emptied": b"",
            "unsealed": content,
        }[damage]
    )
    if damage == "unsealed":
        shutil.rmtree(tmp_path / "cache/checksums")
    np.testing.assert_array_equal(mapped(path, tiny_geometry, tmp_path / "cache"), voxels)
    assert "damaged" in caplog.text


def test_leftovers_of_killed_processes_go(showers_file, tiny_geometry, tmp_path):
    path = showers_file[0]
    mapped(path, tiny_geometry, tmp_path / "cache")
    (entry,) = (tmp_path / "cache/voxels").iterdir()
    entry.unlink()
    dead = entry.with_name(".caloman-0123456789ab.part")
    dead.write_text("")
    mapped(path, tiny_geometry, tmp_path / "cache")
    assert [item.name for item in entry.parent.iterdir()] == [entry.name]


def test_no_room(showers_file, tiny_geometry, tmp_path, monkeypatch):
    class Usage:
        free = 10

    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(UserError, match="cache_dir=DIR"):
        mapped(showers_file[0], tiny_geometry, tmp_path / "cache")


def test_a_disk_that_fills_up(tmp_path, tiny_geometry, small_disk):
    voxels = np.ones((10_000, tiny_geometry.n_voxels), np.float32)
    path = write_hdf5(tmp_path / "showers.hdf5", np.full((10_000, 1), 1e4), voxels)
    with pytest.raises(UserError, match="no room left"):
        mapped(path, tiny_geometry, tmp_path / "cache")
    assert not list((tmp_path / "cache/voxels").iterdir())


def test_a_cache_that_cannot_be_written(showers_file, tiny_geometry, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match="cache_dir=DIR"):
        mapped(showers_file[0], tiny_geometry, tmp_path / "cache")


def test_default_place(monkeypatch, tmp_path):
    monkeypatch.setenv("CALOMAN_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv("CALOMAN_CACHE")
    assert default_cache_dir().parts[-2:] == (".cache", "caloman")
