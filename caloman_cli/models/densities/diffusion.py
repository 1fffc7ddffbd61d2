"""A diffusion that keeps the variance: noise is added till nothing else is left, and taken off."""

import itertools
import math
from typing import Annotated, Any, Literal

import annotated_types as at
import torch
from torch import Tensor

from caloman_cli.config.values import Count, Fraction, Positive, checked
from caloman_cli.errors import UserError
from caloman_cli.models.densities.base import Noising
from caloman_cli.models.densities.denoiser import Denoiser, fixed_draws, spread_times
from caloman_cli.models.densities.ode import ODE
from caloman_cli.models.densities.velocity import VelocityNet
from caloman_cli.models.kinds import weakest
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.scaler import ScalerKind
from caloman_cli.models.noise import Noise

_BEND = 1.5  # more than 1: solver steps are short where little noise is left
_LEFT = 0.05  # of the signal, at most, where sampling begins with noise alone


@checked
class Diffusion(Denoiser, ODE):
    r"""Learns the noise in :math:`u_t = a(t) u_0 + \sigma(t) \epsilon`, with a^2 + sigma^2 = 1.

    :math:`a(t) = \exp(-\frac12 \int_0^t \beta)` with beta rising from ``beta_min`` to
    ``beta_max`` while t runs from 0 to 1. The objective is :math:`E|\hat\epsilon(u_t, t, c) -
    \epsilon|^2`, summed over dimensions, with a time per row. Validation uses fixed times and
    noise.

    With :math:`a = \cos\phi` and :math:`\sigma = \sin\phi` the probability flow is
    :math:`du/d\phi = a \hat\epsilon - \sigma \hat u_0`, whatever the betas. As an :class:`ODE`,
    whose time runs from noise to data, it has :math:`\phi \propto (1 - t)^{1.5}`: solver steps
    are shorter where there is little noise left. The network predicts neither noise nor latents
    but their difference, from which both follow, so that at no time one is divided by nothing.

    Args:
        hidden: Width of the network.
        n_blocks: Residual blocks.
        n_frequencies: Fourier features of the signal's share.
        dropout: Drop-out probability.
        beta_min: Rate at which noise is added at t = 0.
        beta_max: The same at t = 1.
        steps: Solver steps.
        solver: ``heun`` or ``midpoint`` (two network evaluations a step), ``euler`` or ``ddim``
            (one). ``ddim`` turns u as if noise and latents were where the network says; its
            ``log_prob`` and a distillation follow ``heun``.
        eta: Of ``ddim``: 0 solves the ODE, 1 puts as much fresh noise in each step as DDPM; then
            ``log_prob``, which is the ODE's, is no more than a score.
        probes: See :class:`ODE`.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.
        noise: See :class:`Density`.
        noise_sigma: See :class:`Density`.

    Raises:
        UserError: A number is out of range, the betas fall or leave signal at t = 1, or ``eta``
            is given to a solver that draws nothing.

    References:
        Ho, Jain, Abbeel (2020), Denoising diffusion probabilistic models, arXiv:2006.11239.
        Song, Meng, Ermon (2020), Denoising diffusion implicit models, arXiv:2010.02502.
        Song et al. (2020), Score-based generative modeling through stochastic differential
        equations, arXiv:2011.13456 (probability flow).
        Salimans, Ho (2022), Progressive distillation, arXiv:2202.00512 (angles).
    """

    def __init__(
        self,
        hidden: Count = 256,
        n_blocks: Count = 3,
        n_frequencies: Count = 16,
        dropout: Fraction = 0.0,
        beta_min: Positive = 0.1,
        beta_max: Positive = 20.0,
        steps: Count = 18,
        solver: Literal["heun", "midpoint", "euler", "ddim"] = "heun",
        eta: Annotated[float, at.Ge(0), at.Le(1)] = 0.0,
        probes: Count = 32,
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        noise: Noising = "none",
        noise_sigma: Positive = 0.1,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        scaling = scaler, prune, noise, noise_sigma
        along = "heun" if solver == "ddim" else solver
        super().__init__(steps, along, probes, *scaling, latents=latents, c_dim=c_dim)
        self.sizes = {"hidden": hidden, "n_blocks": n_blocks, "n_frequencies": n_frequencies}
        self.dropout = dropout
        self.beta_min, self.beta_max, self.ddim, self.eta = (
            beta_min,
            beta_max,
            solver == "ddim",
            eta,
        )
        left = math.exp(-0.25 * (beta_min + beta_max))
        if beta_max < beta_min or left > _LEFT:
            raise UserError(
                f"density.beta_min={beta_min:g} and beta_max={beta_max:g} leave {left:.0%} of the "
                f"signal where there should be noise alone: betas rise, to a sum of 12 or more"
            )
        if eta and not self.ddim:
            raise UserError(f"density.eta={eta:g} is of density.solver=ddim, not of {solver}")
        if eta:
            self.kind = weakest(self.kind, "score")
        self.farthest = math.acos(left)  # phi where sampling begins
        self._build(self.z_dim)

    def _build(self, dim: int) -> None:
        self.network = VelocityNet(**self.sizes, dropout=self.dropout, dim=dim, c_dim=self.c_dim)

    def student(self) -> dict[str, Any]:
        return {**super().student(), **self.sizes}

    def weights(self) -> dict[str, Tensor]:
        return self.network.state_dict()

    def time(self, t: Tensor) -> Tensor:
        # The integral of beta is -2 log a, and t the root of its polynomial.
        rates = -2 * torch.log(self._angle(t).cos())
        rise = self.beta_max - self.beta_min
        return 2 * rates / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * rise * rates))

    def signal(self, t: Tensor) -> Tensor:
        return torch.exp(-0.5 * self._rates(t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(-self._rates(t)))

    def epsilon(self, u: Tensor, t: Tensor, c: Tensor) -> Tensor:
        return self._parts(u, self.signal(t), self.sigma(t), c)[1]

    def velocity(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """du/dt of the probability flow, shapes as in :class:`ODE`."""
        phi = self._angle(t)
        a, sigma = phi.cos(), phi.sin()
        latents, noise = self._parts(x, a, sigma, c)
        speed = -_BEND * self.farthest * (1 - t) ** (_BEND - 1)
        turned = a.unsqueeze(1) * noise - sigma.unsqueeze(1) * latents
        return speed.unsqueeze(1) * turned

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        u, c, _ = self.scaled(batch)
        t = spread_times(u)
        return self._mismatch(u, torch.randn_like(u), t, c)

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        u, c, _ = self.scaled(batch)
        return {"loss": self._mismatch(*fixed_draws(u, c))}

    def _mismatch(self, u: Tensor, noise: Tensor, t: Tensor, c: Tensor) -> Tensor:
        a, sigma = self.signal(t).unsqueeze(1), self.sigma(t).unsqueeze(1)
        return (self.epsilon(a * u + sigma * noise, t, c) - noise).square().sum(1).mean()

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        if not self.ddim:
            return super()._sample(c, noise)
        x = noise.normal(self.scaler.n_active).to(c)
        angles = self._angle(torch.linspace(0, 1, self.steps + 1, dtype=c.dtype, device=c.device))
        for now, then in itertools.pairwise(angles):
            a, sigma, b, rho = now.cos(), now.sin(), then.cos(), then.sin()
            latents, missing = self._parts(x, a.expand(len(x)), sigma.expand(len(x)), c)
            fresh = self.eta * rho / sigma * torch.sqrt(1 - (a / b).square())
            x = b * latents + torch.sqrt(rho.square() - fresh.square()) * missing
            if self.eta:
                x = x + fresh * noise.normal(self.scaler.n_active).to(c)
        return x

    def _parts(self, u: Tensor, a: Tensor, sigma: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The means of latents and noise (B, A) in u (B, A), where these have a, sigma (B,)."""
        share = a / (a + sigma)
        x = u / (a + sigma).unsqueeze(1)
        # x lies on the straight line from noise (share 0) to latents (share 1).
        difference = self.network(x, share, c)
        share = share.unsqueeze(1)
        return x + (1 - share) * difference, x - share * difference

    def _rates(self, t: Tensor) -> Tensor:
        """The integral of beta from 0 to t."""
        return t * (self.beta_min + 0.5 * t * (self.beta_max - self.beta_min))

    def _angle(self, t: Tensor) -> Tensor:
        """phi at the ODE's times."""
        return self.farthest * (1 - t) ** _BEND
