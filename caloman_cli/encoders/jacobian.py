"""The volume that a decoder gives to a piece of latent space."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor


def half_logdet(
    decoder: Callable[[Tensor, Tensor], Tensor], z: Tensor, c: Tensor, chunk: int = 64
) -> Tensor:
    r""":math:`\frac12 \log\det J^T J` of a decoder at each row, J = d decoder / dz.

    J is taken in forward mode (D directions, not V) and factorised by QR in double precision:
    forming :math:`J^T J` would square the condition number.

    Args:
        decoder: (z (B, D), c (B, C)) -> x (B, V), row by row.
        z: Shape (B, D).
        c: Shape (B, C).
        chunk: Rows whose Jacobians (V, D) are held at once.

    Returns:
        Shape (B,), float64 [nats].

    References:
        Caterini et al. (2021), Rectangular flows for manifold learning, arXiv:2106.01413.
    """

    def one(z_row: Tensor, c_row: Tensor) -> Tensor:
        return decoder(z_row[None], c_row[None])[0]

    jacobian = torch.func.vmap(torch.func.jacfwd(one))
    parts = []
    with warnings.catch_warnings():
        # torch loads its own forward-mode rules through a function that it deprecates.
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        for z_part, c_part in zip(z.split(chunk), c.split(chunk), strict=True):
            r = torch.linalg.qr(jacobian(z_part, c_part).double(), mode="r").R
            parts.append(r.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1))
    return torch.cat(parts) if parts else z.new_zeros(0, dtype=torch.float64)
