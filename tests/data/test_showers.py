"""Reading showers: exact, in order, in bounded blocks."""

import logging

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caloman_cli.data import hdf5, showers
from caloman_cli.data.showers import Showers, read_energies, unit_suspicion
from caloman_cli.errors import UserError
from tests.data.conftest import make_showers, write_hdf5


def gathered(source, chunk=None):
    blocks = list(source.iterate(chunk))
    return np.concatenate([e for e, _ in blocks]), np.concatenate([v for _, v in blocks])


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    chunk=st.one_of(st.none(), st.integers(1, 130)),
    hdf5_rows=st.integers(1, 40),
    dtype=st.sampled_from(["f4", "f8"]),
)
def test_any_files_in_any_blocks_give_the_same_rows(
    tmp_path, tiny_geometry, sizes, chunk, hdf5_rows, dtype
):
    energies, voxels = make_showers(tiny_geometry, sum(sizes))
    paths, start = [], 0
    for number, size in enumerate(sizes):
        part = slice(start, start + size)
        layout = (min(hdf5_rows, size), 5)  # odd chunks, as h5py chooses them
        paths.append(
            write_hdf5(
                tmp_path / f"{number}.hdf5",
                energies[part],
                voxels[part].astype(dtype),
                chunks=layout,
            )
        )
        start += size
    source = Showers.from_files(paths, tiny_geometry)
    assert len(source) == len(voxels)
    found_energies, found_voxels = gathered(source, chunk)
    assert found_energies.dtype == np.float64
    assert found_voxels.dtype == np.float32
    np.testing.assert_array_equal(found_energies, energies)
    np.testing.assert_array_equal(found_voxels, voxels)


def test_a_block_is_never_longer_than_asked(showers_file, tiny_geometry):
    source = Showers.from_files([showers_file[0]], tiny_geometry)
    assert [len(v) for _, v in source.iterate(30)] == [30, 30, 30, 10]


def test_the_default_block_fits_in_64_mebibytes(geometry):
    rows = showers.block_rows(geometry.n_voxels)
    assert 60 * 2**20 < rows * geometry.n_voxels * 4 <= 64 * 2**20


def test_iterating_asks_the_file_for_one_block_at_a_time(showers_file, tiny_geometry, monkeypatch):
    asked = []
    read = hdf5.Reader.read_into

    def spy(self, out, start):
        asked.append((start, len(out)))
        read(self, out, start)

    monkeypatch.setattr(hdf5.Reader, "read_into", spy)
    monkeypatch.setattr(showers, "BLOCK_BYTES", 40 * 4 * tiny_geometry.n_voxels)
    list(Showers.from_files([showers_file[0]], tiny_geometry).iterate())
    assert asked == [(0, 40), (40, 40), (80, 20)]


def test_some_rows(showers_file, tiny_geometry):
    path, energies, voxels = showers_file
    source = Showers.from_files([path], tiny_geometry)
    found = source.read(17, 60)
    np.testing.assert_array_equal(found[0], energies[17:60])
    np.testing.assert_array_equal(found[1], voxels[17:60])
    with pytest.raises(IndexError):
        source.read(90, 101)


def test_a_subset_is_the_rows_of_its_index(showers_file, tiny_geometry, monkeypatch):
    path, energies, voxels = showers_file
    monkeypatch.setattr(showers, "BLOCK_BYTES", 10 * 4 * tiny_geometry.n_voxels)
    index = np.array([0, 3, 4, 50, 51, 99])
    for whole in (
        Showers.from_files([path], tiny_geometry),
        Showers.from_arrays(energies, voxels, tiny_geometry),
    ):
        part = whole.subset(index)
        found = gathered(part, 4)
        np.testing.assert_array_equal(found[0], energies[index])
        np.testing.assert_array_equal(found[1], voxels[index])
        again = part.subset(np.array([1, 4]))
        np.testing.assert_array_equal(gathered(again)[1], voxels[[3, 51]])
        assert len({whole.fingerprint, part.fingerprint, again.fingerprint}) == 3


def test_a_limit_takes_rows_of_the_whole_file_and_more_of_them_keep_the_fewer(tiny_geometry):
    """A file may be sorted by energy, so its first rows would not do."""
    energies = np.linspace(1e3, 2e3, 5000)
    whole = Showers.from_arrays(energies, np.zeros((5000, 12), np.float32), tiny_geometry)
    some, more = whole.limited(200), whole.limited(400)
    assert (len(some), len(more)) == (200, 400)
    assert {*some.energies[:, 0]} < {*more.energies[:, 0]}
    counts, _ = np.histogram(some.energies, 4, (1e3, 2e3))
    assert counts.min() > 25  # of 50 expected in each quarter
    assert whole.limited(None) is whole.limited(9999) is whole
    assert whole.is_whole
    assert not some.is_whole
    assert len({some.fingerprint, more.fingerprint, whole.fingerprint}) == 3


