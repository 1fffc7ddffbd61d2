"""One file of showers in the CaloChallenge HDF5 form, opened with suspicion.

A file holds ``incident_energies`` (N, 1) and ``showers`` (N, V), both in MeV.

References:
    C. Krause et al., "CaloChallenge 2022: A Community Challenge for Fast Calorimeter Simulation"
    (2024), arXiv:2410.21611.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from caloman_cli.data.geometry import Geometry, official_geometries
from caloman_cli.errors import UserError

ENERGIES = "incident_energies"
SHOWERS = "showers"
NumberType = Literal["float32", "float64"]
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
        compression: Filter of ``showers``, e.g. ``gzip``, or None.
        energies_shape: Shape of ``incident_energies`` in the file, (N,) or (N, 1).
        energies_dtype: Number type of ``incident_energies`` in the file.
    """

    path: Path
    energies: np.ndarray
    n_voxels: int
    dtype: str
    chunks: tuple[int, int] | None
    compression: str | None
    energies_shape: tuple[int, ...]
    energies_dtype: str

    def __len__(self) -> int:
        return len(self.energies)

    @classmethod
    def open(cls, path: Path, geometry: Geometry) -> "ShowerFile":
        """Read the header and the incident energies, and check them against a geometry.

        Raises:
            UserError: The file cannot be read, lacks a dataset or has the wrong shape, or an
                incident energy is not a positive number.
        """
        with open_hdf5(path) as file:
            showers = _dataset(file, path, SHOWERS)
            energies = _energies(file, path)
            _check_shape(showers, path, geometry)
            if len(showers) != len(energies):
                raise UserError(
                    f"{path}: '{ENERGIES}' has {len(energies)} rows and '{SHOWERS}' has "
                    f"{len(showers)}: row i of both must be one shower"
                )
            if not len(showers):
                raise UserError(f"{path} holds no showers: '{SHOWERS}' has 0 rows")
            check_energies(energies, str(path))
            return cls(
                path=path,
                energies=energies,
                n_voxels=int(showers.shape[1]),
                dtype=str(showers.dtype),
                chunks=showers.chunks,
                compression=_compression(showers),
                energies_shape=file[ENERGIES].shape,
                energies_dtype=str(file[ENERGIES].dtype),
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
        self._showers = self._hdf5[SHOWERS]
        if self._showers.shape != (len(file), file.n_voxels):
            self.close()
            raise UserError(f"{file.path} has changed while it was read: start again")

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._hdf5.close()

    def read_into(self, out: np.ndarray, start: int) -> None:
        """Fill ``out`` (B, V) [MeV] of any float type with rows ``start`` to ``start + B``."""
        stop = start + len(out)
        try:
            self._showers.read_direct(out, np.s_[start:stop])
        except OSError as error:
            raise UserError(
                f"{self.file.path}: rows {start} to {stop} of '{SHOWERS}' cannot be read, the "
                f"file is damaged or needs a filter that h5py lacks ({_one_line(error)})"
            ) from error


def number_type(*dtypes: str | np.dtype) -> NumberType:
    """The float type that holds what files of these types say: float64 unless all have less."""
    return "float32" if all(np.can_cast(kind, np.float32) for kind in dtypes) else "float64"


def read_energies(path: Path) -> np.ndarray:
    """Incident energies of a file [MeV], float64, shape (N, 1); ``showers`` may be absent.

    Raises:
        UserError: The file cannot be read or an energy is not a positive number.
    """
    with open_hdf5(path) as file:
        energies = _energies(file, path)
    if not len(energies):
        raise UserError(f"{path}: '{ENERGIES}' has 0 rows")
    check_energies(energies, str(path))
    return energies


def open_hdf5(path: Path, **options: int) -> h5py.File:
    """Open a file to read, or say in one line why it cannot be.

    Raises:
        UserError: The file is missing, empty, unreadable, truncated or of another kind.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: give the path of an HDF5 file") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder: give the path of an HDF5 file in it") from error
    except PermissionError as error:
        raise UserError(f"{path}: no permission to read it") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if not head:
        raise UserError(f"{path} is empty (0 bytes): copy or download it again")
    if head.startswith(b"\x1f\x8b"):
        raise UserError(f"{path} is a gzip archive, not HDF5: unpack it with gunzip first")
    try:
        # best-effort: file systems without locks, as on many clusters, are readable too.
        return h5py.File(path, "r", locking="best-effort", **options)
    except OSError as error:
        if not h5py.is_hdf5(path):
            raise UserError(
                f"{path} is not an HDF5 file: give a file with the datasets '{ENERGIES}' and "
                f"'{SHOWERS}'"
            ) from error
        if "truncated" in str(error):
            raise UserError(
                f"{path} is truncated (its end is missing): copy or download it again"
            ) from error
        raise UserError(f"{path} cannot be opened: {_one_line(error)}") from error


def check_energies(energies: np.ndarray, where: str) -> None:
    """Raise a UserError that names the first incident energy which is not a positive number."""
    bad = ~(np.isfinite(energies[:, 0]) & (energies[:, 0] > 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise UserError(
            f"{where}: incident energy {energies[row, 0]:g} MeV in row {row} ({int(bad.sum())} "
            "such rows): incident energies must be finite and above 0 MeV"
        )


def check_voxels(voxels: np.ndarray, where: str, first_row: int = 0) -> None:
    """Raise a UserError that names the first voxel which is NaN, infinite or negative.

    Args:
        voxels: Voxel energies [MeV], shape (B, V).
        where: Name of the file or array, for the message.
        first_row: Row number of ``voxels[0]`` in it.
    """
    # A NaN reaches both extremes, so two passes without temporaries find all three faults.
    if not voxels.size or (voxels.min() >= 0 and voxels.max() < np.inf):
        return
    row, column = (int(i) for i in np.argwhere(~(np.isfinite(voxels) & (voxels >= 0)))[0])
    raise UserError(
        f"{where}: voxel energy {voxels[row, column]:g} MeV in row {first_row + row}, column "
        f"{column}: voxel energies must be finite and not negative"
    )


def _dataset(file: h5py.File, path: Path, name: str) -> h5py.Dataset:
    found = file.get(name)
    if isinstance(found, h5py.Dataset):
        if found.dtype.kind not in "fiu":
            raise UserError(f"{path}: '{name}' holds {found.dtype}, not numbers")
        return found
    listed: dict[str, tuple[int, ...]] = {}
    file.visititems(
        lambda key, item: listed.update({key: item.shape} if hasattr(item, "shape") else {})
    )
    has = ", ".join(f"'{key}' {shape}" for key, shape in listed.items()) or "no dataset at all"
    advice = ""
    if close := difflib.get_close_matches(name, listed, 1, 0.5):
        advice = f"; is '{close[0]}' meant? Rename it to '{name}'"
    raise UserError(f"{path} has no dataset '{name}', it has {has}{advice}")


def _energies(file: h5py.File, path: Path) -> np.ndarray:
    found = _dataset(file, path, ENERGIES)
    if found.ndim not in (1, 2) or (found.ndim == 2 and found.shape[1] != 1):
        raise UserError(f"{path}: '{ENERGIES}' has shape {found.shape}, must be (N, 1)")
    try:
        return found[()].astype(np.float64).reshape(-1, 1)
    except OSError as error:
        raise UserError(
            f"{path}: '{ENERGIES}' cannot be read, the file is damaged ({_one_line(error)})"
        ) from error


def _check_shape(showers: h5py.Dataset, path: Path, geometry: Geometry) -> None:
    if showers.ndim != 2:
        raise UserError(
            f"{path}: '{SHOWERS}' has shape {showers.shape}, must be flat (N, {geometry.n_voxels})"
            " in the order layer, alpha, r"
        )
    width = int(showers.shape[1])
    if width == geometry.n_voxels:
        return
    fits = [name for name, other in official_geometries().items() if other.n_voxels == width]
    advice = (
        f"try dataset={fits[0]}"
        if fits
        else "no official dataset has that number, for a detector of your own see dataset=custom"
    )
    raise UserError(
        f"{path} has {width} voxels per shower, but {geometry.name} has {geometry.n_voxels}: "
        f"{advice}"
    )


def _compression(dataset: h5py.Dataset) -> str | None:
    if dataset.compression is not None:
        return str(dataset.compression)
    plist = dataset.id.get_create_plist()
    names = [plist.get_filter(i)[3].decode() for i in range(plist.get_nfilters())]
    return names[0] if names else None


def _one_line(error: OSError) -> str:
    return " ".join(str(error).split())
