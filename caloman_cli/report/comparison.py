"""Many evaluations against one reference: a row each, best first, with what real showers score."""

import csv
import difflib
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from caloman_cli.errors import UserError
from caloman_cli.metrics.score import Grid, Score, number, with_spread
from caloman_cli.report.found import Evaluation

TRUTH = "independent real showers"
_FIRST = ("auc_low", "auc_resnet", "auc_high", "fpd")

Conditions = frozenset[tuple[str, str | float | None]]


@dataclass(frozen=True)
class Column:
    """One quantity under one set of conditions: what may stand in a column.

    Args:
        key: Of its scores.
        conditions: Of its scores.
        label: Heading; it names the conditions that another column of the quantity has otherwise.
    """

    key: str
    conditions: Conditions
    label: str

    def holds(self, score: Score) -> bool:
        """Whether a score belongs here."""
        return score.key == self.key and _conditions(score) == self.conditions


@dataclass(frozen=True)
class RunComparison:
    """Evaluations that were judged by the same showers under the same rules.

    Args:
        dataset: Name of the dataset.
        reference: What the reference is called.
        protocol: The rules.
        rows: Name of each evaluation, best first.
        columns: The one that orders the rows comes first.
    """

    dataset: str
    reference: str
    protocol: str
    rows: Mapping[str, Evaluation]
    columns: Sequence[Column]

    @property
    def by(self) -> Column:
        """What orders the rows."""
        return self.columns[0]

    def score(self, row: str, column: Column) -> Score | None:
        """A row's score, or None where it was not measured."""
        return next((s for s in self.rows[row].scores if column.holds(s)), None)

    def truth(self, column: Column) -> Score | None:
        """A score that tells what real showers get; None where rows have different ones."""
        found = {
            row.truth: score
            for row in self.rows.values()
            for score in row.scores
            if column.holds(score) and score.truth is not None
        }
        return next(iter(found.values())) if len(found) == 1 else None

    def notes(self) -> list[str]:
        """What a reader must know of these rows and columns."""
        notes = []
        if len({column.key for column in self.columns}) < len(self.columns):
            notes.append(
                "Scores with other settings, which the headings name, stand in columns of their "
                "own: they cannot be compared."
            )
        if len({row.truth for row in self.rows.values()} - {None}) > 1:
            notes.append(
                f"{TRUTH}: only where all rows of a column were judged beside the same ones."
            )
        if numbers := sorted({len(row.seeds) for row in self.rows.values() if row.seeds}):
            notes.append(
                f"Rows of seeds: mean and standard deviation over "
                f"{' or '.join(map(str, numbers))} runs that differ in their seed alone."
            )
        if any(self.score(row, self.by) is None for row in self.rows):
            notes.append(f"Rows without {self.by.label} come last.")
        return notes

    @cached_property
    def grid(self) -> Grid:
        """Real showers, where they were scored, then a row for each evaluation."""
        heads = ["run", "suite", *(column.label for column in self.columns)]
        real = [_cell(self.truth(column), truth=True) for column in self.columns]
        lines = [] if set(real) == {"–"} else [[TRUTH, "", *real]]
        for row, evaluation in self.rows.items():
            cells = [_cell(self.score(row, column)) for column in self.columns]
            lines.append([row, evaluation.suite, *cells])
        return Grid(heads, lines, range(2, len(heads)))

    def to_tex(self) -> str:
        """A LaTeX ``tabular`` (package booktabs), the best value of each quantity bold."""
        best = {index: self._best(column) for index, column in enumerate(self.columns, 2)}
        bold = {
            (row, column)
            for row, cells in enumerate(self.grid.rows)
            for column, name in best.items()
            if name == cells[0]
        }
        return self.grid.latex(bold)

    def _best(self, column: Column) -> str | None:
        """The row with the best value; None where no row has any."""
        values = {row: order(self.score(row, column)) for row in self.rows}
        row = min(values, key=lambda name: values[name])
        return row if math.isfinite(values[row]) else None


def compare_runs(evaluations: Sequence[Evaluation], by: str | None = None) -> list[RunComparison]:
    """Sort evaluations into comparisons of those with one reference and one protocol.

    Args:
        evaluations: At least one.
        by: Key or label of the quantity that orders the rows. None: an AUC where there is one,
            else the first.

    Raises:
        UserError: No evaluation has the quantity, or what is best of it is not known.
    """
    scores = [score for item in evaluations for score in item.scores]
    key = None if by is None else _key(by, scores)
    if key is not None and all(order(score) == math.inf for score in scores if score.key == key):
        raise UserError(
            f"sort='{by}': best is what is nearest to real showers' score, which no evaluation "
            "has: evaluate with truth=FILE, or sort by another quantity"
        )
    groups: dict[tuple[str, str | None, str], list[Evaluation]] = {}
    for item in evaluations:
        shown = tuple(score for score in item.scores if score.summary or score.key == key)
        group = groups.setdefault((item.dataset, item.reference, item.protocol), [])
        group.append(replace(item, scores=shown))
    return [_comparison(members, key) for members in groups.values()]


