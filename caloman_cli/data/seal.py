"""Checksums of what a cache keeps: a changed byte is noticed, once per start."""

from pathlib import Path

from caloman_cli.data.files import write_text
from caloman_cli.data.fingerprint import content_fingerprint


def seal(path: Path) -> None:
    """Remember a file of the cache as it is, in ``checksums/`` beside its folder."""
    note = _note(path)
    note.parent.mkdir(parents=True, exist_ok=True)
    write_text(note, content_fingerprint(path))


def is_sealed(path: Path) -> bool:
    """Whether a file is as it was sealed; one that was not sealed is not."""
    try:
        return _note(path).read_bytes() == content_fingerprint(path).encode()
    except OSError:
        return False


def _note(path: Path) -> Path:
    return path.parent.parent / "checksums" / f"{path.name}.blake2b"
