"""``histograms.json``: the counts of every histogram, to draw several runs over one reference."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caloman_cli.data.files import write_text
from caloman_cli.metrics.histograms import Histogram

FILE, FORMAT = "histograms.json", 1


@dataclass(frozen=True)
class Counts:
    """What one evaluation has counted.

    Args:
        reference: What the reference is called.
        histograms: Generated showers against the reference.
        truth: Independent real showers against theirs; empty where there were none.
    """

    reference: str
    histograms: tuple[Histogram, ...]
    truth: tuple[Histogram, ...] = ()


def write_counts(folder: Path, counts: Counts) -> None:
    """Write the file, a histogram a line."""
    lines = {
        side: ",\n".join(json.dumps(_plain(item)) for item in items)
        for side, items in (("histograms", counts.histograms), ("truth", counts.truth))
    }
    write_text(
        folder / FILE,
        f'{{"format": {FORMAT}, "reference_label": {json.dumps(counts.reference)},\n'
        f'"histograms": [\n{lines["histograms"]}\n],\n"truth": [\n{lines["truth"]}\n]}}\n',
    )


def read_counts(folder: Path) -> Counts | None:
    """The counts of an evaluation; None where it has none, or of a format that is not known."""
    try:
        content = json.loads((folder / FILE).read_bytes())
        if content["format"] != FORMAT:
            return None
        sides = (tuple(map(_histogram, content[side])) for side in ("histograms", "truth"))
        return Counts(str(content["reference_label"]), *sides)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def added(items: Sequence[Histogram]) -> Histogram | None:
    """One histogram of several runs' showers over one reference; None where bins differ."""
    first = items[0]
    if not all(same_bins(first, other) for other in items[1:]):
        return None
    generated = np.sum([item.generated_counts for item in items], axis=0)
    return Histogram(first.name, first.edges, first.reference_counts, generated)


def same_bins(first: Histogram, second: Histogram) -> bool:
    """Whether two histograms are of one reference in the same bins."""
    return np.array_equal(first.edges, second.edges) and np.array_equal(
        first.reference_counts, second.reference_counts
    )


def _plain(item: Histogram) -> dict[str, Any]:
    return {
        "name": item.name,
        "edges": item.edges.tolist(),
        "reference": item.reference_counts.tolist(),
        "generated": item.generated_counts.tolist(),
    }


def _histogram(values: dict[str, Any]) -> Histogram:
    return Histogram(
        str(values["name"]),
        np.asarray(values["edges"], np.float64),
        np.asarray(values["reference"], np.int64),
        np.asarray(values["generated"], np.int64),
    )
