"""What an evaluation will cost, said before its first metric."""

import logging
from typing import Protocol, runtime_checkable

from caloman_cli.data.memory import available_memory, resident_memory
from caloman_cli.evaluation.comparison import Comparison, Metric
from caloman_cli.runs.progress import duration

log = logging.getLogger(__name__)

_MOMENT, _MINUTES, _HOURS = 30.0, 900.0, 3600.0  # seconds
_COPIES = 3  # of float32 voxels of both sides: read, cut, as inputs


@runtime_checkable
class Foreseeable(Protocol):
    """A metric that can say how long it takes."""

    def seconds(self, comparison: Comparison, n: int) -> float:
        """Seconds for n showers of each side, those of the truth row included."""


def foreseen(comparison: Comparison, metrics: dict[str, Metric], n: int) -> dict[str, float]:
    """Seconds of the metrics that can say so, by name."""
    return {
        name: metric.seconds(comparison, n)
        for name, metric in metrics.items()
        if isinstance(metric, Foreseeable)
    }


def say_cost(
    comparison: Comparison, metrics: dict[str, Metric], n: int, suite: str, always: bool = False
) -> None:
    """Say what scoring n showers will cost, where that is more than a moment.

    Args:
        comparison: The showers.
        metrics: What is going to be measured.
        n: How many showers of each side.
        suite: The evaluation's name.
        always: Also where it is a moment.
    """
    found = foreseen(comparison, metrics, n)
    total = sum(found.values())
    if total < _MOMENT and not always:
        return
    size = _COPIES * 2 * 4 * n * comparison.geometry.n_voxels / 2**20
    others = [name for name in metrics if name not in found]
    log.info(
        "about %s on %s for %s%s; memory about %.1f GiB (%.1f GiB are free)",
        *(duration(total), comparison.device, ", ".join(found) or "no metric that can say"),
        f", besides {', '.join(others)}" if others else "",
        *((resident_memory(comparison.device) + size) / 1024, available_memory() / 1024),
    )
    if total > _HOURS:
        tries = [] if suite == "quick" else ["evaluation=quick"]
        if (less := int(n * _MINUTES / total) // 1000 * 1000) > 0:
            tries.append(f"dataset.limit={less}")
        minutes = f"; what takes minutes: {' or '.join(tries)}" if tries else ""
        log.warning("this takes hours%s", minutes)
