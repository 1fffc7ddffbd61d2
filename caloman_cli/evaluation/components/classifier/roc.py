"""ROC curves of classifiers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from caloman_cli.evaluation.names import legend_below
from caloman_cli.evaluation.style import GENERATED, REFERENCE_EDGE, TRUTH, figure, house_style

Curve = Mapping[str, Any]
"""``fpr``, ``tpr`` and ``tpr_std`` (None for one training), as a classifier test returns them."""


def roc_curves(
    curves: Mapping[str, tuple[Curve, Curve | None]],
    aucs: Mapping[str, tuple[float, float | None]],
    labels: tuple[str, str],
) -> Figure:
    """One panel per classifier, true over false positive rate; names below all of them.

    Args:
        curves: By mode, the curve against generated showers and that of the truth.
        aucs: By mode, the AUC of both.
        labels: What the generated showers and the truth are called.
    """
    across = min(len(curves), 4)
    down = -(-len(curves) // across)
    with house_style():
        image = figure(3.5 * across + 0.3, 3.5 * down + 0.4, "constrained")
        lines: dict[str, Line2D] = {}
        panels = image.subplots(down, across, squeeze=False).ravel()
        for ax in panels[len(curves) :]:
            ax.set_visible(False)
        for ax, (mode, (ours, truth)) in zip(panels, curves.items(), strict=False):
            (lines["chance"],) = ax.plot(
                [0, 1], [0, 1], color=REFERENCE_EDGE, linewidth=0.8, linestyle=":"
            )
            if truth is not None:
                (lines[labels[1]],) = ax.plot(
                    truth["fpr"], truth["tpr"], color=TRUTH, linestyle="--", linewidth=1.2,
                    label=_said(aucs[mode][1]),
                )  # fmt: skip
            (lines[labels[0]],) = ax.plot(
                ours["fpr"], ours["tpr"], color=GENERATED, label=_said(aucs[mode][0])
            )
            if ours["tpr_std"] is not None:
                rates, spreads = np.array(ours["tpr"]), np.array(ours["tpr_std"])
                ax.fill_between(
                    ours["fpr"],
                    rates - spreads,
                    rates + spreads,
                    color=GENERATED,
                    alpha=0.2,
                    linewidth=0,
                )
            ax.set_xlim(0, 1)
            ax.set_ylim(0, 1)
            ax.set_aspect("equal")
            ax.set_title(f"classifier {mode}", loc="left")
            ax.set_xlabel("false positive rate (generated taken for real)")
            ax.set_ylabel("true positive rate (real taken for real)")
            if ax.get_legend_handles_labels()[0]:
                ax.legend(loc="lower right")
        legend_below(image, list(lines.values()), list(lines))
        return image


def _said(auc: float | None) -> str:
    return "" if auc is None else f"AUC {auc:.3f}"
