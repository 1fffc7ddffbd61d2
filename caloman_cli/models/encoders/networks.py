"""The networks of encoders and decoders."""

from collections.abc import Sequence
from typing import Literal

from torch import nn

from caloman_cli.config.options import option_of
from caloman_cli.errors import UserError
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.cylinder_conv import CylinderDecoder, CylinderEncoder, Shape, width_of
from caloman_cli.models.nn.mlp import MLP, Activation

Network = Literal["mlp", "cylinder_conv"]
"""``mlp``: perceptrons, for any detector; ``cylinder_conv``: convolutions, circular in alpha, for
layers of one shape and heads that speak of images, whose stages have ``hidden`` channels."""
_CHANNELS = 256  # of a stage, at most: widths that perceptrons have would take gigabytes


def encoding(
    network: Network,
    head: Head,
    more: int,
    out_dim: int,
    hidden: Sequence[int],
    activation: Activation,
    layer_norm: bool,
) -> nn.Module:
    """(B, ``head.feature_dim`` + ``more``) -> (B, ``out_dim``).

    Args:
        network: Of which kind.
        head: Whose features of a shower come first.
        more: Numbers behind them.
        out_dim: Width of what is written.
        hidden: Hidden widths, or channels of the stages.
        activation: Between them.
        layer_norm: Normalise them.

    Raises:
        UserError: The detector or the head does not serve the network, or it is too wide.
    """
    if network == "mlp":
        return MLP(head.feature_dim + more, hidden, out_dim, activation, layer_norm)
    shape, images = _image(head, hidden), head.images[0]
    more += head.feature_dim - images * head.x_dim
    return CylinderEncoder(shape, images, more, out_dim, hidden, activation, layer_norm)


def decoding(
    network: Network,
    head: Head,
    read: int,
    out_dim: int,
    hidden: Sequence[int],
    activation: Activation,
    layer_norm: bool,
) -> nn.Module:
    """(B, ``read``) -> (B, ``out_dim``), with the hidden widths of the encoder in reverse.

    Of a head that is told no images, such as one that walks, a decoder is dense in any case.

    Args:
        network: Of which kind.
        head: That the numbers are for.
        read: Latents and what is told beside them.
        out_dim: Width of what is written.
        hidden: Hidden widths of the encoder, or channels of its stages.
        activation: Between them.
        layer_norm: Normalise them.

    Raises:
        UserError: The detector or the head does not serve the network, or it is too wide.
    """
    if network == "mlp":
        return MLP(read, list(reversed(hidden)), out_dim, activation, layer_norm)
    shape, images = _image(head, hidden), head.images[1]
    if not images:
        return MLP(read, [width_of(hidden)] * 2, out_dim, activation, layer_norm)
    more = out_dim - images * head.x_dim
    return CylinderDecoder(shape, images, more, read, hidden, activation, layer_norm)


def _image(head: Head, hidden: Sequence[int]) -> Shape:
    """The shape of the images that a head speaks of, if stages of so many channels can read it."""
    shape = head.geometry.image_shape
    if shape is None:
        raise UserError(
            f"encoder.network=cylinder_conv needs layers of one shape, which {head.geometry.name} "
            "does not have: use encoder.network=mlp"
        )
    if not head.images[0]:
        raise UserError(
            f"encoder.network=cylinder_conv reads images of voxels, which head="
            f"{option_of('head', head)} does not show: use encoder.network=mlp, or "
            "head=gaussian, hurdle_mixture or autoregressive"
        )
    if max(hidden, default=0) > _CHANNELS:
        raise UserError(
            f"encoder.hidden={list(hidden)} are channels of the stages of encoder.network="
            f"cylinder_conv, at most {_CHANNELS} each: try encoder.hidden=[16,32,32]"
        )
    return shape
