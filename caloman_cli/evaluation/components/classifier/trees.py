"""What boosted trees on features say: of all, of each group alone, of the single most telling."""

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.comparison import Comparison
from caloman_cli.evaluation.components.classifier.bands import (
    band_figure,
    band_grid,
    band_rows,
)
from caloman_cli.evaluation.components.classifier.rows import SECTION, Found, spread
from caloman_cli.evaluation.names import legend_below
from caloman_cli.evaluation.style import (
    GENERATED,
    REFERENCE,
    REFERENCE_EDGE,
    TRUTH,
    figure,
    house_style,
)
from caloman_cli.metrics.classifier.scores import auc_error
from caloman_cli.metrics.classifier.tree_table import TreeTable, in_words, tree_table
from caloman_cli.metrics.classifier.tree_test import EVERY, TreeTest
from caloman_cli.metrics.score import Grid, Score

UNOFFICIAL = "not a score of the challenge"
WORDS = {
    EVERY: "all features",
    "challenge": "the challenge's features",
    "around_axis": "around the axis",
    "across_layers": "across layers",
}
BY_ENERGY = (
    "AUC of boosted trees, trained once on showers of all energies, in bands of incident energy "
    f"({UNOFFICIAL})"
)
BINS = 40
WIDTH = 44  # characters that stand below a panel


def judged(
    comparison: Comparison, repeats: int, threshold: float | None
) -> tuple[Found, Found | None]:
    """Grow trees against the generated showers and against the truth, draw what they say.

    Args:
        comparison: What is compared.
        repeats: Number of trainings.
        threshold: Readout cut [MeV]. None: the protocol's.

    Returns:
        What the test says of both; the truth's has ``telling`` of the generated showers' features
        and their bands of incident energy.
    """
    cut = comparison.protocol.classifier_threshold(comparison.geometry)
    cut = cut if threshold is None else threshold
    test, pair = TreeTest(repeats, comparison.seed), comparison.truth
    known: dict[tuple[int, bytes], TreeTable] = {}

    def table(showers: Showers, rows: np.ndarray) -> TreeTable:
        key = id(showers), rows.tobytes()
        if key not in known:  # the reference judges the truth as well
            features = comparison.classifier_features(showers, threshold)
            known[key] = tree_table(showers, cut, features, rows)
        return known[key]

    bands = None

    def of(*sides: Showers) -> tuple[Found, TreeTable, TreeTable]:
        nonlocal bands
        first, second = map(table, sides, test.rows(*sides))
        bands = bands or test.bands((first, second))  # the truth has those of the generated
        return test(*sides, threshold=cut, tables=(first, second), bands=bands), first, second

    ours, *tables = of(comparison.reference, comparison.generated)
    truth, labels = None, [comparison.reference_label, comparison.model_label]
    if pair is not None:
        truth, _, real = of(pair.reference, pair.sample)
        n_val = truth["n_val"] // 2
        truth["telling"] = [
            {**one, "auc": auc, "auc_error": auc_error(auc, n_val)}
            for one in ours["telling"]
            for auc in [truth["alone"][one["feature"]]]
        ]
        tables.append(real)
        labels.append(comparison.truth_label)
    best = {one["group"]: one for one in reversed(ours["telling"])}
    shown = [best[group] for group in ours["groups"]]
    image = histograms(shown, tables, labels)
    comparison.draw("telling_features", image, _caption(shown))
    if len(ours["bands"]) > 1:
        image = band_figure(ours, truth, WORDS, comparison.truth_label, comparison.model_label)
        comparison.draw("auc_by_energy", image, BY_ENERGY)
    for found in (ours, truth):
        if found is not None:
            del found["alone"]  # a thousand numbers for a large detector
    return ours, truth


