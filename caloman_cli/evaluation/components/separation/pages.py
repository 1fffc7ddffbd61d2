"""Histograms with ratio panels: the reference filled, generated showers and the truth as lines."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from caloman_cli.evaluation.components.separation.ratios import (
    mark_beyond,
    ratio_axes,
    ratio_limits,
)
from caloman_cli.evaluation.names import LINE, legend_columns, legend_labels
from caloman_cli.evaluation.style import (
    GENERATED,
    REFERENCE,
    REFERENCE_EDGE,
    TRUTH,
    figure,
    house_style,
    numbered,
)
from caloman_cli.metrics.histograms import GROUPS, Histogram

PANELS = 9
PANELS_AT_ENERGIES = 15
_LINEAR = ("E_ratio", "E_ratio_at", "sparsity", "width_eta", "width_phi", "width_r")
MIN_ENTRIES = 8
_BELOW = 0.64  # the legend: numbers and name of the lowest axis [inches]


def histogram_pages(
    histograms: Sequence[Histogram],
    truth: Sequence[Histogram] | None,
    label: str,
    reference_label: str = "reference",
    truth_label: str = "independent reference",
    everything: bool = True,
) -> Iterator[tuple[str, Figure, str]]:
    """All histograms, group by group, several layers on a page.

    Args:
        histograms: Generated showers against the reference.
        truth: A truth sample against its reference; found by the histograms' names.
        label: Name of the generated showers.
        reference_label: Name of the reference.
        truth_label: Name of the truth sample.
        everything: Draw all layers; otherwise at most a page of evenly spaced ones per group.

    Yields:
        (file stem, figure, caption).
    """
    by_name = {item.name: item for item in truth or ()}
    for group in dict.fromkeys(item.group for item in histograms):
        members = [item for item in histograms if item.group == group and has_entries(item)]
        size = PANELS_AT_ENERGIES if group == "E_ratio_at" else PANELS
        if not everything and len(members) > size:
            chosen = np.linspace(0, len(members) - 1, size).round().astype(int)
            members = [members[i] for i in chosen]
        pages = [members[start : start + size] for start in range(0, len(members), size)]
        for number, page in enumerate(pages, 1):
            words = GROUPS[group][:1].upper() + GROUPS[group][1:]
            with house_style():
                image = _page(page, by_name, label, reference_label, truth_label)
            stem, caption = numbered(group, words, number, len(pages))
            yield stem, image, caption


def has_entries(item: Histogram) -> bool:
    """Whether any shower belongs here, in range or not: not so where an energy does not occur."""
    return bool(item.reference_counts.sum() + item.generated_counts.sum())


def _page(
    page: Sequence[Histogram],
    truth: dict[str, Histogram],
    label: str,
    reference_label: str,
    truth_label: str,
) -> Figure:
    n = len(page)
    across = 1 if n == 1 else 2 if n <= 4 else 3 if n <= 9 else 5
    down = -(-n // across)
    handles = [
        Patch(facecolor=REFERENCE, edgecolor=REFERENCE_EDGE, label=reference_label),
        Line2D([], [], color=GENERATED, label=label),
    ]
    if any(item.name in truth for item in page):
        handles.append(Line2D([], [], color=TRUTH, linestyle="--", label=truth_label))
    image, grid = page_grid(across, down, n == 1, handles)
    group = page[0].group
    title = GROUPS["E_ratio" if group == "E_ratio_at" else group]
    by_energy = " in steps of E_inc" if group == "E_ratio_at" else ""
    top = 1 - 0.08 / image.get_figheight()
    image.suptitle(nice(title + by_energy), fontsize=12, y=top, va="top")
    for index, item in enumerate(page):
        upper, lower = ratio_axes(image, grid[index // across, index % across])
        _main(upper, item, truth.get(item.name))
        _ratio(lower, item, truth.get(item.name))
        upper.tick_params(labelbottom=False)
        if n > 1:
            upper.set_title(panel_title(item), loc="left", pad=4)
        if index + across >= n:
            lower.set_xlabel(nice(title))
        if index % across == 0:
            upper.set_ylabel("fraction per bin")
            lower.set_ylabel("ratio")
    return image


def page_grid(
    across: int, down: int, wide: bool, handles: Sequence[Artist]
) -> tuple[Figure, GridSpec]:
    """Room for panels, and below them the legend of these handles.

    Margins are in inches: a layout engine would draw every page twice.
    """
    left, right, top, gap_x, gap_y = 0.75, 0.12, 0.68, 0.55, 0.62
    panel_x, panel_y = (4.7, 3.5) if wide else (3.1, 2.6)
    width = left + right + across * panel_x + (across - 1) * gap_x
    labels = legend_labels([str(handle.get_label()) for handle in handles], width)
    columns = legend_columns(labels, width)
    bottom = _BELOW + -(-len(labels) // columns) * LINE
    height = bottom + top + down * panel_y + (down - 1) * gap_y
    image = figure(width, height, None)
    image.legend(list(handles), labels, loc="lower center", ncols=columns, fontsize=10)
    grid = image.add_gridspec(
        down, across, left=left / width, right=1 - right / width, bottom=bottom / height,
        top=1 - top / height, wspace=gap_x / panel_x, hspace=gap_y / panel_y,
    )  # fmt: skip
    return image, grid


def _main(ax: Axes, item: Histogram, truth: Histogram | None) -> None:
    fractions, errors = fractions_of(item.reference_counts)
    edges = item.edges
    ax.stairs(fractions, edges, fill=True, color=REFERENCE)
    ax.stairs(fractions, edges, color=REFERENCE_EDGE, linewidth=0.8)
    lines = [Line2D([], [], color=GENERATED, label=separation_said(item))]
    if truth is not None:
        shares = fractions_of(truth.generated_counts)[0]
        ax.stairs(shares, truth.edges, color=TRUTH, linestyle="--", linewidth=1.2)
        lines.append(Line2D([], [], color=TRUTH, linestyle="--", label=separation_said(truth)))
    generated, generated_errors = fractions_of(item.generated_counts)
    ax.stairs(generated, edges, color=GENERATED)
    ax.errorbar(
        centres(item), generated, generated_errors, fmt="none", ecolor=GENERATED, elinewidth=0.7
    )
    reach = generated + generated_errors if item.group in _LINEAR else generated
    tops = [fractions.max(), reach.max(), 0.0 if truth is None else shares.max()]
    limits(ax, item, float(max(tops)), truth)
    if item.note is not None:
        ax.text(0.5, 0.5, item.note.replace(" and ", "\nand "), ha="center", va="center",
                transform=ax.transAxes, color="0.35")  # fmt: skip
        return
    legend_above(ax, lines)


def legend_above(ax: Axes, lines: Sequence[Line2D]) -> None:
    """What separation powers belong to the lines, beside the title: bins need all of the panel."""
    ax.legend(
        handles=lines, loc="lower right", bbox_to_anchor=(1, 1.01), handlelength=1.4,
        borderaxespad=0, borderpad=0, labelspacing=0.15,
    )  # fmt: skip


def limits(ax: Axes, item: Histogram, top: float, truth: Histogram | None = None) -> None:
    """Show the occupied bins, up to the largest fraction; no fraction is above 1.

    Args:
        ax: The panel.
        item: The histogram.
        top: The largest fraction in it.
        truth: Independent real showers that are drawn, too.
    """
    sides = [(item.edges, item.reference_counts), (item.edges, item.generated_counts)]
    if truth is not None:
        sides.append((truth.edges, truth.generated_counts))
    ends = [_occupied(edges, counts) for edges, counts in sides if counts[1:-1].any()]
    low = min((end[0] for end in ends), default=item.edges[0])
    high = max((end[1] for end in ends), default=item.edges[-1])
    if item.log:
        ax.set_xscale("log")
        ax.set_xlim(low / 1.1, high * 1.1)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5))
        margin = 0.03 * (high - low)
        ax.set_xlim(low - margin, high + margin)
    top = top if top > 0 else 1.0
    if item.group in _LINEAR:
        ax.set_ylim(0, min(1.12 * top, 1.0))
    else:
        positive = np.concatenate(
            [fractions_of(counts)[0] for counts in (item.reference_counts, item.generated_counts)]
        )
        positive = positive[positive > 0]
        floor = float(positive.min()) if len(positive) else 1e-3
        ax.set_yscale("log")
        ax.set_ylim(0.5 * floor, min(2 * top, 1.0))


def _occupied(edges: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    filled = np.flatnonzero(counts[1:-1])
    return float(edges[filled[0]]), float(edges[filled[-1] + 1])


def _ratio(ax: Axes, item: Histogram, truth: Histogram | None) -> None:
    """Only bins with enough reference showers for a ratio to mean something."""
    reference, errors = fractions_of(item.reference_counts)
    filled = item.reference_counts[1:-1] >= MIN_ENTRIES
    safe = np.where(filled, reference, 1.0)
    band = np.where(filled, errors / safe, np.nan)
    ax.stairs(1 + band, item.edges, baseline=1 - band, fill=True, color=REFERENCE, alpha=0.8)
    ax.axhline(1, color=REFERENCE_EDGE, linewidth=0.8)
    if truth is not None:
        # The truth sample may have a reference, and so logarithmic edges, of its own.
        base = fractions_of(truth.reference_counts)[0]
        enough = truth.reference_counts[1:-1] >= MIN_ENTRIES
        shares = fractions_of(truth.generated_counts)[0] / np.where(base > 0, base, 1.0)
        shares = np.where(enough, shares, np.nan)
        ax.stairs(shares, truth.edges, baseline=None, color=TRUTH, linestyle="--", linewidth=0.9)
    generated, generated_errors = fractions_of(item.generated_counts)
    ratio = np.where(filled, generated / safe, np.nan)
    ax.errorbar(
        centres(item), ratio, np.where(filled, generated_errors / safe, np.nan),
        fmt=".", color=GENERATED, markersize=3, elinewidth=0.8,
    )  # fmt: skip
    mark_beyond(ax, centres(item), ratio, GENERATED)
    ratio_limits(ax)


def fractions_of(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of each bin in the entries in range, with its Poisson error."""
    inside = counts[1:-1]
    total = max(int(inside.sum()), 1)
    return inside / total, np.sqrt(inside) / total


