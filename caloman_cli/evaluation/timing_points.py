"""What a timing sweep is asked and what it found."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from annotated_types import MinLen

from caloman_cli.config.values import Compression, Count, Natural, Positive, checked
from caloman_cli.errors import counted

Measure = Literal["generation", "end to end"]
Status = Literal["ok", "out of memory", "too slow"]


BatchSizes = Annotated[Sequence[Count], MinLen(1)]


@checked
@dataclass(frozen=True)
class TimingSettings:
    """How a sweep is made.

    Args:
        batch_sizes: Showers per call of the model.
        repeats: Measured repetitions of a point, fewer where ``max_seconds`` does not allow them.
        warmup: Unmeasured repetitions before a point.
        max_seconds: Bound on the measured time of a point [s].
        min_showers: Showers written by an end-to-end repetition, at least; small batches are
            repeated until they are reached, so that opening a file does not decide the result.
            Fewer where generating them would take longer than ``max_seconds``.
        max_memory: Largest memory of a point on the CPU [GiB], or None for what is available.
        compression: Of the file that is written.
    """

    batch_sizes: BatchSizes = (1, 100, 1_000, 5_000, 10_000, 50_000)
    repeats: Count = 10
    warmup: Natural = 3
    max_seconds: Positive = 60.0
    min_showers: Count = 1_000
    max_memory: Positive | None = None
    compression: Compression = "gzip"


@dataclass(frozen=True)
class TimingPoint:
    """One row of the sweep.

    Attributes:
        measure: ``generation`` or ``end to end``.
        batch_size: Showers per call of the model.
        showers: Showers per repetition.
        repeats: Measured repetitions.
        median: Median over the repetitions [ms per shower]; None if nothing was measured.
        lower: 25 % quantile [ms per shower]; None with fewer than two repetitions.
        upper: 75 % quantile [ms per shower].
        memory: Peak memory above the state before the point [MiB]; None where unknown.
        status: ``ok``, ``out of memory`` or ``too slow``.
        note: Why a point is missing or has fewer repetitions.
    """

    measure: Measure
    batch_size: int
    showers: int
    repeats: int = 0
    median: float | None = None
    lower: float | None = None
    upper: float | None = None
    memory: float | None = None
    status: Status = "ok"
    note: str = ""


def describe(point: TimingPoint) -> str:
    """One line for the log."""
    head = f"{point.measure}, batch {point.batch_size:,}"
    if point.median is None:
        return f"{head}: {point.status} ({point.note})"
    return f"{head}: {point.median:.3g} ms per shower, {counted(point.repeats, 'repetition')}"


def to_dict(points: Sequence[TimingPoint]) -> list[dict]:
    """Plain types for ``metrics.json``."""
    return [asdict(point) for point in points]
