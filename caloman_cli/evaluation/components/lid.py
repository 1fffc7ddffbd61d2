"""Local intrinsic dimension of real and of generated showers, in a run's latent space."""

import math
from typing import TYPE_CHECKING, ClassVar, NamedTuple, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caloman_cli.config.values import Count, Positive, Several, checked
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.latents import denoiser_of, encoded
from caloman_cli.evaluation.names import legend_below
from caloman_cli.evaluation.style import GENERATED, REFERENCE_EDGE, figure, house_style
from caloman_cli.evaluation.truth import spread
from caloman_cli.metrics.lid import Curves, LocalDimension, plateau
from caloman_cli.metrics.score import Score

if TYPE_CHECKING:
    from caloman_cli.models.two_step import TwoStep

_SECTION = "local intrinsic dimension"
_NAMES = {"flipd": "FLIPD", "denoising": "denoising loss"}


class Reading(NamedTuple):
    """Where the numbers are read off.

    Args:
        at: The number of the curves' noise.
        why: In words.
    """

    at: int
    why: str


@checked
class LID:
    """FLIPD and the denoising loss of showers' latents: curves over the noise, and their plateau.

    Latents are drawn from the showers' posteriors and scaled, as the density learned them, and
    the density is told the showers' conditions: what is counted are the directions that are left
    when incident and layer energies are known, among the latents that are learned.

    Args:
        noise: Over the signal, at which numbers are read off; the grid's nearest is taken. None:
            where the mean denoising loss of real showers is flattest.
        times: See :class:`~caloman_cli.metrics.lid.LocalDimension`.
        noise_min: See there.
        noise_max: See there.
        draws: See there.
        probes: See there.
        max_showers: Of each set, spread over it.

    References:
        Kamkari et al. (2024), arXiv:2406.03537. Yeats et al. (2025), arXiv:2510.12975.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated", "model")

    def __init__(
        self,
        noise: Positive | None = None,
        times: Several = 20,
        noise_min: Positive = 0.01,
        noise_max: Positive = 4.0,
        draws: Count = 8,
        probes: Count = 32,
        max_showers: Several = 500,
    ) -> None:
        if noise is not None and not noise_min <= noise <= noise_max:
            raise UserError(
                f"evaluation.lid.noise={noise}: must be between noise_min={noise_min} and "
                f"noise_max={noise_max}, where the curves are taken"
            )
        self.noise, self.max_showers = noise, max_showers
        self.dimension = LocalDimension(times, noise_min, noise_max, draws, probes)

    def require(self, model: "TwoStep") -> None:
        denoiser_of(model, "evaluation=lid")

    def __call__(self, comparison: Comparison) -> Section:
        model = cast("TwoStep", comparison.model)
        denoiser = denoiser_of(model, "evaluation=lid")
        self.dimension.seed = comparison.seed

        def curves(showers: Showers) -> Curves:
            chosen = spread(showers, self.max_showers)
            return self.dimension(
                denoiser, *encoded(model, chosen, comparison.device, comparison.seed)
            )

        real, ours = curves(comparison.reference), curves(comparison.generated)
        reading = self._reading(real)
        learned, latents = model.density.scaler.n_active, model.density.z_dim
        labels = comparison.reference_label, comparison.model_label
        image = lid_figure(real, ours, reading, learned, labels)
        comparison.draw("lid", image, _caption(learned))
        used: dict[str, str | float | None] = {
            "noise": "plateau" if self.noise is None else self.noise,
            "showers at most": self.max_showers,
            "latents": learned, "draws": self.dimension.draws,
        }  # fmt: skip
        sets = {
            "reference": (comparison.reference, real),
            "generated": (comparison.generated, ours),
        }
        details = {
            "noise": float(real.noise[reading.at]),
            "t": float(real.t[reading.at]),
            "curves": _means(real, ours),
            "showers": {
                name: {"row": _rows(len(showers), len(found.flipd)), **_each(found, reading)}
                for name, (showers, found) in sets.items()
            },
        }
        return Section(
            _scores(real, ours, reading),
            details,
            [_note(real, reading, learned, latents)],
            conditions=used,
        )

    def _reading(self, real: Curves) -> Reading:
        if self.noise is not None:
            return Reading(int(np.abs(np.log(real.noise / self.noise)).argmin()), "as asked for")
        found = plateau(real.noise, real.denoising.mean(0))
        why = "where the real showers' loss is flattest"
        if not found.clear:
            why += ", which is no plateau: look at the figure and set noise"
        return Reading(found.at, why)


def _scores(real: Curves, ours: Curves, reading: Reading) -> list[Score]:
    scores = []
    for name, words in _NAMES.items():
        sides = [getattr(curves, name)[:, reading.at] for curves in (ours, real)]
        (value, error), (truth, truth_error) = ((x.mean(), standard_error(x)) for x in sides)
        scores.append(
            Score(
                _SECTION, words, float(value), float(truth), spread=error,
                truth_spread=truth_error, summary=True, key=f"lid_{name}", goal="truth",
                note=f"noise {real.noise[reading.at]:.3g} of the signal",
            )
        )  # fmt: skip
    return scores


def standard_error(values: np.ndarray) -> float | None:
    """Of a mean of independent values (N,); None of a single one."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def _means(real: Curves, ours: Curves) -> list[dict[str, float]]:
    """The mean curves, a line for each noise."""
    return [
        {
            "noise": float(noise),
            "t": float(real.t[i]),
            **{
                f"{name}_{side}": float(getattr(curves, name)[:, i].mean())
                for name in _NAMES
                for side, curves in (("reference", real), ("generated", ours))
            },
        }
        for i, noise in enumerate(real.noise)
    ]


