"""A flow that learns where its own paths lead, and goes there at once."""

import torch
from torch import Tensor

from caloman_cli.config.values import Count, Fraction, Positive, checked
from caloman_cli.models.densities.base import Noising
from caloman_cli.models.densities.denoiser import fixed_draws, spread_times
from caloman_cli.models.densities.flow_matching import FlowMatching
from caloman_cli.models.densities.ode import Solver
from caloman_cli.models.densities.velocity import AverageVelocityNet
from caloman_cli.models.kinds import Kind
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.forward_mode import jvp
from caloman_cli.models.nn.scaler import ScalerKind
from caloman_cli.models.noise import Noise

_SILVER = 0.41421356237309515  # no ratio with the golden one: both ends of spans are even


@checked
class MeanFlow(FlowMatching):
    r"""A rectified flow that knows its velocity's average u(x, t, r, c) from any t to any r > t.

    Noise becomes latents in ``steps`` jumps :math:`x_r = x_t + (r - t)\, u(x_t, t, r, c)`, by
    default one, and no teacher is needed. Along a path :math:`u = v + (r - t)\, du/dt`, where the
    total derivative is taken at fixed r and v is u where r is t. So the objective is that of flow
    matching, for what u says of the velocity:

    .. math:: E|u - (r - t)\, \mathrm{sg}(\partial_x u\, u(x_t, t, t, c) + \partial_t u)
       - (x_1 - x_0)|^2

    summed over dimensions, without weights; sg passes no gradients. Half of the rows have r = t.

    ``log_prob`` is that of the ODE with the velocity u(x, t, t, c): what the jumps aim at, and no
    density of what they draw.

    Args:
        hidden: Width of the network.
        n_blocks: Residual blocks.
        n_frequencies: Fourier features of t, and of r - t: few, since the loss has the network's
            slope in time, which high frequencies make so large that nothing is learned.
        dropout: Drop-out probability.
        steps: Jumps, and network evaluations, of a sample.
        ode_steps: Solver steps of ``log_prob`` and of a distillation.
        solver: Theirs, see :class:`ODE`.
        probes: See :class:`ODE`.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.
        noise: See :class:`Density`.
        noise_sigma: See :class:`Density`.

    References:
        Geng, Deng, Bai, Kolter, He (2025), Mean flows for one-step generative modeling,
        arXiv:2505.13447.
        Geng et al. (2025), Improved mean flows, arXiv:2512.02012 (loss of the velocity, and the
        network's own velocity in the derivative).
    """

    kind: Kind = "score"
    velocity: AverageVelocityNet

    def __init__(
        self,
        hidden: Count = 256,
        n_blocks: Count = 3,
        n_frequencies: Count = 2,
        dropout: Fraction = 0.0,
        steps: Count = 1,
        ode_steps: Count = 12,
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
        sizes = hidden, n_blocks, n_frequencies, dropout
        scaling = scaler, prune, noise, noise_sigma
        super().__init__(*sizes, ode_steps, solver, probes, *scaling, latents=latents, c_dim=c_dim)
        self.jumps = steps

    def _build(self, dim: int) -> None:
        shape = {"dim": dim, "c_dim": self.c_dim}
        self.velocity = AverageVelocityNet(**self.sizes, dropout=self.dropout, **shape)

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x1, c, _ = self.scaled(batch)
        t, other = spread_times(x1), torch.rand(len(x1), device=x1.device)
        return self._missed(x1, torch.randn_like(x1), t, other, c)

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """``loss``, and ``flow``, that of flow matching alone."""
        x1, c, _ = self.scaled(batch)
        x1, x0, t, c = fixed_draws(x1, c)
        other = torch.arange(len(x1), device=x1.device, dtype=torch.float64) * _SILVER % 1
        flow = self._mismatch(x1, x0, t, c)
        return {"loss": self._missed(x1, x0, t, other.to(x1), c), "flow": flow}

    def _missed(self, x1: Tensor, x0: Tensor, t: Tensor, other: Tensor, c: Tensor) -> Tensor:
        """The loss; every other row leads from one of its two times to the other."""
        here = torch.arange(len(t), device=t.device) % 2 == 0
        start = torch.where(here, t, torch.minimum(t, other))
        end = torch.where(here, t, torch.maximum(t, other))
        xt = torch.lerp(x0, x1, start.unsqueeze(1))
        wanted = x1 - x0
        at_once = self.velocity(xt[here], start[here], c[here])
        way = [value[~here] for value in (xt, start, end, c)]
        missed = (at_once - wanted[here]).square().sum()
        missed = missed + (self.implied(*way) - wanted[~here]).square().sum()
        return missed / len(t)

    def implied(self, x: Tensor, t: Tensor, r: Tensor, c: Tensor) -> Tensor:
        """What the average from t to r says of the velocity at t: u - (r - t) du/dt, (B, A)."""
        with torch.no_grad():
            velocity = self.velocity(x, t, c)

        def average(x: Tensor, t: Tensor) -> Tensor:
            return self.velocity.average(x, t, r, c)

        found, slope = jvp(average, (x, t), (velocity, torch.ones_like(t)))
        return found - (r - t).unsqueeze(1) * slope.detach()

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        x = noise.normal(self.scaler.n_active).to(c)
        for i in range(self.jumps):
            t, r = (x.new_full((len(x),), time / self.jumps) for time in (i, i + 1))
            x = x + self.velocity.average(x, t, r, c) / self.jumps
        return x
