"""The plain autoencoder."""

from collections.abc import Sequence

from torch import Tensor

from caloman_cli.config.values import Count, checked
from caloman_cli.models.encoders.base import LatentDim
from caloman_cli.models.encoders.learned import Learned
from caloman_cli.models.encoders.networks import Network
from caloman_cli.models.encoders.posterior import DiracPosterior
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.mlp import Activation


@checked
class AE(Learned):
    """Deterministic networks both ways, trained to give back what they were given.

    Loss: minus the head's log-probability [nats] at the encoded latent. With
    ``head=gaussian head.sigma=fixed`` this is the squared reconstruction error.

    Args:
        latent_dim: D, or ``auto``, which is resolved before a model is built.
        hidden: Hidden widths of the encoder; the decoder mirrors them.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        conditional: Let encoder and decoder see c.
        network: See :data:`~caloman_cli.models.encoders.networks.Network`.
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
        network: Network = "mlp",
        *,
        x_dim: int,
        c_dim: int,
        head: Head,
    ) -> None:
        super().__init__(
            latent_dim,
            hidden,
            activation,
            network=network,
            conditional=conditional,
            x_dim=x_dim,
            c_dim=c_dim,
            head=head,
        )

    def _posterior(self, x: Tensor, c: Tensor) -> DiracPosterior:
        return DiracPosterior(self.encoded(x, c))

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x, c = batch
        return -self.head.log_prob(self.decode(self.draw(x, c), c), x).mean()
