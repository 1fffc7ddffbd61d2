"""The plain autoencoder."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from caloman_cli.config.values import Count, checked
from caloman_cli.models.encoders.base import Encoder, LatentDim
from caloman_cli.models.encoders.posterior import DiracPosterior
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.mlp import MLP, Activation


@checked
class AE(Encoder):
    """Deterministic perceptrons both ways, trained to give back what they were given.

    Loss: minus the head's log-probability [nats] at the encoded latent. With
    ``head=gaussian head.sigma=fixed`` this is the squared reconstruction error.

    Args:
        latent_dim: D, or ``auto``, which is resolved before a model is built.
        hidden: Hidden widths of the encoder; the decoder mirrors them.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        conditional: Let encoder and decoder see c.
        x_dim: V.
        c_dim: C.
        head: The distribution that the decoder parametrises.

    Raises:
        UserError: An argument is out of range.
    """

    def __init__(
        self,
        latent_dim: LatentDim = 35,
        hidden: Sequence[Count] = (512, 512, 512),
        activation: Activation = "relu",
        conditional: bool = True,
        *,
        x_dim: int,
        c_dim: int,
        head: Head,
    ) -> None:
        super().__init__(latent_dim, conditional=conditional, x_dim=x_dim, c_dim=c_dim, head=head)
        self.encoder = MLP(self.seen_dim, hidden, self.n_learned, activation)
        mirrored = list(reversed(hidden))
        self.decoder = MLP(self.n_learned + self.told_dim, mirrored, self.raw_dim, activation)

    def _posterior(self, x: Tensor, c: Tensor) -> DiracPosterior:
        return DiracPosterior(self.encoder(self.seen(x, c)))

    def training_only(self) -> list[nn.Parameter]:
        return list(self.encoder.parameters())

    def _decode(self, z: Tensor, told: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(torch.cat([z, told], 1))
        return decoded

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x, c = batch
        return -self.head.log_prob(self.decode(self.draw(x, c), c), x).mean()
