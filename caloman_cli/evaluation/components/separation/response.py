"""Response and resolution over the incident energy."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from caloman_cli.data.geometry import Geometry
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
_MIN_ENTRIES = 10


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
        if len(sides[0]) < _MIN_ENTRIES:
            continue
        span = np.quantile(sides[0], [0.01, 0.99])
        margin = 0.3 * (span[1] - span[0]) + 1e-6
        bins = np.linspace(span[0] - margin, span[1] + margin, 31)
        counts = [voxel_histogram(side, bins) for side in sides]
        histograms.append(
            Histogram(f"E_ratio_at/{low:.4g}–{high:.4g}", bins, counts[0], counts[1])
        )
    return histograms


def response_curve(samples: Sequence[tuple[str, Features]]) -> Figure:
    """Mean and relative spread of E_tot / E_inc over E_inc, with their statistical errors.

    Args:
        samples: Label and features. The first is the reference, the second the generated showers,
            a third the truth.
    """
    with house_style():
        image = figure(10.5, 4.8, "constrained")
        image.suptitle("Response and resolution")
        axes = image.subplots(2, 2, sharex=True, gridspec_kw={"height_ratios": (3, 1)})
        reference = samples[0][1]
        edges = energy_edges(reference.geometry, reference.e_inc)
        base = _moments(reference, edges)
        looks = [
            {"color": REFERENCE_EDGE, "marker": "s", "markersize": 6, "linestyle": "none"},
            {"color": GENERATED, "marker": "o", "markersize": 4, "linestyle": "-"},
            {"color": TRUTH, "marker": "D", "markersize": 3, "linestyle": "--"},
        ]
        for (label, features), look in zip(samples, looks, strict=False):
            moments = _moments(features, edges)
            for column in range(2):
                value, error = moments[1 + 2 * column], moments[2 + 2 * column]
                normal = base[1 + 2 * column]
                upper, lower = axes[0][column], axes[1][column]
                upper.errorbar(moments[0], value, error, label=label, linewidth=1.1, **look)
                lower.errorbar(moments[0], value / normal, error / normal, linewidth=1.1, **look)
        for column, name in enumerate(("mean", "spread / mean")):
            axes[0][column].set_ylabel(f"{name} of " + r"$E_\mathrm{tot}/E_\mathrm{inc}$")
            axes[0][column].set_xscale("log")
            axes[1][column].set_xlabel(r"$E_\mathrm{inc}$ [MeV]")
            axes[1][column].axhline(1, color=REFERENCE_EDGE, linewidth=0.8, zorder=0)
            axes[1][column].set_ylabel("ratio")
        axes[0][1].set_yscale("log")
        axes[0][1].legend()
        return image


def _response(features: Features, low: float, high: float) -> np.ndarray:
    inside = (features.e_inc >= low) & (features.e_inc < high)
    return features["E_tot"][inside] / features.e_inc[inside]


def _moments(features: Features, edges: np.ndarray) -> np.ndarray:
    """E_inc [MeV], mean, its error, spread / mean, its error; shape (5, bins), NaN where few."""
    columns = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        values = _response(features, low, high)
        n = len(values)
        if n < _MIN_ENTRIES or values.mean() <= 0:
            columns.append([np.sqrt(low * high), *[np.nan] * 4])
            continue
        mean, spread = float(values.mean()), float(values.std(ddof=1))
        columns.append(
            [
                np.sqrt(low * high),
                mean,
                spread / np.sqrt(n),
                spread / mean,
                spread / mean / np.sqrt(2 * n),
            ]
        )
    return np.asarray(columns).T
