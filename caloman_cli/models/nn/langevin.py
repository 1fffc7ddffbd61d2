"""Walks that end up distributed as an energy says."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from caloman_cli.models.noise import Noise

Energy = Callable[[Tensor], Tensor]
FEW_ROWS = 64
"""At once where a slope runs through an ODE: it keeps every step of the solver."""


def mala(
    energy: Energy, u: Tensor, noise: Noise, steps: int, size: float | Tensor
) -> tuple[Tensor, Tensor]:
    r"""Langevin steps, each taken or not by Metropolis' rule: its limit is exp(-E), whatever size.

    A proposal is :math:`u - h \nabla E(u) + \sqrt{2h}\,\epsilon` with h = ``size``. Without the
    rule, a step of hL in a direction of curvature L leaves a variance of 1 / (L (1 - hL/2)).

    Args:
        energy: E of u (B, A), shape (B,), of each row by itself, in nats.
        u: Where the walks begin, (B, A).
        noise: The random numbers of these rows.
        steps: How many.
        size: h, one for all or of each row, (B, 1), which must not follow from where it is.

    Returns:
        Where they end, (B, A), and the share of proposals that each took, (B,).

    References:
        Roberts, Tweedie (1996), Exponential convergence of Langevin distributions and their
        discrete approximations, Bernoulli 2, 341.
    """
    here, slope = slope_of(energy, u)
    h = torch.as_tensor(size).to(u)
    reach = (2 * h).sqrt()
    taken = u.new_zeros(len(u))
    for _ in range(steps):
        kick = noise.normal(u.shape[1]).to(u)
        proposal = u - h * slope + reach * kick
        there, slope_there = slope_of(energy, proposal)
        back = ((u - proposal + h * slope_there) / reach).square().sum(1) / 2
        ratio = here - there + 0.5 * kick.square().sum(1) - back
        # A proposal without an energy is a wall.
        accept = noise.uniform(1).to(u)[:, 0].log() < torch.nan_to_num(ratio, nan=-math.inf)
        u = torch.where(accept[:, None], proposal, u)
        slope = torch.where(accept[:, None], slope_there, slope)
        here = torch.where(accept, there, here)
        taken = taken + accept.to(taken)
    return u, taken / max(steps, 1)


def slope_of(energy: Energy, u: Tensor) -> tuple[Tensor, Tensor]:
    """E (B,) and dE/du (B, A), without a graph."""
    with torch.enable_grad():
        at = u.detach().requires_grad_()
        found = energy(at)
        (slope,) = torch.autograd.grad(found.sum(), at)
    return found.detach(), slope.detach()
