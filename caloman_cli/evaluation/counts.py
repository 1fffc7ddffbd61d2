"""``histograms.json``: what was counted, to draw several runs over one reference."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caloman_cli.data.files import write_text
from caloman_cli.metrics.histograms import Histogram

FILE, FORMAT = "histograms.json", 1


@dataclass(frozen=True)
class Response:
    """E_tot / E_inc in parts of the incident energies, as sums: those of others can be added.

    Args:
        n: Showers of each part, int64, shape (parts,).
        total: Sum of their ratios, shape (parts,).
        squares: Sum of the squares, shape (parts,).
    """

    n: np.ndarray
    total: np.ndarray
    squares: np.ndarray

    def __add__(self, other: "Response") -> "Response":
        return Response(self.n + other.n, self.total + other.total, self.squares + other.squares)


@dataclass(frozen=True)
class Responses:
    """The response of all that was compared.

    Args:
        edges: Between incident energies, shape (parts + 1,) [MeV].
        reference: Of the reference.
        generated: Of the generated showers.
        truth: Of independent real ones, or None.
    """

    edges: np.ndarray
    reference: Response
    generated: Response
    truth: Response | None = None


@dataclass(frozen=True)
class Counts:
    """What one evaluation has counted.

    Args:
        reference: What the reference is called.
        histograms: Generated showers against the reference.
        truth: Independent real showers against theirs; empty where there were none.
        responses: In parts of the incident energies; None in files of versions up to 0.2.
    """

    reference: str
    histograms: tuple[Histogram, ...]
    truth: tuple[Histogram, ...] = ()
    responses: Responses | None = None


def write_counts(folder: Path, counts: Counts) -> None:
    """Write the file, a histogram a line."""
    lines = {
        side: ",\n".join(json.dumps(_plain(item)) for item in items)
        for side, items in (("histograms", counts.histograms), ("truth", counts.truth))
    }
    curves = None if counts.responses is None else json.dumps(_plain_responses(counts.responses))
    response = "" if curves is None else f'"response": {curves},\n'
    write_text(
        folder / FILE,
        f'{{"format": {FORMAT}, "reference_label": {json.dumps(counts.reference)},\n{response}'
        f'"histograms": [\n{lines["histograms"]}\n],\n"truth": [\n{lines["truth"]}\n]}}\n',
    )


def read_counts(folder: Path) -> Counts | None:
    """The counts of an evaluation; None where it has none, or of a format that is not known."""
    try:
        content = json.loads((folder / FILE).read_bytes())
        if content["format"] != FORMAT:
            return None
        ours, truth = (tuple(map(_histogram, content[side])) for side in ("histograms", "truth"))
        curves = _responses(content.get("response"))
        return Counts(str(content["reference_label"]), ours, truth, curves)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def added(items: Sequence[Histogram]) -> Histogram | None:
    """One histogram of several runs' showers over one reference; None where bins differ."""
    first = items[0]
    if not all(same_bins(first, other) for other in items[1:]):
        return None
    generated = np.sum([item.generated_counts for item in items], axis=0)
    return Histogram(first.name, first.edges, first.reference_counts, generated)


def added_responses(items: Sequence[Responses | None]) -> Responses | None:
    """The response of several runs' showers over one reference; None where that differs."""
    known = [item for item in items if item is not None]
    if len(known) < len(items) or not all(same_reference(item, known[:1]) for item in known):
        return None
    first = known[0]
    generated = sum((item.generated for item in known[1:]), first.generated)
    return Responses(first.edges, first.reference, generated, first.truth)


def same_reference(found: Responses, others: Iterable[Responses]) -> bool:
    """Whether responses are of the same real showers, in the same parts."""
    return all(
        np.array_equal(found.edges, other.edges)
        and np.array_equal(found.reference.n, other.reference.n)
        and np.array_equal(found.reference.total, other.reference.total)
        for other in others
    )


def same_bins(first: Histogram, second: Histogram) -> bool:
    """Whether two histograms are of one reference in the same bins."""
    return np.array_equal(first.edges, second.edges) and np.array_equal(
        first.reference_counts, second.reference_counts
    )


def _plain_responses(found: Responses) -> dict[str, Any]:
    sides = {"reference": found.reference, "generated": found.generated, "truth": found.truth}
    return {
        "edges": found.edges.tolist(),
        **{
            name: {key: value.tolist() for key, value in vars(side).items()}
            for name, side in sides.items()
            if side is not None
        },
    }


def _responses(values: dict[str, Any] | None) -> Responses | None:
    if values is None:
        return None
    reference, generated, truth = (
        _response(values[name]) if name in values else None
        for name in ("reference", "generated", "truth")
    )
    if reference is None or generated is None:
        raise ValueError("a response without showers")
    return Responses(np.asarray(values["edges"], np.float64), reference, generated, truth)


def _response(values: dict[str, Any]) -> Response:
    return Response(
        np.asarray(values["n"], np.int64),
        np.asarray(values["total"], np.float64),
        np.asarray(values["squares"], np.float64),
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
