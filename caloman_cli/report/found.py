"""Evaluations on the disk, found and read for a comparison."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caloman_cli.errors import UserError
from caloman_cli.metrics.score import FORMAT, Score
from caloman_cli.runs.patterns import matching

log = logging.getLogger(__name__)

FILE, MODEL = "metrics.json", "model.pt"
_FIELDS = (
    "section", "quantity", "generated", "truth", "floor", "truth_floor", "spread", "truth_spread",
    "note", "summary", "key", "goal", "conditions",
)  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """What one ``metrics.json`` says.

    Args:
        folder: Where it lies.
        label: Name of the generated showers.
        dataset: Name of the dataset.
        suite: Name of the suite.
        reference: Hash of the reference's content; None where there was no reference.
        reference_name: What the reference is called.
        protocol: The rules of the evaluation.
        truth: What tells one truth row from another: its showers' content and number; None
            where there was no truth row.
        scores: All of its scores.
        run: The run that made the showers, or None.
        seeds: Of the runs whose mean it is; none where it is of one.
    """

    folder: Path
    label: str
    dataset: str
    suite: str
    reference: str | None
    reference_name: str
    protocol: str
    truth: tuple[str, int] | None
    scores: tuple[Score, ...]
    run: Path | None = None
    seeds: tuple[int, ...] = ()


def find_evaluations(patterns: Sequence[str], suite: str | None = None) -> list[Evaluation]:
    """Every evaluation at or below the paths, in the order of their names.

    Args:
        patterns: Run directories, evaluations or ``metrics.json`` files; ``*``, ``?``, ``[...]``
            and ``**`` as in a shell.
        suite: Only of this suite. None: of all.

    Raises:
        UserError: A pattern matches nothing, or nothing that it matches was evaluated.
    """
    paths: dict[Path, None] = {}
    models: dict[Path, None] = {}
    for pattern in patterns:
        matches = matching(pattern)
        if not matches:
            raise UserError(f"runs={pattern} matches nothing: give run directories or a pattern")
        for match in matches:
            found = [match] if match.is_file() else sorted(match.rglob(FILE))
            whole = (path for path in found if not path.parent.name.startswith("."))
            paths |= dict.fromkeys(path.resolve() for path in whole)
            models |= {} if match.is_file() else dict.fromkeys(sorted(match.rglob(MODEL)))
    read = [evaluation for path in paths if (evaluation := _read(path)) is not None]
    if not read:
        runs = [os.path.relpath(path.parent) for path in models]
        what = f"{len(runs)} runs there have models, none of which" if len(runs) > 1 else "nothing"
        more = ["..."] if len(runs) > 2 else []
        ask = f"-m run={','.join(runs[:2] + more)}" if len(runs) > 1 else "run=DIR"
        raise UserError(
            f"runs={','.join(patterns)}: {what} was evaluated: run 'caloman evaluate {ask}' first"
        )
    chosen = [evaluation for evaluation in read if suite in (None, evaluation.suite)]
    if not chosen:
        names = ", ".join(sorted({evaluation.suite for evaluation in read}))
        raise UserError(f"suite={suite}: there are only evaluations of {names}")
    return chosen


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
    return Evaluation(
        path.parent,
        content["label"],
        content["dataset"],
        content["settings"]["evaluation"]["name"],
        reference,
        name,
        content["settings"]["protocol"],
        (truth["fingerprint"], truth["showers"]) if (truth := inputs.get("truth")) else None,
        tuple(scores),
        Path(run) if (run := content["settings"].get("run")) else None,
    )
