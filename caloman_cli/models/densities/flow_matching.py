"""Flow matching on straight paths from noise to latents."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.errors import UserError
from caloman_cli.models.densities.base import Density
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise

Velocity = Callable[[Tensor, Tensor], Tensor]
EXACT_TRACE = 64  # dimensions up to which the divergence is summed exactly
_REPEATS = 4  # draws of noise and time per validation row
_GOLDEN = 0.6180339887498949


class _Block(nn.Module):
    """h + W2 silu(W1 (norm(h), told)); every block is told the time and the conditions."""

    def __init__(self, width: int, told: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width + told, width)
        self.second = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        hidden = F.silu(self.first(torch.cat((self.norm(h), told), 1)))
        return h + self.second(self.dropout(hidden))


class VelocityNet(nn.Module):
    r"""v(x, t, c): a residual network on x (B, D), Fourier features of t (B,) and c (B, C).

    It learns what the best velocity for standard normal data, :math:`(2t - 1)\, x / s^2` with
    :math:`s^2 = t^2 + (1 - t)^2`, leaves: at all times the network's input :math:`x / s` and what
    is wanted of it, s times the rest, are then of order 1, and noise need not pass through it.

    Args:
        dim: D.
        c_dim: C.
        hidden: Width.
        n_blocks: Residual blocks.
        n_frequencies: Cosines and sines of pi k t, k = 1 ... n_frequencies.
        dropout: Drop-out probability.
    """

    frequencies: Tensor

    def __init__(
        self, dim: int, c_dim: int, hidden: int, n_blocks: int, n_frequencies: int, dropout: float
    ) -> None:
        super().__init__()
        frequencies = math.pi * torch.arange(1, n_frequencies + 1)
        self.register_buffer("frequencies", frequencies, persistent=False)
        told = 2 * n_frequencies + c_dim
        self.first = nn.Linear(dim + told, hidden)
        self.blocks = nn.ModuleList(_Block(hidden, told, dropout) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(hidden)
        self.last = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        t = t.unsqueeze(1)
        scale = torch.rsqrt(t.square() + (1.0 - t).square())
        angle = t * self.frequencies
        told = torch.cat((angle.cos(), angle.sin(), c), 1)
        h = self.first(torch.cat((x * scale, told), 1))
        for block in self.blocks:
            h = block(h, told)
        rest = self.last(F.silu(self.norm(h)))
        return scale * torch.addcmul(rest, (2.0 * t - 1.0) * scale, x)


class FlowMatching(Density):
    r"""A rectified flow: dx/dt = v(x, t, c) carries noise (t = 0) to scaled latents (t = 1).

    The objective is :math:`E|v(x_t, t, c) - (x_1 - x_0)|^2`, summed over dimensions, with
    :math:`x_t = (1 - t) x_0 + t x_1` and a time per row. Validation uses a fixed grid of times and
    fixed noise, so that early stopping compares models and not draws.

    ``log_prob`` integrates the divergence of v along the same solver's path backwards in time:
    summed exactly up to 64 dimensions, with the same ``probes`` Rademacher vectors for all rows
    above, and exact only in the limit of many ``steps``.

    Args:
        hidden: Width of the velocity network.
        n_blocks: Residual blocks.
        n_frequencies: Fourier features of time.
        dropout: Drop-out probability.
        steps: Solver steps.
        solver: ``heun`` or ``midpoint`` (two network calls per step) or ``euler`` (one).
        probes: Hutchinson probes.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.

    References:
        Lipman, Chen, Ben-Hamu, Nickel, Le (2022), Flow matching, arXiv:2210.02747.
        Liu, Gong, Liu (2022), Rectified flow, arXiv:2209.03003.
        Grathwohl et al. (2018), FFJORD, arXiv:1810.01367.
        Karras, Aittala, Aila, Laine (2022), Elucidating the design space of diffusion-based
        generative models, arXiv:2206.00364 (scaling of a network's inputs and outputs).
    """

    kind = "estimate"

    def __init__(
        self,
        hidden: int = 256,
        n_blocks: int = 3,
        n_frequencies: int = 16,
        dropout: float = 0.0,
        steps: int = 12,
        solver: str = "heun",
        probes: int = 32,
        scaler: str = "standardize",
        prune: float = 0.0,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__(scaler, prune, latents=latents, c_dim=c_dim)
        if solver not in SOLVERS:
            raise UserError(f"solver={solver} is unknown; choose from {', '.join(SOLVERS)}")
        if min(steps, probes, hidden) < 1:
            raise UserError(f"steps={steps}, probes={probes}, hidden={hidden} must be at least 1")
        self.hidden, self.n_blocks, self.n_frequencies = hidden, n_blocks, n_frequencies
        self.dropout, self.steps, self.solver, self.probes = dropout, steps, solver, probes
        self._build(self.z_dim)

    def _build(self, dim: int) -> None:
        self.velocity = VelocityNet(
            dim, self.c_dim, self.hidden, self.n_blocks, self.n_frequencies, self.dropout
        )

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x1, c = self.scaler(batch[0])[0], batch[1]
        # Times spread evenly over the batch: uniform for each row, less variance for their mean.
        spread = torch.arange(len(x1), device=x1.device) / len(x1)
        t = (spread + torch.rand((), device=x1.device)) % 1
        return self._mismatch(x1, torch.randn_like(x1), t, c)

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        x1, c = self.scaler(batch[0])[0], batch[1]
        x1, c = x1.repeat(_REPEATS, 1), c.repeat(_REPEATS, 1)
        generator = torch.Generator(x1.device).manual_seed(0)
        x0 = torch.randn(x1.shape, generator=generator, device=x1.device)
        # Multiples of the golden ratio fill [0, 1) evenly however many rows there are.
        t = torch.arange(len(x1), device=x1.device, dtype=torch.float64) * _GOLDEN % 1
        return {"loss": self._mismatch(x1, x0, t.to(x1), c)}

    def _mismatch(self, x1: Tensor, x0: Tensor, t: Tensor, c: Tensor) -> Tensor:
        xt = torch.lerp(x0, x1, t.unsqueeze(1))
        return (self.velocity(xt, t, c) - (x1 - x0)).square().sum(1).mean()

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


def _euler(v: Velocity, x: Tensor, t: Tensor, h: float) -> Tensor:
    return h * v(x, t)


def _midpoint(v: Velocity, x: Tensor, t: Tensor, h: float) -> Tensor:
    return h * v(x + 0.5 * h * v(x, t), t + 0.5 * h)


def _heun(v: Velocity, x: Tensor, t: Tensor, h: float) -> Tensor:
    start = v(x, t)
    return 0.5 * h * (start + v(x + h * start, t + h))


SOLVERS = {"heun": _heun, "midpoint": _midpoint, "euler": _euler}
