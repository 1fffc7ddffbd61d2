"""Written showers come back exactly, and a failed write leaves nothing."""

import errno
import sys
import threading

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caloman_cli.data import writer as writer_module
from caloman_cli.data.files import write_error
from caloman_cli.data.showers import Showers
from caloman_cli.data.writer import ShowerWriter
from caloman_cli.errors import UserError
from tests.conftest import load_geometry
from tests.data.conftest import make_showers


def write(path, energies, voxels, geometry, step):
    with ShowerWriter(path, len(voxels), geometry, {"seed": 3, "made by": "test"}) as writer:
        for start in range(0, len(voxels), step):
            writer.write(energies[start : start + step], voxels[start : start + step])


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(n=st.integers(1, 60), step=st.integers(1, 60), rows=st.integers(1, 70))
def test_round_trip(tmp_path, tiny_geometry, n, step, rows):
    energies, voxels = make_showers(tiny_geometry, n)
    path = tmp_path / "new folder" / "out.hdf5"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "CHUNK_BYTES", rows * 4 * tiny_geometry.n_voxels)
        write(path, energies, voxels, tiny_geometry, step)
    # As the challenge's own tools read it.
    with h5py.File(path, "r") as file:
        np.testing.assert_array_equal(file["showers"][:], voxels)
        np.testing.assert_array_equal(file["incident_energies"][:], energies)
        assert file["showers"].compression == file["incident_energies"].compression == "gzip"
        assert file["showers"].dtype == np.float32
        assert file.attrs["seed"] == 3
        assert file.attrs["geometry"] == "tiny"
    source = Showers.from_files([path], tiny_geometry)
    np.testing.assert_array_equal(source.read(0, n)[1], voxels)
    assert [item.name for item in path.parent.iterdir()] == ["out.hdf5"]


def test_equal_showers_give_equal_bytes_whatever_the_blocks(tmp_path, tiny_geometry):
    energies, voxels = make_showers(tiny_geometry, 50)
    for name, step in (("a", 50), ("b", 7)):
        write(tmp_path / name, energies, voxels, tiny_geometry, step)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_caller_may_reuse_its_array(tmp_path, tiny_geometry):
    energies, voxels = make_showers(tiny_geometry, 40)
    buffer = np.empty((10, tiny_geometry.n_voxels), np.float32)
    with ShowerWriter(tmp_path / "out", 40, tiny_geometry, {}) as writer:
        for start in range(0, 40, 10):
            buffer[:] = voxels[start : start + 10]
            writer.write(energies[start : start + 10], buffer)
            buffer[:] = -1
    np.testing.assert_array_equal(
        Showers.from_files([tmp_path / "out"], tiny_geometry).read(0, 40)[1], voxels
    )


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, tiny_geometry):
    energies, voxels = make_showers(tiny_geometry, 10)
    path = tmp_path / "out.hdf5"
    path.write_text("before")
    with (
        pytest.raises(KeyboardInterrupt),
        ShowerWriter(path, 10, tiny_geometry, {}) as writer,
    ):
        writer.write(energies[:5], voxels[:5])
        raise KeyboardInterrupt
    assert [item.name for item in tmp_path.iterdir()] == ["out.hdf5"]
    assert path.read_text() == "before"
    assert not [thread for thread in threading.enumerate() if thread.name == "shower-writer"]


def test_missing_and_surplus_rows(tmp_path, tiny_geometry):
    energies, voxels = make_showers(tiny_geometry, 10)
    for n in (9, 11):
        with (
            pytest.raises(ValueError, match="showers"),
            ShowerWriter(tmp_path / "out", n, tiny_geometry, {}) as writer,
        ):
            writer.write(energies, voxels)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_a_bad_shower_is_not_written(tmp_path, tiny_geometry, value):
    energies, voxels = make_showers(tiny_geometry, 10)
    voxels[7, 2] = value
    with pytest.raises(UserError, match="not written.*row 7, column 2"):
        write(tmp_path / "out", energies, voxels, tiny_geometry, 4)
    assert not list(tmp_path.iterdir())


def test_nothing_to_write(tmp_path, tiny_geometry):
    with pytest.raises(UserError, match="0 showers"):
        ShowerWriter(tmp_path / "out", 0, tiny_geometry, {})


def test_a_folder_of_that_name(tmp_path, tiny_geometry):
    with (
        pytest.raises(UserError, match="is a folder"),
        ShowerWriter(tmp_path, 1, tiny_geometry, {}),
    ):
        pass


def test_a_file_where_the_folder_should_be(tmp_path, tiny_geometry):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="cannot be written"),
        ShowerWriter(tmp_path / "file" / "out", 1, tiny_geometry, {}),
    ):
        pass


def test_errors_of_the_disk_in_words(tmp_path):
    full = OSError("Can't write data (file write failed: errno = 28, error message = 'x')")
    for error in (full, OSError(errno.ENOSPC, "x"), OSError(errno.EDQUOT, "x")):
        assert "no room left" in str(write_error(tmp_path, error))
    denied = PermissionError(errno.EACCES, "x")
    assert "no permission" in str(write_error(tmp_path, denied))


@pytest.mark.parametrize("blocks", [1, 20])
def test_a_full_disk(tmp_path, small_disk, blocks):
    geometry = load_geometry("ds1_pions")
    noise = np.random.default_rng(0).random((400, geometry.n_voxels), dtype=np.float32)
    with (
        pytest.raises(UserError, match="no room left on the disk"),
        ShowerWriter(tmp_path / "out.hdf5", 400 * blocks, geometry, {}) as writer,
    ):
        for _ in range(blocks):
            writer.write(np.ones((400, 1)), noise)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("compression", ["gzip", "fast", "none"])
def test_every_compression_is_plain_hdf5(
    tmp_path, tiny_geometry, compression, installed, monkeypatch, caplog
):
    """Any reader of HDF5 reads it; the last chunk, which is not full, included."""
    if not installed:
        monkeypatch.setitem(sys.modules, "isal", None)
    elif compression == "fast":
        pytest.importorskip("isal")
    energies, voxels = make_showers(tiny_geometry, 50)
    path = tmp_path / "out.hdf5"
    monkeypatch.setattr(writer_module, "CHUNK_BYTES", 8 * 4 * tiny_geometry.n_voxels)
    with ShowerWriter(path, 50, tiny_geometry, {}, compression) as writer:
        writer.write(energies, voxels)
    with h5py.File(path, "r") as file:
        np.testing.assert_array_equal(file["showers"][:], voxels)
        np.testing.assert_array_equal(file["incident_energies"][:], energies)
        assert file["showers"].compression == (None if compression == "none" else "gzip")
    assert ('pip install "caloman[fast]"' in caplog.text) is (
        compression == "fast" and not installed
    )


def test_fast_compression_is_that_of_the_library(tmp_path, tiny_geometry):
    isal = pytest.importorskip("isal.isal_zlib")
    energies, voxels = make_showers(tiny_geometry, 50)
    with ShowerWriter(tmp_path / "out", 50, tiny_geometry, {}, "fast") as writer:
        writer.write(energies, voxels)
    with h5py.File(tmp_path / "out", "r") as file:
        _, chunk = file["showers"].id.read_direct_chunk((0, 0))
    assert chunk == isal.compress(voxels.astype(np.float32).tobytes(), 1)
