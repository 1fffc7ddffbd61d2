"""No manifold: the density model sees the voxels themselves."""

from typing import Any

import torch
from torch import Tensor

from caloman_cli.errors import UserError
from caloman_cli.models.encoders.base import Encoder
from caloman_cli.models.encoders.posterior import DiracPosterior
from caloman_cli.models.heads.base import Head


class Identity(Encoder):
    """z = x and D = V; nothing is learned and nothing is lost.

    Args:
        x_dim: V.
        c_dim: C.
        head: Must be able to express a plain mean (``from_mean``), e.g. ``gaussian``
            or, for shares, ``hurdle_mixture``.

    Raises:
        UserError: The head cannot express a plain mean.
    """

    def __init__(self, *, x_dim: int, c_dim: int, head: Head) -> None:
        require_mean(head, "identity")
        super().__init__(x_dim, x_dim=x_dim, c_dim=c_dim, head=head)

    def _posterior(self, x: Tensor, c: Tensor) -> DiracPosterior:
        return DiracPosterior(x)

    def decode(self, z: Tensor, c: Tensor) -> tuple[Any, ...]:
        return self.head.from_mean(z, z.new_zeros(()))

    def half_logdet(self, z: Tensor, c: Tensor) -> Tensor:
        return torch.zeros(len(z), dtype=torch.float64, device=z.device)

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        return self.reconstruction_error(*batch).mean()


def require_mean(head: Head, encoder: str) -> None:
    """Check, before training, that a closed-form decoder can speak through this head.

    Raises:
        UserError: It cannot; names both.
    """
    try:
        head.from_mean(torch.zeros(1, head.x_dim), torch.ones(()))
    except (UserError, NotImplementedError) as error:
        raise UserError(
            f"encoder={encoder} decodes a plain mean, which head={type(head).__name__} cannot "
            "express: use head=gaussian or head=hurdle_mixture, or an encoder with a learned "
            "decoder, e.g. encoder=vae"
        ) from error
