"""What a logger is told of an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Cell = str | float | None


@dataclass(frozen=True)
class Scalar:
    """A number, with what real showers get beside it.

    Args:
        key: Name without the suite: the score's key.
        value: The generated showers' number; None where only real showers were looked at.
        truth: The same number for independent real showers.
        error: Spread or statistical error of ``value``.
        headline: Whether it stands in the summary of the report.
    """

    key: str
    value: float | None
    truth: float | None = None
    error: float | None = None
    headline: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table of texts and numbers.

    Args:
        heads: Headings.
        rows: Cells, row by row; None where there is nothing.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Point:
    """Milliseconds per shower at one batch size.

    Args:
        measure: What was timed, e.g. ``end_to_end``.
        batch_size: Showers per call of the model.
        value: Median [ms per shower].
    """

    measure: str
    batch_size: int
    value: float


@dataclass(frozen=True)
class Evaluated:
    """An evaluation that has ended.

    Args:
        label: Name of the showers that were judged.
        suite: Its name, the part of every key that tells evaluations apart.
        home: Where loggers keep their files: the run's directory, so that they go on with what
            they were told of its training, or the evaluation's own where no run was evaluated.
        output: The evaluation's directory.
        scalars: All scores that are numbers.
        sheets: Tables by name.
        points: The timing sweep, if there was one.
        figures: Pictures, PNG.
        settings: The verb's config, plain types.
    """

    label: str
    suite: str
    home: Path
    output: Path
    scalars: Sequence[Scalar]
    sheets: Mapping[str, Sheet]
    points: Sequence[Point]
    figures: Sequence[Path]
    settings: Mapping[str, Any]

    def key(self, name: str) -> str:
        """``eval/<suite>/<name>``."""
        return f"eval/{self.suite}/{name}"
