"""A row for each run: its evaluations together, and runs that have none."""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from caloman_cli.config.paths import matching
from caloman_cli.errors import UserError
from caloman_cli.metrics.score import Score
from caloman_cli.report.found import Evaluation, find_evaluations
from caloman_cli.report.jobs import SECTION, Job, find_jobs, read_job
from caloman_cli.runs.patterns import is_run

log = logging.getLogger(__name__)

NOBODY = "not evaluated yet"
"""What judges runs that have not been evaluated."""
_NO_DATASET = "unknown dataset"


def find_rows(patterns: Sequence[str], suite: str | None = None) -> list[Evaluation]:
    """Everything at or below the paths: a row a run, and one for each file that was scored.

    Args:
        patterns: Run directories, evaluations or ``metrics.json`` files; ``*``, ``?``, ``[...]``
            and ``**`` as in a shell.
        suite: Only scores of this suite. None: of all.

    Raises:
        UserError: A pattern matches nothing, there is neither a run nor an evaluation, or none
            of the suite.
    """
    matches: dict[Path, None] = {}
    for pattern in patterns:
        found = matching(pattern)
        if not found:
            raise UserError(f"runs={pattern} matches nothing: give run directories or a pattern")
        matches |= dict.fromkeys(found)
    evaluations, jobs = find_evaluations(matches), find_jobs(matches, patterns)
    if not evaluations and not any(job.config is not None for job in jobs):
        asked = ",".join(patterns)
        failed = [f"{job.label}: {job.said}" for job in jobs if job.state == "failed"]
        if failed:
            more = f"; and {len(failed) - 1} more" if failed[1:] else ""
            raise UserError(f"runs={asked}: nothing was trained or evaluated: {failed[0]}{more}")
        run = f"run='{asked}'" if jobs and len(patterns) == 1 else "run=DIR"
        raise UserError(f"runs={asked}: nothing was evaluated: run 'caloman evaluate {run}' first")
    chosen = [item for item in evaluations if suite in (None, *item.suites)]
    if evaluations and not chosen:
        names = ", ".join(sorted({name for item in evaluations for name in item.suites}))
        raise UserError(f"suite={suite}: there are only evaluations of {names}")
    return rows_of(chosen, jobs)


def rows_of(evaluations: Iterable[Evaluation], jobs: Iterable[Job]) -> list[Evaluation]:
    """Put the evaluations of each run together, and add the runs that have none.

    Evaluations with another seed, protocol, reference or truth stay apart; one that has no
    reference (of times) joins those that have.
    """
    known = {job.folder.resolve(): job for job in jobs}
    groups: dict[tuple, list[Evaluation]] = {}
    for item in evaluations:
        groups.setdefault((*item.owner, item.protocol, item.dataset), []).append(item)
    rows = []
    for members in groups.values():
        for merged in _merged(members):
            rows.append(_with_job(merged, known))
    judged = {row.run for row in rows}
    waiting = [job for folder, job in known.items() if folder not in judged]
    return [*rows, *map(_unjudged, waiting)]


def _merged(members: Sequence[Evaluation]) -> list[Evaluation]:
    """One for each judge and truth; what has none of them goes to the first that has."""
    judges: dict[str | None, list[Evaluation]] = {}
    for item in sorted(members, key=lambda item: item.reference is None):
        judge = item.reference
        if judge is None and judges:
            judge = next(iter(judges))
        judges.setdefault(judge, []).append(item)
    found = []
    for same in judges.values():
        truths: dict[object, list[Evaluation]] = {}
        for item in sorted(same, key=lambda item: item.truth is None):
            truth = item.truth
            if truth is None and truths:
                truth = next(iter(truths))  # type: ignore[assignment]
            truths.setdefault(truth, []).append(item)
        found += [_joined(items) for items in truths.values()]
    return found


def _joined(items: Sequence[Evaluation]) -> Evaluation:
    """Several evaluations of the same showers as one."""
    first = items[0]
    if len(items) == 1:
        return first
    scores: dict[tuple, Score] = {}
    for item in items:
        for score in item.scores:
            key = score.key, frozenset(score.conditions.items())
            kept = scores.setdefault(key, score)
            if kept.generated != score.generated:
                log.warning(
                    "%s: %s is another number in %s than before: that of %s is shown",
                    *(item.label, score.key, item.suite, first.suite),
                )
    return replace(
        first,
        folder=Path(os.path.commonpath([item.folder for item in items])),
        suites=tuple(dict.fromkeys(name for item in items for name in item.suites)),
        scores=tuple(scores.values()),
        parts=(tuple(folder for item in items for part in item.parts for folder in part),),
    )


def _with_job(row: Evaluation, known: dict[Path, Job]) -> Evaluation:
    """A row with what its run's directory says."""
    if row.run is None:
        return row
    job = known.get(row.run)
    if job is None and is_run(row.run):
        job = read_job(row.run)
    return row if job is None else replace(row, job=job, scores=(*row.scores, *job.scores))


def _unjudged(job: Job) -> Evaluation:
    return Evaluation(
        job.folder,
        job.label,
        job.dataset or _NO_DATASET,
        (),
        None,
        NOBODY,
        "",
        None,
        job.scores,
        job.folder,
        job=job,
    )


def is_judged(row: Evaluation) -> bool:
    """Whether somebody has evaluated it."""
    return any(score.section != SECTION for score in row.scores)


def placed(rows: Sequence[Evaluation]) -> dict[tuple[str, str | None, str], list[Evaluation]]:
    """Rows by dataset, reference and protocol.

    A run that nobody has judged stands with the first of its dataset, and one whose dataset is
    not known with the first of all.
    """
    groups: dict[tuple[str, str | None, str], list[Evaluation]] = {}
    for row in sorted(rows, key=lambda row: (row.reference is None, row.dataset == _NO_DATASET)):
        key = (row.dataset, row.reference, row.protocol)
        if row.reference is None:
            key = next((k for k in groups if k[0] == row.dataset and not _strange(row, k)), key)
        if row.dataset == _NO_DATASET and groups:
            key = next(iter(groups))
        groups.setdefault(key, []).append(row)
    return groups


def _strange(row: Evaluation, key: tuple[str, str | None, str]) -> bool:
    """Whether a row was judged by other rules than those of a group."""
    return is_judged(row) and row.protocol != key[2]
