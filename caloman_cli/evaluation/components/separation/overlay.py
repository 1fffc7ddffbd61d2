"""Histograms of several runs over one reference, with a band of independent real showers."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from caloman_cli.evaluation.components.separation.pages import (
    MIN_ENTRIES,
    PANELS,
    PANELS_AT_ENERGIES,
    centres,
    fractions_of,
    has_entries,
    legend_above,
    limits,
    nice,
    page_grid,
    panel_title,
    separation_said,
)
from caloman_cli.evaluation.components.separation.ratios import (
    mark_beyond,
    ratio_axes,
    ratio_limits,
)
from caloman_cli.evaluation.components.separation.response import (
    REFERENCE_LOOK,
    TRUTH_LOOK,
    response_curve,
    run_look,
)
from caloman_cli.evaluation.counts import Responses, added
from caloman_cli.evaluation.style import (
    GENERATED,
    REFERENCE,
    REFERENCE_EDGE,
    SECOND,
    TRUTH,
    house_style,
    numbered,
)
from caloman_cli.metrics.histograms import GROUPS, Histogram

COLOURS = (GENERATED, SECOND, "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Of the runs, in their order; blue is the truth's."""
_LEGEND = 2  # runs whose separation powers are written into the panels

Runs = Mapping[str, Mapping[str, Histogram]]
"""Run -> name of a histogram -> the histogram; all runs have the same names and bins."""


def overlay_pages(
    runs: Runs,
    truth: Mapping[str, Histogram],
    reference_label: str,
    truth_label: str,
    everything: bool = False,
) -> Iterator[tuple[str, Figure, str]]:
    """Every quantity, several layers on a page, all runs in each panel.

    Args:
        runs: At most as many as there are :data:`COLOURS`.
        truth: Independent real showers against theirs, by name; a band in the ratios.
        reference_label: What the reference is called.
        truth_label: What the truth is called.
        everything: Draw all layers; otherwise at most a page of evenly spaced ones per group.

    Yields:
        (file stem, figure, caption).
    """
    first = next(iter(runs.values()))
    for group in dict.fromkeys(item.group for item in first.values()):
        names = [name for name, item in first.items() if item.group == group and has_entries(item)]
        size = PANELS_AT_ENERGIES if group == "E_ratio_at" else PANELS
        if not everything and len(names) > size:
            names = [names[i] for i in np.linspace(0, len(names) - 1, size).round().astype(int)]
        pages = [names[start : start + size] for start in range(0, len(names), size)]
        for number, page in enumerate(pages, 1):
            words = GROUPS[group][:1].upper() + GROUPS[group][1:]
            with house_style():
                image = _page(page, runs, truth, (reference_label, truth_label))
            stem, caption = numbered(f"overlay_{group}", words, number, len(pages))
            yield stem, image, f"{caption}: {len(runs)} runs over one reference"


def overlay_response(
    found: Mapping[str, Responses],
    order: Sequence[str],
    reference_label: str,
    truth_label: str | None,
) -> tuple[str, Figure, str]:
    """Response and resolution of several runs over one reference.

    Args:
        found: Run -> its response; all of the same real showers.
        order: All runs that are drawn, in the order of their colours.
        reference_label: What the reference is called.
        truth_label: What independent real showers are called; None: they are not drawn.

    Returns:
        (file stem, figure, caption).
    """
    first = next(iter(found.values()))
    curves = [(reference_label, first.reference, REFERENCE_LOOK)]
    if truth_label is not None and first.truth is not None:
        curves.append((truth_label, first.truth, TRUTH_LOOK))
    for colour, name in zip(COLOURS, order, strict=False):
        if name in found:
            curves.append((name, found[name].generated, run_look(colour)))
    words = f"Response and resolution: {len(found)} runs over one reference"
    return "overlay_response", response_curve(first.edges, curves), words


