"""Scores from what metrics return: a dictionary for the generated showers, one for real ones."""

from collections.abc import Mapping

from caloman_cli.metrics.goals import Goal
from caloman_cli.metrics.tables import Score

Found = Mapping[str, float | None]


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
