"""Small files of showers."""

import resource

import h5py
import numpy as np
import pytest


def make_showers(geometry, n, seed=0):
    """Sparse showers with float32 voxels: (energies (n, 1), voxels (n, V)) [MeV]."""
    rng = np.random.default_rng(seed)
    energies = rng.uniform(1.0e3, 1.0e5, (n, 1))
    voxels = rng.exponential(size=(n, geometry.n_voxels)) * energies / geometry.n_voxels
    voxels[rng.random(voxels.shape) < 0.4] = 0
    return energies, voxels.astype(np.float32)


def write_hdf5(path, energies, voxels, **options):
    """What other programs write: plain h5py, no help from the package."""
    with h5py.File(path, "w") as file:
        file.create_dataset("incident_energies", data=energies, compression="gzip")
        file.create_dataset("showers", data=voxels, compression="gzip", **options)
    return path


@pytest.fixture
def showers_file(tmp_path, tiny_geometry):
    """100 showers of the tiny geometry, and what is in them."""
    energies, voxels = make_showers(tiny_geometry, 100)
    return write_hdf5(tmp_path / "showers.hdf5", energies, voxels), energies, voxels


@pytest.fixture
def small_disk():
    """No file of this process may grow beyond 200 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