def _rows(n: int, chosen: int) -> list[int]:
    """Row numbers of the showers that were looked at."""
    return [int(row) for row in np.arange(chosen) * n // chosen]


def _each(found: Curves, reading: Reading) -> dict[str, list[float]]:
    return {
        name: [float(x) for x in getattr(found, name)[:, reading.at].round(3)] for name in _NAMES
    }


def lid_figure(
    real: Curves, ours: Curves, reading: Reading, learned: int, labels: tuple[str, str]
) -> Figure:
    """The mean curves of both, the middle 90 % of real showers, the number of latents."""
    with house_style():
        image = figure(7.2, 3.7, "constrained")
        for ax, (name, words) in zip(image.subplots(1, 2), _NAMES.items(), strict=True):
            _panel(ax, (getattr(real, name), getattr(ours, name)), real.noise, labels)
            ax.axhline(learned, color=REFERENCE_EDGE, linewidth=0.8, linestyle=":")
            ax.axvline(real.noise[reading.at], color=REFERENCE_EDGE, linewidth=0.8)
            ax.set_xlabel("noise over signal")
            ax.set_ylabel(words)
        legend_below(image, *ax.get_legend_handles_labels())
        return image


def _panel(
    ax: Axes, sides: tuple[np.ndarray, np.ndarray], noise: np.ndarray, labels: tuple[str, str]
) -> None:
    real, ours = sides
    low, high = np.quantile(real, [0.05, 0.95], axis=0)
    ax.fill_between(noise, low, high, color=REFERENCE_EDGE, alpha=0.25, linewidth=0)
    ax.plot(noise, real.mean(0), color=REFERENCE_EDGE, label=labels[0])
    ax.plot(noise, ours.mean(0), color=GENERATED, linestyle="--", label=labels[1])
    ax.set_xscale("log")


def _caption(learned: int) -> str:
    return (
        "Local intrinsic dimension against the amount of noise, mean over showers; band: the "
        f"middle 90 % of real ones; dotted: {learned} latents that are learned; vertical: where "
        "the table's numbers are read off."
    )


def _note(real: Curves, reading: Reading, learned: int, latents: int) -> str:
    flipd, loss = (float(getattr(real, name)[:, reading.at].mean()) for name in _NAMES)
    # Of Gaussian data the one is between the other and twice that, whatever the noise.
    odd = (
        "" if 0.8 * loss <= flipd <= 2.2 * loss else
        f" The two are no Gaussian's, {flipd:.3g} and {loss:.3g}: FLIPD asks the network about "
        "showers without noise, which it never saw; where they differ, believe the loss."
    )  # fmt: skip
    return (
        f"Local intrinsic dimension of {learned} learned latents of {latents}, at given incident "
        f"and layer energies; 'truth' is the reference. Read off where "
        f"the noise is {real.noise[reading.at]:.3g} of the signal, t = {real.t[reading.at]:.3g} ("
        f"{reading.why}); at another noise it is another number. Spread: of the mean over "
        f"showers.{odd}"
    )
