"""Runs as a report sees them: how they stand, what they were made of, how well they learned."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from caloman_cli.config.options import option_named
from caloman_cli.config.stages import LEARNING
from caloman_cli.errors import UserError
from caloman_cli.metrics.score import Score
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.runs.failures import failure
from caloman_cli.runs.patterns import runs_of

SECTION = "validation"
"""Of the scores that a training itself has."""
_INDEX = ".jobs.json"  # of a sweep: which job lies where
_PARTS = {"energy": ("energy",), "encoder": ("encoder", "head"), "density": ("density",)}
"""Groups that a stage's loss is one of; another class has another loss."""


@dataclass(frozen=True)
class Job:
    """What one run directory says.

    Args:
        folder: The directory; of a job that failed early or has not begun it need not exist.
        label: What people call it.
        state: One word: ok, running, failed, interrupted, cut off, not begun.
        said: The same with what is known of it.
        config: What the run was made of, plain types; None where that is not known.
        data: What it learned from, as its provenance says; empty where that is not known.
        scores: Best value on the validation split, a score a stage.
    """

    folder: Path
    label: str
    state: str
    said: str
    config: Mapping[str, Any] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    scores: tuple[Score, ...] = ()

    @property
    def dataset(self) -> str | None:
        """Name of the dataset, or None where it is not known."""
        try:
            return str((self.config or {})["dataset"]["name"])
        except (KeyError, TypeError):
            return None


def find_jobs(matches: Iterable[Path], patterns: Sequence[str]) -> list[Job]:
    """The runs at or below paths, and the jobs of sweeps there that have no folder.

    Args:
        matches: What the patterns match.
        patterns: What the user typed.
    """
    matches = list(matches)
    runs = dict.fromkeys(run.resolve() for run in runs_of(matches))
    parents = dict.fromkeys(run.parent for run in runs)
    below = [path for match in matches if match.is_dir() for path in _indexed(match.resolve())]
    jobs = {run: read_job(run) for run in runs}
    for folder in dict.fromkeys([*parents, *below]):
        for name in _names(folder):
            path = folder / name
            asked = folder in below or any(_matches(path, pattern) for pattern in patterns)
            if asked and path not in jobs and not path.exists():
                jobs[path] = _without_folder(path)
    return list(jobs.values())


def _without_folder(path: Path) -> Job:
    """A job of a sweep that has not begun, or failed before it had a folder."""
    reason = failure(path.parent, path.name)
    if reason is None:
        return Job(path, path.name, "not begun", "not begun")
    return Job(path, path.name, "failed", f"failed: {reason}")


def read_job(folder: Path) -> Job:
    """What a run directory says; what is damaged in it is left out."""
    run = RunDirectory(folder)
    # A model that came without the rest is no worse for that.
    said = "ok" if run.model_path.exists() and not run.status.path.exists() else run.status.text()
    said = " ".join(said.split())
    state = said.partition(":")[0].partition(",")[0]
    config: Any = None
    data: dict[str, Any] = {}
    try:
        config = OmegaConf.to_container(run.config)
        data = run.files.read().get("data", {})
    except UserError:
        pass
    return Job(folder, run.label, state, said, config, data, _scores(run, config or {}))


def _scores(run: RunDirectory, config: Mapping[str, Any]) -> tuple[Score, ...]:
    rows = run.history.rows()
    found = []
    for stage in LEARNING:
        name, best = _best(run.path / stage / "done.json", stage, config, rows)
        if best is None:
            continue
        parts = [option_named(part, config.get(part)) for part in _PARTS[stage]]
        found.append(
            Score(
                SECTION,
                f"validation {name} of {stage}",
                best,
                summary=True,
                key=f"validation_{stage}",
                goal="lower",
                conditions={"of": " + ".join(part for part in parts if part)},
            )
        )
    return tuple(found)


def _best(
    done: Path, stage: str, config: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> tuple[str, float | None]:
    """Name and best value of a stage's score: of the finished stage, else of its epochs so far."""
    try:
        summary = json.loads(done.read_bytes())
        return str(summary["score"]), float(summary["best_score"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    settings = config.get("trainer", {}).get(stage) or {}
    name = str(settings.get("score", "loss"))
    seen = [row.get(f"validation/{name}") for row in rows if row.get("stage") == stage]
    return name, min((float(value) for value in seen if value is not None), default=None)


def _indexed(folder: Path) -> list[Path]:
    """The folders of sweeps at or below a folder."""
    return sorted(path.parent for path in folder.rglob(_INDEX))


def _names(folder: Path) -> list[str]:
    """The jobs of a sweep's folder, begun or not."""
    try:
        return [str(name) for name in json.loads((folder / _INDEX).read_bytes()).values()]
    except (OSError, ValueError, AttributeError):
        return []


def _matches(path: Path, pattern: str) -> bool:
    return fnmatch(str(path), str(Path(pattern).expanduser().absolute()))
