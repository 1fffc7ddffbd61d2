"""Runs on the disk: what is one, and which lie where."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

MODEL = "model.pt"


def runs_of(paths: Iterable[Path]) -> list[Path]:
    """The run directories at or below the paths, each once; nothing that lies within a run."""
    found = dict.fromkeys(run for path in paths for run in _below(path))
    return [run for run in found if not any(is_run(parent) for parent in run.parents)]


def is_run(folder: Path) -> bool:
    """Whether a folder is what ``caloman train`` leaves, finished or not."""
    if (folder / MODEL).is_file():
        return True
    return (folder / "config.yaml").is_file() and (folder / "status.json").is_file()


def _below(path: Path) -> Iterator[Path]:
    """The run directory itself, or all below a folder; of a ``model.pt`` the run it lies in."""
    if path.name == MODEL and path.is_file():
        yield path.parent
    for folder, names, _ in os.walk(path):
        if is_run(Path(folder)):
            names.clear()  # samples, evaluations and logs: no runs in there
            yield Path(folder)
        else:
            names[:] = sorted(name for name in names if not name.startswith("."))
