"""An HDF5 file of somebody else: opened, and its datasets looked at before a byte is allocated.

A file is what it holds. Links to other files, external storage and virtual datasets are refused:
what they show may change or vanish while file, hash and cache stay the same. Sizes are compared
with what was written and with the memory before they are believed.
"""

import difflib
import errno
import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from caloman_cli.data.memory import available_memory
from caloman_cli.errors import FileError, shown

_COPY = "copy the showers themselves into one file"
_LARGE_CHUNK = 2**30  # bytes; larger ones are read where they hold what they announce
_LARGEST_RATIO = 100  # of a large chunk's size in memory to its size in the file
_LISTED = 8  # names of datasets in a message
_BUILT_IN = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset"}
_LZF = 32000  # comes with h5py
_KNOWN = {
    307: "bzip2", _LZF: "lzf", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp",
    32015: "zstd", 32017: "sz", 32026: "blosc2",
}  # fmt: skip


def require_regular(path: Path, what: str) -> None:
    """Raise a FileError unless a path is a plain file: devices and pipes may never end.

    Args:
        path: The file.
        what: What to give instead, ``an HDF5 file``.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise FileError(f"{path} does not exist: give the path of {what}") from error
    except PermissionError as error:
        raise FileError(f"{path}: no permission to read it") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FileError(f"{shown(path)} cannot be read: {reason}") from error
    if stat.S_ISDIR(mode):
        raise FileError(f"{path} is a folder: give the path of {what} in it")
    if not stat.S_ISREG(mode):
        raise FileError(f"{path} is no regular file (a pipe or a device): give {what}")


def open_hdf5(path: Path, **options: int) -> h5py.File:
    """Open a file to read, or say in one line why it cannot be.

    Raises:
        FileError: The file is missing, empty, unreadable, truncated or of another kind.
    """
    require_regular(path, "an HDF5 file")
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except PermissionError as error:
        raise FileError(f"{path}: no permission to read it") from error
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    if not head:
        raise FileError(f"{path} is empty (0 bytes): copy or download it again")
    if head.startswith(b"\x1f\x8b"):
        raise FileError(f"{path} is a gzip archive, not HDF5: unpack it with gunzip first")
    try:
        # best-effort: file systems without locks, as on many clusters, are readable too.
        return h5py.File(path, "r", locking="best-effort", **options)
    except (OSError, RuntimeError) as error:
        raise _not_opened(path, error) from error


def _not_opened(path: Path, error: Exception) -> FileError:
    said = str(error)
    if getattr(error, "errno", None) in (errno.EAGAIN, errno.EACCES) or "lock file" in said:
        return FileError(
            f"{path} is being written by another process: wait until that has closed it"
        )
    if "already open for write" in said:
        return FileError(
            f"{path} was not closed by the program that wrote it: make it again, or run "
            "'h5clear -s' on a copy"
        )
    if not h5py.is_hdf5(path):
        return FileError(
            f"{path} is not an HDF5 file: give a file with the datasets 'incident_energies' and "
            "'showers'"
        )
    if "truncated" in said:
        return FileError(f"{path} is truncated (its end is missing): copy or download it again")
    return FileError(f"{path} cannot be opened, it is damaged: {_short(error)}")


def open_dataset(
    file: h5py.File, path: Path, name: str, kinds: str | None = "fiu"
) -> h5py.Dataset:
    """A dataset of numbers whose bytes are all in the file and are as many as it announces.

    Args:
        file: The open file.
        path: Its name, for messages.
        name: Of the dataset.
        kinds: Of numbers, as numpy calls them: float, signed, unsigned, b for true and false;
            None takes whatever it holds, texts and nothing included.

    Raises:
        FileError: There is none of that name, or it lies elsewhere, or its size is not true.
    """
    with reading(path, name):
        link = file.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise FileError(
            f"{path}: '{name}' is a link to another file, {shown(link.filename)}: {_COPY}"
        )
    try:
        found = file.get(name)
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        if isinstance(link, h5py.SoftLink):
            raise FileError(
                f"{path}: '{name}' is a link that leads nowhere ({shown(link.path)}): {_COPY}"
            ) from error
        raise FileError(f"{path}: '{name}' cannot be read, the file is damaged") from error
    if not isinstance(found, h5py.Dataset):
        raise _missing(file, path, name, link)
    with reading(path, name, found):
        _check_place(file, found, path, name)
        if kinds is not None:
            _check_numbers(found, path, name, kinds)
        elif found.shape is None:
            return found
        _check_size(found, path, name)
    return found


@contextmanager
def reading(path: Path, name: str, dataset: h5py.Dataset | None = None) -> Iterator[None]:
    """Turn what h5py and numpy raise while they read into one line.

    Raises:
        FileError: Something could not be read; it says which filter is missing, where one is.
    """
    try:
        yield
    except FileError:
        raise
    except MemoryError as error:
        raise FileError(
            f"{path}: '{name}' does not fit into the memory: {_short(error)}"
        ) from error
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        lacking = [] if dataset is None else missing_filters(dataset)
        if lacking:
            raise FileError(
                f"{path}: '{name}' is packed with {', '.join(lacking)}, which h5py lacks: write "
                "it with gzip (h5repack -f GZIP=4, where the plugin is installed)"
            ) from error
        raise FileError(
            f"{path}: '{name}' cannot be read, the file is damaged ({_short(error)}): copy or "
            "download it again"
        ) from error


def filters(dataset: h5py.Dataset) -> list[str]:
    """The names of a dataset's filters, in the order in which they were applied."""
    plist = dataset.id.get_create_plist()
    found = (plist.get_filter(i) for i in range(plist.get_nfilters()))
    return [_filter_name(code, name) for code, _, _, name in found]


