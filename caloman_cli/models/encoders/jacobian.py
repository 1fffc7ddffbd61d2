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
        Shape (B,), float64 [nats]; :math:`-\infty` where the decoder loses a direction, such as
        all of them in a shower without energy.

    Raises:
        FloatingPointError: A Jacobian is NaN or infinite.

    References:
        Caterini et al. (2021), Rectangular flows for manifold learning, arXiv:2106.01413.
    """

    def one(z_row: Tensor, c_row: Tensor) -> Tensor:
        return decoder(z_row[None], c_row[None])[0]

    jacobian = torch.func.vmap(torch.func.jacfwd(one))
    parts, wanted = [], torch.is_grad_enabled()
    # Without gradients networks save memory in place, for which vmap has no fast rule.
    with warnings.catch_warnings(), torch.enable_grad():
        # torch loads its own forward-mode rules through a function that it deprecates.
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        for z_part, c_part in zip(z.split(chunk), c.split(chunk), strict=True):
            slopes = jacobian(z_part, c_part).double()
            slopes = slopes if wanted else slopes.detach()
            broken = int((~torch.isfinite(slopes)).flatten(1).any(1).sum())
            if broken:
                raise FloatingPointError(
                    f"the decoder's slopes are NaN or infinite for {broken} of {len(slopes)} rows:"
                    " its training diverged or its latents are far outside the training data"
                )
            r = torch.linalg.qr(slopes, mode="r").R
            parts.append(r.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1))
    return torch.cat(parts) if parts else z.new_zeros(0, dtype=torch.float64)
