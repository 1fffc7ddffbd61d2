"""One file of showers in the CaloChallenge HDF5 form, opened with suspicion.

A file holds ``incident_energies`` (N, 1) and ``showers`` (N, V), both in MeV.

References:
    C. Krause et al., "CaloChallenge 2022: A Community Challenge for Fast Calorimeter Simulation"
    (2024), arXiv:2410.21611.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from caloman_cli.data.container import compression, open_dataset, open_hdf5, plugins, reading
from caloman_cli.data.geometry import Geometry, official_geometries
from caloman_cli.data.memory import available_memory
from caloman_cli.data.shards import files_of, is_sharded
from caloman_cli.errors import FileError

ENERGIES = "incident_energies"
SHOWERS = "showers"
NumberType = Literal["float32", "float64"]
_LAYERS = 8  # whose voxels a message lists
_POSSIBLE = (1e-3, 1e15)  # MeV: from below any threshold to above the highest cosmic ray
CACHE_LIMIT = 256 * 2**20  # bytes of decompressed HDF5 chunks kept while a file is read


@dataclass(frozen=True)
class ShowerFile:
    """The checked header of a file; the voxels stay on disk.

    Args:
        path: Where the file is.
        energies: Incident energies [MeV], float64, shape (N, 1).
        n_voxels: V, the width of ``showers``.
        dtype: Number type of ``showers`` in the file.
        chunks: HDF5 chunk shape of ``showers``, or None where it is contiguous.
        compression: Filters of ``showers``, e.g. ``shuffle, gzip``, or None.
        plugins: Those of them that neither HDF5 nor h5py brings along.
        energies_shape: Shape of ``incident_energies`` in the file, (N,) or (N, 1).
        energies_dtype: Number type of ``incident_energies`` in the file.
    """

    path: Path
    energies: np.ndarray
    n_voxels: int
    dtype: str
    chunks: tuple[int, int] | None
    compression: str | None
    plugins: tuple[str, ...]
    energies_shape: tuple[int, ...]
    energies_dtype: str

    def __len__(self) -> int:
        return len(self.energies)

    @classmethod
    def open(cls, path: Path, geometry: Geometry | None) -> "ShowerFile":
        """Read the header and the incident energies, and check them against a geometry, if any.

        Raises:
            FileError: The file cannot be read, lacks a dataset or has the wrong shape, or an
                incident energy is not a positive number.
        """
        with open_hdf5(path) as file:
            showers, incident = (open_dataset(file, path, name) for name in (SHOWERS, ENERGIES))
            _check_shape(showers, path, geometry)
            if incident.ndim and len(showers) != len(incident):
                raise FileError(
                    f"{path}: '{ENERGIES}' has {len(incident)} rows and '{SHOWERS}' has "
                    f"{len(showers)}: row i of both must be one shower"
                )
            if not len(showers):
                raise FileError(f"{path} holds no showers: '{SHOWERS}' has 0 rows")
            energies = _energies(incident, path)
            check_energies(energies, str(path))
            return cls(
                path=path,
                energies=energies,
                n_voxels=int(showers.shape[1]),
                dtype=str(showers.dtype),
                chunks=showers.chunks,
                compression=compression(showers),
                plugins=tuple(plugins(showers)),
                energies_shape=incident.shape,
                energies_dtype=str(incident.dtype),
            )

    def reader(self) -> "Reader":
        """Open the voxels for one pass or a few reads; a context manager."""
        return Reader(self)


class Reader:
    """Rows of one open file, in any block size, each HDF5 chunk decompressed once per pass."""

    def __init__(self, file: ShowerFile) -> None:
        self.file = file
        # Row blocks rarely end where chunks end. Room for a whole stripe of chunks lets the next
        # block find the chunks that the last one has already decompressed.
        stripe = 2**20
        if file.chunks is not None:
            stripe += file.chunks[0] * file.n_voxels * np.dtype(file.dtype).itemsize
        self._hdf5 = open_hdf5(file.path, rdcc_nbytes=min(stripe, CACHE_LIMIT), rdcc_nslots=20_011)
        try:
            self._showers = open_dataset(self._hdf5, file.path, SHOWERS)
        except FileError:
            self.close()
            raise
        if self._showers.shape != (len(file), file.n_voxels):
            self.close()
            raise FileError(f"{file.path} has changed while it was read: start again")

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._hdf5.close()

    def read_into(self, out: np.ndarray, start: int) -> None:
        """Fill ``out`` (B, V) [MeV] of any float type with rows ``start`` to ``start + B``."""
        stop = start + len(out)
        with reading(self.file.path, SHOWERS, self._showers), np.errstate(over="ignore"):
            self._showers.read_direct(out, np.s_[start:stop])


def number_type(*dtypes: str | np.dtype) -> NumberType:
    """The float type that holds what files of these types say: float64 unless all have less."""
    return "float32" if all(np.can_cast(kind, np.float32) for kind in dtypes) else "float64"


def read_energies(path: Path) -> np.ndarray:
    """Incident energies of a file [MeV], float64, shape (N, 1); ``showers`` may be absent.

    Args:
        path: The file, or the folder of a sample in shards.

    Raises:
        UserError: The file cannot be read, an energy is not a positive number, or a shard is
            missing.
    """
    if is_sharded(path):
        return np.concatenate([read_energies(file) for file in files_of(path)])
    with open_hdf5(path) as file:
        energies = _energies(open_dataset(file, path, ENERGIES), path)
    if not len(energies):
        raise FileError(f"{path}: '{ENERGIES}' has 0 rows")
    check_energies(energies, str(path))
    return energies


def check_energies(energies: np.ndarray, where: str) -> None:
    """Raise a FileError that names the first incident energy which no particle could have."""
    low, high = _POSSIBLE
    bad = ~(np.isfinite(energies[:, 0]) & (energies[:, 0] > 0))
    rule = "incident energies must be finite and above 0 MeV"
    if not bad.any():
        bad = (energies[:, 0] < low) | (energies[:, 0] > high)
        rule = f"incident energies must lie between {low:g} and {high:g} MeV"
    if bad.any():
        row = int(np.argmax(bad))
        raise FileError(
            f"{where}: incident energy {energies[row, 0]:g} MeV in row {row} ({int(bad.sum())} "
            f"such rows): {rule}"
        )


def check_voxels(voxels: np.ndarray, where: str, first_row: int = 0) -> None:
    """Raise a FileError that names the first voxel which is NaN, negative or beyond all bounds.

    Args:
        voxels: Voxel energies [MeV], shape (B, V).
        where: Name of the file or array, for the message.
        first_row: Row number of ``voxels[0]`` in it.
    """
    # A NaN reaches both extremes, so two passes without temporaries find all three faults.
    if not voxels.size or (voxels.min() >= 0 and voxels.max() <= _POSSIBLE[1]):
        return
    row, column = (int(i) for i in np.argwhere(~((voxels >= 0) & (voxels <= _POSSIBLE[1])))[0])
    value = voxels[row, column]
    advice = "; rounding below the readout cut has to be set to 0 in a copy" if value < 0 else ""
    raise FileError(
        f"{where}: voxel energy {value:g} MeV in row {first_row + row}, column {column}: voxel "
        f"energies must be finite and not negative, at most {_POSSIBLE[1]:g} MeV{advice}"
    )


def _energies(dataset: h5py.Dataset, path: Path) -> np.ndarray:
    if dataset.ndim not in (1, 2) or (dataset.ndim == 2 and dataset.shape[1] != 1):
        raise FileError(f"{path}: '{ENERGIES}' has shape {dataset.shape}, must be (N, 1)")
    if 16 * len(dataset) > available_memory() * 2**20:
        raise FileError(
            f"{path}: '{ENERGIES}' has {len(dataset)} rows, which do not fit into the memory: "
            "split the file"
        )
    with reading(path, ENERGIES, dataset), np.errstate(over="ignore"):
        return dataset[()].astype(np.float64).reshape(-1, 1)


def _check_shape(showers: h5py.Dataset, path: Path, geometry: Geometry | None) -> None:
    if showers.ndim != 2:
        voxels = "V" if geometry is None else geometry.n_voxels
        raise FileError(
            f"{path}: '{SHOWERS}' has shape {showers.shape}, must be flat (N, {voxels}) in the "
            "order layer, alpha, r"
        )
    width = int(showers.shape[1])
    if geometry is None or width == geometry.n_voxels:
        return
    known = official_geometries()
    fits = [name for name, other in known.items() if other.n_voxels == width]
    if fits:
        advice = f"try dataset={fits[0]}"
    elif geometry.name in known:
        advice = (
            "no official dataset has that number, for a detector of your own see geometry=FILE"
        )
    else:
        sizes = [str(layer.n_voxels) for layer in geometry.layers]
        listed = " + ".join([*sizes[:_LAYERS], "..."] if len(sizes) > _LAYERS else sizes)
        advice = f"its layers have {listed}, see 'caloman data geometry'"
    raise FileError(
        f"{path} has {width} voxels per shower, but {geometry.name} has {geometry.n_voxels}: "
        f"{advice}"
    )
