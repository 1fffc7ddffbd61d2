"""An unconditional density that is made to answer conditions."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from caloman_cli.config.options import option_of
from caloman_cli.config.values import Count, Natural, Positive, checked
from caloman_cli.errors import UserError
from caloman_cli.models.densities.base import Density
from caloman_cli.models.densities.ode import ODE
from caloman_cli.models.densities.unconditional import Unconditional
from caloman_cli.models.kinds import weakest
from caloman_cli.models.latents import ANOTHER_PART, Latents
from caloman_cli.models.nn.clusters import chosen
from caloman_cli.models.nn.langevin import FEW_ROWS, mala
from caloman_cli.models.nn.mlp import MLP, Activation
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource

_LEAST_TAU = 0.02  # below, walks would hardly move
_FORGET = 0.05  # share of a batch in the widths
_LOG_SIGMA = (-7.0, 3.0)


@checked
class TR0N(Unconditional):
    r"""p(z | c) out of a density p(z) that knows no condition, and of what latents say of c.

    Three parts learn at once and do not see each other's gradients:

    - ``part``, an unconditional density of latents; that of a finished run of
      ``density=unconditional`` where ``run`` names one, as it is;
    - a regressor r, :math:`p(c | z) = N(r(z), \tau)`, where :math:`\tau` of each condition follows
      from what r misses;
    - a translator q(z | c), a mixture of normals that learns from latents and what r says of
      them, so that it answers as r asks.

    A sample begins where the translator says and goes on with Langevin steps, each by Metropolis'
    rule, down :math:`E(z) = -\log p(z) - \log p(c | z)`: the posterior of z given c. The published
    model has no :math:`\log p(z)` in its energy and takes no Metropolis' rule, and its conditions
    are what a frozen classifier says of pictures. ``log_prob`` is -E, which lacks log p(c).

    Args:
        part: The unconditional density; with ``run``, ``caloman train`` sets it to the run's.
        run: Directory or model file of a finished run over the same latents, whose density is
            taken over when the training begins and stays what it is. Read by then only: the
            trained model has all of it.
        hidden: Hidden widths of the regressor; none makes it affine.
        width: Of the translator's network.
        components: Of its mixture.
        activation: Of both networks.
        steps: Langevin steps of a sample.
        size: Of a step, over the energy's curvature where a walk begins.
        latents: See :class:`Density`.
        c_dim: See :class:`Density`.

    Raises:
        UserError: ``part`` has no log_prob, or learns with several players.

    References:
        Liu, Vouitsis, Gorti, Ba, Loaiza-Ganem (2023), TR0N: translator networks for 0-shot
        plug-and-play conditional generation, arXiv:2304.13742.
        Nguyen et al. (2017), Plug and play generative networks, arXiv:1612.00005.
    """

    variance: Tensor
    taken_over = False

    def __init__(
        self,
        part: Callable[..., Density],
        run: str | None = None,
        hidden: Sequence[Count] = (128, 128),
        width: Count = 256,
        components: Count = 10,
        activation: Activation = "silu",
        steps: Natural = 50,
        size: Positive = 0.3,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        self.run = run
        self.steps, self.size, self.components = steps, size, components
        self.hidden, self.width, self.activation = hidden, width, activation
        super().__init__(part, latents=latents, c_dim=c_dim)
        self.kind, self.needs_grad = weakest("score", self.part.kind), True

    def _build(self, dim: int) -> None:
        super()._build(dim)
        if self.part.kind == "none" or (len(self.part.players) > 1 and self.run is None):
            raise UserError(
                f"density=tr0n walks down log_prob and learns with one player, which "
                f"density.part={option_of('density', self.part)} does not have: {ANOTHER_PART}"
            )
        if self.run is not None:
            self.part.requires_grad_(False)
        self.regressor = MLP(dim, self.hidden, max(self.c_dim, 1), self.activation)
        self.register_buffer("variance", torch.ones(self.c_dim))
        wide = self.components * (1 + 2 * dim)
        self.translator = MLP(max(self.c_dim, 1), [self.width] * 2, wide, self.activation)

    @property
    def players(self) -> Mapping[str, int]:  # type: ignore[override]
        return MappingProxyType({"model": 1})

    def player_parameters(self, player: str) -> list[nn.Parameter]:
        return Density.player_parameters(self, player)

    def take_over(self, density: Unconditional) -> None:
        """Scaling and density of a finished run; what is prepared later leaves them alone."""
        parts = ("scaler.", "part.")
        state = {k: v for k, v in density.state_dict().items() if k.startswith(parts)}
        self.load_state_dict(state, strict=False)
        self.taken_over = True

    def prepare(self, train: RowSource) -> None:
        if self.taken_over:
            return
        if self.run is not None:
            raise UserError(
                f"density.run={self.run} has not been taken over: 'caloman train' does that for "
                "the density of the model itself, in Python take_over does"
            )
        super().prepare(train)

    def averaged_buffers(self) -> list[Tensor]:
        return [self.variance, *([] if self.run else self.part.averaged_buffers())]

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        u, c, _ = self.scaled(batch)
        told = self._told(u, c)
        return told if self.run else told + self.part.loss((u, c[:, :0]))

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The sum of the parts that learn, and that of the unconditional density."""
        u, c, _ = self.scaled(batch)
        part = self.part.scores((u, c[:, :0]))["loss"]
        told = self._told(u, c)
        return {"loss": told if self.run else told + part, "part": part}

    def _told(self, u: Tensor, c: Tensor) -> Tensor:
        """What regressor and translator lose [nats]."""
        said = self._said(u)
        if self.training:
            missed = (c - said.detach()).square().mean(0)
            self.variance.lerp_(missed, _FORGET)
        tau = self._tau()
        loss = -_normal(c, said, tau).sum(1).mean()
        generator = None if self.training else torch.Generator(u.device).manual_seed(0)
        epsilon = torch.randn(c.shape, generator=generator, device=c.device)
        return loss - self._translated(u, (said + tau * epsilon).detach()).mean()

    def _said(self, u: Tensor) -> Tensor:
        """What latents say of conditions, (B, C)."""
        return self.regressor(u)[:, : self.c_dim]

    def _tau(self) -> Tensor:
        return self.variance.sqrt().clamp(min=_LEAST_TAU)

    def _mixture(self, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights (B, K), means and widths (B, K, A) of where walks begin."""
        seen = c if self.c_dim else c.new_zeros(len(c), 1)
        raw = self.translator(seen)
        weights, rest = raw[:, : self.components], raw[:, self.components :]
        means, widths = rest.unflatten(1, (self.components, -1)).chunk(2, 2)
        return weights.log_softmax(1), means, widths.clamp(*_LOG_SIGMA).exp()

    def _translated(self, u: Tensor, c: Tensor) -> Tensor:
        """log q(u | c), (B,)."""
        weights, means, widths = self._mixture(c)
        return (weights + _normal(u.unsqueeze(1), means, widths).sum(2)).logsumexp(1)

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        with torch.no_grad():
            weights, means, widths = self._mixture(c)
            one = torch.arange(len(c), device=c.device), chosen(weights, noise.uniform(1))
            u = means[one] + widths[one] * noise.normal(means.shape[2]).to(c)
            size = self.size / self._curvature(u)
        rows = FEW_ROWS if isinstance(self.part, ODE) else max(len(c), 1)
        parts = zip(u.split(rows), c.split(rows), size.split(rows), strict=True)
        walked = [
            self._walked(here, known, h, noise.part(i * rows, i * rows + len(here)))
            for i, (here, known, h) in enumerate(parts)
        ]
        return torch.cat(walked)

    def _walked(self, u: Tensor, c: Tensor, size: Tensor, noise: Noise) -> Tensor:
        return mala(lambda at: -self._log_prob(at, c), u, noise, self.steps, size)[0]

    def _curvature(self, u: Tensor) -> Tensor:
        """An upper bound of the energy's, were latents standard normal and r affine, (B, 1)."""
        found = u.new_ones(len(u), 1)
        with torch.enable_grad():
            at = u.detach().requires_grad_()
            said = self._said(at) / self._tau()
            for i in range(self.c_dim):
                (slope,) = torch.autograd.grad(said[:, i].sum(), at, retain_graph=True)
                found = found + slope.square().sum(1, keepdim=True)
        return found

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        told = _normal(c, self._said(u), self._tau()).sum(1)
        return self.part.log_prob(u, c[:, :0]) + told


def _normal(x: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """Log-densities of independent normals [nats]."""
    return -0.5 * (((x - mean) / sigma).square() + math.log(2 * math.pi)) - sigma.log()
