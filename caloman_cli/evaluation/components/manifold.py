"""What the geometry of a run's latents says: a bound of its distance, signs of thin latents."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from annotated_types import Ge
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from caloman_cli.config.values import checked
from caloman_cli.errors import UserError
from caloman_cli.evaluation.comparison import Comparison, Need, Section
from caloman_cli.evaluation.latents import encoded
from caloman_cli.evaluation.names import legend_below
from caloman_cli.evaluation.style import GENERATED, REFERENCE_EDGE, figure, house_style
from caloman_cli.evaluation.truth import spread
from caloman_cli.metrics.manifold import Course, diffusability, score_course, wasserstein
from caloman_cli.metrics.score import Goal, Score

if TYPE_CHECKING:
    from caloman_cli.models.two_step import TwoStep

_SECTION = "manifold"
_SLOPES = 64  # showers whose Jacobians are taken
_BLOCK = 8  # of them at once
_NOISE = (0.01, 0.5, 12)  # of scores: least and most, in scaled latents, and how many
_EASE = {
    "directions": ("latents: share of directions in use", "higher"),
    "narrowest": ("latents: narrowest over widest direction", "higher"),
    "gaussianity": ("latents: distance of slices to a normal", "lower"),
    "roughness": ("latents: roughness of slices", "lower"),
}


class _Found(NamedTuple):
    """Of N showers: distances to their reconstructions (N,), real and drawn latents (N, D),
    conditions (N, C); of M of them: stretches of the decoded mean in latents (M, D), and its
    steepest slope in latents and conditions (M,)."""

    apart: np.ndarray
    real: np.ndarray
    drawn: np.ndarray
    c: np.ndarray
    stretched: np.ndarray
    steepest: np.ndarray


@checked
class Manifold:
    """The Wasserstein certificate, instability diagnostics and how hard latents are to learn.

    All lengths are those of the space that the encoder sees (preprocessed voxels), Euclidean, and
    of decoded means: a head that draws is further away by what it draws.

    Args:
        max_showers: Of the reference, spread over it and halved: drawn latents of one half are
            paired with real ones of the other, in a time that grows with the cube.

    References:
        Loaiza-Ganem et al. (2024), Deep generative models through the lens of the manifold
        hypothesis, arXiv:2404.02954.
    """

    needs: ClassVar[tuple[Need, ...]] = ("reference", "model")

    def __init__(self, max_showers: Annotated[int, Ge(4)] = 2000) -> None:
        self.max_showers = max_showers

    def __call__(self, comparison: Comparison) -> Section:
        from caloman_cli.models.encoders.lipschitz import lipschitz_bound

        model = cast("TwoStep", comparison.model)
        latents = model.density.latents
        if latents.kind != "real":
            raise UserError(
                "evaluation=manifold measures lengths in latent space, this run's encoder="
                f"{latents.encoder} hands over {latents}: give a run whose latents are real "
                "numbers, e.g. of encoder=vae"
            )
        found = self._found(model, comparison)
        # Two halves, so that drawn latents have other conditions, as real ones of others have.
        half = len(found.c) // 2
        real, drawn = (np.concatenate([z, found.c], 1) for z in (found.real, found.drawn))
        latent = wasserstein(real[:half], drawn[half : 2 * half])
        floor = wasserstein(real[:half], real[half : 2 * half])
        certified = lipschitz_bound(model.encoder)
        steepest = float(found.steepest.max()) if certified is None else certified
        scores = _certificate(found, latent, floor, steepest, certified is not None)
        scores += _instability(model, comparison, found)
        ease = diffusability(found.real, comparison.seed)
        for name, value in ease._asdict().items():
            words, goal = _EASE[name]
            scores.append(
                Score(_SECTION, words, value, key=f"manifold_{name}", goal=cast(Goal, goal))
            )
        labels = comparison.reference_label, comparison.model_label
        comparison.draw("manifold", manifold_figure(found, labels), _CAPTION)
        details: dict[str, Any] = {
            "certified": certified is not None,
            "steepest slope seen": float(found.steepest.max()),
            "diffusability": ease._asdict(),
        }
        how = _CERTIFIED if certified is not None else _ESTIMATED
        used: dict[str, str | float | None] = {"showers": len(found.apart)}
        return Section(scores, details, [_NOTE + how], conditions=used)

    def _found(self, model: "TwoStep", comparison: Comparison) -> _Found:
        from caloman_cli.models.encoders.jacobian import jacobians
        from caloman_cli.models.noise import Noise

        encoder, device = model.encoder, comparison.device
        showers = spread(comparison.reference, self.max_showers)
        energies, voxels = showers.read(0, len(showers))
        rows = (torch.as_tensor(part, dtype=torch.float32, device=device)
                for part in (voxels, energies))  # fmt: skip

        def decoder(z: Tensor, c: Tensor) -> Tensor:
            mean: Tensor = encoder.head.mean(encoder.decode(z, c))
            return mean

        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(comparison.seed)
            x, c = model.preprocess(*rows)
            z = encoder.encode(x, c)
            apart = (x - decoder(z, c)).square().sum(1).sqrt()
            drawn = model.density.sample(c, Noise(comparison.seed, 0, len(c), device))
        stretched, steepest = [], []
        for start in range(0, min(_SLOPES, len(z)), _BLOCK):
            here = slice(start, min(start + _BLOCK, _SLOPES))
            joint = torch.cat([z[here], c[here]], 1)

            def of_both(joint: Tensor) -> Tensor:
                return decoder(joint[:, : z.shape[1]], joint[:, z.shape[1] :])

            slopes = jacobians(of_both, joint).detach().double()
            stretched.append(torch.linalg.svdvals(slopes[..., : z.shape[1]]))
            steepest.append(torch.linalg.matrix_norm(slopes, 2))
        parts = apart, z, drawn, c, torch.cat(stretched), torch.cat(steepest)
        return _Found(*(part.cpu().numpy() for part in parts))


def _certificate(
    found: _Found, latent: float, floor: float, steepest: float, certified: bool
) -> list[Score]:
    error = float(found.apart.std(ddof=1) / np.sqrt(len(found.apart)))
    note = "upper bound" if certified else "largest slope seen: less than the true one"
    apart = float(found.apart.mean())
    return [
        Score(_SECTION, "bound of W1", apart + steepest * latent, apart + steepest * floor,
              note="certified" if certified else "an estimate, which certifies nothing",
              summary=True, key="manifold_w1_bound", goal="lower",
              conditions={"lipschitz": "certified" if certified else "seen"}),
        Score(_SECTION, "distance to the manifold", apart, spread=error, summary=True,
              key="manifold_distance", goal="lower"),
        Score(_SECTION, "Lipschitz constant of the decoder", steepest, note=note,
              key="manifold_lipschitz", goal="lower",
              conditions={"lipschitz": "certified" if certified else "seen"}),
        Score(_SECTION, "W1 of latents", latent, floor, summary=True, key="manifold_latent_w1",
              goal="lower", note="with their conditions"),
    ]  # fmt: skip


def _instability(model: "TwoStep", comparison: Comparison, found: _Found) -> list[Score]:
    """1 / sigma_min of the decoder; how thin the density is, or how its scores grow."""
    from caloman_cli.models.densities.base import Density
    from caloman_cli.models.densities.denoiser import Denoiser
    from caloman_cli.models.densities.narrowness import narrowest_width
    from caloman_cli.models.trainable import TensorRows

    density = model.density
    least = np.maximum(found.stretched.min(1), np.finfo(np.float64).tiny)
    scores = [
        Score(_SECTION, "1 / smallest stretch of the decoder", float(np.median(1 / least)),
              key="manifold_inverse_stretch", goal="lower", note="median over showers"),
    ]  # fmt: skip
    if isinstance(density, Denoiser):
        course = latent_scores(model, comparison)
        scores += [
            Score(_SECTION, "slope of log |score|² over log noise", course.slope,
                  key="manifold_score_slope", goal="zero", note="-2: latents have no volume"),
            Score(_SECTION, "directions of the scores without width", course.directions,
                  key="manifold_thin_directions", goal="zero",
                  note=f"of {density.scaler.n_active} latents"),
        ]  # fmt: skip
    elif density.kind == "exact" and type(density).loss is Density.loss:
        c = torch.as_tensor(found.c, device=comparison.device)
        rows = TensorRows(torch.as_tensor(found.real), c, device=comparison.device)
        scores.append(
            Score(_SECTION, "narrowest width of the density", narrowest_width(density, rows),
                  key="manifold_width", goal="higher", note="of scaled latents at a condition"),
        )  # fmt: skip
    return scores


def latent_scores(model: "TwoStep", comparison: Comparison) -> Course:
    """How the learned scores of noisy latents grow where noise becomes small."""
    density: Any = model.density
    showers = spread(comparison.reference, 500)
    u, c = encoded(model, showers, comparison.device, comparison.seed)
    times = torch.linspace(0.001, 0.999, 999, device=u.device)
    noises = (density.sigma(times) / density.signal(times)).cpu().numpy()
    chosen, squares = [], []
    generator = torch.Generator(u.device).manual_seed(comparison.seed)
    epsilon = torch.randn(u.shape, generator=generator, device=u.device)
    for wanted in np.geomspace(*_NOISE):
        t = times[int(np.abs(np.log(noises / wanted)).argmin())].expand(len(u))
        a, sigma = density.signal(t)[:, None], density.sigma(t)[:, None]
        with torch.no_grad():
            found = density.epsilon(a * u + sigma * epsilon, t, c)
        chosen.append(float((sigma / a)[0]))  # of u + noise, whatever the signal
        squares.append(float((found * a / sigma).square().sum(1).mean()))
    return score_course(np.array(chosen), np.array(squares))


def manifold_figure(found: _Found, labels: tuple[str, str]) -> Figure:
    """Widths of latents, real and drawn, and what the decoder makes of a step in latent space."""
    with house_style():
        image = figure(7.4, 3.7, "constrained")
        left, right = image.subplots(1, 2)
        for z, colour, label in (
            (found.real, REFERENCE_EDGE, labels[0]), (found.drawn, GENERATED, labels[1])
        ):  # fmt: skip
            widths = np.sqrt(np.clip(np.linalg.eigvalsh(np.atleast_2d(np.cov(z.T))), 0, None))
            left.plot(np.arange(1, len(widths) + 1), widths[::-1], color=colour, label=label)
        places = np.arange(1, found.stretched.shape[1] + 1)
        low, middle, high = np.quantile(found.stretched, [0.05, 0.5, 0.95], axis=0)
        right.fill_between(places, low, high, color=GENERATED, alpha=0.25, linewidth=0)
        right.plot(places, middle, color=GENERATED)
        for ax, words in ((left, "width of latents"), (right, "stretch of the decoder")):
            ax.set_yscale("log", nonpositive="clip")
            ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            ax.set_xlabel("principal direction")
            ax.set_ylabel(words)
        legend_below(image, *left.get_legend_handles_labels())
    return image


_CAPTION = (
    "Left: widths of the latents' principal directions, of real showers and as the density draws "
    "them. Right: singular values of the decoder's Jacobian, median and 5 to 95 % of showers."
)
_NOTE = (
    "Manifold, in units of preprocessed voxels: W1(real, generated) is at most the mean distance "
    "to the decoded mean plus the decoder's Lipschitz constant times W1 of latents beside their "
    "conditions. W1 is of samples, too large by about the distance of neighbours: read it beside "
    "the truth, for which other real latents stand in the drawn ones' place. Calibration, "
    "readout cut and layer energies of the model are left out, and what a head draws. Latents: "
    "how hard posterior means are to learn; a standard normal has 1, 1, 0, 0. "
)
_CERTIFIED = "The Lipschitz constant is an upper bound, the product of spectral norms."
_ESTIMATED = (
    "The Lipschitz constant is the largest slope at single showers, since this decoder has no "
    "known upper bound: the sum is an estimate and no certificate."
)
