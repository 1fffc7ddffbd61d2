"""Walks on a manifold that is where a function is zero."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from caloman_cli.models.nn.langevin import Energy, slope_of
from caloman_cli.models.noise import Noise

Constraint = Callable[[Tensor], Tensor]
"""F: points (B, D) -> (B, M), row by row; the manifold is F = 0, of D - M dimensions."""
_ROUNDS = 12  # of Newton's method, which has 1, 2, 4, 8 ... digits
_AGAIN = 100.0  # tolerances, within which a reverse step has to find the point it came from


class Walked(NamedTuple):
    """Where walks of B rows ended.

    Args:
        q: Shape (B, D).
        taken: Share of proposals that each took, (B,).
        failed: Share of proposals that could not be brought to the manifold, or not back, (B,).
    """

    q: Tensor
    taken: Tensor
    failed: Tensor


def tolerance(q: Tensor) -> float:
    """Largest \\|F\\| of a point that counts as one of the manifold, in its type."""
    return 1e-10 if q.dtype == torch.float64 else 2e-5


def jacobian_of(constraint: Constraint, q: Tensor) -> tuple[Tensor, Tensor]:
    """F (B, M) and J = dF/dq (B, M, D), without a graph."""
    with torch.enable_grad():
        at = q.detach().requires_grad_()
        value = constraint(at)
        rows = [
            torch.autograd.grad(part.sum(), at, retain_graph=True)[0] for part in value.unbind(1)
        ]
    return value.detach(), torch.stack(rows, 1).detach()


def tangent(jacobian: Tensor, v: Tensor) -> Tensor:
    """What of v (B, D) leaves F as it is, J (B, M, D)."""
    right = jacobian @ v.unsqueeze(2)
    found = torch.linalg.solve_ex(jacobian @ jacobian.mT, right)[0]
    part = torch.nan_to_num((jacobian.mT @ found).squeeze(2), 0.0, 0.0, 0.0)
    return v - part


def brought(
    constraint: Constraint, q: Tensor, normals: Tensor | None = None, rounds: int = _ROUNDS
) -> tuple[Tensor, Tensor]:
    r"""Points of the manifold near q (B, D), by Newton's method.

    Args:
        constraint: F.
        q: Where to begin.
        normals: Directions (B, M, D) to move in, as :math:`q - N^T \lambda`; None: those of J
            wherever q is, which ends near the nearest point.
        rounds: Steps, at most.

    Returns:
        The points (B, D), and whether they are on the manifold, (B,).
    """
    for _ in range(rounds):
        value, jacobian = jacobian_of(constraint, q)
        there = _there(value, q)
        if there.all():
            break
        along = jacobian if normals is None else normals
        found = torch.linalg.solve_ex(jacobian @ along.mT, value.unsqueeze(2))[0]
        move = (along.mT @ found).squeeze(2)
        # Without a direction, or out of sight, a row stays where it is.
        move = torch.where(torch.isfinite(move) & ~there.unsqueeze(1), move, 0.0)
        q = q - move
    return q, _there(constraint(q).detach(), q)


def constrained_mala(
    energy: Energy,
    constraint: Constraint,
    q: Tensor,
    noise: Noise,
    steps: int,
    size: float | Tensor,
) -> Walked:
    r"""Langevin steps on F = 0, each taken or not by Metropolis' rule.

    A step goes by :math:`v = -h P \nabla E + \sqrt{2h}\, P \epsilon`, P the projection on the
    tangents at q, and from there along :math:`J(q)^T` back to the manifold. It is only taken if
    the step that would lead back from where it ends is found by the same method. The limit is
    :math:`e^{-E}` with respect to the manifold's own volume, whatever the step.

    Args:
        energy: E of q (B, D), shape (B,), of each row by itself, in nats.
        constraint: F.
        q: Where the walks begin, on the manifold, (B, D); elsewhere they stay.
        noise: The random numbers of these rows.
        steps: How many.
        size: h, one for all.

    References:
        Zappa, Holmes-Cerfon, Goodman (2018), Monte Carlo on manifolds: sampling densities and
        integrating functions, arXiv:1702.08446.
        Lelièvre, Rousset, Stoltz (2019), Hybrid Monte Carlo methods for sampling probability
        measures on submanifolds, arXiv:1807.02356.
    """
    h = torch.as_tensor(size).to(q)
    reach, near = (2 * h).sqrt(), _AGAIN * tolerance(q)
    here, slope = slope_of(energy, q)
    jacobian = jacobian_of(constraint, q)[1]
    taken, failed = q.new_zeros(len(q)), q.new_zeros(len(q))
    for _ in range(steps):
        kick = tangent(jacobian, noise.normal(q.shape[1]).to(q))
        step = reach * kick - h * tangent(jacobian, slope)
        there, found = brought(constraint, q + step, jacobian)
        energy_there, slope_there = slope_of(energy, there)
        jacobian_there = jacobian_of(constraint, there)[1]
        back = tangent(jacobian_there, q - there)
        again, returned = brought(constraint, there + back, jacobian_there)
        possible = found & returned & ((again - q).abs().amax(1) < near)
        kick_back = (back + h * tangent(jacobian_there, slope_there)) / reach
        ratio = here - energy_there + 0.5 * (kick.square().sum(1) - kick_back.square().sum(1))
        wanted = noise.uniform(1).to(q)[:, 0].log() < torch.nan_to_num(ratio, nan=-torch.inf)
        accept = wanted & possible
        q = torch.where(accept[:, None], there, q)
        slope = torch.where(accept[:, None], slope_there, slope)
        jacobian = torch.where(accept[:, None, None], jacobian_there, jacobian)
        here = torch.where(accept, energy_there, here)
        taken, failed = taken + accept.to(q), failed + (~possible).to(q)
    return Walked(q, taken / max(steps, 1), failed / max(steps, 1))


def _there(value: Tensor, q: Tensor) -> Tensor:
    """Whether rows are on the manifold; NaN is not."""
    return (value.abs() < tolerance(q)).all(1)
