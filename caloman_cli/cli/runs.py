"""``run=`` of several runs, a list or a pattern, as a multirun over them."""

from collections.abc import Sequence
from typing import NamedTuple

from caloman_cli.config.paths import SIGNS, expanded, matching, quoted, read_value
from caloman_cli.errors import UserError
from caloman_cli.runs.patterns import MODEL, is_run, runs_of
from caloman_cli.runs.status import Status

VERBS = ("evaluate", "sample")
"""The verbs that do the same with each of many runs."""
_NAMED = 3  # runs that one line tells about


class Runs(NamedTuple):
    """What became of the overrides.

    Args:
        overrides: The overrides, ``run=`` with a value for each job.
        many: Whether it is a multirun.
        passed_over: Runs that a pattern matches and that have no model yet, with their state.
    """

    overrides: list[str]
    many: bool
    passed_over: list[str]


def each_run(verb: str, overrides: Sequence[str], many: bool) -> Runs:
    """Give every run that ``run=`` means a job of its own.

    Args:
        verb: Name of the primary config.
        overrides: ``key=value``.
        many: Whether the user asked for a multirun.

    Raises:
        UserError: A pattern matches nothing, or no run that is finished.
    """
    at = next((i for i, word in enumerate(overrides) if word.startswith("run=")), None)
    if at is None or verb not in VERBS:
        return Runs([*overrides], many, [])
    listed = overrides[at].startswith("run=[")
    value = read_value(overrides[at])
    items = [str(item) for item in _flat(value if isinstance(value, list) else [value])]
    # Values of a multirun that nobody asked for are a mistake, which others tell.
    one = not isinstance(value, list) and value is not None and _is_several(items[0])
    if value is None or not (listed or many or one):
        return Runs([*overrides], many, [])
    runs: dict[str, None] = {}
    passed_over: list[str] = []
    for item in items:
        if not _is_several(item):
            runs[item] = None
            continue
        finished, others = _finished(item)
        runs |= dict.fromkeys(finished)
        passed_over += others
    return Runs(
        [*overrides[:at], f"run={','.join(map(quoted, runs))}", *overrides[at + 1 :]],
        True,
        passed_over,
    )


def _flat(items: list) -> list:
    return [part for item in items for part in (item if isinstance(item, list) else [item])]


def _is_several(item: str) -> bool:
    """Whether a value is a pattern, or a folder of runs."""
    path = expanded(item)
    if not path.exists():
        return bool(SIGNS & set(item))
    return path.is_dir() and not is_run(path) and bool(runs_of([path]))


def _finished(pattern: str) -> tuple[list[str], list[str]]:
    """The runs of a pattern that have a model; the others, each with its state."""
    matches = matching(pattern)
    if not matches:
        raise UserError(f"run={pattern} matches nothing: give run directories or a pattern")
    finished, others = [], []
    for run in runs_of(matches):
        if (run / MODEL).is_file():
            finished.append(str(run))
        else:
            others.append(f"{run}: {Status(run / 'status.json').text()}")
    if not finished and not others:
        raise UserError(f"run={pattern}: no runs there: give the output of 'caloman train'")
    if not finished:
        more = f"; and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        raise UserError(
            f"run={pattern}: no run there is finished: {'; '.join(others[:_NAMED])}{more}"
        )
    return finished, others
