"""No manifold: the density model sees the voxels themselves."""

from collections.abc import Sequence

import torch
from torch import Tensor

from caloman_cli.config.values import Count, checked
from caloman_cli.models.encoders.networks import Network
from caloman_cli.models.encoders.projection import Decoder, Projection
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.mlp import Activation


@checked
class Identity(Projection):
    """z = x, and D = V but for moments: nothing is lost, and of latents nothing is learned.

    Args:
        decoder: See :data:`~caloman_cli.models.encoders.projection.Decoder`; the following are of
            a learned one.
        hidden: Hidden widths, the last one first.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        conditional: Let it see c.
        network: See :data:`~caloman_cli.models.encoders.networks.Network`.
        x_dim: V.
        c_dim: C.
        head: The distribution that the decoder parametrises.

    Raises:
        UserError: An argument is out of range, or the head cannot express a plain mean with
            ``decoder=closed``.
    """

    def __init__(
        self,
        decoder: Decoder = "auto",
        hidden: Sequence[Count] = (384, 384),
        activation: Activation = "silu",
        conditional: bool = True,
        network: Network = "mlp",
        *,
        x_dim: int,
        c_dim: int,
        head: Head,
    ) -> None:
        super().__init__(
            None,
            decoder,
            hidden,
            activation,
            conditional,
            network,
            x_dim=x_dim,
            c_dim=c_dim,
            head=head,
        )
        self.register_buffer("sigma", torch.zeros(()), persistent=False)

    def _project(self, x: Tensor, c: Tensor) -> Tensor:
        return x

    def _lift(self, z: Tensor, c: Tensor) -> Tensor:
        return z
