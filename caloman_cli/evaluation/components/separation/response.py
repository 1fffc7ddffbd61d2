"""Response and resolution over the incident energy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from caloman_cli.data.geometry import Geometry
from caloman_cli.evaluation.counts import Response
from caloman_cli.evaluation.names import legend_below
from caloman_cli.evaluation.style import (
    GENERATED,
    REFERENCE_EDGE,
    TRUTH,
    figure,
    house_style,
)
from caloman_cli.metrics.features import Features, voxel_histogram
from caloman_cli.metrics.histograms import Histogram

N_BINS = 9
MIN_ENTRIES = 10


def energy_edges(geometry: Geometry, e_inc: np.ndarray) -> np.ndarray:
    """Edges [MeV] between incident energies: around discrete ones, else equal in log E.

    Args:
        geometry: Tells which energies are discrete.
        e_inc: Incident energies of the reference (N,) [MeV].
    """
    if geometry.incident_energies is not None:
        energies = np.asarray(geometry.incident_energies)
        middle = np.sqrt(energies[:-1] * energies[1:])
        return np.concatenate([[energies[0] / 1.4], middle, [energies[-1] * 1.4]])
    low, high = float(e_inc.min()), float(e_inc.max())
    if high <= low:
        low, high = low / 1.1, low * 1.1
    edges = np.geomspace(low, high, N_BINS + 1)
    edges[-1] *= 1 + 1e-9
    return edges


def ratios_in_energy_bins(reference: Features, generated: Features) -> list[Histogram]:
    """E_tot / E_inc in bins of the incident energy, for a continuous spectrum.

    The range is the central part of the reference, because the width shrinks with the energy.
    """
    edges = energy_edges(reference.geometry, reference.e_inc)
    histograms = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        sides = [_response(side, low, high) for side in (reference, generated)]
        if len(sides[0]) < MIN_ENTRIES:
            continue
        span = np.quantile(sides[0], [0.01, 0.99])
        margin = 0.3 * (span[1] - span[0]) + 1e-6
        bins = np.linspace(span[0] - margin, span[1] + margin, 31)
        counts = [voxel_histogram(side, bins) for side in sides]
        histograms.append(
            Histogram(f"E_ratio_at/{low:.4g}–{high:.4g}", bins, counts[0], counts[1])
        )
    return histograms


def response_of(features: Features, edges: np.ndarray) -> Response:
    """What mean and spread of E_tot / E_inc follow from, between the edges [MeV]."""
    parts = len(edges) - 1
    which = np.searchsorted(edges, features.e_inc, side="right") - 1
    inside = (which >= 0) & (which < parts)
    which, ratio = which[inside], (features["E_tot"] / features.e_inc)[inside]
    return Response(
        np.bincount(which, minlength=parts),
        np.bincount(which, ratio, parts),
        np.bincount(which, ratio**2, parts),
    )


Look = Mapping[str, Any]
REFERENCE_LOOK: Look = {
    "color": REFERENCE_EDGE, "marker": "s", "markersize": 6, "linestyle": "none",
}  # fmt: skip
TRUTH_LOOK: Look = {"color": TRUTH, "marker": "D", "markersize": 3, "linestyle": "--"}


def run_look(colour: str = GENERATED) -> Look:
    """How generated showers are drawn."""
    return {"color": colour, "marker": "o", "markersize": 4, "linestyle": "-"}


def response_curve(edges: np.ndarray, samples: Sequence[tuple[str, Response, Look]]) -> Figure:
    """Mean and relative spread of E_tot / E_inc over E_inc, with their statistical errors.

    Args:
        edges: Between incident energies [MeV].
        samples: Label, response and look. Ratios are to the first.
    """
    with house_style():
        image = figure(10.5, 5.1, "constrained")
        image.suptitle("Response and resolution")
        axes = image.subplots(2, 2, sharex=True, gridspec_kw={"height_ratios": (3, 1)})
        middle = np.sqrt(edges[:-1] * edges[1:])
        base = _moments(samples[0][1])
        for label, response, look in samples:
            for column, (value, error) in enumerate(_moments(response)):
                normal = base[column][0]
                upper, lower = axes[0][column], axes[1][column]
                upper.errorbar(middle, value, error, label=label, linewidth=1.1, **look)
                lower.errorbar(middle, value / normal, error / normal, linewidth=1.1, **look)
        for column, name in enumerate(("mean", "spread / mean")):
            axes[0][column].set_ylabel(f"{name} of " + r"$E_\mathrm{tot}/E_\mathrm{inc}$")
            axes[0][column].set_xscale("log")
            axes[1][column].set_xlabel(r"$E_\mathrm{inc}$ [MeV]")
            axes[1][column].axhline(1, color=REFERENCE_EDGE, linewidth=0.8, zorder=0)
            axes[1][column].set_ylabel("ratio")
        axes[0][1].set_yscale("log")
        handles, labels = axes[0][0].get_legend_handles_labels()
        legend_below(image, handles, labels)
        return image


def _response(features: Features, low: float, high: float) -> np.ndarray:
    inside = (features.e_inc >= low) & (features.e_inc < high)
    return features["E_tot"][inside] / features.e_inc[inside]


def _moments(found: Response) -> np.ndarray:
    """Mean and its error, spread / mean and its error; shape (2, 2, parts), NaN where few."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = found.total / found.n
        variance = np.maximum(found.squares / found.n - mean**2, 0) * found.n / (found.n - 1)
        spread = np.sqrt(variance)
        known = (found.n >= MIN_ENTRIES) & (mean > 0)
        rows = np.array(
            [
                [mean, spread / np.sqrt(found.n)],
                [spread / mean, spread / mean / np.sqrt(2 * found.n)],
            ]
        )
    return np.where(known, rows, np.nan)
