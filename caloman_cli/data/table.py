"""HDF5 files of showers as one table, whose rows are carried to other files bit for bit.

A shower is a row of every dataset that has as many rows as there are showers; other datasets,
groups and attributes go along whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from caloman_cli.data.attributes import Attribute, add_step, common, write_attributes
from caloman_cli.data.container import filters, open_dataset, open_hdf5, reading
from caloman_cli.data.contents import Contents, require_alike, rows_at_a_time
from caloman_cli.data.files import replacing, write_error
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.hdf5 import SHOWERS, ShowerFile, check_voxels
from caloman_cli.errors import FileError, UserError

_CACHE = 16 * 2**20  # bytes of chunks that are kept while they fill


class Table:
    """Files of showers, one after the other; the headers are checked, the rows stay on disk.

    Attributes:
        paths: The files.
        energies: Incident energies [MeV], float64, shape (N, 1).
        by_row: Names of the datasets with a row a shower.
        whole: Names of the others.

    Args:
        paths: The files, each once.
        geometry: What they should hold; None asks no more than that they agree.

    Raises:
        UserError: A file cannot be read, does not fit the geometry or the first file.
    """

    def __init__(self, paths: Sequence[Path], geometry: Geometry | None) -> None:
        if not paths:
            raise UserError("no file of showers was given")
        self.paths = tuple(path.expanduser() for path in paths)
        real = [path.resolve() for path in self.paths]
        if twice := [str(self.paths[i]) for i, path in enumerate(real) if path in real[:i]]:
            raise UserError(f"{twice[0]} is given twice: its showers would count double")
        files = [ShowerFile.open(path, geometry) for path in self.paths]
        self._lengths = [len(file) for file in files]
        self._contents = [Contents.of(path) for path in self.paths]
        names = self._contents[0].shapes
        self.by_row = tuple(name for name in names if self._has_rows(name))
        self.whole = tuple(name for name in names if name not in self.by_row)
        require_alike(self._contents, self.by_row, geometry is not None)
        self.energies = np.concatenate([file.energies for file in files])

    def __len__(self) -> int:
        return len(self.energies)

    def write(self, parts: Mapping[Path, np.ndarray], step: Mapping[str, Any]) -> None:
        """Write some rows to each of several files, in one pass; all of the files or none.

        Args:
            parts: File -> rows, rising, each once; folders are made, files are replaced.
            step: What is done here, in plain types, for the files' history.

        Raises:
            UserError: There is no room, or a row is damaged or no shower.
        """
        attributes, own = common([contents.attributes for contents in self._contents])
        sources = [
            {"name": path.name, "showers": n, **({"attributes": mine} if mine else {})}
            for path, n, mine in zip(self.paths, self._lengths, own, strict=True)
        ]
        with _new_files(list(parts)) as outs:
            for path, out in outs.items():
                self._prepare(out)
                for name in ("", *self._contents[0].groups, *self.whole):
                    write_attributes(attributes[name], out[name or "/"])
                add_step(out, {**step, "files": sources, "showers": len(parts[path])})
            rows = {outs[path]: rows for path, rows in parts.items()}
            for name in self.by_row:
                self._carry(name, rows, attributes[name])

    def _has_rows(self, name: str) -> bool:
        """Whether a dataset has a row a shower in every file."""
        for contents, n in zip(self._contents, self._lengths, strict=True):
            shape = contents.shapes.get(name)
            if not shape or shape[0] != n:
                return False
        return True

    def _prepare(self, out: h5py.File) -> None:
        """Everything but rows and attributes."""
        first = self._contents[0]
        for name in first.groups:
            out.require_group(name)
        with open_hdf5(first.path) as source:
            for name in self.whole:
                source.copy(name, out, name=name, without_attrs=True)
        for name, target in first.links.items():
            out[name] = h5py.SoftLink(target)

    def _carry(
        self,
        name: str,
        parts: Mapping[h5py.File, np.ndarray],
        attributes: Mapping[str, Attribute],
    ) -> None:
        """Write the rows of one dataset to all files."""
        types = [contents.types[name] for contents in self._contents]
        kind = types[0] if all(one == types[0] for one in types) else np.result_type(*types)
        targets: dict[h5py.File, h5py.Dataset] = {}
        first = 0
        for contents, length in zip(self._contents, self._lengths, strict=True):
            with open_hdf5(contents.path, rdcc_nbytes=_CACHE) as file:
                source = open_dataset(file, contents.path, name, None)
                if source.shape != contents.shapes[name]:
                    raise FileError(f"{contents.path} has changed while it was read: start again")
                if not targets:
                    for out, rows in parts.items():
                        targets[out] = _alike(out, name, source, len(rows), kind)
                        write_attributes(attributes, targets[out])
                step = rows_at_a_time(source)
                for start in range(first, first + length, step):
                    stop = min(start + step, first + length)
                    rows_of = {targets[out]: rows for out, rows in parts.items()}
                    _carry_block(source, contents.path, first, (start, stop), rows_of)
            first += length


def _carry_block(
    source: h5py.Dataset,
    path: Path,
    first: int,
    span: tuple[int, int],
    parts: Mapping[h5py.Dataset, np.ndarray],
) -> None:
    """Carry neighbouring rows of one file.

    Args:
        source: The dataset to read from.
        path: Its file.
        first: The row of the table that its row 0 is.
        span: The rows of the table to look at, from and to.
        parts: The dataset to write to -> its rows of the table.
    """
    spans = {target: np.searchsorted(rows, span) for target, rows in parts.items()}
    wanted = {target: parts[target][a:b] - first for target, (a, b) in spans.items() if a < b}
    if not wanted:
        return
    low = min(int(rows[0]) for rows in wanted.values())
    high = max(int(rows[-1]) for rows in wanted.values()) + 1
    with reading(path, source.name.lstrip("/"), source):
        block = source[low:high]
    if source == source.file[SHOWERS]:
        check_voxels(block, str(path), low)
    for target, rows in wanted.items():
        a, b = spans[target]
        target[a:b] = block[rows - low]


def _alike(
    out: h5py.File, name: str, source: h5py.Dataset, n: int, kind: np.dtype
) -> h5py.Dataset:
    """An empty dataset of n rows, laid out and packed as another one; gzip for what h5py lacks."""
    shape = (n, *source.shape[1:])
    if source.chunks is None or 0 in shape:
        return out.create_dataset(name, shape, kind)
    packed = source.compression or ("gzip" if set(filters(source)) - {"fletcher32"} else None)
    return out.create_dataset(
        name,
        shape,
        kind,
        chunks=tuple(min(c, s) for c, s in zip(source.chunks, shape, strict=True)),
        compression=packed,
        compression_opts=source.compression_opts if source.compression == "gzip" else None,
        shuffle=source.shuffle,
        fletcher32=source.fletcher32,
    )


def require_new(out: Path, sources: Sequence[Path], overwrite: bool) -> None:
    """Refuse to write over a source, or over another file unasked.

    Raises:
        UserError: There is such a file.
    """
    if out.resolve() in {path.expanduser().resolve() for path in sources}:
        raise UserError(f"{out} is one of the files to read: give another out=")
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists: choose another out= or say overwrite=true")


@contextmanager
def _new_files(paths: Sequence[Path]) -> Iterator[dict[Path, h5py.File]]:
    """Files to write, which appear under their names together, or not at all."""
    with ExitStack() as stack:
        outs: dict[Path, h5py.File] = {}
        for path in paths:
            if path.is_dir():
                raise UserError(f"{path} is a folder: give the name of a file in it")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise write_error(path, error) from error
            part = stack.enter_context(replacing(path))
            outs[path] = h5py.File(part, "w", locking=False, rdcc_nbytes=_CACHE)
        try:
            yield outs
            for out in outs.values():
                out.close()
        finally:
            for out in outs.values():
                # What could not be flushed cannot be closed either; its bytes go anyway.
                with suppress(OSError, RuntimeError):
                    out.close()
