"""A variational autoencoder of latents."""

from collections.abc import Sequence

import torch
from torch import Tensor

from caloman_cli.config.values import Count, Fraction, Positive, checked
from caloman_cli.models.densities.base import Noising
from caloman_cli.models.densities.latent_variable import FIXED, LatentVariable
from caloman_cli.models.encoders.posterior import GaussianPosterior
from caloman_cli.models.kinds import Kind
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.mlp import MLP, Activation
from caloman_cli.models.nn.scaler import ScalerKind

_LOG_SIGMA = (-12.0, 6.0)  # keeps exp() and its gradient finite in float32


@checked
class VAE(LatentVariable):
    r"""p(u | c) is what a decoder makes of w ~ N(0, 1); an encoder q(w | u, c) helps to learn it.

    Loss: minus the bound :math:`E \log \frac1k \sum_k p(u | w_k, c)\, p(w_k) / q(w_k | u, c)`,
    which for one draw is the evidence lower bound. ``log_prob`` is the same with ``draws`` draws:
    on average not above log p(u | c), which it reaches as draws grow.

    Args:
        latent_dim: See :class:`LatentVariable`, as all arguments but the next.
        hidden: Hidden widths; the encoder has the same.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        samples: k of the loss.
        kl_warmup: Part of the training in which the weight of log(p(w) / q(w | u, c)) rises
            linearly from zero: else a decoder that does not use w may be all that is found.
        draws: k of ``log_prob``.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.
        noise: See :class:`Density`.
        noise_sigma: See :class:`Density`.

    References:
        Kingma, Welling (2014), Auto-encoding variational Bayes, arXiv:1312.6114.
        Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders, arXiv:1509.00519.
    """

    kind: Kind = "bound"

    def __init__(
        self,
        latent_dim: Count = 20,
        hidden: Sequence[Count] = (256, 256),
        activation: Activation = "silu",
        samples: Count = 8,
        kl_warmup: Fraction = 0.2,
        draws: Count = 64,
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        noise: Noising = "none",
        noise_sigma: Positive = 0.1,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        sizes = latent_dim, hidden, activation, draws
        scaling = scaler, prune, noise, noise_sigma
        super().__init__(*sizes, *scaling, latents=latents, c_dim=c_dim)
        self.samples, self.kl_warmup = samples, kl_warmup
        self._build(self.z_dim)

    def _build(self, dim: int) -> None:
        super()._build(dim)
        self.encoder = MLP(dim + self.c_dim, self.hidden, 2 * self.latent_dim, self.activation)

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        u, c, log_det = self.scaled(batch)
        seed = None if self.training else FIXED
        bound = self._bound(self._posterior(u, c), u, c, self.samples, seed, self._beta())
        return -(bound + log_det).mean()

    def _beta(self) -> float:
        """It rises with the training's steps; validation always takes the bound as it is."""
        if not self.training or not self.kl_warmup:
            return 1.0
        return min(self.step.progress / self.kl_warmup, 1.0)

    def _posterior(self, u: Tensor, c: Tensor) -> GaussianPosterior:
        mean, log_sigma = self.encoder(torch.cat([u, c], 1)).chunk(2, 1)
        return GaussianPosterior(mean, log_sigma.clamp(*_LOG_SIGMA).exp())

    def _some_log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        return self._bound(self._posterior(u, c), u, c, self.draws, FIXED, 1.0)
