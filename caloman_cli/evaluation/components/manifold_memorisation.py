"""Which generated showers are memorised, and which the training file repeats."""

from typing import TYPE_CHECKING, Annotated, ClassVar, cast

import numpy as np
from annotated_types import Ge
from matplotlib.figure import Figure

from caloman_cli.config.values import Positive, Share, checked
from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.latents import Encoded, denoiser_of, encoded
from caloman_cli.evaluation.names import legend_below
from caloman_cli.evaluation.space import Largest
from caloman_cli.evaluation.style import GENERATED, REFERENCE_EDGE, figure, house_style
from caloman_cli.evaluation.truth import spread
from caloman_cli.metrics.manifold_memorisation import DimensionTest, Judged, Pair
from caloman_cli.metrics.score import Score

if TYPE_CHECKING:
    from caloman_cli.models.two_step import TwoStep

_SECTION = "memorised manifold"
_WORDS = {
    "overfitted": ("overfitted showers (OD-Mem)", "lower"),
    "duplicated": ("duplicated showers (DD-Mem)", "truth"),
}


@checked
class ManifoldMemorisation:
    """The local dimension that the density has around each shower, beside that of the data.

    In the space of scaled latents, at the means of the showers' posteriors.

    Args:
        k: See :class:`~caloman_cli.metrics.manifold_memorisation.DimensionTest`.
        quantile: See there.
        margin: See there.
        noise: See there.
        max_showers: Of the reference and of the generated ones, spread over each.
        max_train: Of the training file.

    References:
        Ross et al. (2024), arXiv:2411.00113.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated", "train", "model")

    def __init__(
        self,
        k: Annotated[int, Ge(3)] = 20,
        quantile: Share = 0.01,
        margin: Share = 0.5,
        noise: Positive | None = None,
        max_showers: Largest = 2000,
        max_train: Largest = 50_000,
    ) -> None:
        self.test = DimensionTest(k, quantile, margin, noise)
        self.max_showers, self.max_train = max_showers, max_train

    def require(self, model: "TwoStep") -> None:
        denoiser_of(model, "metric=manifold_memorisation")

    def __call__(self, comparison: Comparison) -> Section:
        model = cast("TwoStep", comparison.model)
        denoiser = denoiser_of(model, "metric=manifold_memorisation")
        self.test.device, self.test.dimension.seed = comparison.device, comparison.seed

        def latents(showers: Showers, most: int) -> Encoded:
            chosen = spread(showers, most)
            return encoded(model, chosen, comparison.device, comparison.seed, means=True)

        known = latents(comparison.train, self.max_train).u
        held, ours = (
            latents(showers, self.max_showers)
            for showers in (comparison.reference, comparison.generated)
        )
        judged = self.test(denoiser, known, held, ours)
        labels = comparison.reference_label, comparison.model_label
        image = dimensions_figure(judged, labels)
        comparison.draw("manifold_memorisation", image, _caption(judged))
        used: dict[str, str | float | None] = {
            "neighbours": self.test.k, "quantile": self.test.quantile, "margin": self.test.margin,
            "noise": "half the spacing" if self.test.noise is None else self.test.noise,
            "showers at most": self.max_showers, "training showers": len(known),
        }  # fmt: skip
        details = {
            "noise": judged.noise,
            "limits": judged.limits._asdict(),
            "showers": _each(judged, len(comparison.generated)),
        }
        return Section(_scores(judged), details, [_note(judged, len(known))], conditions=used)


def _scores(judged: Judged) -> list[Score]:
    scores = []
    for name, (words, goal) in _WORDS.items():
        ours, real = (
            np.asarray(getattr(flags, name)) for flags in (judged.flags, judged.held_flags)
        )
        scores.append(
            Score(
                _SECTION, words, float(ours.mean()), float(real.mean()), spread=_binomial(ours),
                truth_spread=_binomial(real), summary=True, key=f"memorised_{name}",
                goal="lower" if goal == "lower" else "truth",
            )
        )  # fmt: skip
    for name, words in {"model": "dimension of the density", "data": "of the data"}.items():
        ours, real = (getattr(pair, name) for pair in (judged.generated, judged.held))
        scores.append(
            Score(
                _SECTION, f"local {words}, median", float(np.median(ours)),
                float(np.median(real)), spread=_median_error(ours),
                truth_spread=_median_error(real), key=f"memorised_dimension_{name}", goal="truth",
            )
        )  # fmt: skip
    return scores


def _binomial(flags: np.ndarray) -> float:
    """Error of a share; of none or all, what one shower more would make."""
    share, n = float(flags.mean()), len(flags)
    return float(max(np.sqrt(share * (1 - share) / n), 1 / n))


def _median_error(values: np.ndarray) -> float:
    """Of a median, from the values around it that are a standard deviation of ranks apart."""
    tail = 0.5 / np.sqrt(len(values))
    low, high = np.quantile(values, [0.5 - tail, 0.5 + tail])
    return float(high - low) / 2


def _each(judged: Judged, n: int) -> dict[str, list[float] | list[int]]:
    """For each generated shower that was looked at: its row, both dimensions, both flags."""
    chosen = len(judged.generated.model)
    return {
        "row": [int(row) for row in np.arange(chosen) * n // chosen],
        **{name: [round(float(x), 3) for x in getattr(judged.generated, name)]
           for name in Pair._fields},
        **{name: [int(x) for x in getattr(judged.flags, name)] for name in _WORDS},
    }  # fmt: skip


def dimensions_figure(judged: Judged, labels: tuple[str, str]) -> Figure:
    """Both dimensions of each shower over the held-out medians, and the limits."""
    limits = judged.limits
    with house_style():
        image = figure(4.6, 4.4, "constrained")
        ax = image.subplots()
        for pair, colour, label in (
            (judged.held, REFERENCE_EDGE, f"{labels[0]}, held out"),
            (judged.generated, GENERATED, labels[1]),
        ):
            ax.scatter(
                pair.data / limits.data, pair.model / limits.model, s=5, color=colour,
                linewidths=0, alpha=0.5, label=label,
            )  # fmt: skip
        x = np.array([limits.least / limits.data, ax.get_xlim()[1]])
        ax.plot(x, limits.ratio * x, color="black", linewidth=0.8, linestyle=":")
        ax.axvline(x[0], color="black", linewidth=0.8, linestyle="--")
        ax.set_xlim(left=min(0.0, ax.get_xlim()[0]))
        ax.set_xlabel("local dimension of the training showers nearby")
        ax.set_ylabel("local dimension of the density")
        legend_below(image, *ax.get_legend_handles_labels())
        return image


def _caption(judged: Judged) -> str:
    return (
        "The two local dimensions of each shower, over the medians of held-out real showers "
        f"({judged.limits.data:.3g} and {judged.limits.model:.3g}): overfitted below the dotted "
        "line, duplicated left of the dashed one."
    )


def _note(judged: Judged, known: int) -> str:
    return (
        f"Memorised manifold: FLIPD at a noise of {judged.noise:.3g} against Levina and "
        "Bickel's estimate "
        f"among {known:,} training showers, in scaled latents; truth: each half of the held-out "
        "showers by the limits of the other. Flagged rows of the generated file: metrics.json."
    )
