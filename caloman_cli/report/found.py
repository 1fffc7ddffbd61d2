"""Evaluations on the disk, found and read for a comparison."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caloman_cli.metrics.score import FORMAT, Score
from caloman_cli.report.jobs import Job
from caloman_cli.runs.patterns import is_run

log = logging.getLogger(__name__)

FILE = "metrics.json"
_FIELDS = (
    "section", "quantity", "generated", "truth", "floor", "truth_floor", "spread", "truth_spread",
    "note", "summary", "key", "goal", "conditions",
)  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """What one ``metrics.json`` says, or several of one run.

    Args:
        folder: Where it lies.
        label: Name of the generated showers.
        dataset: Name of the dataset.
        suites: Names of the suites; none of a run that has not been evaluated.
        reference: Hash of the reference's content; None where there was no reference.
        reference_name: What the reference is called.
        protocol: The rules of the evaluation.
        truth: What tells one truth row from another: its showers' content and number; None
            where there was no truth row.
        scores: All of its scores.
        run: The run that made the showers, or None.
        seeds: Of the runs whose mean it is; none where it is of one.
        owner: Whose evaluation it is: the run, or the generated showers; and its seed.
        job: What the run's directory says, or None.
        parts: Folders of the evaluations of each run that it is of.
    """

    folder: Path
    label: str
    dataset: str
    suites: tuple[str, ...]
    reference: str | None
    reference_name: str
    protocol: str
    truth: tuple[str, int] | None
    scores: tuple[Score, ...]
    run: Path | None = None
    seeds: tuple[int, ...] = ()
    owner: tuple[str, int] = ("", 0)
    job: Job | None = None
    parts: tuple[tuple[Path, ...], ...] = ()

    @property
    def suite(self) -> str:
        """The names of its suites."""
        return ", ".join(self.suites)


def find_evaluations(paths: Iterable[Path]) -> list[Evaluation]:
    """Every evaluation at or below the paths, in the order of their names.

    Args:
        paths: Run directories, evaluations or ``metrics.json`` files.
    """
    files: dict[Path, None] = {}
    for path in paths:
        found = [path] if path.is_file() and path.name == FILE else sorted(path.rglob(FILE))
        whole = (file for file in found if not file.parent.name.startswith("."))
        files |= dict.fromkeys(file.resolve() for file in whole)
    return [evaluation for file in files if (evaluation := _read(file)) is not None]


def _read(path: Path) -> Evaluation | None:
    """None, and a warning, for a file that no evaluation wrote."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _evaluation(path, content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning(
            "%s is passed over: not an evaluation (%s: %s)", path, type(error).__name__, error
        )
        return None


def _evaluation(path: Path, content: Mapping[str, Any]) -> Evaluation:
    if content.get("format") != FORMAT:
        raise ValueError(
            f"format {content.get('format', 1)}, this version reads {FORMAT}: evaluate again"
        )
    inputs, reference, name = content["inputs"], None, "no reference"
    if "reference" in inputs:
        reference = inputs["reference"]["fingerprint"]
        name = ", ".join(Path(file).name for file in inputs["reference"]["files"])
    scores = [Score(**{field: record[field] for field in _FIELDS}) for record in content["scores"]]
    settings = content["settings"]
    run = _run_of(path.parent, settings.get("run"))
    whose = inputs.get("generated", {}).get("fingerprint", path.parent) if run is None else run
    return Evaluation(
        path.parent,
        content["label"],
        content["dataset"],
        (settings["evaluation"]["name"],),
        reference,
        name,
        settings["protocol"],
        (truth["fingerprint"], truth["showers"]) if (truth := inputs.get("truth")) else None,
        tuple(scores),
        run,
        owner=(str(whose), settings.get("seed", 1)),
        parts=((path.parent,),),
    )


def _run_of(folder: Path, named: str | None) -> Path | None:
    """The run that an evaluation is of: the one it lies in, which may have moved, else by name."""
    if named is None:
        return None
    home = folder.parent.parent
    if folder.parent.name == "evaluation" and is_run(home):
        return home
    path = Path(named)
    return (path.parent if path.is_file() else path).resolve()
