"""The contract of a generalized autoencoder."""

from typing import NamedTuple

from torch import Tensor, nn

from caloman_cli.errors import UserError
from caloman_cli.models.encoders.jacobian import half_logdet
from caloman_cli.models.heads.base import Head
from caloman_cli.models.latents import Latents
from caloman_cli.models.trainable import RowSource, Trainable


class Posterior(NamedTuple):
    """q(z | x, c): independent normals.

    Args:
        mean: Shape (B, D).
        sigma: Shape (B, D); zeros for a deterministic encoder.
    """

    mean: Tensor
    sigma: Tensor


class Encoder(Trainable):
    """Learns the manifold: x (B, V) <-> z (B, D), given c (B, C).

    A batch of training rows is the tuple (x, c).

    Args (given at build time, never in YAML):
        x_dim: Voxels V.
        c_dim: Condition width C.
        head: The distribution that the decoder parametrises.

    Attributes:
        latent_dim: D.
        n_turns: Orientations in which training shows a shower, see :meth:`Head.turned`; the
            density model learns latents of turned showers, too.
        remedy: What to try where training leaves no latent in use.
    """

    latent_dim: int
    n_turns: int = 1
    remedy: str = "give more epochs, a lower encoder.latent_dim or another preprocess="
    head: Head

    @property
    def latents(self) -> Latents:
        """What the density has to learn: D real numbers, unless an encoder says otherwise."""
        return Latents(self.latent_dim, encoder=type(self).__name__)

    @property
    def n_learned(self) -> int:
        """Latents without the head's moments, which come last."""
        return self.latent_dim - self.head.moment_dim

    def prepare(self, train: RowSource) -> None:
        """Measure the head's statistics on rows (x (V,), c (C,))."""
        self.head.prepare(train)

    def posterior(self, x: Tensor, c: Tensor) -> Posterior:
        raise NotImplementedError

    def encode(self, x: Tensor, c: Tensor) -> Tensor:
        """The posterior mean, shape (B, D)."""
        return self.posterior(x, c).mean

    def decode(self, z: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        """The parameters of the head."""
        raise NotImplementedError

    def training_only(self) -> list[nn.Parameter]:
        """Parameters that :meth:`decode` and the head never read: the network that encodes."""
        return []

    def reconstruction_error(self, x: Tensor, c: Tensor) -> Tensor:
        """Squared distance of x to the decoded mean, summed over voxels, shape (B,)."""
        return (x - self.head.mean(self.decode(self.encode(x, c), c))).square().sum(1)

    def half_logdet(self, z: Tensor, c: Tensor) -> Tensor:
        """Half the log-determinant of J^T J, J = d mean / dz, shape (B,), float64 [nats]."""
        return half_logdet(lambda zs, cs: self.head.mean(self.decode(zs, cs)), z, c)

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        x, c = batch
        return {"loss": self.loss(batch), "reconstruction": self.reconstruction_error(x, c).mean()}


def checked_latent_dim(latent_dim: int | str, x_dim: int) -> int:
    """D as a number.

    Raises:
        UserError: It is ``auto``, which must be estimated from data before a model is built, or
            not in 1 ... V.
    """
    if latent_dim == "auto":
        raise UserError(
            "encoder.latent_dim=auto must be estimated from showers first, as `caloman train` "
            "does: give a number, e.g. encoder.latent_dim=35"
        )
    if isinstance(latent_dim, str) or not 1 <= latent_dim <= x_dim:
        raise UserError(
            f"encoder.latent_dim={latent_dim} must be auto or a whole number from 1 to {x_dim}"
        )
    return latent_dim
