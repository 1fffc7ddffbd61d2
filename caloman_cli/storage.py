"""Files that are written whole or not at all, and checkpoints that run no code when read."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from caloman_cli.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all.

    Yields a path beside ``path``; what was written there takes its place, flushed to the disk,
    when the block ends without an exception, and is removed when it does not.

    Raises:
        UserError: The disk is full or the directory is not writable.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot write {path}: {reason}; run the same command again") from error
    finally:
        # Missing after the replacement; on a broken disk the error above is the one to see.
        if part.exists():
            part.unlink()


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically; NaN and infinity are errors, since JSON has neither."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict:
    content: dict = json.loads(path.read_text())
    return content


def save_state(path: Path, state: dict) -> None:
    """Write a checkpoint of plain types and tensors atomically."""
    with replacing(path) as part, part.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # what the zip writer makes of a full disk
            raise OSError(str(error)) from error


def load_state(path: Path, device: torch.device | str = "cpu") -> dict:
    """Read a checkpoint without running any code that it may hold.

    Raises:
        UserError: The file is missing or damaged.
    """
    try:
        state: dict = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (RuntimeError, EOFError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}): remove it and train again") from error
    return state
