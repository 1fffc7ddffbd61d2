"""Why jobs of a sweep failed that have no folder of their own to say it."""

import json
from contextlib import suppress
from pathlib import Path

from caloman_cli.data.files import write_json
from caloman_cli.errors import CannotWrite

_FOLDER = ".failed"
"""In a sweep's folder: a file for each such job."""


def note_failure(sweep: Path, name: str, message: str) -> None:
    """Keep why a job failed, where it has no folder.

    Args:
        sweep: The sweep's folder.
        name: The job's folder in it.
        message: One line.
    """
    if (sweep / name).exists():
        return
    with suppress(OSError, CannotWrite):  # the message itself is said
        (sweep / _FOLDER).mkdir(exist_ok=True)
        write_json(sweep / _FOLDER / f"{name}.json", {"message": message})


def forget_failure(sweep: Path, name: str) -> None:
    """The job has begun again."""
    with suppress(OSError):
        (sweep / _FOLDER / f"{name}.json").unlink(missing_ok=True)


def failure(sweep: Path, name: str) -> str | None:
    """Why a job failed before it had a folder; None where it did not, or nobody knows."""
    try:
        return str(json.loads((sweep / _FOLDER / f"{name}.json").read_bytes())["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
