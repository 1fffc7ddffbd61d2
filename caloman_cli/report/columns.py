"""The quantities that stand in a table of many runs, and what is best of each."""

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from caloman_cli.errors import UserError
from caloman_cli.metrics.score import Score, number
from caloman_cli.report.jobs import SECTION

_FIRST = ("auc_low", "auc_resnet", "auc_high", "fpd")

Conditions = frozenset[tuple[str, str | float | None]]


@dataclass(frozen=True)
class Column:
    """One quantity under one set of conditions: what may stand in a column.

    Args:
        key: Of its scores.
        conditions: Of its scores.
        label: Heading; it names the conditions that another column of the quantity has otherwise.
        validation: Whether the training itself has measured it.
    """

    key: str
    conditions: Conditions
    label: str
    validation: bool = False

    def holds(self, score: Score) -> bool:
        """Whether a score belongs here."""
        return score.key == self.key and _conditions(score) == self.conditions


def columns_of(scores: Sequence[Score]) -> list[Column]:
    """A column for each key and each set of conditions, in the order in which they occur.

    What trainings have measured themselves comes last.
    """
    labels: dict[str, str] = {}
    for score in scores:
        taken = score.quantity in (label for key, label in labels.items() if key != score.key)
        labels.setdefault(
            score.key, f"{score.quantity} [{score.key}]" if taken else score.quantity
        )
    found: dict[str, dict[Conditions, None]] = {key: {} for key in labels}
    own = {score.key for score in scores if score.section == SECTION}
    for score in scores:
        found[score.key].setdefault(_conditions(score))
    columns = []
    for key, kinds in found.items():
        shared = frozenset.intersection(*kinds)
        for kind in kinds:
            apart = ", ".join(f"{name} {_shown(value)}" for name, value in sorted(kind - shared))
            label = f"{labels[key]} ({apart})" if len(kinds) > 1 else labels[key]
            columns.append(Column(key, kind, label, key in own))
    return sorted(columns, key=lambda column: column.validation)


def ordering(columns: Sequence[Column], scores: Sequence[Score], by: str | None) -> Column | None:
    """The column that orders the rows; None where there is no column.

    Args:
        columns: Those of the scores.
        scores: Of all rows.
        by: Key of a score. None: an AUC where there is one, else the first.
    """
    distances = {c: [order(score) for score in scores if c.holds(score)] for c in columns}
    known = [c for c in columns if min(distances[c], default=math.inf) < math.inf]
    if by is None:
        by = next((key for key in _FIRST if any(c.key == key for c in known)), None)
    mine = [column for column in known if column.key == by] or known or [*columns]
    if by is None:
        mine = mine[:1]
    # Of several settings that most rows have.
    return max(mine, key=lambda column: len(distances[column]), default=None)


def key_meant(by: str, scores: Sequence[Score]) -> str:
    """The key that a user means: itself, a label, or either said shortly.

    ``EC_r`` and ``ec r`` are the mean over the layers, ``EC_r_mean``.

    Raises:
        UserError: No score has it.
    """
    names: dict[str, str] = {}
    for score in scores:
        names |= {score.key: score.key}
        names.setdefault(score.quantity, score.key)
    short: dict[str, str] = {}
    for score in sorted(scores, key=lambda score: not score.summary):
        for name in (score.key, score.quantity):
            of_layers = name.removesuffix("_mean").partition(", mean of")[0]
            short.setdefault(_bare(name), score.key)
            short.setdefault(_bare(of_layers), score.key)
    for found in (names.get(by), short.get(_bare(by))):
        if found is not None:
            return found
    near = difflib.get_close_matches(by, names, 1, 0.6)
    meant = f"did you mean '{near[0]}'? " if near else ""
    keys = dict.fromkeys(score.key for score in scores if score.summary)
    raise UserError(f"sort='{by}' was not measured: {meant}there is: {', '.join(keys)}")


def order(score: Score | None) -> float:
    """How far a score is from the best one; infinite where there is none."""
    distance = None if score is None else score.from_best
    return math.inf if distance is None else distance


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def _conditions(score: Score) -> Conditions:
    return frozenset(score.conditions.items())


def _shown(value: str | float | None) -> str:
    if value is None:
        return "default"
    return value if isinstance(value, str) else number(value)
