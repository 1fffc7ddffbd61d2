"""What an HDF5 file shows has to lie in it, and as much as it announces."""

import os
import zlib

import h5py
import numpy as np
import pytest

from caloman_cli.data import container
from caloman_cli.data.hdf5 import ShowerFile, open_hdf5, read_energies
from caloman_cli.data.showers import Showers
from caloman_cli.errors import FileError
from tests.data.conftest import make_showers, write_hdf5

N, V = 40, 12


def complaint(read, *arguments):
    with pytest.raises(FileError) as caught:
        read(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    return text


@pytest.fixture
def good(tmp_path, tiny_geometry):
    energies, voxels = make_showers(tiny_geometry, N)
    return write_hdf5(tmp_path / "good.hdf5", energies, voxels)


@pytest.fixture
def outside(tmp_path, good):
    """Files, one of whose two datasets lies elsewhere: (kind, dataset) -> path."""

    def make(kind, name):
        path = tmp_path / f"{kind}-{name}.hdf5"
        with h5py.File(good) as source, h5py.File(path, "w") as file:
            for other in ("incident_energies", "showers"):
                values = source[other][:]
                if other != name:
                    file[other] = values
                elif kind == "external link":
                    file[name] = h5py.ExternalLink("good.hdf5", name)
                elif kind == "through a group":
                    file["all"] = h5py.ExternalLink("good.hdf5", "/")
                    file[name] = h5py.SoftLink(f"/all/{name}")
                elif kind == "dead link":
                    file[name] = h5py.ExternalLink("gone.hdf5", name)
                elif kind == "raw storage":
                    (tmp_path / "raw").write_bytes(values.tobytes())
                    where = [(str(tmp_path / "raw"), 0, values.nbytes)]
                    file.create_dataset(name, values.shape, values.dtype, external=where)
                elif kind == "passwd":
                    where = [("/etc/passwd", 0, values.size)]
                    file.create_dataset(name, values.shape, "u1", external=where)
                elif kind == "virtual":
                    layout = h5py.VirtualLayout(values.shape, values.dtype)
                    layout[:] = h5py.VirtualSource("good.hdf5", name, values.shape)
                    file.create_virtual_dataset(name, layout)
                elif kind == "loop":
                    file["there"] = h5py.SoftLink(f"/{name}")
                    file[name] = h5py.SoftLink("/there")
                elif kind == "nowhere":
                    file[name] = h5py.SoftLink("/nowhere")
        return path

    return make


@pytest.mark.parametrize("name", ["incident_energies", "showers"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("external link", "link to another file"),
        ("through a group", "link to another file"),
        ("dead link", "link to another file"),
        ("raw storage", "kept outside"),
        ("passwd", "kept outside"),
        ("virtual", "virtual dataset"),
        ("loop", "leads nowhere"),
        ("nowhere", "leads nowhere"),
    ],
)
def test_bytes_that_lie_elsewhere_are_refused(outside, tiny_geometry, kind, name, said):
    path = outside(kind, name)
    text = complaint(ShowerFile.open, path, tiny_geometry)
    assert said in text
    assert f"'{name}'" in text
    if name == "incident_energies":
        assert complaint(read_energies, path) == text


def test_a_link_inside_the_file_is_no_trouble(tmp_path, good, tiny_geometry):
    with h5py.File(good, "a") as file:
        file.move("showers", "group/voxels")
        file["showers"] = h5py.SoftLink("/group/voxels")
    assert len(Showers.from_files([good], tiny_geometry)) == N


def announced(path, n, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset("incident_energies", (n, 1), "f8", **options)
        file.create_dataset("showers", (n, V), "f4", **options)
    return path


@pytest.mark.parametrize(
    "options", [{}, {"chunks": (1000, 1)}, {"fillvalue": 5.0}, {"chunks": True, "fillvalue": 5.0}]
)
@pytest.mark.parametrize("n", [10**12, 4 * 10**8, 30])
def test_rows_that_were_never_written(tmp_path, tiny_geometry, n, options):
    """A file of 2 kB that announces 7 TiB; and one of 30 rows that is just as empty."""
    if options.get("chunks") and n == 30:
        options = {**options, "chunks": (10, 1)}
    path = announced(tmp_path / "a.hdf5", n, **options)
    assert "announces" in complaint(ShowerFile.open, path, tiny_geometry)
    assert f"{n} x 1 numbers, but nothing" in complaint(read_energies, path)


def test_a_job_that_died_half_way(tmp_path, tiny_geometry):
    energies, voxels = make_showers(tiny_geometry, N)
    path = tmp_path / "half.hdf5"
    with h5py.File(path, "w") as file:
        file["incident_energies"] = energies
        made = file.create_dataset("showers", (N, V), "f4", chunks=(10, V))
        made[:20] = voxels[:20]
    text = complaint(ShowerFile.open, path, tiny_geometry)
    assert "'showers' announces 40 x 12 numbers, but 2 of 4 pieces of them was written" in text


def test_rows_are_compared_before_they_are_read(tmp_path, tiny_geometry, monkeypatch):
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file["incident_energies"] = np.ones((N + 1, 1))
        file["showers"] = np.ones((N, V), "f4")
    monkeypatch.setattr(np, "isfinite", None)  # energies are not even looked at
    assert "has 41 rows and 'showers' has 40" in complaint(ShowerFile.open, path, tiny_geometry)


def test_a_bomb_in_one_chunk(tmp_path, tiny_geometry):
    """3.8 GB of zeros in 4 MB: refused before anything is unpacked."""
    rows = 80 * 10**6
    packer, block = zlib.compressobj(9), bytes(2**24)
    first, again = (packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    packed = first + again * (rows * V * 4 // len(block))
    path = tmp_path / "bomb.hdf5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset(
            "showers", (rows, V), "f4", chunks=(rows, V), compression="gzip"
        )
        made.id.write_direct_chunk((0, 0), packed)
        few = file.create_dataset("incident_energies", (rows, 1), "f8", chunks=(2**20, 1),
                                  compression="gzip")  # fmt: skip
        piece = zlib.compress(np.full(2**20, 1e3).tobytes())
        for start in range(0, rows, 2**20):
            few.id.write_direct_chunk((start, 0), piece)
    assert path.stat().st_size < 10**7
    text = complaint(ShowerFile.open, path, tiny_geometry)
    assert "pieces (chunks) of 3.8 GB" in text
    assert "smaller chunks" in text


def test_what_compresses_well_is_read(tmp_path, tiny_geometry):
    path = tmp_path / "zeros.hdf5"
    zeros = np.zeros((200_000, V), np.float32)
    write_hdf5(path, np.full((len(zeros), 1), 1e4), zeros, chunks=(50_000, V))
    assert 4 * zeros.size > 500 * path.stat().st_size / 2
    assert sum(len(voxels) for _, voxels in Showers.from_files([path], tiny_geometry).iterate()) \
        == len(zeros)  # fmt: skip


def test_the_memory_has_the_last_word(good, tiny_geometry, monkeypatch):
    monkeypatch.setattr(container, "available_memory", lambda: 1e-3)
    assert "of memory" in complaint(ShowerFile.open, good, tiny_geometry)


def test_only_regular_files_are_opened(tmp_path, tiny_geometry):
    os.mkfifo(tmp_path / "pipe.hdf5")
    for path in (tmp_path / "pipe.hdf5", "/dev/zero"):
        text = complaint(open_hdf5, type(tmp_path)(path))
        assert "no regular file" in text


def test_a_file_open_for_writing_says_so(tmp_path, good, tiny_geometry):
    script = (
        f"import h5py, os; f = h5py.File({str(good)!r}, 'a'); print(flush=True); os.read(0, 1)"
    )
    import subprocess
    import sys

    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        writer.stdout.readline()
        try:
            text = complaint(open_hdf5, good)
        finally:
            writer.stdin.close()
    assert "being written by another process" in text


def packed(path, name, code, energies, voxels):
    """A file, one of whose datasets went through a filter that this machine lacks."""
    with h5py.File(path, "w") as file:
        for other, values in (("incident_energies", energies), ("showers", voxels)):
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk(values.shape)
            if other == name:
                plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (2, 2, 4, 100))
            kind, space = h5py.h5t.py_create(values.dtype), h5py.h5s.create_simple(values.shape)
            made = h5py.h5d.create(file.id, other.encode(), kind, space, plist)
            made.write_direct_chunk((0, 0), values.tobytes(), 0)
    return path


@pytest.mark.parametrize("name", ["incident_energies", "showers"])
@pytest.mark.parametrize(("code", "called"), [(32001, "blosc"), (40_000, "filter 40000")])
def test_a_missing_filter_is_named(tmp_path, tiny_geometry, name, code, called):
    path = packed(tmp_path / "a.hdf5", name, code, *make_showers(tiny_geometry, N))

    def read():
        list(Showers.from_files([path], tiny_geometry).iterate())

    text = complaint(read)
    assert f"'{name}' is packed with" in text
    assert called in text
    assert "gzip" in text


def test_the_file_and_the_row_are_the_right_ones(tmp_path, good, tiny_geometry):
    energies, voxels = make_showers(tiny_geometry, 20, seed=1)
    voxels[5, 3] = np.nan
    bad = write_hdf5(tmp_path / "bad.hdf5", energies, voxels)
    both = Showers.from_files([good, bad], tiny_geometry)
    text = complaint(lambda: list(both.iterate(chunk=7)))
    assert f"{bad}: voxel energy nan MeV in row 5, column 3" in text
    part = both.subset(np.arange(30, 60, 5))
    assert f"{bad}: voxel energy nan MeV in row 5" in complaint(lambda: list(part.iterate()))


@pytest.mark.parametrize("value", [1e-300, 1e-10, 1e300, 1e17])
def test_impossible_incident_energies(tmp_path, tiny_geometry, value):
    energies, voxels = make_showers(tiny_geometry, 20)
    energies[7] = value
    path = write_hdf5(tmp_path / "a.hdf5", energies, voxels)
    assert f"{value:g} MeV in row 7" in complaint(ShowerFile.open, path, tiny_geometry)
    assert "between 0.001 and 1e+15" in complaint(read_energies, path)
