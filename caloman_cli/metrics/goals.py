"""Which of two values of a score is the better one."""

import math
from collections.abc import Callable
from typing import Literal

Goal = Literal["lower", "higher", "half", "zero", "truth", "truth ratio"]


def distance(goal: Goal, value: float, truth: float | None) -> float | None:
    """How far a value is from the best one; smaller is better.

    Args:
        goal: What is best: ``lower``, ``higher``, nearest to one ``half``, to ``zero``, to what
            real showers score (``truth``), or the same in terms of a ratio (``truth ratio``).
        value: The value.
        truth: What real showers score.

    Returns:
        A number that orders, or None where the real showers' score is needed and missing.
    """
    if goal.startswith("truth") and truth is None:
        return None
    return _DISTANCES[goal](value, math.nan if truth is None else truth)


_DISTANCES: dict[Goal, Callable[[float, float], float]] = {
    "lower": lambda value, _: value,
    "higher": lambda value, _: -value,
    "half": lambda value, _: abs(value - 0.5),
    "zero": lambda value, _: abs(value),
    "truth": lambda value, truth: abs(value - truth),
    "truth ratio": lambda value, truth: (
        abs(math.log(value / truth)) if value > 0 and truth > 0 else math.inf
    ),
}
