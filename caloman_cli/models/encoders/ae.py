"""The plain autoencoder."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from caloman_cli.errors import UserError
from caloman_cli.models.encoders.base import Encoder, Posterior, checked_latent_dim
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.mlp import MLP


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
        UserError: An argument is out of range, or the head wants moments in the latents.
    """

    def __init__(
        self,
        latent_dim: int | str = 35,
        hidden: Sequence[int] = (512, 512, 512),
        activation: str = "relu",
        conditional: bool = True,
        *,
        x_dim: int,
        c_dim: int,
        head: Head,
    ) -> None:
        super().__init__()
        if head.moment_dim:
            raise UserError(
                f"encoder=ae has no room in its latents for the dipoles of head="
                f"{type(head).__name__}: use encoder=vae, or a head without them, e.g. "
                "head=autoregressive or head=cylinder"
            )
        self.latent_dim = checked_latent_dim(latent_dim, x_dim)
        self.head, self.conditional = head, conditional
        extra = c_dim if conditional else 0
        self.encoder = MLP(head.feature_dim + extra, hidden, self.latent_dim, activation)
        self.decoder = MLP(
            self.latent_dim + extra, list(reversed(hidden)), head.out_dim, activation
        )

    def posterior(self, x: Tensor, c: Tensor) -> Posterior:
        seen = self.head.features(x)
        mean = self.encoder(torch.cat([seen, c], 1) if self.conditional else seen)
        return Posterior(mean, torch.zeros_like(mean))

    def training_only(self) -> list[nn.Parameter]:
        return list(self.encoder.parameters())

    def decode(self, z: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        return self.head.params(self.decoder(torch.cat([z, c], 1) if self.conditional else z), c)

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x, c = batch
        return -self.head.log_prob(self.decode(self.encode(x, c), c), x).mean()
