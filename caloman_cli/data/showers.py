"""Showers in files or arrays, read in blocks of rows."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np

from caloman_cli.data.fingerprint import content_fingerprint
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.hdf5 import (
    NumberType,
    ShowerFile,
    check_energies,
    check_voxels,
    number_type,
    read_energies,
)
from caloman_cli.data.shards import all_files
from caloman_cli.errors import UserError

__all__ = ["Showers", "block_rows", "limited_rows", "read_energies", "unit_suspicion"]

BLOCK_BYTES = 64 * 2**20
_GAP = 256  # rows that cost less to read than to begin to read anew
_LIMITED = 20230  # seed of the order in which a limit takes rows
log = logging.getLogger(__name__)

Read = Callable[[int, int], np.ndarray]
"""(start, stop) -> voxels [MeV], float32 or float64, shape (stop - start, V)."""


class Showers:
    """N showers; the incident energies are in memory, the voxels need not be.

    Build with :meth:`from_files` or :meth:`from_arrays`.

    Attributes:
        geometry: Where the voxels are.
        energies: Incident energies [MeV], float64, shape (N, 1).
        paths: The files, in the order of the rows; empty for arrays.
        name: What to call these showers in messages and plots.
        number_type: In which the voxels were written, float32 or float64.
        energy_type: The same of the incident energies.
    """

    def __init__(
        self,
        geometry: Geometry,
        energies: np.ndarray,
        files: tuple[ShowerFile, ...] = (),
        voxels: np.ndarray | None = None,
        index: np.ndarray | None = None,
        name: str = "memory",
        energy_type: NumberType = "float64",
    ) -> None:
        self.geometry = geometry
        self.energies = energies
        self.paths = tuple(file.path for file in files)
        self.name = name
        self._files = files
        self._voxels = voxels
        self._index = index
        self._units_seen = False
        self.energy_type: NumberType = energy_type
        if files:
            self.energy_type = number_type(*(file.energies_dtype for file in files))
        kinds = [file.dtype for file in files] if voxels is None else [voxels.dtype]
        self.number_type: NumberType = number_type(*kinds)

    @classmethod
    def from_files(cls, paths: Sequence[Path], geometry: Geometry) -> "Showers":
        """Open files, one after the other as if they were one; headers are checked now.

        The folder of a sample in shards counts as its files.

        Raises:
            UserError: A file is unreadable, misses a dataset or does not fit the geometry, or a
                shard is missing.
        """
        if not paths:
            raise UserError("no file of showers was given")
        names = all_files([Path(path) for path in paths])
        real = [path.resolve() for path in names]
        if twice := [str(names[i]) for i, path in enumerate(real) if path in real[:i]]:
            raise UserError(f"{twice[0]} is given twice: its showers would count double")
        files = tuple(ShowerFile.open(path, geometry) for path in names)
        energies = np.concatenate([file.energies for file in files])
        name = Path(paths[0]).stem + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
        if suspicion := unit_suspicion(energies, geometry):
            log.warning("%s: %s", name, suspicion)
        return cls(geometry, energies, files=files, name=name)

    @classmethod
    def from_arrays(
        cls, energies: np.ndarray, voxels: np.ndarray, geometry: Geometry, name: str = "memory"
    ) -> "Showers":
        """Wrap arrays without a copy of the voxels.

        Args:
            energies: Incident energies [MeV], shape (N,) or (N, 1).
            voxels: Voxel energies [MeV], shape (N, V).
            geometry: Where the voxels are.
            name: What to call these showers.

        Raises:
            UserError: The shapes disagree or an incident energy is not a positive number.
        """
        kind = number_type(np.asarray(energies).dtype)
        energies = np.asarray(energies, np.float64).reshape(-1, 1)
        if voxels.shape != (len(energies), geometry.n_voxels):
            raise UserError(
                f"{name}: voxels have shape {voxels.shape}, must be "
                f"({len(energies)}, {geometry.n_voxels}) for {geometry.name}"
            )
        check_energies(energies, name)
        return cls(geometry, energies, voxels=voxels, name=name, energy_type=kind)

    def __len__(self) -> int:
        return len(self.energies)

    @property
    def array(self) -> np.ndarray | None:
        """The voxels [MeV], float32, shape (N, V), where they are in memory already."""
        ready = self._voxels is not None and self._voxels.dtype == np.float32
        return self._voxels if ready and self._index is None else None

    def iterate(
        self, chunk: int | None = None, number_type: NumberType = "float32"
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pass once over the showers in file order.

        Args:
            chunk: Rows per block; None takes as many as fit in 64 MiB.
            number_type: Of the voxels.

        Yields:
            Incident energies (B, 1) float64 and voxels (B, V), both in MeV.

        Raises:
            UserError: A voxel is NaN, infinite or negative, or a file is damaged.
        """
        rows = block_rows(self.geometry.n_voxels) if chunk is None else chunk
        with self._reading(number_type) as read:
            for start in range(0, len(self), rows):
                yield self._block(read, start, min(start + rows, len(self)))

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows ``start`` to ``stop``: energies (B, 1) float64, voxels (B, V) float32 [MeV]."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows {start} to {stop} of {len(self)}")
        with self._reading() as read:
            return self._block(read, start, stop)

    def subset(self, index: np.ndarray, name: str | None = None) -> "Showers":
        """The rows of a strictly increasing index; the voxels stay where they are.

        Args:
            index: Row numbers, int64, shape (M,).
            name: What to call the subset; None keeps the name.
        """
        index = np.asarray(index, np.int64)
        if len(index) and (index[0] < 0 or index[-1] >= len(self) or (np.diff(index) <= 0).any()):
            raise IndexError(f"a subset needs increasing row numbers below {len(self)}")
        rows = index if self._index is None else self._index[index]
        energies = self.energies[index]
        return Showers(
            self.geometry,
            energies,
            self._files,
            self._voxels,
            rows,
            name or self.name,
            self.energy_type,
        )

    def limited(self, n: int | None) -> "Showers":
        """At most n showers, drawn at random, since a file may be sorted by energy; None: all.

        Those of a smaller n are among those of a larger one, and two files with as many rows give
        the same rows.
        """
        if n is None or n >= len(self):
            return self
        return self.subset(limited_rows(len(self), n, _LIMITED))

    @property
    def is_whole(self) -> bool:
        """Whether these are all showers of their files."""
        return self._index is None

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the content: equal for equal bytes, wherever the files lie."""
        digest = hashlib.blake2b(digest_size=32)
        if self._voxels is None:
            for path in self.paths:
                digest.update(content_fingerprint(path).encode())
        else:
            digest.update(repr((self._voxels.shape, str(self._voxels.dtype))).encode())
            rows = block_rows(self.geometry.n_voxels)
            for start in range(0, len(self._voxels), rows):
                digest.update(np.ascontiguousarray(self._voxels[start : start + rows]).tobytes())
            digest.update(self.energies.tobytes())
        if self._index is not None:
            digest.update(self._index.tobytes())
        return digest.hexdigest()

    def _block(self, read: Read, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        if self._index is None:
            voxels = read(start, stop)
        else:
            voxels = self._gather(read, self._index[start:stop])
        energies = self.energies[start:stop]
        if not self._units_seen and len(voxels):
            self._units_seen = True
            self._check_units(energies, voxels)
        return energies, voxels

    def _gather(self, read: Read, index: np.ndarray) -> np.ndarray:
        """Selected rows, read in spans of bounded size."""
        span = block_rows(self.geometry.n_voxels)
        done, out = 0, np.empty((len(index), self.geometry.n_voxels), read(0, 0).dtype)
        while done < len(index):
            first = int(index[done])
            upto = int(np.searchsorted(index, first + span))
            far = np.flatnonzero(np.diff(index[done:upto]) > _GAP)
            upto = done + 1 + int(far[0]) if len(far) else upto
            block = read(first, int(index[upto - 1]) + 1)
            out[done:upto] = block[index[done:upto] - first]
            done = upto
        return out

    @contextmanager
    def _reading(self, number_type: NumberType = "float32") -> Iterator[Read]:
        if self._voxels is not None:
            voxels = self._voxels

            def rows(start: int, stop: int) -> np.ndarray:
                some = np.asarray(voxels[start:stop], number_type)
                check_voxels(some, self.name, start)
                return some

            yield rows
            return
        with ExitStack() as stack:
            readers = [stack.enter_context(file.reader()) for file in self._files]
            first = np.cumsum([0, *(len(file) for file in self._files)])

            def read(start: int, stop: int) -> np.ndarray:
                out = np.empty((stop - start, self.geometry.n_voxels), number_type)
                for reader, low, high in zip(readers, first[:-1], first[1:], strict=True):
                    begin, end = max(start, int(low)), min(stop, int(high))
                    if begin < end:
                        part = out[begin - start : end - start]
                        reader.read_into(part, begin - int(low))
                        check_voxels(part, str(reader.file.path), begin - int(low))
                return out

            yield read

    def _check_units(self, energies: np.ndarray, voxels: np.ndarray) -> None:
        ratio = float(np.median(voxels.sum(1, dtype=np.float64) / energies[:, 0]))
        sides = ["incident energies", "voxels"]
        if 0 < ratio < 0.001:
            sides.reverse()
        elif ratio <= 100:
            return
        log.warning(
            "%s: visible over incident energy is %.3g: it looks as if the %s are in GeV and the "
            "%s in MeV; both must be MeV",
            self.name,
            ratio,
            *sides,
        )


def limited_rows(n: int, limit: int, seed: int | None) -> np.ndarray:
    """At most ``limit`` of n rows, rising; those of a smaller limit are among those of a larger.

    Args:
        n: How many rows there are.
        limit: How many are taken.
        seed: Of the order in which they are drawn; None takes the first.
    """
    if limit >= n or seed is None:
        return np.arange(min(n, limit))
    return np.sort(np.random.default_rng(seed).permutation(n)[:limit])


def block_rows(n_voxels: int) -> int:
    """Rows of float32 voxels that fit in 64 MiB."""
    return max(1, BLOCK_BYTES // (4 * n_voxels))


def unit_suspicion(energies: np.ndarray, geometry: Geometry) -> str | None:
    """Say so where the incident energies [MeV] look like GeV for this geometry.

    That is where they do not lie in the geometry's range but a thousandfold of them does.
    """
    span = geometry.incident_range
    if geometry.incident_energies is not None:
        span = (min(geometry.incident_energies), max(geometry.incident_energies))
    if span is None:
        return None
    low, high = 0.99 * span[0], 1.01 * span[1]
    if energies.min() >= low or 1000 * energies.min() < low or 1000 * energies.max() > high:
        return None
    return (
        f"incident energies from {energies.min():g} to {energies.max():g} look like GeV: "
        f"{geometry.name} has {span[0]:g} to {span[1]:g} MeV; multiply them by 1000"
    )
