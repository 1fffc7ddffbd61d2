"""Averages at fixed incident energies: what a layer gets, and the mean energy of each voxel."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from caloman_cli.data.geometry import Geometry
from caloman_cli.evaluation.components.separation.pages import (
    energy_label,
    page_grid,
)
from caloman_cli.evaluation.components.separation.ratios import (
    mark_beyond,
    ratio_axes,
    ratio_limits,
)
from caloman_cli.evaluation.components.separation.response import MIN_ENTRIES, energy_edges
from caloman_cli.evaluation.components.separation.rows import Side, shower_rows
from caloman_cli.evaluation.style import (
    GENERATED,
    REFERENCE,
    REFERENCE_EDGE,
    TRUTH,
    house_style,
    numbered,
)
from caloman_cli.metrics.features import Features, ShowerSource, chunk_rows

PANELS = 9
ENERGIES = 4  # of the average showers, evenly spaced over those that there are
_FEW, _UNEVEN = 8, 20.0  # one of few layers may get nearly all: a logarithmic axis
_TICKS = 8  # layers that have a number at the axis
_HEADROOM = 1.15
_LOOKS: tuple[tuple[str, Literal["-", "--"], float], ...] = (
    (GENERATED, "-", 1.5), (TRUTH, "--", 1.1)
)  # fmt: skip


class MeanShowers(NamedTuple):
    """Mean energies of voxels after the readout cut.

    Attributes:
        every: Of all showers, float64, shape (V,) [MeV].
        at: Of each part of the incident energies, shape (parts, V) [MeV].
        n: Showers of each part, shape (parts,).
    """

    every: np.ndarray
    at: np.ndarray
    n: np.ndarray


def mean_showers(showers: ShowerSource, edges: np.ndarray) -> MeanShowers:
    """Average a file in one pass.

    Args:
        showers: N showers.
        edges: Rising edges [MeV] between incident energies.
    """
    geometry, parts = showers.geometry, len(edges) - 1
    total = np.zeros((parts + 2, geometry.n_voxels))  # and below and above the edges
    n = np.zeros(parts + 2, np.int64)
    for e_inc, voxels in showers.iterate(chunk_rows(geometry)):
        kept = np.where(voxels >= geometry.threshold, voxels, 0)
        which = np.searchsorted(edges, e_inc[:, 0], side="right")
        for part in np.unique(which):
            total[part] += kept[which == part].sum(0, dtype=np.float64)
        n += np.bincount(which, minlength=parts + 2)
    at, inside = total[1:-1], n[1:-1]
    return MeanShowers(
        total.sum(0) / max(int(n.sum()), 1), at / np.maximum(inside, 1)[:, None], inside
    )


def average_showers_at_energies(
    geometry: Geometry,
    edges: np.ndarray,
    reference: MeanShowers,
    generated: MeanShowers,
    labels: tuple[str, str],
) -> Figure | None:
    """The average shower in parts of the incident energies, layer by layer in polar view.

    Args:
        geometry: The showers' geometry.
        edges: Edges [MeV] that the averages were taken between.
        reference: Of the real showers.
        generated: Of the generated ones.
        labels: Names of both.

    Returns:
        The figure, or None where fewer than two parts have ten showers on both sides.
    """
    found = np.flatnonzero(np.minimum(reference.n, generated.n) >= MIN_ENTRIES)
    if len(found) < 2:
        return None
    pairs = []
    for part in _spaced(found.tolist(), ENERGIES):
        where = part_label(geometry, edges, part)
        real, ours = (
            Side(means.at[part], f"{label}\n{where}\n{means.n[part]:,} showers")
            for label, means in zip(labels, (reference, generated), strict=True)
        )
        pairs.append((real, ours))
    return shower_rows(geometry, pairs, f"Average showers at fixed energies ({geometry.name})")


def part_label(geometry: Geometry, edges: np.ndarray, part: int) -> str:
    """``262 GeV`` where energies are discrete, else ``1–3.16 GeV``."""
    if geometry.incident_energies is not None:
        return energy_label(f"{geometry.incident_energies[part]:.6g}")
    return energy_label(f"{edges[part]:.4g}–{edges[part + 1]:.4g}")


def profile_pages(
    samples: Sequence[tuple[str, Features]], everything: bool = True
) -> Iterator[tuple[str, Figure, str]]:
    """The average longitudinal profile in parts of the incident energies.

    Args:
        samples: Label and features: the reference, the generated showers, the truth if there is.
        everything: Draw all energies; otherwise at most nine that are evenly spaced.

    Yields:
        (file stem, figure, caption), at most nine energies each.
    """
    reference = samples[0][1]
    edges = energy_edges(reference.geometry, reference.e_inc)
    profiles = [_profiles(features, edges) for _, features in samples]
    least = np.min([n for _, _, n in profiles], axis=0)
    found = np.flatnonzero(least >= MIN_ENTRIES).tolist()
    if not everything:
        found = _spaced(found, PANELS)
    pages = [found[start : start + PANELS] for start in range(0, len(found), PANELS)]
    labels = [label for label, _ in samples]
    for number, page in enumerate(pages, 1):
        with house_style():
            image = _page(reference.geometry, edges, page, profiles, labels)
        words = "Longitudinal profile at fixed energies: the mean share of each layer"
        stem, caption = numbered("profile_at_energies", words, number, len(pages))
        yield stem, image, caption


def _spaced(items: list[int], most: int) -> list[int]:
    if len(items) <= most:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]


Profiles = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Mean of E_layer / E_inc and its error (parts, L); showers (parts,)."""


