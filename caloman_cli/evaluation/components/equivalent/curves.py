"""Distances of real and of generated showers against their number, and their picture."""

from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.figure import Figure

from caloman_cli.evaluation.components.equivalent.words import by_distance, worth
from caloman_cli.evaluation.names import legend_below
from caloman_cli.evaluation.style import (
    GENERATED,
    REFERENCE_EDGE,
    SECOND,
    TRUTH,
    figure,
    house_style,
)
from caloman_cli.metrics.equivalent import ALL, Equivalent
from caloman_cli.metrics.ks_curve import Crossing, Curve

CAPTION = (
    "Mean Kolmogorov-Smirnov distance from the reference against the number of showers: a model's "
    "stays where its bias begins"
)


@dataclass(frozen=True)
class NumberCurves:
    """Both curves and where they meet.

    Args:
        real: Of independent real showers.
        made: Of the generated ones.
        meet: By group of features, real showers with the last distance of the generated ones.
    """

    real: Curve
    made: Curve
    meet: Mapping[str, Crossing]


def ks_figure(
    curves: NumberCurves, found: Equivalent, n_train: float, labels: tuple[str, str]
) -> Figure:
    """Mean distance of all features over the number of showers, and what both answers are.

    Args:
        curves: The distances.
        found: What the generated showers are worth by their bias.
        n_train: How many showers the model learned from.
        labels: What the real and the generated showers are called.
    """
    real, made, meet = curves.real, curves.made, curves.meet[ALL]
    with house_style():
        image = figure(6.4, 4.9, "constrained")
        ax = image.subplots()
        law = f"$\\propto \\sqrt{{1/N + 1/{real.references}}}$"
        ax.plot(real.numbers, real.law(), "--", color=REFERENCE_EDGE, linewidth=1.0, label=law)
        for curve, name, colour in ((real, labels[0], TRUTH), (made, labels[1], GENERATED)):
            ax.plot(
                curve.numbers, curve.groups[ALL], color=colour, marker="o", markersize=3.5,
                linewidth=1.2, label=name,
            )  # fmt: skip
        ax.axhline(made.groups[ALL][-1], color=GENERATED, linewidth=0.6, alpha=0.6)
        lines = [(n_train, f"{n_train:,.0f} to learn from", "0.2", ":")]
        if found.showers is not None:
            lines.append((found.showers, f"worth {worth(found)}, by bias", GENERATED, "-"))
        lines.append((meet.showers, f"worth {by_distance(meet)}, by KS", SECOND, "-."))
        for place, words, colour, style in lines:
            ax.axvline(place, color=colour, linewidth=1.0, linestyle=style, label=words)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("showers N")
        ax.set_ylabel("mean KS distance, all features")
        legend_below(image, *ax.get_legend_handles_labels())
        return image
