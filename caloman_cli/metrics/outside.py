"""Entries outside of the bins, which separation powers leave out.

A histogram is normalised to what lies within its bins, so showers that are empty or far off do
not move it: half of a sample may be zeros while the visible energy's separation is at its floor.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caloman_cli.metrics.histograms import Histogram

LEAST = 0.01  # of the entries: less is not worth a word
DEVIATIONS = 5.0


@dataclass(frozen=True)
class Outside:
    """Clearly more generated than real entries beyond one end of a histogram.

    Args:
        name: Of the histogram.
        where: ``below`` or ``above`` its bins.
        generated: Fraction of the generated entries.
        reference: Fraction of the reference's.
    """

    name: str
    where: str
    generated: float
    reference: float

    def __str__(self) -> str:
        return (
            f"{100 * self.generated:.3g} % of the generated {self.where} the bins, "
            f"{100 * self.reference:.3g} % of the reference"
        )


def most_outside(histograms: Sequence[Histogram]) -> Outside | None:
    """The largest excess of generated entries outside of the bins, or None where none is clear.

    Clear are excesses of one per cent of the entries and of five standard deviations. Histograms
    without any entry in range on a side have no separation power to mislead.
    """
    found = []
    for item in histograms:
        shares = item.out_of_range()
        for where, column in (("below", 0), ("above", -1)):
            ours, real = shares[f"generated_{where}"], shares[f"reference_{where}"]
            if item.note is None and ours - real > max(LEAST, DEVIATIONS * _error(item, column)):
                found.append(Outside(item.name, where, ours, real))
    return max(found, key=lambda one: one.generated - one.reference, default=None)


def _error(item: Histogram, column: int) -> float:
    """Standard error of the difference of both sides' shares of entries in one bin.

    From groups of whole showers where there are some, else as of independent entries of one
    common share.
    """
    groups = item.reference_groups, item.generated_groups
    known = [side for side in groups if side is not None and len(side) > 1]
    if len(known) == 2:
        shares = [side[:, column] / np.maximum(side.sum(1), 1) for side in known]
        return math.sqrt(sum(share.var(ddof=1) / len(share) for share in shares))
    sides = item.reference_counts, item.generated_counts
    totals = [max(int(side.sum()), 1) for side in sides]
    share = sum(int(side[column]) for side in sides) / sum(totals)
    return math.sqrt(share * (1 - share) * sum(1 / total for total in totals))
