"""Densities whose samples are carried by an ordinary differential equation."""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.config.values import Count, Fraction, Positive, checked
from caloman_cli.models.densities.base import Density, Noising
from caloman_cli.models.kinds import Kind
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.scaler import ScalerKind
from caloman_cli.models.noise import Noise

Solver = Literal["heun", "midpoint", "euler"]
Field = Callable[[Tensor, Tensor], Tensor]
EXACT_TRACE = 64  # dimensions up to which the divergence is summed exactly


@checked
class ODE(Density):
    r"""dx/dt = v(x, t, c) carries standard normal noise (t = 0) to scaled latents (t = 1).

    A new one has a ``velocity``, which is v, as a network or as a method, and writes ``loss``. It
    can then be distilled by ``caloman distill``.

    ``log_prob`` integrates the divergence of v along the same solver's path backwards in time:
    summed exactly up to 64 dimensions, with the same ``probes`` Rademacher vectors for all rows
    above, and exact only in the limit of many ``steps``.

    Args:
        steps: Solver steps.
        solver: ``heun`` or ``midpoint`` (two calls of v per step) or ``euler`` (one).
        probes: Hutchinson probes.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.
        noise: See :class:`Density`.
        noise_sigma: See :class:`Density`.
        latents: See :class:`Density`.
        c_dim: See :class:`Density`.

    Attributes:
        velocity: v(x (B, A), t (B,), c (B, C)) -> (B, A), in scaled space.

    Raises:
        UserError: The solver is unknown, or a number is below 1.

    References:
        Chen, Rubanova, Bettencourt, Duvenaud (2018), Neural ordinary differential equations,
        arXiv:1806.07366.
        Grathwohl et al. (2018), FFJORD, arXiv:1810.01367.
    """

    kind: Kind = "estimate"
    velocity: Callable[[Tensor, Tensor, Tensor], Tensor]

    def __init__(
        self,
        steps: Count = 12,
        solver: Solver = "heun",
        probes: Count = 32,
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        noise: Noising = "none",
        noise_sigma: Positive = 0.1,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__(scaler, prune, noise, noise_sigma, latents=latents, c_dim=c_dim)
        self.steps, self.solver, self.probes = steps, solver, probes

    def student(self) -> dict[str, Any]:
        """The config of a student's network, a node with ``_target_``."""
        return {"_target_": "caloman_cli.models.densities.VelocityNet"}

    def weights(self) -> dict[str, Tensor]:
        """The weights that a student's network of the same shape begins with; none: its own."""
        return self.velocity.state_dict() if isinstance(self.velocity, nn.Module) else {}

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        return self.path(noise.normal(self.scaler.n_active).to(c), c, self.steps)[:, -1]

    def path(self, x: Tensor, c: Tensor, steps: int, keep: int = 1) -> Tensor:
        """The solution of the ODE in scaled space, at times 0, 1/keep, ..., 1.

        Args:
            x: Noise, shape (B, A).
            c: Conditions, shape (B, C).
            steps: Solver steps from 0 to 1, a multiple of ``keep``.
            keep: Intervals whose ends are returned.

        Returns:
            States, shape (B, keep + 1, A).
        """

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            return self.velocity(x, t.expand(len(x)), c)

        states = [x]
        for i, (t, h) in enumerate(self._grid(x, steps), 1):
            x = x + SOLVERS[self.solver](velocity, x, t, h)
            if i * keep % steps == 0:
                states.append(x)
        return torch.stack(states, 1)

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        directions = self._directions(u)

        def velocity(state: Tensor, t: Tensor) -> Tensor:
            def v(x: Tensor) -> Tensor:
                return self.velocity(x, t.expand(len(x)), c)

            drift, pull = torch.func.vjp(v, state[:, :-1])[:2]

            def along(e: Tensor) -> Tensor:
                return (pull(e.expand_as(drift))[0] * e).sum(1)

            divergence = torch.func.vmap(along, chunk_size=16)(directions).sum(0)
            return torch.cat((drift, divergence.unsqueeze(1)), 1)

        state = F.pad(u, (0, 1))
        for t, h in self._grid(u, self.steps):
            state = state + SOLVERS[self.solver](velocity, state, 1 - t, -h)
        x, change = state[:, :-1], state[:, -1]
        # Backwards in time the integral of the divergence comes with its sign turned.
        base = -0.5 * (x.square().sum(1) + x.shape[1] * math.log(2 * math.pi))
        return base + change

    def _directions(self, u: Tensor) -> Tensor:
        """Vectors e (P, A) with sum_p e_p e_p^T the identity, exactly or on average."""
        dim = u.shape[1]
        if dim <= EXACT_TRACE:
            return torch.eye(dim, dtype=u.dtype, device=u.device)
        generator = torch.Generator().manual_seed(0)
        signs = torch.randint(0, 2, (self.probes, dim), generator=generator) * 2 - 1
        return signs.to(u) / math.sqrt(self.probes)

    @staticmethod
    def _grid(like: Tensor, steps: int) -> list[tuple[Tensor, float]]:
        """The beginnings and the length of the solver's steps in [0, 1]."""
        return [(like.new_tensor(i / steps), 1 / steps) for i in range(steps)]


def _euler(v: Field, x: Tensor, t: Tensor, h: float) -> Tensor:
    return h * v(x, t)


def _midpoint(v: Field, x: Tensor, t: Tensor, h: float) -> Tensor:
    return h * v(x + 0.5 * h * v(x, t), t + 0.5 * h)


def _heun(v: Field, x: Tensor, t: Tensor, h: float) -> Tensor:
    start = v(x, t)
    return 0.5 * h * (start + v(x + h * start, t + h))


SOLVERS: dict[Solver, Callable[[Field, Tensor, Tensor, float], Tensor]] = {
    "heun": _heun,
    "midpoint": _midpoint,
    "euler": _euler,
}
