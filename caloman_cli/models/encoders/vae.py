"""The variational autoencoder."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from scipy.special import lambertw
from torch import Tensor
from torch.nn import functional as F

from caloman_cli.config.values import Count, Natural, NotNegative, checked
from caloman_cli.errors import UserError
from caloman_cli.models.encoders.base import LatentDim
from caloman_cli.models.encoders.learned import Learned
from caloman_cli.models.encoders.networks import Network
from caloman_cli.models.encoders.posterior import GaussianPosterior, Posterior
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.mlp import Activation

_LOG_SIGMA = (-12.0, 6.0)  # keeps exp() and its gradient finite in float32
_DELTA = (1e-6, 10.0)  # nats that a dimension may have to cost: float64 resolves no less


@checked
class VAE(Learned):
    r"""q(z | x, c) and p(x | z, c) are networks; the prior is N(0, 1).

    Loss: :math:`-E_q[\log p(x|z,c)] + \beta\, KL(q \| N(0,1))` [nats] with one reparametrised
    draw. With ``samples`` k > 1 it is the importance-weighted bound of k draws, where
    :math:`\beta` multiplies :math:`\log q - \log p(z)`. With one draw, a dimension's divergence
    counts at least ``free_bits``, which leaves that much of it free of charge and keeps the
    dimension in use. With ``delta`` no posterior is nearer to the prior than that: widths are so
    much smaller than 1 that a dimension costs :math:`\frac12 (\sigma^2 - 1 - \log \sigma^2) \ge
    \delta` in each shower, whatever its mean.

    With ``layer_latents`` there are two levels: behind the latents of a shower stand some of each
    layer, which ``density=levels`` draws layer after layer. Here they are independent of each
    other and of the shower's. How a decoder reads them, says
    :class:`~caloman_cli.models.encoders.learned.Learned`.

    Args:
        latent_dim: D, or ``auto``, which is resolved before a model is built.
        hidden: Hidden widths of the encoder; the decoder mirrors them.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        beta: Weight of the KL divergence.
        samples: k.
        conditional: Let encoder and decoder see c; CaloMan did not.
        layer_norm: Normalise hidden layers.
        free_bits: Divergence per dimension that costs nothing, mean over a batch [nats].
        delta: The least divergence per dimension of every shower [nats].
        kl_warmup: Training steps in which beta rises linearly from zero.
        augment: Train on showers rotated about the axis and mirrored at random.
        network: See :data:`~caloman_cli.models.encoders.networks.Network`.
        layer_latents: Latents of each layer beside the shower's.
        layer_free_bits: ``free_bits`` of these; None: the same.
        x_dim: V.
        c_dim: C.
        head: The distribution that the decoder parametrises.

    Raises:
        UserError: An argument is out of range.

    References:
        Kingma, Welling (2014), Auto-encoding variational Bayes, arXiv:1312.6114.
        Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders, arXiv:1509.00519.
        Kingma et al. (2016), Improving variational inference with inverse autoregressive flow
        (free bits), arXiv:1606.04934.
        Razavi et al. (2019), Preventing posterior collapse with delta-VAEs, arXiv:1901.03416.
    """

    remedy = (
        "give encoder.free_bits=0.3 (nats that each latent keeps), a lower encoder.beta or"
        " encoder.latent_dim, or more epochs"
    )

    def __init__(
        self,
        latent_dim: LatentDim = 35,
        hidden: Sequence[Count] = (512, 512, 512),
        activation: Activation = "relu",
        beta: NotNegative = 1.0,
        samples: Count = 1,
        conditional: bool = True,
        layer_norm: bool = False,
        free_bits: NotNegative = 0.0,
        delta: NotNegative = 0.0,
        kl_warmup: Natural = 0,
        augment: bool = False,
        network: Network = "mlp",
        layer_latents: Natural = 0,
        layer_free_bits: NotNegative | None = None,
        *,
        x_dim: int,
        c_dim: int,
        head: Head,
    ) -> None:
        super().__init__(
            latent_dim,
            hidden,
            activation,
            layer_norm,
            network,
            conditional=conditional,
            per_latent=2,
            layer_latents=layer_latents,
            x_dim=x_dim,
            c_dim=c_dim,
            head=head,
        )
        free = {"free_bits": free_bits, "layer_free_bits": layer_free_bits}
        for name, bits in free.items():
            if bits and samples > 1:
                raise UserError(f"encoder.{name} needs encoder.samples=1: it bounds a divergence")
        self.beta, self.samples = beta, samples
        self.free_bits, self.kl_warmup = free_bits, kl_warmup
        self.layer_free_bits = free_bits if layer_free_bits is None else layer_free_bits
        if delta and not _DELTA[0] <= delta <= _DELTA[1]:
            raise UserError(
                f"encoder.delta={delta:g}: must be from {_DELTA[0]:g} to {_DELTA[1]:g} nats, or 0"
            )
        self.widest = _widest(delta) if delta else None
        self.n_turns = head.n_turns if augment else 1

    def _posterior(self, x: Tensor, c: Tensor) -> GaussianPosterior:
        mean, log_sigma = self.encoded(x, c).chunk(2, 1)
        if self.widest is not None:  # a smooth bound: a clamp would have no gradient behind it
            log_sigma = self.widest - F.softplus(-log_sigma)
        return GaussianPosterior(mean, log_sigma.clamp(*_LOG_SIGMA).exp())

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x, c = batch
        if self.training and self.n_turns > 1:
            x = self.head.turned(x, torch.randint(self.n_turns, x.shape[:1], device=x.device))
        learned = self._posterior(x, c)
        whole = self.with_moments(learned, x, c)
        if self.samples > 1:
            return -self._importance_bound(x, c, learned, whole).mean()
        z = whole.sample()
        kl = self._paid(learned.kl().mean(0))
        return self._beta() * kl - self.head.log_prob(self.decode(z, c), x).mean()

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The loss, the reconstruction error and the divergence of the posterior [nats]."""
        return {**super().scores(batch), "kl": self._posterior(*batch).kl().sum(1).mean()}

    def _paid(self, kl: Tensor) -> Tensor:
        """What divergences (E,) count, shape (): those of layers have a threshold of their own."""
        shower, own = kl.tensor_split([self.n_shower])
        whole = shower.clamp(min=self.free_bits).sum()
        return whole + own.clamp(min=self.layer_free_bits).sum()

    def _beta(self) -> float:
        """It rises with the training's steps; validation always takes it whole."""
        if not self.training or not self.kl_warmup:
            return self.beta
        return self.beta * min((self.step.number + 1) / self.kl_warmup, 1.0)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Files of versions in which the model itself counted its steps.
        state_dict.pop(f"{prefix}steps", None)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _importance_bound(
        self, x: Tensor, c: Tensor, learned: GaussianPosterior, whole: Posterior
    ) -> Tensor:
        weights, beta, prior = [], self._beta(), _standard(learned.mean)
        for _ in range(self.samples):
            z = whole.sample()
            own = z[:, : self.n_learned]
            excess = learned.log_prob(own) - prior.log_prob(own)
            weights.append(self.head.log_prob(self.decode(z, c), x) - beta * excess)
        return torch.logsumexp(torch.stack(weights), 0) - math.log(self.samples)


def _widest(delta: float) -> float:
    """log sigma of the normal of mean 0 and of this divergence from N(0, 1), below 0."""
    return 0.5 * math.log(-lambertw(-math.exp(-1.0 - 2.0 * delta)).real)


def _standard(like: Tensor) -> GaussianPosterior:
    """N(0, 1)."""
    return GaussianPosterior(torch.zeros_like(like), torch.ones_like(like))
