"""Many evaluations against one reference: a row each, best first, with what real showers score."""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from caloman_cli.errors import UserError
from caloman_cli.metrics.ranking_tables import tex_line
from caloman_cli.metrics.tables import Grid, Score, with_spread
from caloman_cli.mistakes import suggestion
from caloman_cli.published.quantities import QUANTITIES
from caloman_cli.report.found import Evaluation

TRUTH = "independent real showers"
_LOWER = ("E_ratio_at,", "correlation,", "generation,", "end")
_FIRST = ("AUC low", "AUC resnet", "AUC high", "FPD")


@dataclass(frozen=True)
class RunComparison:
    """Evaluations that were judged by the same showers.

    Args:
        dataset: Name of the dataset.
        reference: What the reference is called.
        rows: Name of each evaluation, best first.
        truth: Scores of real showers by quantity, as their own evaluation.
        by: The quantity that orders the rows.
    """

    dataset: str
    reference: str
    rows: Mapping[str, Evaluation]
    truth: Mapping[str, Score]
    by: str

    @cached_property
    def quantities(self) -> list[str]:
        """The one that orders the rows, then all others in the order in which they occur."""
        names = (score.quantity for item in self.rows.values() for score in item.scores)
        return list(dict.fromkeys([self.by, *names]))

    def score(self, row: str, quantity: str) -> Score | None:
        """A row's score, or None where it was not measured."""
        return next((s for s in self.rows[row].scores if s.quantity == quantity), None)

    def grid(self) -> Grid:
        """Real showers, then a row for each evaluation."""
        heads = ["run", "suite", *self.quantities]
        lines = [[TRUTH, "", *(self._truth_cell(name) for name in self.quantities)]]
        for row, evaluation in self.rows.items():
            cells = [_cell(self.score(row, name)) for name in self.quantities]
            lines.append([row, evaluation.suite, *cells])
        return Grid(heads, lines, range(2, len(heads)))

    def to_tex(self) -> str:
        """A LaTeX ``tabular`` (package booktabs), the best value of each quantity bold."""
        grid = self.grid()
        columns = "ll" + "r" * len(self.quantities)
        lines = [f"\\begin{{tabular}}{{{columns}}}", r"\toprule", tex_line(grid.heads)]
        lines.append(r"\midrule")
        best = {name: self._best(name) for name in self.quantities}
        for cells in grid.rows:
            bold = [best[name] == cells[0] for name in self.quantities]
            lines.append(tex_line(cells, [False, False, *bold]))
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"

    def _best(self, quantity: str) -> str | None:
        """The row with the best value; None where no direction is known."""
        if _distance(quantity, 0.0) is None:
            return None
        values = {row: self._order(row, quantity) for row in self.rows}
        row = min(values, key=lambda name: values[name])
        return row if math.isfinite(values[row]) else None

    def _order(self, row: str, quantity: str) -> float:
        return order(self.score(row, quantity))

    def _truth_cell(self, quantity: str) -> str:
        score = self.truth.get(quantity)
        if score is None or score.truth is None:
            return "–"
        return with_spread(score.truth, score.truth_spread)


def compare_runs(evaluations: Sequence[Evaluation], by: str | None = None) -> list[RunComparison]:
    """Sort evaluations into comparisons of those with one reference.

    Args:
        evaluations: At least one.
        by: The quantity that orders the rows. None: an AUC where there is one, else the first.

    Raises:
        UserError: No evaluation has the quantity.
    """
    known = [score.quantity for item in evaluations for score in item.scores]
    if by is not None and by not in known:
        raise UserError(f"sort='{by}' was not measured: {suggestion(by, known)}")
    groups: dict[tuple[str, str | None], list[Evaluation]] = {}
    for item in evaluations:
        groups.setdefault((item.dataset, item.reference), []).append(item)
    return [_comparison(members, by) for members in groups.values()]


def to_csv(comparisons: Sequence[RunComparison]) -> str:
    """All rows of all comparisons with values and spreads in full precision."""
    names = list(dict.fromkeys(name for item in comparisons for name in item.quantities))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    heads = [part for name in names for part in (name, f"{name} ±")]
    writer.writerow(["dataset", "reference", "run", "suite", "folder", *heads])
    for item in comparisons:
        for row, evaluation in item.rows.items():
            scores = [item.score(row, name) for name in names]
            values = [
                value
                for score in scores
                for value in ((None, None) if score is None else (score.generated, score.spread))
            ]
            where = [item.dataset, item.reference, row, evaluation.suite, str(evaluation.folder)]
            writer.writerow([*where, *("" if v is None else repr(v) for v in values)])
    return stream.getvalue()


def order(score: Score | None) -> float:
    """How far a score is from the best one; infinite where there is none."""
    if score is None or score.generated is None:
        return math.inf
    distance = _distance(score.quantity, score.generated)
    return score.generated if distance is None else distance


def _comparison(members: Sequence[Evaluation], by: str | None) -> RunComparison:
    measured = [score.quantity for item in members for score in item.scores]
    first = by or next((name for name in _FIRST if name in measured), measured[0])

    def place(pair: tuple[str, Evaluation]) -> float:
        return order(next((s for s in pair[1].scores if s.quantity == first), None))

    rows = dict(sorted(_named(members).items(), key=place))
    truth = {
        score.quantity: score
        for item in reversed(members)
        for score in item.scores
        if score.truth is not None
    }
    return RunComparison(members[0].dataset, members[0].reference_name, rows, truth, first)


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


def _distance(quantity: str, value: float) -> float | None:
    """Distance from the best value; None where what is best is not known or needs the truth."""
    name, kind = quantity.partition(",")[0], quantity.partition(" ")[0]
    if kind == "AUC":
        return abs(value - 0.5)
    if kind == "JSD":
        return abs(value)
    for key in (name, f"S {name}"):
        if key in QUANTITIES and not QUANTITIES[key].goal.startswith("truth"):
            return QUANTITIES[key].distance(value, None)
    return value if kind in _LOWER else None


def _cell(score: Score | None) -> str:
    if score is None or score.generated is None:
        return "–"
    return with_spread(score.generated, score.spread)