def _profiles(features: Features, edges: np.ndarray) -> Profiles:
    shares = features.group("E_layer") / features.e_inc[:, None]
    which = np.searchsorted(edges, features.e_inc, side="right") - 1
    parts = len(edges) - 1
    mean, error = np.zeros((2, parts, shares.shape[1]))
    for part in np.intersect1d(which, np.arange(parts)):
        inside = shares[which == part]
        mean[part] = inside.mean(0)
        error[part] = inside.std(0) / np.sqrt(len(inside))
    return mean, error, np.bincount(which[(which >= 0) & (which < parts)], minlength=parts)


def _page(
    geometry: Geometry,
    edges: np.ndarray,
    parts: Sequence[int],
    profiles: Sequence[Profiles],
    labels: Sequence[str],
) -> Figure:
    n = len(parts)
    across = 1 if n == 1 else 2 if n <= 4 else 3
    handles: list[Patch | Line2D] = [
        Patch(facecolor=REFERENCE, edgecolor=REFERENCE_EDGE, label=labels[0])
    ]
    for label, (colour, line, _) in zip(labels[1:], _LOOKS, strict=False):
        handles.append(Line2D([], [], color=colour, linestyle=line, label=label))
    image, grid = page_grid(across, -(-n // across), n == 1, handles)
    top = 1 - 0.08 / image.get_figheight()
    image.suptitle("Longitudinal profile at fixed energies", fontsize=12, y=top, va="top")
    for index, part in enumerate(parts):
        upper, lower = ratio_axes(image, grid[index // across, index % across])
        _panel(upper, lower, [(mean[part], error[part]) for mean, error, _ in profiles])
        upper.tick_params(labelbottom=False)
        upper.set_title(part_label(geometry, edges, part), loc="left", pad=4)
        places = np.arange(geometry.n_layers)
        ticks = places[:: -(-geometry.n_layers // _TICKS)]
        lower.set_xticks(ticks, [str(geometry.layers[i].id) for i in ticks])
        if index + across >= n:
            lower.set_xlabel("layer")
        if index % across == 0:
            upper.set_ylabel(r"mean $E_\mathrm{layer}/E_\mathrm{inc}$")
            lower.set_ylabel("ratio")
    return image


def _panel(upper: Axes, lower: Axes, sides: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Mean and error (L,) of the reference, the generated showers and perhaps the truth."""
    base, base_error = sides[0]
    places = np.arange(len(base))
    bounds = np.arange(len(base) + 1) - 0.5
    safe = np.where(base > 0, base, np.nan)
    upper.stairs(base, bounds, fill=True, color=REFERENCE)
    upper.stairs(base, bounds, color=REFERENCE_EDGE, linewidth=0.8)
    band = base_error / safe
    lower.stairs(1 + band, bounds, baseline=1 - band, fill=True, color=REFERENCE, alpha=0.8)
    lower.axhline(1, color=REFERENCE_EDGE, linewidth=0.8)
    looks = zip(sides[1:], _LOOKS, strict=False)
    for number, ((mean, error), (colour, line, width)) in enumerate(looks):
        upper.stairs(mean, bounds, color=colour, linestyle=line, linewidth=width)
        ratio = mean / safe
        lower.stairs(ratio, bounds, baseline=None, color=colour, linestyle=line, linewidth=1.1)
        lower.errorbar(places, ratio, error / safe, fmt="none", ecolor=colour, elinewidth=0.7)
        mark_beyond(lower, places, ratio, colour, number)
    means = np.concatenate([mean for mean, _ in sides])
    least = float(means[means > 0].min(initial=np.inf))
    if len(base) <= _FEW and means.max() > _UNEVEN * least:
        upper.set_yscale("log")
        upper.set_ylim(0.5 * least, 2 * means.max())
    else:
        upper.set_ylim(0, _HEADROOM * max(float(means.max()), 1e-9))
    ratio_limits(lower)
    lower.set_xlim(bounds[0], bounds[-1])
