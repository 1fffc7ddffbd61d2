"""Flow matching on straight paths from noise to latents."""

from typing import Any

import torch
from torch import Tensor

from caloman_cli.config.values import Count, Fraction, Positive, checked
from caloman_cli.models.densities.base import Noising
from caloman_cli.models.densities.denoiser import Denoiser, fixed_draws, spread_times
from caloman_cli.models.densities.ode import ODE, Solver
from caloman_cli.models.densities.velocity import VelocityNet
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.scaler import ScalerKind


@checked
class FlowMatching(Denoiser, ODE):
    r"""A rectified flow: dx/dt = v(x, t, c) carries noise (t = 0) to scaled latents (t = 1).

    The objective is :math:`E|v(x_t, t, c) - (x_1 - x_0)|^2`, summed over dimensions, with
    :math:`x_t = (1 - t) x_0 + t x_1` and a time per row. Validation uses a fixed grid of times and
    fixed noise, so that early stopping compares models and not draws.

    As a :class:`Denoiser`, whose clock runs the other way, it has signal 1 - t and noise t.

    Args:
        hidden: Width of the velocity network.
        n_blocks: Residual blocks.
        n_frequencies: Fourier features of time.
        dropout: Drop-out probability.
        steps: See :class:`ODE`.
        solver: See :class:`ODE`.
        probes: See :class:`ODE`.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.
        noise: See :class:`Density`.
        noise_sigma: See :class:`Density`.

    References:
        Lipman, Chen, Ben-Hamu, Nickel, Le (2022), Flow matching, arXiv:2210.02747.
        Liu, Gong, Liu (2022), Rectified flow, arXiv:2209.03003.
        Karras, Aittala, Aila, Laine (2022), Elucidating the design space of diffusion-based
        generative models, arXiv:2206.00364 (scaling of a network's inputs and outputs).
    """

    def __init__(
        self,
        hidden: Count = 256,
        n_blocks: Count = 3,
        n_frequencies: Count = 16,
        dropout: Fraction = 0.0,
        steps: Count = 12,
        solver: Solver = "heun",
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
        super().__init__(steps, solver, probes, *scaling, latents=latents, c_dim=c_dim)
        self.sizes = {"hidden": hidden, "n_blocks": n_blocks, "n_frequencies": n_frequencies}
        self.dropout = dropout
        self._build(self.z_dim)

    def _build(self, dim: int) -> None:
        self.velocity = VelocityNet(**self.sizes, dropout=self.dropout, dim=dim, c_dim=self.c_dim)

    def student(self) -> dict[str, Any]:
        return {**super().student(), **self.sizes}

    def signal(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def epsilon(self, u: Tensor, t: Tensor, c: Tensor) -> Tensor:
        # v is the mean of data minus noise, and u lies (1 - t) v on the data's side of the noise.
        return u - (1 - t).unsqueeze(1) * self.velocity(u, 1 - t, c)

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x1, c, _ = self.scaled(batch)
        t = spread_times(x1)
        return self._mismatch(x1, torch.randn_like(x1), t, c)

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        x1, c, _ = self.scaled(batch)
        return {"loss": self._mismatch(*fixed_draws(x1, c))}

    def _mismatch(self, x1: Tensor, x0: Tensor, t: Tensor, c: Tensor) -> Tensor:
        xt = torch.lerp(x0, x1, t.unsqueeze(1))
        return (self.velocity(xt, t, c) - (x1 - x0)).square().sum(1).mean()