def to_csv(comparisons: Sequence[RunComparison]) -> str:
    """All rows of all comparisons with values and spreads in full precision."""
    names = list(dict.fromkeys(c.label for item in comparisons for c in item.columns))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    heads = [part for name in names for part in (name, f"{name} ±")]
    writer.writerow(["dataset", "reference", "protocol", "run", "suite", "folder", *heads])
    for item in comparisons:
        columns = {column.label: column for column in item.columns}
        for row, evaluation in item.rows.items():
            scores = [
                item.score(row, columns[name]) if name in columns else None for name in names
            ]
            values = [
                value
                for score in scores
                for value in ((None, None) if score is None else (score.generated, score.spread))
            ]
            where = [item.dataset, item.reference, item.protocol, row, evaluation.suite]
            cells = ("" if v is None else repr(v) for v in values)
            writer.writerow([*where, str(evaluation.folder), *cells])
    return stream.getvalue()


def order(score: Score | None) -> float:
    """How far a score is from the best one; infinite where there is none."""
    distance = None if score is None else score.from_best
    return math.inf if distance is None else distance


def _key(by: str, scores: Sequence[Score]) -> str:
    """The key that a user means: itself, or the label of a score."""
    names: dict[str, str] = {}
    for score in scores:
        names |= {score.key: score.key}
        names.setdefault(score.quantity, score.key)
    if by in names:
        return names[by]
    near = difflib.get_close_matches(by, names, 1, 0.6)
    meant = f"did you mean '{near[0]}'? " if near else ""
    keys = dict.fromkeys(score.key for score in scores if score.summary)
    raise UserError(f"sort='{by}' was not measured: {meant}there is: {', '.join(keys)}")


def _comparison(members: Sequence[Evaluation], by: str | None) -> RunComparison:
    columns = _columns(members)
    distances = {
        column: [order(score) for item in members for score in item.scores if column.holds(score)]
        for column in columns
    }
    known = [column for column in columns if min(distances[column]) < math.inf]
    if by is None:
        by = next((key for key in _FIRST if any(c.key == key for c in known)), None)
    mine = [column for column in known if column.key == by] or known or columns
    # Of several settings that most rows have.
    first = max(mine, key=lambda column: len(distances[column]))

    def place(pair: tuple[str, Evaluation]) -> float:
        return order(next((s for s in pair[1].scores if first.holds(s)), None))

    return RunComparison(
        members[0].dataset,
        members[0].reference_name,
        members[0].protocol,
        dict(sorted(_named(members).items(), key=place)),
        [first, *(column for column in columns if column != first)],
    )


def _columns(members: Sequence[Evaluation]) -> list[Column]:
    """A column for each key and each set of conditions, in the order in which they occur."""
    scores = [score for item in members for score in item.scores]
    labels: dict[str, str] = {}
    for score in scores:
        taken = score.quantity in (label for key, label in labels.items() if key != score.key)
        labels.setdefault(
            score.key, f"{score.quantity} [{score.key}]" if taken else score.quantity
        )
    found: dict[str, dict[Conditions, None]] = {key: {} for key in labels}
    for score in scores:
        found[score.key].setdefault(_conditions(score))
    columns = []
    for key, kinds in found.items():
        shared = frozenset.intersection(*kinds)
        for kind in kinds:
            apart = ", ".join(f"{name} {_shown(value)}" for name, value in sorted(kind - shared))
            label = f"{labels[key]} ({apart})" if len(kinds) > 1 else labels[key]
            columns.append(Column(key, kind, label))
    return columns


def _conditions(score: Score) -> Conditions:
    return frozenset(score.conditions.items())


def _shown(value: str | float | None) -> str:
    if value is None:
        return "default"
    return value if isinstance(value, str) else number(value)


def _named(members: Sequence[Evaluation]) -> dict[str, Evaluation]:
    """A name for each that no other has: its label, with its suite or its folder if need be."""
    parents = [str(item.folder) for item in members]
    common = os.path.commonpath(parents) if len(parents) > 1 else ""
    choices = (
        [item.label for item in members],
        [f"{item.label} ({item.suite})" for item in members],
        [os.path.relpath(parent, common) if common else parent for parent in parents],
    )
    names: list[str] = []
    for index in range(len(members)):
        alone = (kind[index] for kind in choices if kind.count(kind[index]) == 1)
        names.append(next(alone, parents[index]))
    return dict(zip(names, members, strict=True))


def _cell(score: Score | None, truth: bool = False) -> str:
    if score is None:
        return "–"
    value, spread = (score.truth, score.truth_spread) if truth else (score.generated, score.spread)
    return with_spread(value, spread)
