"""Where measured scores would stand among the submissions of the CaloChallenge.

Only scores against the official reference file have a place: a number against other showers is
shown beside the published ones, and why it has no place is said with it.

References:
    Krause et al. (2024), CaloChallenge 2022: a community challenge for fast calorimeter
    simulation, arXiv:2410.21611.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from caloman_cli.errors import UserError
from caloman_cli.published import CITATION, DATASETS, TRUTH, Submission, Value, load
from caloman_cli.published.comparability import Comparability
from caloman_cli.published.quantities import BATCH_SIZES, QUANTITIES, Quantity, time_key

SIGNIFICANT = 2.0  # spreads of both sides in quadrature: closer values are not told apart


@dataclass(frozen=True)
class Position:
    """A place among the submissions that have a value, the measured one counted.

    Args:
        place: 1 is best.
        of: Number of values.
        best: Smallest place that the spreads of both sides allow.
        worst: Largest such place.
    """

    place: int
    of: int
    best: int
    worst: int

    def __str__(self) -> str:
        where = f"{self.place}" if self.best == self.worst else f"{self.best}–{self.worst}"
        return f"{where} of {self.of}"


@dataclass(frozen=True)
class Row:
    """A line of the table: a submission, Geant4, or the measured model (``ours``)."""

    name: str
    values: Mapping[str, Value]
    ours: bool = False

    def value(self, key: str) -> float | None:
        """The value of a quantity, None where there is none."""
        return self.values[key].value if key in self.values else None

    def fastest(self, device: str) -> tuple[float, int] | None:
        """Least time per shower [ms] on ``CPU`` or ``GPU``, and the batch size it needs."""
        times = [(self.value(time_key(device, size)), size) for size in BATCH_SIZES]
        return min(((ms, size) for ms, size in times if ms is not None), default=None)


@dataclass(frozen=True)
class Ranking:
    """A model's scores among the published ones; make it with :func:`rank`."""

    dataset: str
    ours: Row
    submissions: tuple[Row, ...]
    truth: Row
    comparable: Comparability

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Geant4, then by the first quantity that was measured, best first.

        A row without a place there comes last.
        """
        measured = [key for key in QUANTITIES if key in self.ours.values]
        keys = [key for key in measured if self._published(key)] or ["AUC low"]
        first = QUANTITIES[keys[0]]
        others = self.submissions
        if keys[0] in self.ours.values and self.comparable.why_not(keys[0]) is None:
            others = (*others, self.ours)
        ordered = sorted(others, key=lambda row: _or_infinity(self._distance(first, row)))
        tail = () if self.ours in ordered else (self.ours,)
        return (self.truth, *ordered, *tail)

    def position(self, key: str) -> Position | None:
        """The model's place in a quantity.

        Returns:
            The place; None where the model or all submissions have no value, or where the
            value is not comparable (:meth:`Comparability.why_not` says why).
        """
        quantity = QUANTITIES[key]
        mine = self._distance(quantity, self.ours)
        if mine is None or self.comparable.why_not(key) is not None:
            return None
        better = tied_better = tied_worse = 0
        others = self._published(key)
        for row in others:
            theirs = self._distance(quantity, row)
            assert theirs is not None
            close = abs(theirs - mine) <= SIGNIFICANT * self._joint_spread(key, row)
            better += theirs < mine
            tied_better += theirs < mine and close
            tied_worse += theirs >= mine and close and theirs != mine
        place = better + 1
        return Position(place, len(others) + 1, place - tied_better, place + tied_worse)

    def _joint_spread(self, key: str, row: Row) -> float:
        """Both spreads in quadrature; a submission without one has as large a one as ours."""
        mine, theirs = self.ours.values[key].spread or 0.0, row.values[key].spread
        return math.hypot(mine, mine if theirs is None else theirs)

    def front(self, device: str = "GPU", auc: str = "AUC low") -> tuple[Row, ...]:
        """Rows that no other beats in both AUC and time per shower, fastest first.

        Args:
            device: ``CPU`` or ``GPU``; each row counts with its fastest batch size.
            auc: Key of the AUC, compared by its distance from one half.
        """
        rows, points = [], []
        for row in (*self.submissions, self.ours):
            time, distance = row.fastest(device), self._distance(QUANTITIES[auc], row)
            eligible = not row.ours or self.comparable.why_not(auc) is None
            if time is not None and distance is not None and eligible:
                rows.append(row)
                points.append((time[0], distance))
        return tuple(rows[index] for index in pareto_front(points))

    def notes(self) -> list[str]:
        """What a reader must know before quoting a place."""
        measured = [key for key in QUANTITIES if key in self.ours.values]
        notes = [f"Not comparable: {reason}." for reason in self.comparable.reasons]
        if notes:
            notes[-1] += (
                " Published scores are against the official reference file; the model's stand "
                "beside them without a place."
            )
        notes += [
            f"{QUANTITIES[key].label} is not comparable: {self.comparable.caveats[key]}."
            for key in measured
            if key in self.comparable.caveats
        ]
        if any(QUANTITIES[key].goal.startswith("truth") for key in measured):
            notes.append(
                "Precision, recall, density and coverage: nearest to Geant4 is best, because "
                "models that repeat a few good showers get the highest precision and density."
            )
        if any(key.startswith("time") for key in measured):
            notes.append(
                "Published times were taken on other machines: a place in time says as much "
                "about the hardware as about the model."
            )
        places = [self.position(key) for key in measured]
        notes += [f"{remark}." for remark in self.comparable.remarks]
        if any(place is not None and place.best != place.worst for place in places):
            notes.append(
                f"A range of places: values that differ by less than {SIGNIFICANT:g} times both "
                "spreads added in quadrature are not told apart. This orders, it is no test: the "
                "spreads are of different kinds, here errors of one sample, there mostly standard "
                "deviations of ten trainings, batches or repetitions; where none was published, "
                "ours stands for both."
            )
        return [*notes, f"Published results: {CITATION}."]

    def to_dict(self) -> dict[str, Any]:
        """Places, or why there is none, as plain types for ``metrics.json``."""
        places = {}
        for key in self.ours.values:
            position, why = self.position(key), self.comparable.why_not(key)
            places[key] = {
                "value": self.ours.value(key),
                "place": None if position is None else position.place,
                "range": None if position is None else [position.best, position.worst],
                "of": None if position is None else position.of,
                "not_comparable": why,
            }
        return {"dataset": self.dataset, "cite": CITATION, "places": places}

    def best(self, key: str) -> Row | None:
        """The submission with the best value of a quantity."""
        quantity = QUANTITIES[key]
        return min(
            self._published(key),
            key=lambda row: _or_infinity(self._distance(quantity, row)),
            default=None,
        )

    def _published(self, key: str) -> list[Row]:
        quantity = QUANTITIES[key]
        return [row for row in self.submissions if self._distance(quantity, row) is not None]

    def _distance(self, quantity: Quantity, row: Row) -> float | None:
        value = row.value(quantity.key)
        return None if value is None else quantity.distance(value, self.truth.value(quantity.key))


def rank(
    dataset: str,
    row: Mapping[str, float | None],
    comparable: Comparability,
    *,
    label: str = "this model",
    spreads: Mapping[str, float | None] | None = None,
) -> Ranking:
    """Put measured values among the published ones.

    Args:
        dataset: Name of the geometry: one of :data:`caloman_cli.published.DATASETS`.
        row: Measured values by quantity, see :data:`caloman_cli.published.quantities.QUANTITIES`;
            None and non-finite values count as not measured.
        comparable: Whether they may be compared.
        label: Name of the model.
        spreads: Spreads of the measured values, where there are any.

    Raises:
        UserError: Nothing is published for this dataset, or a quantity is not known.
    """
    if dataset not in DATASETS:
        raise UserError(
            f"there are no published submissions for {dataset}, only for {', '.join(DATASETS)}"
        )
    if unknown := sorted(set(row) - set(QUANTITIES)):
        raise UserError(f"{', '.join(unknown)} is not among {', '.join(QUANTITIES)}")
    errors = {} if spreads is None else spreads
    values = {
        key: Value(float(value), errors.get(key))
        for key, value in row.items()
        if value is not None and math.isfinite(value)
    }
    submissions = load(dataset)
    truth = next(item for item in submissions if item.name == TRUTH)
    return Ranking(
        dataset,
        Row(label, values, ours=True),
        tuple(_row(item) for item in submissions if item.name != TRUTH),
        _row(truth),
        comparable,
    )


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other beats in both coordinates, in order of the first.

    Args:
        points: Pairs to be minimised; equal points do not beat each other.
    """
    order = sorted(range(len(points)), key=lambda index: points[index])
    front = order[:1]
    for index in order[1:]:
        last = points[front[-1]]
        if points[index][1] < last[1] or points[index] == last:
            front.append(index)
    return front


def _row(item: Submission) -> Row:
    return Row("Geant4" if item.name == TRUTH else item.name, item.values)


def _or_infinity(value: float | None) -> float:
    return math.inf if value is None else value