def test_rows_far_apart_are_read_without_those_between(tmp_path, tiny_geometry, monkeypatch):
    path = write_hdf5(tmp_path / "long.hdf5", *make_showers(tiny_geometry, 3000))
    whole = Showers.from_files([path], tiny_geometry)
    index = np.array([3, 40, 1500, 1501, 2999])
    _, every = whole.read(0, 3000)
    asked = []
    real = hdf5.Reader.read_into
    monkeypatch.setattr(
        hdf5.Reader, "read_into", lambda *a: (asked.append(len(a[1])), real(*a))[1]
    )
    _, voxels = whole.subset(index).read(0, 5)
    np.testing.assert_array_equal(voxels, every[index])
    assert sum(asked) == 38 + 2 + 1


def test_arrays_are_not_copied(tiny_geometry):
    energies, voxels = make_showers(tiny_geometry, 10)
    source = Showers.from_arrays(energies[:, 0], voxels, tiny_geometry)
    assert source.energies.shape == (10, 1)
    assert np.shares_memory(source.read(2, 5)[1], voxels)


def test_incident_energies_may_be_flat(tmp_path, tiny_geometry):
    energies, voxels = make_showers(tiny_geometry, 10)
    path = write_hdf5(tmp_path / "flat.hdf5", energies[:, 0], voxels)
    np.testing.assert_array_equal(Showers.from_files([path], tiny_geometry).energies, energies)
    np.testing.assert_array_equal(read_energies(path), energies)


def test_energies_of_a_file_without_showers(tmp_path):
    path = tmp_path / "energies.hdf5"
    with h5py.File(path, "w") as file:
        file["incident_energies"] = np.array([[256.0], [512.0]])
    np.testing.assert_array_equal(read_energies(path), [[256.0], [512.0]])


def test_fingerprint_follows_content_not_name(tmp_path, showers_file, tiny_geometry):
    path, energies, voxels = showers_file
    copy = tmp_path / "copy.hdf5"
    copy.write_bytes(path.read_bytes())
    other = write_hdf5(tmp_path / "other.hdf5", energies, voxels[::-1])

    def name(given):
        return Showers.from_files([given], tiny_geometry).fingerprint

    assert name(copy) == name(path)
    assert name(other) != name(path)


def test_energies_in_gev_are_noticed(tmp_path, tiny_geometry, caplog):
    energies, voxels = make_showers(tiny_geometry, 10)
    path = write_hdf5(tmp_path / "gev.hdf5", energies / 1000, voxels)
    with caplog.at_level(logging.WARNING):
        source = Showers.from_files([path], tiny_geometry)
        list(source.iterate(3))
    assert len(caplog.messages) == 2
    assert "look like GeV" in caplog.messages[0]
    assert "incident energies are in GeV and the voxels in MeV" in caplog.messages[1]


def test_voxels_in_gev_are_noticed(tiny_geometry, caplog):
    energies, voxels = make_showers(tiny_geometry, 10)
    list(Showers.from_arrays(energies, voxels / 2000, tiny_geometry).iterate())
    assert "voxels are in GeV and the incident energies in MeV" in caplog.text


def test_official_spectra_in_mev_raise_no_suspicion(geometry):
    span = geometry.incident_range or geometry.incident_energies
    assert unit_suspicion(np.array([[span[0]], [span[-1]]]), geometry) is None
    assert "GeV" in unit_suspicion(np.array([[span[0]], [span[-1]]]) / 1000, geometry)


@pytest.mark.parametrize("chunk", [1, 1000])
def test_a_bad_voxel_is_named_by_its_row(tmp_path, tiny_geometry, chunk):
    energies, voxels = make_showers(tiny_geometry, 20)
    for value, word in ((np.nan, "nan"), (np.inf, "inf"), (-0.5, "-0.5")):
        broken = voxels.copy()
        broken[13, 4] = value
        path = write_hdf5(tmp_path / "broken.hdf5", energies, broken)
        with pytest.raises(UserError, match=rf"energy {word} MeV in row 13, column 4"):
            list(Showers.from_files([path], tiny_geometry).iterate(chunk))


@pytest.mark.shared
def test_real_showers(shared):
    from tests.conftest import load_geometry

    path = shared / "data/geant4/ds1_photons_train.hdf5"
    source = Showers.from_files([path], load_geometry("ds1_photons"))
    with h5py.File(path) as file:
        expected = file["showers"][:2000]
    np.testing.assert_array_equal(source.read(0, 2000)[1], expected)
    assert len(source) == 26730
