"""The multilayer perceptron that encoders and decoders share."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from caloman_cli.config.values import Count, checked

Activation = Literal["relu", "silu", "elu", "gelu", "tanh"]
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}


@checked
class MLP(nn.Sequential):
    """Linear layers, each but the last normed and activated: (B, in_dim) -> (B, out_dim).

    Args:
        in_dim: Width of the input.
        hidden: Widths of the hidden layers; none makes the map affine.
        out_dim: Width of the output.
        activation: One of :data:`ACTIVATIONS`.
        layer_norm: Normalise hidden layers before their activation.

    Raises:
        UserError: The activation is unknown or a width is not positive.
    """

    def __init__(
        self,
        in_dim: int,
        hidden: Sequence[Count],
        out_dim: int,
        activation: Activation = "relu",
        layer_norm: bool = False,
    ) -> None:
        widths = [in_dim, *hidden]
        layers: list[nn.Module] = []
        for a, b in zip(widths[:-1], widths[1:], strict=True):
            norm = [nn.LayerNorm(b)] if layer_norm else []
            layers += [nn.Linear(a, b), *norm, ACTIVATIONS[activation]()]
        super().__init__(*layers, nn.Linear(widths[-1], out_dim))

    def __call__(self, x: Tensor) -> Tensor:  # narrows the type of nn.Module.__call__
        return super().__call__(x)
