"""The contract of a density model on the latent space."""

from typing import Literal

from torch import Tensor

from caloman_cli.noise import Noise
from caloman_cli.trainable import Trainable


class Density(Trainable):
    """Learns p(z | c) of latents z (B, D) given conditions c (B, C).

    A batch of training rows is the tuple (z, c).

    Args (given at build time, never in YAML):
        z_dim: Latent dimension D.
        c_dim: Condition width C.

    Attributes:
        kind: What :meth:`log_prob` returns: exact, a lower bound, an estimate, or nothing.
    """

    kind: Literal["exact", "bound", "estimate", "none"] = "exact"

    def sample(self, c: Tensor, noise: Noise) -> Tensor:
        """Draw z (B, D): row i for condition i."""
        raise NotImplementedError

    def log_prob(self, z: Tensor, c: Tensor) -> Tensor:
        """log p(z | c) [nats], shape (B,), in the units of z as given (scaling included)."""
        raise NotImplementedError

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        z, c = batch
        return -self.log_prob(z, c).mean()
