"""What boosted trees say band by band of incident energy."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caloman_cli.evaluation.components.classifier.rows import Found, spread
from caloman_cli.evaluation.names import legend_below
from caloman_cli.evaluation.style import GENERATED, REFERENCE_EDGE, TRUTH, figure, house_style
from caloman_cli.metrics.classifier.tree_test import EVERY
from caloman_cli.metrics.score import Grid, Score, with_spread

Band = Mapping[str, Any]


def band_rows(auc: Score, ours: Found, truth: Found | None) -> list[Score]:
    """The AUC of all features in each band, as that of all energies is called; none for one band.

    Args:
        auc: Of all energies.
        ours: Of the generated showers.
        truth: Of real ones in the same bands, or None.
    """
    if len(ours["bands"]) == 1:
        return []
    rows = []
    for place, band in enumerate(ours["bands"]):
        one, real = _value(band, EVERY), None
        if truth is not None:
            real = _value(truth["bands"][place], EVERY)
        rows.append(
            replace(
                auc,
                quantity=f"{auc.quantity}, {band['band']}",
                generated=one and one[0],
                truth=real and real[0],
                spread=one and one[1],
                truth_spread=real and real[1],
                summary=False,
                key=f"{auc.key}_band_{place + 1}",
                conditions={"incident energy": band["band"]},
            )
        )
    return rows


def band_grid(ours: Found, truth: Found | None, words: Mapping[str, str], real: str) -> Grid:
    """Two lines a band, generated and real showers, a column for each group.

    Args:
        ours: Of the generated showers.
        truth: Of real ones in the same bands, or None.
        words: What the groups are called.
        real: What the real showers are called.
    """
    judges = [EVERY, *ours["groups"]]
    sides = {"generated": ours} if truth is None else {"generated": ours, real: truth}
    rows = []
    for place, band in enumerate(ours["bands"]):
        for label, found in sides.items():
            one = found["bands"][place]
            aucs = [with_spread(*(_value(one, judge) or (None, None))) for judge in judges]
            rows.append([band["band"], label, "{:,} / {:,}".format(*one["showers"]), *aucs])
    heads = ["incident energy", "showers", "judged: real / these", *(words[one] for one in judges)]
    return Grid(heads, rows, range(2, len(heads)))


def band_figure(
    ours: Found,
    truth: Found | None,
    words: Mapping[str, str],
    real: str,
    made: str = "generated",
) -> Figure:
    """AUC over incident energy, a panel for each group; bars along the energy are the bands.

    Args:
        ours: As above.
        truth: As above.
        words: As above.
        real: As above.
        made: What the generated showers are called.
    """
    judges = [EVERY, *ours["groups"]]
    with house_style():
        image = figure(2.9 * len(judges) + 0.5, 3.2, "constrained")
        panels = image.subplots(1, len(judges), squeeze=False, sharey=True)[0]
        for ax, judge in zip(panels, judges, strict=True):
            ax.axhline(0.5, color=REFERENCE_EDGE, linewidth=0.8, linestyle=":")
            if truth is not None:
                _points(ax, truth["bands"], judge, real, color=TRUTH, marker="D", markersize=3)
            look = {"color": GENERATED, "marker": "o", "markersize": 4}
            _points(ax, ours["bands"], judge, made, **look)
            ax.set_xscale("log")
            ax.set_title(words[judge], loc="left")
            ax.set_xlabel("incident energy [MeV]")
        panels[0].set_ylabel("AUC")
        legend_below(image, *panels[0].get_legend_handles_labels())
        return image


def _points(ax: Axes, bands: Sequence[Band], judge: str, label: str, **look: Any) -> None:
    known = [(band, value) for band in bands if (value := _value(band, judge)) is not None]
    middle = [(band["low"] * band["high"]) ** 0.5 for band, _ in known]
    across = [
        [at - band["low"] for at, (band, _) in zip(middle, known, strict=True)],
        [band["high"] - at for at, (band, _) in zip(middle, known, strict=True)],
    ]
    ax.errorbar(
        middle,
        [value for _, (value, _) in known],
        [error for _, (_, error) in known],
        across,
        linestyle="none",
        linewidth=1.2,
        label=label,
        **look,
    )


def _value(band: Band, judge: str) -> tuple[float, float] | None:
    """An AUC and its spread, None where too few showers have that."""
    one = band["aucs"][judge]
    return None if one is None else (one["auc"], spread(one, "auc"))
