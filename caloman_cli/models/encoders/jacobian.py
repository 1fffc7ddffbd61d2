"""The volume that a decoder gives to a piece of latent space."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

_ROUNDING = 1e-5  # of a direction's length, of slopes in single precision


def jacobians(decoder: Callable[..., Tensor], z: Tensor, *given: Tensor) -> Tensor:
    """d decoder / dz at each row, shape (B, V, D), in forward mode; see :func:`half_logdet`."""
    n, dim = z.shape
    # Without gradients networks save memory in place, which tangents do not survive.
    with warnings.catch_warnings(), torch.enable_grad():
        # torch loads its own forward-mode rules through a function that it deprecates.
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        z, *given_each = (rows.repeat_interleave(dim, 0) for rows in (z, *given))
        directions = torch.eye(dim, dtype=z.dtype, device=z.device).repeat(n, 1)
        along = torch.func.jvp(lambda z: decoder(z, *given_each), (z,), (directions,))[1]
        return along.unflatten(0, (n, dim)).mT


def half_logdet(
    decoder: Callable[..., Tensor], z: Tensor, *given: Tensor, chunk: int = 64
) -> Tensor:
    r""":math:`\frac12 \log\det J^T J` of a decoder at each row, J = d decoder / dz.

    J is taken in forward mode (D directions, not V) and factorised by QR in double precision:
    forming :math:`J^T J` would square the condition number.

    Args:
        decoder: (z (B, D), \\*given) -> x (B, V), row by row.
        z: Shape (B, D).
        given: What else it is given, rows that stay as they are, such as c (B, C).
        chunk: Rows whose Jacobians (V, D) are held at once.

    Returns:
        Shape (B,), float64 [nats]; :math:`-\infty` where the decoder loses a direction, such as
        all of them in a shower without energy.

    Raises:
        FloatingPointError: A Jacobian is NaN or infinite.

    References:
        Caterini et al. (2021), Rectangular flows for manifold learning, arXiv:2106.01413.
    """

    parts, wanted = [], torch.is_grad_enabled()
    for rows in zip(*(every.split(chunk) for every in (z, *given)), strict=True):
        slopes = jacobians(decoder, *rows).double()
        slopes = slopes if wanted else slopes.detach()
        broken = int((~torch.isfinite(slopes)).flatten(1).any(1).sum())
        if broken:
            raise FloatingPointError(
                f"the decoder's slopes are NaN or infinite for {broken} of {len(slopes)} rows:"
                " its training diverged or its latents are far outside the training data"
            )
        r = torch.linalg.qr(slopes, mode="r").R
        lengths, left = slopes.norm(dim=1), r.diagonal(dim1=-2, dim2=-1).abs()
        # Of a direction that depends on the others only rounding is left.
        left = torch.where(left > _ROUNDING * lengths, left, 0.0)
        parts.append(left.log().sum(-1))
    return torch.cat(parts) if parts else z.new_zeros(0, dtype=torch.float64)
