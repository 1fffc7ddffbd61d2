"""Write showers while the next ones are being made."""

import logging
import os
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np

from caloman_cli.config.values import Compression
from caloman_cli.data.deflate import filters, packer
from caloman_cli.data.files import is_full, replacing, write_error
from caloman_cli.data.hdf5 import ENERGIES, SHOWERS, check_energies, check_voxels
from caloman_cli.errors import UserError

CHUNK_BYTES = 2**20  # no larger than HDF5's own chunk cache, so that every reader is quick
log = logging.getLogger(__name__)


class Detector(Protocol):
    """What a file says of a :class:`~caloman_cli.data.geometry.Geometry`."""

    @property
    def name(self) -> str:
        """Of the detector."""

    @property
    def n_voxels(self) -> int:
        """V."""


class ShowerWriter:
    """A file of showers in the challenge's HDF5 form, written by a thread behind a short queue.

    The file appears under its name only when all rows are in it; until then, and after any error,
    there is nothing. Incident energies are float64 and voxels float32, both in MeV, packed in
    chunks of whole rows. Equal rows and attributes give equal bytes, packed alike.

    Use as a context manager::

        with ShowerWriter(path, n, geometry, {"seed": 1}) as writer:
            writer.write(energies, voxels)

    Args:
        path: The file to make; folders above it are made, a file of that name is replaced.
        n: Number of showers N that will be written.
        geometry: Where the voxels are.
        attributes: Provenance that the file carries.
        compression: How voxels are packed; ``fast`` takes an eighth of the time of ``gzip`` for
            1 to 10 % more bytes.

    Raises:
        UserError: There is no permission or no room, or a shower is not writable.
    """

    def __init__(
        self,
        path: Path,
        n: int,
        geometry: Detector,
        attributes: dict[str, str | int | float],
        compression: Compression = "gzip",
    ) -> None:
        if n < 1:
            raise UserError(f"{path}: {n} showers cannot be written, give 1 or more")
        self.path = path
        self.n = n
        self.geometry = geometry
        self.rows = max(1, min(n, CHUNK_BYTES // (4 * geometry.n_voxels)))
        self.energies = np.empty((n, 1))
        self._filters, self._pack = filters(compression), packer(compression)
        self._attributes = {**attributes, "geometry": geometry.name, "unit": "MeV"}
        self._whole = ExitStack()
        self._given = 0
        self._error: Exception | None = None
        self._queue: queue.Queue[np.ndarray | None] = queue.Queue(maxsize=2)
        self._file: h5py.File | None = None
        self._thread = threading.Thread(target=self._work, name="shower-writer", daemon=True)

    def __enter__(self) -> "ShowerWriter":
        if self.path.is_dir():
            raise UserError(f"{self.path} is a folder: give the name of a file in it")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(self.path, error) from error
        part = self._whole.enter_context(replacing(self.path))
        self._whole.callback(self._close)
        try:
            self._file = h5py.File(part, "w", locking=False)
            self._file.create_dataset(
                SHOWERS,
                (self.n, self.geometry.n_voxels),
                np.float32,
                chunks=(self.rows, self.geometry.n_voxels),
                **self._filters,
            )
        except BaseException:
            with self._whole:
                raise
        self._thread.start()
        return self

    def write(self, energies: np.ndarray, voxels: np.ndarray) -> None:
        """Append showers; returns before they are on disk.

        Args:
            energies: Incident energies [MeV], shape (B, 1).
            voxels: Voxel energies [MeV], shape (B, V); the array may be used again afterwards.

        Raises:
            UserError: A number is not writable, or an earlier block met a full disk.
            ValueError: The shape is wrong or there are more rows than announced.
        """
        energies = np.asarray(energies, np.float64)
        block = np.array(voxels, np.float32, order="C")
        stop = self._given + len(block)
        if block.shape[1:] != (self.geometry.n_voxels,) or energies.shape != (len(block), 1):
            raise ValueError(f"energies {energies.shape} and voxels {block.shape} do not pair")
        if stop > self.n:
            raise ValueError(f"{stop} showers for a file of {self.n}")
        check_energies(energies, f"{self.path}, not written")
        check_voxels(block, f"{self.path}, not written", self._given)
        self._raise()
        self.energies[self._given : stop] = energies
        self._given = stop
        self._queue.put(block)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._error = self._error or _Abandoned()
            with suppress(_Abandoned), self._whole:
                self._stop()
                raise _Abandoned
            return
        with self._whole:
            self._stop()
            self._raise()
            if self._given != self.n:
                raise ValueError(f"{self._given} showers of {self.n} were written")
            assert self._file is not None
            self._file.create_dataset(ENERGIES, data=self.energies, **self._filters)
            self._file.attrs.update(self._attributes)
            self._file.close()

    def _stop(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _close(self) -> None:
        if self._file is not None:
            # A file that could not be flushed cannot be closed either; its bytes go anyway.
            with suppress(OSError, RuntimeError):
                self._file.close()

    def _raise(self) -> None:
        if self._error is not None and (isinstance(self._error, OSError) or is_full(self._error)):
            raise write_error(self.path, self._error) from self._error
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        """Cut the blocks into chunks, compress them and write them, until None arrives."""
        # Packing runs without Python's lock, and HDF5's gzip filter is exactly zlib's format.
        with ThreadPoolExecutor(max(1, min(4, (os.cpu_count() or 1) - 1))) as pool:
            rest = np.empty((0, self.geometry.n_voxels), np.float32)
            row = 0
            while (block := self._queue.get()) is not None:
                if self._error is not None:
                    continue  # the queue is emptied so that the caller never waits
                try:
                    rest = np.concatenate([rest, block]) if len(rest) else block
                    whole = len(rest) // self.rows * self.rows
                    row = self._store(pool, rest[:whole], row)
                    rest = rest[whole:]
                except Exception as error:  # noqa: BLE001 - handed to the caller's thread
                    self._error = error
            if self._error is None and len(rest):
                last = np.zeros((self.rows, self.geometry.n_voxels), np.float32)
                last[: len(rest)] = rest
                try:
                    self._store(pool, last, row)
                except Exception as error:  # noqa: BLE001 - handed to the caller's thread
                    self._error = error

    def _store(self, pool: ThreadPoolExecutor, rows: np.ndarray, start: int) -> int:
        """Write whole chunks at row ``start``; returns the row after them."""
        assert self._file is not None
        target = self._file[SHOWERS].id
        pieces = (rows[i : i + self.rows] for i in range(0, len(rows), self.rows))
        for data in pool.map(self._pack, pieces):
            target.write_direct_chunk((start, 0), data)
            start += self.rows
        return start


class _Abandoned(Exception):
    """The caller has met an error of its own."""
