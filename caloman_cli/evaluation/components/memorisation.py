"""Does the model replay its training file? Beside what held-out showers seem to do."""

from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caloman_cli.config.values import Several
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.names import legend_below
from caloman_cli.evaluation.space import Largest, Space, SpaceName
from caloman_cli.evaluation.style import (
    GENERATED,
    REFERENCE,
    REFERENCE_EDGE,
    figure,
    house_style,
)
from caloman_cli.metrics.memorisation import CopyTest, Nearby
from caloman_cli.metrics.samples import share_error, standardised
from caloman_cli.metrics.score import Score

SECTION = "memorisation"


class Memorisation:
    """Copies, near copies, authenticity and C_T against the training file.

    Args:
        space: ``high`` (features) or ``voxels`` (logarithms).
        k: Neighbours that the nearest training shower is compared with.
        max_showers: Of each set, spread over it. None: all.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated", "train")

    def __init__(
        self,
        space: SpaceName = "high",
        k: Several = 50,
        max_showers: Largest | None = None,
    ) -> None:
        self.space = Space(space, max_showers)
        self.test = CopyTest(k)

    def __call__(self, comparison: Comparison) -> Section:
        self.test.seed, self.test.device = comparison.seed, comparison.device
        held, ours, known = (
            self.space(comparison, showers)
            for showers in (comparison.reference, comparison.generated, comparison.train)
        )
        found, nearby = self.test.examine(held, ours, known)
        labels = comparison.reference_label, comparison.model_label
        image = nearest_figure(nearby, labels, self.test.k)
        comparison.draw("memorisation", image, _caption(self.space.words, len(known)))
        # Held-out showers in the place of the generated ones: what no copying looks like.
        scaled, rest = standardised(known, held)
        real_ct, real_error = self.test.data_copying(rest[::2], rest[1::2], scaled)
        return Section(
            scores(found, real_ct, real_error, len(held), len(ours)),
            {"generated": found, "reference_ct": real_ct},
            [
                f"Memorisation: {len(ours):,} generated showers against {len(known):,} training "
                f"showers in {self.space.words}; truth: the reference in their place."
            ],
            conditions={**self.space.conditions, "neighbours": self.test.k},
        )


def nearest_figure(nearby: Nearby, labels: tuple[str, str], k: int) -> Figure:
    """Distances to the nearest training shower, and how much nearer it is than the next ones.

    Args:
        nearby: What the test found.
        labels: Names of the held-out real and of the generated showers.
        k: Neighbours that the nearest one is compared with.
    """
    with house_style():
        image = figure(8.6, 3.7, "constrained")
        left, right = image.subplots(1, 2)
        _steps(left, (nearby.reference, nearby.generated), labels)
        left.set_xlabel("distance to the nearest training shower")
        left.set_ylabel("fraction per bin")
        _steps(right, (nearby.reference_ratios, nearby.generated_ratios), labels)
        right.axvline(nearby.limit, color="black", linewidth=0.9, linestyle="--")
        right.set_xlabel(f"that distance over the mean of the {k} nearest")
        legend_below(image, *left.get_legend_handles_labels())
        return image


def _steps(
    ax: Axes, sides: tuple[np.ndarray, np.ndarray], labels: tuple[str, str], n_bins: int = 40
) -> None:
    """Both sides in the same bins, from 0 to nearly the largest value."""
    edges = np.linspace(0, np.quantile(np.concatenate(sides), 0.995), n_bins + 1)
    real, ours = (np.histogram(values, edges)[0] / len(values) for values in sides)
    ax.stairs(real, edges, fill=True, color=REFERENCE)
    ax.stairs(real, edges, color=REFERENCE_EDGE, linewidth=0.8, label=f"{labels[0]}, held out")
    ax.stairs(ours, edges, color=GENERATED, label=labels[1])
    ax.set_xlim(0, edges[-1])
    ax.set_ylim(0)


def _caption(space: str, known: int) -> str:
    return (
        f"How near generated and held-out real showers are to the {known:,} training showers, in "
        f"{space}. Copies are at 0; left of the dashed line: near copies."
    )


def scores(
    found: dict[str, float], real_ct: float, real_error: float, n_held: int, n_ours: int
) -> list[Score]:
    """Rows of what :class:`caloman_cli.metrics.memorisation.CopyTest` found."""
    copied, real_copied = found["copies"], found["copies_reference"]
    return [
        Score(
            SECTION, "exact copies", copied, real_copied, spread=share_error(copied, n_ours),
            truth_spread=share_error(real_copied, n_held), summary=True, key="copies",
            goal="lower",
        ),
        Score(
            SECTION, "near copies", found["near_copies"], spread=found["near_copies_error"],
            summary=True, key="near_copies", goal="lower",
            note=f"{100 * found['near_copies_reference']:.2g} % of real showers by construction",
        ),
        Score(
            SECTION, "authentic [%]", found["authentic"], found["authentic_reference"],
            spread=found["authentic_error"], summary=True,
            truth_spread=100 * share_error(found["authentic_reference"] / 100, n_held),
            key="authentic", goal="truth",  # showers that are like no real one get all of them
        ),
        Score(
            SECTION, "C_T", found["ct"], real_ct, spread=found["ct_error"],
            truth_spread=real_error, summary=True, key="c_t", goal="zero",
            note="below -3: copies of training showers" if found["ct"] < -3 else "",
        ),
    ]  # fmt: skip
