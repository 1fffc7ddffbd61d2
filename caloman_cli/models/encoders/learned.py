"""What encoders of two networks share: the networks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from caloman_cli.models.encoders.base import Encoder, LatentDim
from caloman_cli.models.encoders.networks import Network, decoding, encoding
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.mlp import Activation


class Learned(Encoder):
    """A network ``encoder`` reads showers, a network ``decoder`` writes what the head speaks of.

    A new one writes ``_posterior`` or ``_draw`` upon :meth:`encoded`, and ``loss``.

    Args:
        latent_dim: See :class:`Encoder`.
        hidden: Hidden widths of the encoder; the decoder mirrors them.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        layer_norm: Normalise hidden layers.
        network: See :data:`~caloman_cli.models.encoders.networks.Network`.
        conditional: Let encoder and decoder see c.
        n_codes: See :class:`Encoder`.
        per_latent: Numbers that the encoder writes for each latent.
        more_dim: Numbers that the encoder reads beside showers and c.
        latent_width: Numbers that the decoder reads for each latent.
        x_dim: V.
        c_dim: C.
        head: The distribution that the decoder parametrises.
    """

    def __init__(
        self,
        latent_dim: LatentDim,
        hidden: Sequence[int],
        activation: Activation,
        layer_norm: bool = False,
        network: Network = "mlp",
        *,
        conditional: bool = True,
        n_codes: int | None = None,
        per_latent: int = 1,
        more_dim: int = 0,
        latent_width: int = 1,
        x_dim: int,
        c_dim: int,
        head: Head,
    ) -> None:
        super().__init__(
            latent_dim,
            conditional=conditional,
            n_codes=n_codes,
            x_dim=x_dim,
            c_dim=c_dim,
            head=head,
        )
        style = hidden, activation, layer_norm
        more = self.seen_dim - head.feature_dim + more_dim
        self.encoder = encoding(network, head, more, per_latent * self.n_learned, *style)
        read = latent_width * self.n_learned + self.told_dim
        self.decoder = decoding(network, head, read, self.raw_dim, *style)

    def encoded(self, x: Tensor, c: Tensor, *more: Tensor) -> Tensor:
        """What the network says of showers x (B, V), shape (B, ``per_latent`` E)."""
        found: Tensor = self.encoder(torch.cat([self.seen(x, c), *more], 1))
        return found

    def training_only(self) -> list[nn.Parameter]:
        return list(self.encoder.parameters())

    def _decode(self, z: Tensor, told: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(torch.cat([z, told], 1))
        return decoded
