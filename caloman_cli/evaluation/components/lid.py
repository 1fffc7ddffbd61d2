"""Local intrinsic dimension of real and of generated showers, in a run's latent space."""

import math
from typing import TYPE_CHECKING, ClassVar, NamedTuple, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caloman_cli.config.values import Count, Several, Share, checked
from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.latents import denoiser_of, encoded
from caloman_cli.evaluation.style import GENERATED, REFERENCE_EDGE, figure, house_style
from caloman_cli.evaluation.truth import spread
from caloman_cli.metrics.lid import Curves, LocalDimension, knee
from caloman_cli.metrics.score import Score

if TYPE_CHECKING:
    from caloman_cli.models.two_step import TwoStep

_SECTION = "local intrinsic dimension"
_NAMES = {"flipd": "FLIPD", "denoising": "denoising loss"}


class Reading(NamedTuple):
    """Where the numbers are read off.

    Args:
        at: The number of the curves' time.
        why: In words.
    """

    at: int
    why: str


@checked
class LID:
    """FLIPD and the denoising loss of showers' latents, their curves over the noise, and a knee.

    Latents are drawn from the showers' posteriors and scaled, as the density learned them, and
    the density is told the showers' conditions: what is counted are the directions that are left
    when incident and layer energies are known, among the latents that are learned.

    Args:
        t0: Amount of noise at which numbers are read off; the grid's nearest is taken. None: the
            knee of the mean denoising loss of real showers.
        times: See :class:`~caloman_cli.metrics.lid.LocalDimension`.
        t_min: See there.
        t_max: See there.
        draws: See there.
        probes: See there.
        max_showers: Of each set, spread over it.

    References:
        Kamkari et al. (2024), arXiv:2406.03537. Yeats et al. (2025), arXiv:2510.12975.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "generated", "model")

    def __init__(
        self,
        t0: Share | None = None,
        times: Several = 20,
        t_min: Share = 0.01,
        t_max: Share = 0.8,
        draws: Count = 8,
        probes: Count = 32,
        max_showers: Several = 500,
    ) -> None:
        self.t0, self.max_showers = t0, max_showers
        self.dimension = LocalDimension(times, t_min, t_max, draws, probes)

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
        comparison.draw("lid", lid_figure(real, ours, reading, learned), _caption(learned))
        used: dict[str, str | float | None] = {
            "t0": "knee" if self.t0 is None else self.t0, "showers at most": self.max_showers,
            "latents": learned, "draws": self.dimension.draws,
        }  # fmt: skip
        sets = {
            "reference": (comparison.reference, real),
            "generated": (comparison.generated, ours),
        }
        details = {
            "t0": float(real.t[reading.at]),
            "noise over signal": float(real.noise[reading.at]),
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
        if self.t0 is not None:
            return Reading(int(np.abs(np.log(real.t / self.t0)).argmin()), "as asked for")
        found = knee(real.t, real.denoising.mean(0))
        straight = "the curve is straight, there is no knee: look at the figure and set t0"
        why = "the knee of the real showers' denoising loss" if found.clear else straight
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
                note=f"t0 = {real.t[reading.at]:.3g}",
            )
        )  # fmt: skip
    return scores


def standard_error(values: np.ndarray) -> float | None:
    """Of a mean of independent values (N,); None of a single one."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def _means(real: Curves, ours: Curves) -> list[dict[str, float]]:
    """The mean curves, a line for each time."""
    return [
        {
            "t": float(t),
            "noise over signal": float(real.noise[i]),
            **{
                f"{name}_{side}": float(getattr(curves, name)[:, i].mean())
                for name in _NAMES
                for side, curves in (("reference", real), ("generated", ours))
            },
        }
        for i, t in enumerate(real.t)
    ]


def _rows(n: int, chosen: int) -> list[int]:
    """Row numbers of the showers that were looked at."""
    return [int(row) for row in np.arange(chosen) * n // chosen]


def _each(found: Curves, reading: Reading) -> dict[str, list[float]]:
    return {
        name: [float(x) for x in getattr(found, name)[:, reading.at].round(3)] for name in _NAMES
    }


def lid_figure(real: Curves, ours: Curves, reading: Reading, learned: int) -> Figure:
    """The mean curves of both, the middle 90 % of real showers, the number of latents."""
    with house_style():
        image = figure(7.2, 3.4, "constrained")
        for ax, (name, words) in zip(image.subplots(1, 2), _NAMES.items(), strict=True):
            _panel(ax, getattr(real, name), getattr(ours, name), real.t)
            ax.axhline(learned, color=REFERENCE_EDGE, linewidth=0.8, linestyle=":")
            ax.axvline(real.t[reading.at], color=REFERENCE_EDGE, linewidth=0.8)
            ax.set_xlabel("noise t")
            ax.set_ylabel(words)
        ax.legend()
        return image


def _panel(ax: Axes, real: np.ndarray, ours: np.ndarray, t: np.ndarray) -> None:
    low, high = np.quantile(real, [0.05, 0.95], axis=0)
    ax.fill_between(t, low, high, color=REFERENCE_EDGE, alpha=0.25, linewidth=0)
    ax.plot(t, real.mean(0), color=REFERENCE_EDGE, label="real")
    ax.plot(t, ours.mean(0), color=GENERATED, linestyle="--", label="generated")
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
        f"and layer energies; 'truth' is the reference. Read off at t = "
        f"{real.t[reading.at]:.3g}, where noise is {real.noise[reading.at]:.3g} of the "
        f"signal ({reading.why}); at another noise it is another number. Spread: of the mean over "
        f"showers.{odd}"
    )
