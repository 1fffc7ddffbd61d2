"""Scores from what metrics return: a dictionary for the generated showers, one for real ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.comparison import Comparison
from caloman_cli.metrics.goals import Goal
from caloman_cli.metrics.score import Score

Found = Mapping[str, float | None]


@dataclass(frozen=True)
class Sides:
    """What a metric says of one pair of sets of generated and of one of real showers.

    Args:
        ours: Of the generated showers.
        real: Of as many real ones, or None.
        note: For the rows' notes.
        tail: Behind the rows' quantities.
        key: Behind the rows' keys.
        conditions: Of the rows.
    """

    ours: Any
    real: Any
    note: str = ""
    tail: str = ""
    key: str = ""
    conditions: Mapping[str, str | float | None] = field(default_factory=dict)


def at_equal_numbers(
    comparison: Comparison, found: Callable[[Showers, Showers], Any]
) -> list[Sides]:
    """A metric that depends on the numbers of showers and has no floor, beside its truth.

    Where the truth has as many showers on both sides, one set of rows. Where it has fewer, as
    halves of the reference have, its numbers would say nothing about those of all showers: a
    second set of rows judges as many generated showers by the same real ones.

    Args:
        comparison: What is compared.
        found: The metric of a reference and the showers to judge.
    """
    reference, generated, pair = comparison.reference, comparison.generated, comparison.truth
    ours = found(reference, generated)
    if pair is None:
        return [Sides(ours, None)]
    real = found(pair.reference, pair.sample)
    if pair.stands_for(reference, generated):
        return [Sides(ours, real)]
    n = len(pair.sample)
    tail = f", {n:,} against {len(pair.reference):,}"
    same = found(pair.reference, comparison.thinned(n))
    return [
        Sides(ours, None, f"the truth has other numbers of showers: row '{tail.lstrip(', ')}'"),
        Sides(same, real, pair.note, tail, "_equal_n", {"generated showers": n}),
    ]


def compared(
    section: str,
    quantity: str,
    ours: Found,
    real: Found | None,
    found: str,
    *,
    key: str,
    goal: Goal,
    errors: tuple[str, ...] = (),
    floor: str | None = None,
    note: str = "",
    summary: bool = False,
    conditions: Mapping[str, str | float | None] | None = None,
) -> Score:
    """One quantity of generated showers beside the same of real ones.

    Args:
        section: Of the score.
        quantity: Of the score.
        ours: What the metric says of the generated showers.
        real: What it says of the truth sample, or None.
        found: The quantity's name in both.
        key: Of the score.
        goal: Of the score.
        errors: Keys of its errors, the largest of which is the spread.
        floor: Key of what two samples of one distribution give.
        note: Of the score.
        summary: Whether the score belongs into the summary.
        conditions: Settings that the value depends on.
    """
    return Score(
        section,
        quantity,
        ours[found],
        None if real is None else real[found],
        None if floor is None else ours[floor],
        None if floor is None or real is None else real[floor],
        _largest(ours, errors),
        None if real is None else _largest(real, errors),
        note,
        summary,
        key=key,
        goal=goal,
        conditions=conditions or {},
    )


def _largest(found: Found, keys: tuple[str, ...]) -> float | None:
    known = [value for value in (found[key] for key in keys) if value is not None]
    return max(known, default=None)
