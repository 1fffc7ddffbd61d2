"""What encoders of two networks share: the networks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from caloman_cli.models.encoders.base import Encoder, LatentDim
from caloman_cli.models.encoders.networks import Network, decoding, encoding
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.mlp import MLP, Activation


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
        layer_latents: See :class:`Encoder`; for those whose decoder reads a number a latent. Where
            the head's parameters come by layers, a layer has those that the decoder writes from
            all other latents, and what a small network, the same for all layers, adds to them for
            the layer's own: no layer hears another one's. Any other head's decoder reads all.
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
        layer_latents: int = 0,
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
            layer_latents=layer_latents,
            x_dim=x_dim,
            c_dim=c_dim,
            head=head,
        )
        style = hidden, activation, layer_norm
        more = self.seen_dim - head.feature_dim + more_dim
        self.encoder = encoding(network, head, more, per_latent * self.n_learned, *style)
        self.of_layers: _OfLayers | None = None
        n_read = self.n_learned
        if layer_latents and head.layer_width:
            n_read = self.n_shower
            self.of_layers = _OfLayers(head.layer_width, layer_latents, activation)
        read = latent_width * n_read + self.told_dim
        self.decoder = decoding(network, head, read, self.raw_dim, *style)

    def encoded(self, x: Tensor, c: Tensor, *more: Tensor) -> Tensor:
        """What the network says of showers x (B, V), shape (B, ``per_latent`` E)."""
        found: Tensor = self.encoder(torch.cat([self.seen(x, c), *more], 1))
        return found

    def training_only(self) -> list[nn.Parameter]:
        return list(self.encoder.parameters())

    def _decode(self, z: Tensor, told: Tensor) -> Tensor:
        of_layers, own = self.of_layers, z[:, :0]
        if of_layers is not None:
            z, own = z.tensor_split([self.n_shower], 1)
        decoded: Tensor = self.decoder(torch.cat([z, told], 1))
        return decoded if of_layers is None else of_layers(decoded, own)


class _OfLayers(nn.Module):
    """Adds to each layer's numbers what its own latents say: one perceptron for all layers.

    Args:
        width: Numbers S of a layer.
        each: Latents K of a layer.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
    """

    def __init__(self, width: int, each: int, activation: Activation) -> None:
        super().__init__()
        self.width, self.each = width, each
        self.adds = MLP(width + each, [2 * width], width, activation)

    def forward(self, raw: Tensor, z: Tensor) -> Tensor:
        """Numbers (B, L S) and latents (B, L K), layer after layer -> (B, L S)."""
        layers = raw.unflatten(1, (-1, self.width))
        seen = torch.cat([layers, z.unflatten(1, (-1, self.each))], 2)
        return (layers + self.adds(seen)).flatten(1)