def scores(found: Sequence[Score], ours: Found, truth: Found | None) -> list[Score]:
    """The rows of trees that see all, of each group, each band and the most telling feature.

    Args:
        found: AUC and JSD of all features.
        ours: Of the generated showers.
        truth: Of real ones, or None.
    """
    auc, jsd = (_unofficial(score) for score in found)
    of_group = [
        replace(
            auc,
            quantity=f"{auc.quantity}, {WORDS[group]}",
            generated=one["auc"],
            truth=None if truth is None else truth["groups"][group]["auc"],
            spread=spread(one, "auc"),
            truth_spread=None if truth is None else spread(truth["groups"][group], "auc"),
            key=f"{auc.key}_{group}",
            conditions={"features": one["features"]},
        )
        for group, one in ours["groups"].items()
    ]
    best = ours["telling"][0]
    real = None if truth is None else truth["telling"][0]
    single = Score(
        SECTION,
        "AUC of one feature, the most telling",
        best["auc"],
        None if real is None else real["auc"],
        spread=best["auc_error"],
        truth_spread=None if real is None else real["auc_error"],
        note=in_words(best["feature"]),
        key="auc_one_feature",
        goal="half",
    )
    in_bands = band_rows(auc, ours, truth)
    return [auc, *of_group, *in_bands, replace(jsd, summary=False), _unofficial(single)]


def tables(ours: Found, truth: Found | None, real: str) -> dict[str, Grid]:
    """The AUCs of all groups band by band; nothing for one band.

    Args:
        ours: Of the generated showers.
        truth: Of real ones, or None.
        real: What the real showers are called.
    """
    if len(ours["bands"]) == 1:
        return {}
    return {BY_ENERGY: band_grid(ours, truth, WORDS, real)}


def note(ours: Found) -> str:
    """What a reader must know of these rows."""
    named = "; ".join(
        f"{in_words(one['feature'])} ({one['auc']:.3f})" for one in ours["telling"][:3]
    )
    return (
        f"AUC trees is {UNOFFICIAL}: {ours['epochs']} rounds of boosted trees on "
        f"{ours['features']} features, {ours['n_train']:,} / {ours['n_test']:,} / "
        f"{ours['n_val']:,} showers of both classes to train, calibrate and score. Single "
        f"features that tell most, chosen on other showers than their AUC is of: {named}."
    )


def _unofficial(score: Score) -> Score:
    return replace(score, note="; ".join(filter(None, (UNOFFICIAL, score.note))))


def _caption(shown: Sequence[dict[str, Any]]) -> str:
    named = ", ".join(f"{WORDS[one['group']]}: AUC {one['auc']:.3f}" for one in shown)
    return (
        f"The feature of each group that tells most by itself ({named}; boosted trees' features, "
        f"{UNOFFICIAL})"
    )


def histograms(
    shown: Sequence[dict[str, Any]], tables: Sequence[TreeTable], labels: Sequence[str]
) -> Figure:
    """One panel a feature: the reference filled, generated showers, the truth dashed.

    Args:
        shown: Features with their ``feature``, ``group`` and ``auc``.
        tables: Of the reference, the generated showers and, where there is one, the truth.
        labels: Their names.
    """
    looks: list[dict[str, Any]] = [
        {"histtype": "stepfilled", "facecolor": REFERENCE, "edgecolor": REFERENCE_EDGE},
        {"histtype": "step", "color": GENERATED, "linewidth": 1.4},
        {"histtype": "step", "color": TRUTH, "linewidth": 1.1, "linestyle": "--"},
    ]
    with house_style():
        image = figure(3.8 * len(shown), 3.7, "constrained")
        panels = image.subplots(1, len(shown), squeeze=False)[0]
        for ax, one in zip(panels, shown, strict=True):
            columns = [table.values[:, table.names.index(one["feature"])] for table in tables]
            low, high = np.quantile(np.concatenate(columns[:2]), [0.005, 0.995])
            edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
            for values, label, look in zip(columns, labels, looks, strict=False):
                # A fraction of all showers, those outside included.
                weights = np.full(len(values), 1 / len(values))
                ax.hist(values, edges, weights=weights, label=label, **look)
            ax.set_title(f"{WORDS[one['group']]}, AUC {one['auc']:.3f}", loc="left")
            ax.set_xlabel(textwrap.fill(in_words(one["feature"]), WIDTH))
            ax.set_ylim(0)
            ax.xaxis.set_major_locator(MaxNLocator(5))
        panels[0].set_ylabel("fraction of showers")
        legend_below(image, *panels[0].get_legend_handles_labels())
        return image
