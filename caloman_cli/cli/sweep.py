"""Multiruns: how each job ended, and the summary at the end."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

_TABLE_FROM = 2  # jobs


class Sweep(NamedTuple):
    """What each job of a sweep must know of it; plain types, so that it travels to a cluster.

    Args:
        folder: Where its jobs lie.
        varied: Keys whose values differ from job to job.
        names: Folder of each job, see :func:`caloman_cli.cli.places.assigned`.
    """

    folder: str
    varied: frozenset[str]
    names: dict[str, str]


class Outcome(NamedTuple):
    """How a job ended; plain types, so that it travels back from a cluster.

    Args:
        name: The job.
        status: Exit status.
        message: What went wrong, one line.
        path: What the job made; of one that failed, where it would be.
    """

    name: str
    status: int
    message: str
    path: str | None


def show_table(outcomes: Sequence[Outcome], verb: str) -> None:
    """Log the runs of a sweep as a table: in what they differ, how they stand, their scores.

    Args:
        outcomes: Of each job.
        verb: Of which runs come (``train``, ``distill``) or scores of runs (``evaluate``).
    """
    if verb not in ("train", "distill", "evaluate") or len(outcomes) < _TABLE_FROM:
        return
    from caloman_cli.report.comparison import compare_runs
    from caloman_cli.report.found import find_evaluations
    from caloman_cli.report.jobs import read_job
    from caloman_cli.report.rows import rows_of
    from caloman_cli.report.tables import short
    from caloman_cli.runs.patterns import is_run

    paths = dict.fromkeys(Path(o.path) for o in outcomes if o.path)
    evaluations = find_evaluations(path for path in paths if path.is_dir())
    found = rows_of(evaluations, [read_job(path) for path in paths if is_run(path)])
    for item in compare_runs(found) if found else []:
        log.info("\n%s:\n\n%s\n", item.heading, short(item).markdown())


def summarise(outcomes: Sequence[Outcome], passed_over: Sequence[str] = ()) -> int:
    """Log how the jobs of a multirun ended.

    Args:
        outcomes: Of each job.
        passed_over: What was asked for and is no job.

    Returns:
        The exit status: 0 when all are done, else 1.
    """
    failed = [outcome for outcome in outcomes if outcome.status]
    n = len(outcomes)
    log.info("%d jobs: %d done, %d failed", n, n - len(failed), len(failed))
    for outcome in failed:
        log.error("failed: %s: %s", outcome.name, outcome.message)
    for text in passed_over:
        log.warning("passed over, not finished: %s", text)
    return 1 if failed else 0
