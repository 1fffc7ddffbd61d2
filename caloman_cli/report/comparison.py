"""Many runs against one reference: a row each, best first, with what real showers score."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from caloman_cli.errors import UserError
from caloman_cli.metrics.score import Score
from caloman_cli.report.columns import Column, columns_of, key_meant, order, ordering
from caloman_cli.report.found import Evaluation
from caloman_cli.report.rows import is_judged, placed
from caloman_cli.report.settings import Setting, differing

TRUTH = "independent real showers"


@dataclass(frozen=True)
class RunComparison:
    """Runs that were judged by the same showers under the same rules, and those to be judged yet.

    Args:
        dataset: Name of the dataset.
        reference: What the reference is called.
        protocol: The rules.
        rows: Name of each run, best first; those without the quantity that orders come last.
        columns: The one that orders the rows comes first; there may be none.
        settings: In what the runs differ, a value for each row.
    """

    dataset: str
    reference: str
    protocol: str
    rows: Mapping[str, Evaluation]
    columns: Sequence[Column]
    settings: Sequence[Setting] = field(default_factory=tuple)

    @property
    def by(self) -> Column | None:
        """What orders the rows."""
        return self.columns[0] if self.columns else None

    @property
    def title(self) -> str:
        """Dataset, judge and rules."""
        by = ", ".join(part for part in (self.reference, self.protocol) if part)
        return f"{self.dataset}: {by}"

    @property
    def heading(self) -> str:
        """The title, and what orders the rows."""
        return self.title + ("" if self.by is None else f", by {self.by.label}")

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

    def states(self) -> dict[str, str]:
        """How each run stands, in a word; nothing of files, whose model is not here."""
        return {name: "" if row.job is None else row.job.state for name, row in self.rows.items()}

    def unjudged(self) -> list[str]:
        """Names of the runs that are trained and have not been evaluated."""
        return [
            name
            for name, row in self.rows.items()
            if not is_judged(row) and row.job is not None and row.job.state == "ok"
        ]

    def unfinished(self) -> dict[str, str]:
        """Runs that are not finished -> how they stand, with what is known of it."""
        return {
            name: row.job.said
            for name, row in self.rows.items()
            if row.job is not None and row.job.state != "ok"
        }

    def notes(self) -> list[str]:
        """What a reader must know of these rows and columns."""
        notes = []
        if stopped := self.unfinished():
            said = "; ".join(f"{name}: {how}" for name, how in stopped.items())
            notes.append(f"Not finished, {len(stopped)} of {len(self.rows)} runs: {said}.")
        if waiting := self.unjudged():
            notes.append(
                f"Trained and not evaluated, {len(waiting)} of {len(self.rows)} runs: "
                f"{', '.join(waiting)}. 'caloman evaluate' takes patterns and lists of runs."
            )
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
        if self.by is not None and any(self.score(row, self.by) is None for row in self.rows):
            notes.append(f"Rows without {self.by.label} come last.")
        if any(column.validation for column in self.columns):
            notes.append(
                "Validation: best value of each stage on the validation split of the training; "
                "of stages that learn the same thing the lower one has learned it better."
            )
        return notes

    def best(self, column: Column) -> str | None:
        """The row with the best value; None where no row has any."""
        values = {row: order(self.score(row, column)) for row in self.rows}
        row = min(values, key=lambda name: values[name])
        return row if math.isfinite(values[row]) else None


def compare_runs(
    rows: Sequence[Evaluation], by: str | None = None, but: Sequence[str] = ()
) -> list[RunComparison]:
    """Sort rows into comparisons of those with one reference and one protocol.

    Args:
        rows: At least one.
        by: Key or label of the quantity that orders the rows. None: an AUC where there is one,
            else the first.
        but: Keys in which runs may differ without a word.

    Raises:
        UserError: No evaluation has the quantity, or what is best of it is not known.
    """
    scores = [score for row in rows for score in row.scores]
    key = None if by is None else key_meant(by, scores)
    if key is not None and all(order(score) == math.inf for score in scores if score.key == key):
        raise UserError(
            f"sort='{by}': best is what is nearest to real showers' score, which no evaluation "
            "has: evaluate with truth=FILE, or sort by another quantity"
        )
    shown = [
        replace(row, scores=tuple(s for s in row.scores if s.summary or s.key == key))
        for row in rows
    ]
    return [_comparison(members, key, but) for members in placed(shown).values()]


def _comparison(
    members: Sequence[Evaluation], by: str | None, but: Sequence[str]
) -> RunComparison:
    scores = [score for item in members for score in item.scores]
    columns = columns_of(scores)
    first = ordering(columns, scores, by)

    def place(pair: tuple[str, Evaluation]) -> tuple[float, bool]:
        held = (s for s in pair[1].scores if first is not None and first.holds(s))
        return order(next(held, None)), not is_judged(pair[1])

    rows = dict(sorted(_named(members).items(), key=place))
    judged = next((item for item in members if item.reference is not None), members[0])
    return RunComparison(
        judged.dataset,
        judged.reference_name,
        judged.protocol,
        rows,
        [] if first is None else [first, *(column for column in columns if column != first)],
        differing([row.job for row in rows.values()], but),
    )


def _named(members: Sequence[Evaluation]) -> dict[str, Evaluation]:
    """A name for each that no other has: its label, else its run's folder, its suite with it."""
    parents = [str(item.job.folder if item.job else item.folder) for item in members]
    common = os.path.commonpath(parents) if len(parents) > 1 else ""
    homes = [item.label if item.job is None else item.job.folder.name for item in members]
    choices = (
        [item.label for item in members],
        homes,
        [f"{item.label} ({item.suite})" for item in members],
        [os.path.relpath(parent, common) if common else parent for parent in parents],
        [f"{name} ({item.suite})" for name, item in zip(homes, members, strict=True)],
    )
    names: list[str] = []
    for index in range(len(members)):
        alone = (kind[index] for kind in choices if kind.count(kind[index]) == 1)
        name = next(alone, parents[index])
        names.append(name if name not in names else f"{name} ({index + 1})")
    return dict(zip(names, members, strict=True))