def centres(item: Histogram) -> np.ndarray:
    low, high = item.edges[:-1], item.edges[1:]
    return np.sqrt(low * high) if item.log else (low + high) / 2


def separation_said(item: Histogram) -> str:
    value, floor = item.separation, item.floor
    if value is None or not floor:
        return item.note or "S not defined"
    return f"S = {value:.2g} ({value / floor:.3g} × floor)"


def panel_title(item: Histogram) -> str:
    _, _, where = item.name.partition("/")
    return energy_label(where) if item.group == "E_ratio_at" else f"layer {where}"


def energy_label(where: str) -> str:
    """``262144`` or ``1000–3162`` [MeV] as a reader says it: ``262 GeV``."""
    parts = [float(part) for part in where.split("–")]
    unit, scale = ("GeV", 1e3) if parts[0] >= 1e3 else ("MeV", 1.0)
    if parts[-1] >= 1e6 and len(parts) == 1:
        unit, scale = "TeV", 1e6
    return f"{'–'.join(f'{part / scale:.3g}' for part in parts)} {unit}"


def nice(text: str) -> str:
    for plain, mathematical in (
        ("E_tot / E_inc", r"$E_\mathrm{tot}/E_\mathrm{inc}$"),
        ("E_inc", r"$E_\mathrm{inc}$"),
        ("in eta", r"in $\eta$"),
        ("in phi", r"in $\varphi$"),
    ):
        text = text.replace(plain, mathematical)
    return text
