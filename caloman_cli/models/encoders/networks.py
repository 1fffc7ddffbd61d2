"""The networks of encoders and decoders."""

from collections.abc import Sequence
from typing import Literal

from torch import nn

from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.mlp import MLP, Activation

Network = Literal["mlp"]
"""``mlp``: perceptrons, for any detector."""


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
        hidden: Hidden widths.
        activation: Between them.
        layer_norm: Normalise them.

    Raises:
        UserError: The detector does not serve the network.
    """
    return MLP(head.feature_dim + more, hidden, out_dim, activation, layer_norm)


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

    Args:
        network: Of which kind.
        head: That the numbers are for.
        read: Latents and what is told beside them.
        out_dim: Width of what is written.
        hidden: Hidden widths of the encoder.
        activation: Between them.
        layer_norm: Normalise them.

    Raises:
        UserError: The detector does not serve the network.
    """
    return MLP(read, list(reversed(hidden)), out_dim, activation, layer_norm)
