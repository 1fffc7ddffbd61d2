"""A folder of results that appears whole: written beside its place, then moved there."""

import logging
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from caloman_cli.data.files import lock
from caloman_cli.errors import UserError

log = logging.getLogger(__name__)


@contextmanager
def appearing(final: Path, own: Collection[str], mark: str) -> Iterator[Path]:
    """Fill a folder that takes the place of ``final`` when the block ends without an exception.

    One process at a time; what a killed one left is removed by the next. Until the end nothing
    in ``final`` is touched, and what others have put there stays there.

    Args:
        final: The folder; it need not exist.
        own: Names that belong to the results: they go when the folder is replaced.
        mark: The one of them that every such folder has.

    Yields:
        An empty folder beside ``final``.

    Raises:
        UserError: ``final`` is no folder, holds files of something else, cannot be written, or
            another process is filling it.
    """
    refuse_strangers(final, mark)
    part, old = (final.with_name(f".{final.name}.{kind}") for kind in ("part", "old"))
    made = [parent for parent in final.parents if not parent.exists()]
    try:
        with _locked(part, final):
            _recover(old, final, own)
            try:
                _empty(part)
                yield part
                _flush(part)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
            if final.exists():
                final.rename(old)
            part.rename(final)
            _recover(old, final, own)
    except BaseException:
        with suppress(OSError):  # of the folders that were made for it, those that are empty
            for parent in made:
                parent.rmdir()
        raise


def refuse_strangers(final: Path, mark: str) -> None:
    """Raise a UserError where ``final`` is not a folder of such results, nor empty or missing."""
    if not final.exists():
        return
    if not final.is_dir():
        raise UserError(f"output={final} is a file: give a directory")
    if any(final.iterdir()) and not (final / mark).exists():
        raise UserError(f"output={final} holds files of something else: give a new one")


@contextmanager
def _locked(part: Path, final: Path) -> Iterator[None]:
    """Make ``part`` and be the only process that has it; the system frees it when it dies."""
    descriptor = _opened(part, final)
    try:
        try:
            if not lock(descriptor):
                raise _in_use(final)
        except OSError as error:  # a file system without locks
            log.warning("cannot lock %s: %s", part, error)
        if not part.exists() or not os.path.samestat(os.fstat(descriptor), part.stat()):
            raise _in_use(final)  # it was moved to its place between the two lines above
        yield
    finally:
        os.close(descriptor)


def _opened(part: Path, final: Path) -> int:
    try:
        part.mkdir(parents=True, exist_ok=True)
        return os.open(part, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError as error:
        raise _in_use(final) from error
    except OSError as error:
        raise UserError(f"cannot make output={final}: {error.strerror}") from error


def _in_use(final: Path) -> UserError:
    return UserError(
        f"output={final} is being written by another process: wait for it or give another output="
    )


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _flush(folder: Path) -> None:
    """To the disk, so that a power cut after the move cannot leave empty files."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _recover(old: Path, final: Path, own: Collection[str]) -> None:
    """Finish a replacement: from ``old``, what is not the results' own goes to its place."""
    if not old.exists():
        return
    if not final.exists():  # killed between the two moves
        old.rename(final)
        return
    for entry in list(old.iterdir()):
        if entry.name not in own and not (final / entry.name).exists():
            entry.rename(final / entry.name)
    shutil.rmtree(old)