def compression(dataset: h5py.Dataset) -> str | None:
    """What packs a dataset: ``gzip``, ``shuffle, gzip``, or None."""
    return ", ".join(filters(dataset)) or None


def plugins(dataset: h5py.Dataset) -> list[str]:
    """Filters that neither HDF5 nor h5py brings along."""
    plist = dataset.id.get_create_plist()
    found = (plist.get_filter(i) for i in range(plist.get_nfilters()))
    return [_filter_name(c, name) for c, _, _, name in found if c not in _BUILT_IN and c != _LZF]


def missing_filters(dataset: h5py.Dataset) -> list[str]:
    """Filters of a dataset that this machine cannot undo."""
    plist = dataset.id.get_create_plist()
    found = (plist.get_filter(i) for i in range(plist.get_nfilters()))
    return [_filter_name(c, name) for c, _, _, name in found if not h5py.h5z.filter_avail(c)]


def _filter_name(code: int, name: bytes) -> str:
    if code in _BUILT_IN:
        return _BUILT_IN[code]
    known = _KNOWN.get(code) or shown(name.decode("utf-8", "replace")) or "a filter"
    return known if code == _LZF else f"{known} (filter {code})"


def _check_place(file: h5py.File, found: h5py.Dataset, path: Path, name: str) -> None:
    """All bytes lie in the file itself."""
    if found.file.filename != file.filename:  # through a link in a group above
        raise FileError(
            f"{path}: '{name}' is a link to another file, {shown(found.file.filename)}: {_COPY}"
        )
    plist = found.id.get_create_plist()
    if plist.get_layout() == h5py.h5d.VIRTUAL:
        raise FileError(
            f"{path}: '{name}' is a virtual dataset, which shows other files: give those files "
            f"themselves as a list, or {_COPY}"
        )
    if plist.get_external_count():
        elsewhere = plist.get_external(0)[0].decode("utf-8", "replace")
        raise FileError(f"{path}: '{name}' is kept outside, in {shown(elsewhere)}: {_COPY}")


def _check_numbers(found: h5py.Dataset, path: Path, name: str, kinds: str) -> None:
    if found.dtype.kind not in kinds:
        raise FileError(f"{path}: '{name}' holds {shown(found.dtype)}, not numbers")
    if found.shape is None:
        raise FileError(f"{path}: '{name}' is empty, without a shape: must be an array")


def _check_size(found: h5py.Dataset, path: Path, name: str) -> None:
    """What is announced was written, and a piece of it fits into the memory."""
    announced = math.prod(found.shape) * found.dtype.itemsize
    stored = found.id.get_storage_size()
    if found.chunks is None:
        compact = found.id.get_create_plist().get_layout() == h5py.h5d.COMPACT
        nowhere = announced > 0 and not compact and found.id.get_offset() is None
        if nowhere or announced > path.stat().st_size:
            raise FileError(_unwritten(found, path, name, "nothing"))
        return
    n_chunks = math.prod(-(-n // c) for n, c in zip(found.shape, found.chunks, strict=True))
    written = found.id.get_num_chunks() if n_chunks else 0
    if written < n_chunks:
        share = f"{written} of {n_chunks} pieces"
        raise FileError(_unwritten(found, path, name, share if written else "nothing"))
    chunk = math.prod(found.chunks) * found.dtype.itemsize
    room = available_memory() * 2**20
    hollow = chunk > _LARGE_CHUNK and announced > _LARGEST_RATIO * stored
    if hollow or chunk > room / 2:
        raise FileError(
            f"{path}: '{name}' comes in pieces (chunks) of {_size(chunk)}, of which {_size(room)} "
            f"of memory has to hold two: write it with smaller chunks, as h5repack -l "
            f"{name}:CHUNK=1000x... does"
        )


def _unwritten(found: h5py.Dataset, path: Path, name: str, written: str) -> str:
    shape = " x ".join(str(n) for n in found.shape)
    return (
        f"{path}: '{name}' announces {shape} numbers, but {written} of them was written: the "
        "program that made the file has not finished"
    )


def _missing(file: h5py.File, path: Path, name: str, link: object) -> FileError:
    listed: dict[str, tuple[int, ...]] = {}

    def note(key: str, item: object) -> bool | None:
        if isinstance(item, h5py.Dataset):
            listed[shown(key)] = item.shape
        return True if len(listed) > _LISTED else None  # True ends the walk

    with reading(path, name):
        file.visititems(note)
    more = " ..." if len(listed) > _LISTED else ""
    names = list(listed.items())[:_LISTED]
    has = ", ".join(f"'{key}' {shape}" for key, shape in names) + more or "no dataset at all"
    advice = ""
    if isinstance(link, h5py.SoftLink):
        advice = f"; the link of that name leads nowhere ({shown(link.path)})"
    elif close := difflib.get_close_matches(name, listed, 1, 0.5):
        advice = f"; is '{close[0]}' meant? Rename it to '{name}'"
    return FileError(f"{path} has no dataset '{name}', it has {has}{advice}")


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"


def _short(error: BaseException) -> str:
    return shown(error) or type(error).__name__
