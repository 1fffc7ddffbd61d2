"""Files that are written whole or not at all, and checkpoints that run no code when read."""

import errno
import hashlib
import json
import os
import re
import secrets
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from caloman_cli.errors import CannotWrite, FileError, UserError

if TYPE_CHECKING:
    import h5py
    import torch

_PART = re.compile(r"\.caloman-[0-9a-f]{12}\.part")
_STALE = 24 * 3600.0  # seconds after which a part has no writer, where locks cannot tell
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all.

    Yields the path of an empty file beside ``path``, with a name of its own. What the block wrote
    there takes the place of ``path``, flushed to the disk, when the block ends without an
    exception, and is removed when it does not. While it is written it carries a lock, which dies
    with its process: the next writer in that folder removes what killed ones have left.

    The lock is ``flock``'s: HDF5 must open the file with ``locking=False``.

    Raises:
        CannotWrite: The disk is full or the directory is not writable.
    """
    try:
        remove_dead_parts(path.parent)
        part, owner = _own_part(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    moved = False
    try:
        yield part
        os.fsync(owner)
        part.replace(path)
        moved = True
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # HDF5 says RuntimeError when it cannot close
        if isinstance(error, OSError) or is_full(error):
            raise write_error(path, error) from error
        raise
    finally:
        if not moved:
            with suppress(OSError):
                # HDF5 may hold on to a file that it could not flush: its room is freed anyway.
                os.truncate(part, 0)
                part.unlink()
        os.close(owner)


@contextmanager
def replacing_hdf5(path: Path) -> Iterator["h5py.File"]:
    """Write a small HDF5 file whole or not at all, from memory.

    HDF5 crashes when it closes a file that a full disk keeps it from flushing.

    Raises:
        CannotWrite: The disk is full or the directory is not writable.
    """
    import h5py

    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        yield file
        file.flush()
        image = file.id.get_file_image()
    with replacing(path) as part:
        part.write_bytes(image)


def make_folder_of(path: Path) -> None:
    """Make the folder that a file will lie in, and those above it.

    Raises:
        CannotWrite: It cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error


def remove_dead_parts(folder: Path) -> None:
    """Remove what killed processes have left half-written in a folder."""
    with suppress(OSError):
        for entry in folder.iterdir():
            if is_part(entry.name):
                _remove_if_dead(entry)


def is_part(name: str) -> bool:
    """Whether a file of this name is one that :func:`replacing` has not finished."""
    return _PART.fullmatch(name) is not None


def lock(descriptor: int) -> bool:
    """Take the system's lock of an open file, without waiting.

    It is freed when the descriptor is closed or the process dies, however it dies.

    Returns:
        Whether nobody else has it.

    Raises:
        OSError: The file system knows no locks.
    """
    # Only here: the command line reads this module first, and few commands lock anything.
    from filelock import lock_descriptor

    return lock_descriptor(descriptor, blocking=False)


def write_error(path: Path, error: Exception) -> CannotWrite:
    """Say in one line why a file could not be written."""
    if is_full(error):
        return CannotWrite(f"{path}: no room left on the disk: free some or write elsewhere")
    if isinstance(error, PermissionError):
        return CannotWrite(f"{path}: no permission to write there")
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return CannotWrite(f"{path} cannot be written: {reason}")


def is_full(error: BaseException) -> bool:
    """Whether the disk or a quota is at its end; HDF5 and torch say so in their text only."""
    text = str(error)
    return (isinstance(error, OSError) and error.errno in _FULL) or any(
        f"errno = {number}," in text for number in _FULL
    )


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically; NaN and infinity are errors, since JSON has neither."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, remedy: str = "restore it") -> dict:
    """Read a JSON object.

    Args:
        path: The file.
        remedy: What to do where it is damaged.

    Raises:
        UserError: The file is damaged.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):  # also what is not UTF-8
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged (not a JSON object): {remedy}")
    return content


_HASHES: dict[str, Callable[[], Any]] = {
    "sha256": hashlib.sha256,
    "md5": partial(hashlib.md5, usedforsecurity=False),  # what the official records give
    "blake2b": partial(hashlib.blake2b, digest_size=32),  # the fastest, where the choice is ours
}


def checksum(path: Path, kind: Literal["sha256", "md5", "blake2b"] = "sha256") -> str:
    """Checksum of a file in hexadecimal digits, 64 of SHA-256 and BLAKE2b, 32 of MD5."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, _HASHES[kind]).hexdigest()


def save_state(path: Path, state: dict) -> None:
    """Write a checkpoint of plain types and tensors atomically; equal states give equal bytes."""
    import torch

    # Through memory: torch's own writer hides what the system says of a full disk.
    content = BytesIO()
    torch.save(state, content)
    with replacing(path) as part:
        part.write_bytes(content.getbuffer())


def load_state(
    path: Path,
    device: "torch.device | str" = "cpu",
    remedy: str = "remove it, or give another copy",
    kind: str = "checkpoint",
) -> dict:
    """Read a checkpoint without running any code that it may hold.

    Its own checksums are looked at, which torch does not do: no changed byte goes unnoticed.

    Args:
        path: The file.
        device: Where its tensors go.
        remedy: What to do where it is missing or damaged.
        kind: What it should be.

    Raises:
        FileError: The file is missing or damaged.
    """
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch advises against is refused below
            state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise FileError(f"{path} does not exist: {remedy}") from error
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # noqa: BLE001 (zipfile and torch raise many types)
        raise FileError(f"{path} is damaged or not a {kind}: {remedy}") from error
    if not isinstance(state, dict):
        raise FileError(f"{path} is not a {kind}: {remedy}")
    return state


def _own_part(folder: Path) -> tuple[Path, int]:
    """A new empty file and the descriptor that holds its lock."""
    while True:
        part = folder / f".caloman-{secrets.token_hex(6)}.part"
        owner = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            # Else it was taken for dead in the moment before it was locked.
            if lock(owner) and os.fstat(owner).st_nlink:
                return part, owner
        except OSError:
            return part, owner  # a file system without locks: age has to tell
        os.close(owner)


def _remove_if_dead(part: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(part, os.O_RDWR)
        try:
            try:
                dead = lock(descriptor)
            except OSError:
                dead = time.time() - os.fstat(descriptor).st_mtime > _STALE
            if dead:
                part.unlink()
        finally:
            os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a loss of power; not every file system knows how."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
