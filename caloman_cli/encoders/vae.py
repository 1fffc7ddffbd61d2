"""The variational autoencoder."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from caloman_cli.encoders.base import Encoder, Posterior, checked_latent_dim
from caloman_cli.errors import UserError
from caloman_cli.heads.base import Head
from caloman_cli.nn.mlp import MLP

_LOG_SIGMA = (-12.0, 6.0)  # keeps exp() and its gradient finite in float32


class VAE(Encoder):
    r"""q(z | x, c) and p(x | z, c) are perceptrons; the prior is N(0, 1).

    Loss: :math:`-E_q[\log p(x|z,c)] + \beta\, KL(q \| N(0,1))` [nats] with one reparametrised
    draw. With ``samples`` k > 1 it is the importance-weighted bound of k draws, where
    :math:`\beta` multiplies :math:`\log q - \log p(z)`.

    Args:
        latent_dim: D, or ``auto``, which is resolved before a model is built.
        hidden: Hidden widths of the encoder; the decoder mirrors them.
        activation: See :data:`caloman_cli.nn.mlp.ACTIVATIONS`.
        beta: Weight of the KL divergence.
        samples: k.
        conditional: Let encoder and decoder see c; CaloMan did not.
        x_dim: V.
        c_dim: C.
        head: The distribution that the decoder parametrises.

    Raises:
        UserError: An argument is out of range.

    References:
        Kingma, Welling (2014), Auto-encoding variational Bayes, arXiv:1312.6114.
        Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders, arXiv:1509.00519.
    """

    def __init__(
        self,
        latent_dim: int | str = 35,
        hidden: Sequence[int] = (512, 512, 512),
        activation: str = "relu",
        beta: float = 1.0,
        samples: int = 1,
        conditional: bool = True,
        *,
        x_dim: int,
        c_dim: int,
        head: Head,
    ) -> None:
        super().__init__()
        if beta < 0:
            raise UserError(f"encoder.beta={beta} must not be negative")
        if samples < 1:
            raise UserError(f"encoder.samples={samples} must be 1 or more")
        self.latent_dim = checked_latent_dim(latent_dim, x_dim)
        self.head, self.beta, self.samples, self.conditional = head, beta, samples, conditional
        extra = c_dim if conditional else 0
        self.encoder = MLP(x_dim + extra, hidden, 2 * self.latent_dim, activation)
        self.decoder = MLP(
            self.latent_dim + extra, list(reversed(hidden)), head.out_dim, activation
        )

    def posterior(self, x: Tensor, c: Tensor) -> Posterior:
        raw = self.encoder(torch.cat([x, c], 1) if self.conditional else x)
        mean, log_sigma = raw.chunk(2, 1)
        return Posterior(mean, log_sigma.clamp(*_LOG_SIGMA).exp())

    def decode(self, z: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        return self.head.params(self.decoder(torch.cat([z, c], 1) if self.conditional else z))

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x, c = batch
        mean, sigma = self.posterior(x, c)
        if self.samples > 1:
            return -self._importance_bound(x, c, mean, sigma).mean()
        z = mean + sigma * torch.randn_like(mean)
        kl = 0.5 * (mean.square() + sigma.square() - 1.0) - torch.log(sigma)
        return (self.beta * kl.sum(1) - self.head.log_prob(self.decode(z, c), x)).mean()

    def _importance_bound(self, x: Tensor, c: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
        weights = []
        for _ in range(self.samples):
            noise = torch.randn_like(mean)
            z = mean + sigma * noise
            # log q(z|x) - log p(z); the constants of both normals cancel.
            excess = 0.5 * (z.square() - noise.square()) - torch.log(sigma)
            weights.append(self.head.log_prob(self.decode(z, c), x) - self.beta * excess.sum(1))
        return torch.logsumexp(torch.stack(weights), 0) - math.log(self.samples)
