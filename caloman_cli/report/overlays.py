"""The histograms of many runs in one picture, over the reference that judged them all."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from caloman_cli.config.figures import ReportLabels
from caloman_cli.evaluation.components.separation.overlay import (
    COLOURS,
    overlay_pages,
    overlay_response,
)
from caloman_cli.evaluation.counts import (
    Counts,
    Responses,
    added,
    added_responses,
    read_counts,
    same_bins,
    same_reference,
)
from caloman_cli.metrics.histograms import Histogram
from caloman_cli.report.comparison import RunComparison
from caloman_cli.report.found import Evaluation
from caloman_cli.report.rows import is_judged

_FEWEST = 2


@dataclass(frozen=True)
class Overlay:
    """What can be drawn of a comparison, and what cannot.

    Args:
        reference: What the reference is called.
        runs: Run -> name of a histogram -> the histogram; the best runs, in their order.
        responses: Run -> its response over the incident energy; those that can be compared.
        truth: Independent real showers, by name of the histogram.
        notes: Which runs are not there, and why.
    """

    reference: str = ""
    runs: dict[str, dict[str, Histogram]] = field(default_factory=dict)
    responses: dict[str, Responses] = field(default_factory=dict)
    truth: dict[str, Histogram] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def pages(self, everything: bool, labels: ReportLabels) -> Iterator[tuple[str, Figure, str]]:
        """File stem, figure and caption; nothing of fewer than two runs."""
        real = self.reference if labels.reference is None else labels.reference
        truth = f"independent {real}" if labels.truth is None else labels.truth
        if len(self.runs) >= _FEWEST:
            yield from overlay_pages(self.runs, self.truth, real, truth, everything)
        if len(self.responses) >= _FEWEST:
            band = truth if self.truth else None
            yield overlay_response(self.responses, tuple(self.runs), real, band)


def overlay_of(item: RunComparison, band: bool) -> Overlay:
    """The histograms of the best runs.

    Args:
        item: The comparison.
        band: Whether independent real showers are wanted, where all runs were judged beside the
            same ones.
    """
    judged = {name: row for name, row in item.rows.items() if is_judged(row)}
    first: Counts | None = None
    runs: dict[str, dict[str, Histogram]] = {}
    curves: dict[str, Responses] = {}
    lacking, beyond = [], 0
    for name, row in judged.items():
        if len(runs) == len(COLOURS):
            beyond += 1
            continue
        counts = _counts(row)
        mine = {} if counts is None else {h.name: h for h in counts.histograms}
        if first is not None:
            like = {h.name: h for h in first.histograms}
            mine = {n: h for n, h in mine.items() if n in like and same_bins(h, like[n])}
        if counts is None or not mine:
            lacking.append(name)
            continue
        first = first or counts
        runs[name] = mine
        if counts.responses is not None and same_reference(counts.responses, curves.values()):
            curves[name] = counts.responses
    shared = set.intersection(*map(set, runs.values())) if runs else set()
    notes = []
    if lacking and len(judged) >= _FEWEST:
        notes.append(
            f"Without histograms, or with other bins: {', '.join(lacking)}. Suites with "
            "metric=separation keep them; evaluations of versions up to 0.2 have none."
        )
    if beyond:
        notes.append(
            f"The {len(runs)} best runs; {beyond} more are not drawn: name those to see in runs=."
        )
    truths = {judged[name].truth for name in runs}
    same = band and first is not None and len(truths) == 1 and None not in truths
    return Overlay(
        "" if first is None else first.reference,
        {run: {n: h for n, h in found.items() if n in shared} for run, found in runs.items()},
        curves,
        {h.name: h for h in first.truth} if same and first is not None else {},
        notes,
    )


def _counts(row: Evaluation) -> Counts | None:
    """Of a run; of several that differ in their seed, all their showers together."""
    found = []
    for folders in row.parts:
        kept = (counts for folder in folders if (counts := read_counts(folder)) is not None)
        counts = next(kept, None)
        if counts is None:
            return None
        found.append(counts)
    if not found:
        return None
    sides = [{h.name: h for h in counts.histograms} for counts in found]
    names = [name for name in sides[0] if all(name in side for side in sides)]
    whole = (added([side[name] for side in sides]) for name in names)
    return Counts(
        found[0].reference,
        tuple(h for h in whole if h is not None),
        found[0].truth,
        added_responses([counts.responses for counts in found]),
    )
