"""How thin a density is."""

import numpy as np
import torch

from caloman_cli.models.densities.base import Density
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource

_SHOWERS = 512  # for each of which one latent is drawn


def narrowest_width(density: Density, rows: RowSource, seed: int = 0) -> float:
    r"""Standard deviation of the narrowest direction of p(u | c), u the scaled latents.

    It is :math:`\lambda^{-1/2}` with :math:`\lambda` the largest eigenvalue of the mean of
    :math:`s s^T`, :math:`s = \nabla_u \log p(u | c)` at what the model itself draws: of a normal
    distribution exactly its smallest width, of a flow the smallest singular value of its Jacobian
    on average.

    Args:
        density: In evaluation mode, with an exact ``log_prob``.
        rows: Rows (z, c), of which the conditions count.
        seed: Of what is drawn.
    """
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), _SHOWERS)).astype(int)
    told = density.told(rows.rows(chosen)[1])
    noise = Noise(seed, 0, len(told), told.device)
    with torch.set_grad_enabled(density.needs_grad):
        u = density._sample(told, noise).detach()
    with torch.enable_grad():
        u = u.requires_grad_()
        (slopes,) = torch.autograd.grad(density._log_prob(u, told).sum(), u)
    slopes = slopes.double()
    strongest = torch.linalg.matrix_norm(slopes, 2).square() / len(slopes)
    return float(strongest.clamp(min=torch.finfo(torch.float64).tiny).rsqrt())
