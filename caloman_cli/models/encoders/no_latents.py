"""No manifold: what a head does without latents."""

from collections.abc import Sequence

import torch
from torch import Tensor

from caloman_cli.config.values import Count, checked
from caloman_cli.models.encoders.base import Encoder
from caloman_cli.models.encoders.networks import Network, decoding
from caloman_cli.models.encoders.posterior import GaussianPosterior
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.mlp import Activation


@checked
class NoLatents(Encoder):
    r"""The decoder reads the energies alone; the one latent is N(0, 1) whatever the shower.

    The same model without a manifold, to compare with: :math:`q(z | x, c) = p(z)`, so the
    divergence is zero and nothing can collapse. Loss: :math:`-E[\log p(x | c)]` [nats]. Moments
    that a head would like to be told are latents all the same: without any are models whose head
    wants none.

    Args:
        hidden: Hidden widths, in the order of an encoder's: the decoder has them in reverse.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        layer_norm: Normalise hidden layers.
        augment: Train on showers rotated about the axis and mirrored at random.
        network: See :data:`~caloman_cli.models.encoders.networks.Network`.
        x_dim: V.
        c_dim: C.
        head: The distribution that the decoder parametrises.

    Raises:
        UserError: An argument is out of range.
    """

    remedy = None

    def __init__(
        self,
        hidden: Sequence[Count] = (384, 384),
        activation: Activation = "silu",
        layer_norm: bool = True,
        augment: bool = False,
        network: Network = "mlp",
        *,
        x_dim: int,
        c_dim: int,
        head: Head,
    ) -> None:
        super().__init__(1, x_dim=x_dim, c_dim=c_dim, head=head)
        style = hidden, activation, layer_norm
        self.decoder = decoding(network, head, self.told_dim, self.raw_dim, *style)
        self.n_turns = head.n_turns if augment else 1

    def _posterior(self, x: Tensor, c: Tensor) -> GaussianPosterior:
        mean = x.new_zeros(len(x), 1)
        return GaussianPosterior(mean, torch.ones_like(mean))

    def _decode(self, z: Tensor, told: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(told)
        return decoded

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x, c = batch
        if self.training and self.n_turns > 1:
            x = self.head.turned(x, torch.randint(self.n_turns, x.shape[:1], device=x.device))
        return -self.head.log_prob(self.decode(self.draw(x, c), c), x).mean()