def _page(
    names: Sequence[str], runs: Runs, truth: Mapping[str, Histogram], labels: tuple[str, str]
) -> Figure:
    n = len(names)
    across = 1 if n == 1 else 2 if n <= 4 else 3 if n <= 9 else 5
    handles = _handles(runs, any(name in truth for name in names), labels)
    image, grid = page_grid(across, -(-n // across), n == 1, handles)
    top = 1 - 0.08 / image.get_figheight()
    group = names[0].partition("/")[0]
    title = GROUPS["E_ratio" if group == "E_ratio_at" else group]
    by_energy = " in steps of E_inc" if group == "E_ratio_at" else ""
    image.suptitle(nice(title + by_energy), fontsize=12, y=top, va="top")
    for index, name in enumerate(names):
        upper, lower = ratio_axes(image, grid[index // across, index % across])
        items = [histograms[name] for histograms in runs.values()]
        _main(upper, items, truth.get(name))
        _ratios(lower, items, truth.get(name))
        upper.tick_params(labelbottom=False)
        if n > 1:
            upper.set_title(panel_title(items[0]), loc="left", pad=4)
        if index + across >= n:
            lower.set_xlabel(nice(title))
        if index % across == 0:
            upper.set_ylabel("fraction per bin")
            lower.set_ylabel("ratio")
    return image


def _handles(runs: Runs, has_truth: bool, labels: tuple[str, str]) -> list[Patch | Line2D]:
    handles: list[Patch | Line2D] = [
        Patch(facecolor=REFERENCE, edgecolor=REFERENCE_EDGE, label=labels[0])
    ]
    if has_truth:
        handles.append(Patch(facecolor=TRUTH, alpha=0.3, label=f"{labels[1]}, ± 1 σ"))
    for colour, name in zip(COLOURS, runs, strict=False):
        handles.append(Line2D([], [], color=colour, label=name))
    return handles


def _main(ax: Axes, items: Sequence[Histogram], truth: Histogram | None) -> None:
    first = items[0]
    reference, _ = fractions_of(first.reference_counts)
    ax.stairs(reference, first.edges, fill=True, color=REFERENCE)
    ax.stairs(reference, first.edges, color=REFERENCE_EDGE, linewidth=0.8)
    if truth is not None:
        shares = fractions_of(truth.generated_counts)[0]
        ax.stairs(shares, truth.edges, color=TRUTH, linestyle="--", linewidth=0.9)
    tops = [np.max(reference), 0.0 if truth is None else np.max(shares)]
    lines = []
    for colour, item in zip(COLOURS, items, strict=False):
        shares, _ = fractions_of(item.generated_counts)
        ax.stairs(shares, item.edges, color=colour, linewidth=1.2)
        tops.append(np.max(shares))
        lines.append(Line2D([], [], color=colour, label=separation_said(item)))
    whole = added(items)
    limits(ax, first if whole is None else whole, float(max(tops)), truth)
    if len(items) <= _LEGEND:
        legend_above(ax, lines)


def _ratios(ax: Axes, items: Sequence[Histogram], truth: Histogram | None) -> None:
    """Only bins with enough reference showers for a ratio to mean something."""
    first = items[0]
    base, errors = fractions_of(first.reference_counts)
    filled = first.reference_counts[1:-1] >= MIN_ENTRIES
    safe = np.where(filled, base, 1.0)
    band = np.where(filled, errors / safe, np.nan)
    ax.stairs(1 + band, first.edges, baseline=1 - band, fill=True, color=REFERENCE, alpha=0.8)
    ax.axhline(1, color=REFERENCE_EDGE, linewidth=0.8)
    if truth is not None:
        low, high = _band(truth)
        ax.stairs(high, truth.edges, baseline=low, fill=True, color=TRUTH, alpha=0.3)
    for number, (colour, item) in enumerate(zip(COLOURS, items, strict=False)):
        shares = np.where(filled, fractions_of(item.generated_counts)[0] / safe, np.nan)
        ax.stairs(shares, item.edges, baseline=None, color=colour, linewidth=1.1)
        mark_beyond(ax, centres(item), shares, colour, number)
    ratio_limits(ax)


def _band(truth: Histogram) -> tuple[np.ndarray, np.ndarray]:
    """Real over other real showers, less and more its statistical error, where these are enough.

    The truth sample may have a reference, and so logarithmic edges, of its own.
    """
    base, base_error = fractions_of(truth.reference_counts)
    shares, error = fractions_of(truth.generated_counts)
    enough = truth.reference_counts[1:-1] >= MIN_ENTRIES
    safe = np.where(enough, base, 1.0)
    ratio = shares / safe
    spread = np.hypot(error, ratio * base_error) / safe
    return (
        np.where(enough, ratio - spread, np.nan),
        np.where(enough, ratio + spread, np.nan),
    )
