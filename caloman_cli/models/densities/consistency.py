"""The student of a diffusion or a flow that goes to the end of a path from anywhere on it."""

import copy
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from caloman_cli.config.values import Count, Fraction, checked
from caloman_cli.errors import UserError
from caloman_cli.models.densities.denoiser import Denoiser
from caloman_cli.models.densities.ode import ODE
from caloman_cli.models.densities.student import Student, spread_intervals
from caloman_cli.models.densities.velocity import Velocity
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.scaler import ScalerKind
from caloman_cli.models.noise import Noise


@checked
class Consistency(Student):
    r"""f(u, t, c) takes noisy latents to where the teacher's ODE takes them, in one evaluation.

    On a path, noisy latents are :math:`u_i = a_i u_0 + \sigma_i \epsilon` at levels i = 0 (noise)
    to n (latents). With :math:`\tau = a / (a + \sigma)` and :math:`x = u / (a + \sigma)`, which
    makes the paths of all teachers those of a flow, :math:`f = x + (1 - \tau) F(x, \tau, c)`, so
    that f of latents is themselves; F is a network that may begin as the teacher's own. The
    objective is the squared distance, summed over dimensions, a level per row, of f(u_i) from

    - ``target=cd``: what a slow copy of the student says of the teacher's next state
      :math:`u_{i+1}`;
    - ``target=direct``: the end of the teacher's path.

    States are those of the teacher's paths, not noisy latents of the training data.

    With ``steps`` above 1 noise is put on what was found, and taken off again, at levels that lie
    evenly.

    Args:
        net: See :class:`Student`, the network F.
        target: ``cd`` or ``direct``.
        steps: Network evaluations per sample.
        levels: n.
        decay: Of the slow copy, a step's share of the old one.
        scaler: See :class:`Student`.
        prune: See :class:`Student`.

    Raises:
        UserError: A number is out of range, or there are more steps than levels.

    References:
        Song, Dhariwal, Chen, Sutskever (2023), Consistency models, arXiv:2303.01469.
        Loaiza-Ganem et al. (2024), Direct consistency models, arXiv:2411.08954.
    """

    share: Tensor
    scale: Tensor

    def __init__(
        self,
        net: Callable[..., Velocity],
        target: Literal["cd", "direct"] = "cd",
        steps: Count = 1,
        levels: Count = 18,
        decay: Fraction = 0.95,
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__(net, scaler, prune, latents=latents, c_dim=c_dim)
        if steps > levels:
            raise UserError(
                f"steps={steps} is more than levels={levels}, where samples may begin anew: give "
                "fewer steps or more levels"
            )
        self.steps, self.intervals, self.target, self.decay = steps, levels, target, decay
        self.register_buffer("share", torch.linspace(0, 1, levels + 1))
        self.register_buffer("scale", torch.ones(levels + 1))
        self.copied: nn.Module | None = None

    def learn_from(self, teacher: ODE) -> None:
        """As every student; and take the levels of noise of the teacher, a :class:`Denoiser`."""
        super().learn_from(teacher)
        if not isinstance(teacher, Denoiser):
            raise TypeError(f"{type(teacher).__name__} has no levels of noise")
        t = teacher.time(torch.linspace(0, 1, self.intervals + 1, device=self.share.device))
        a, sigma = teacher.signal(t), teacher.sigma(t)
        self.share.copy_(a / (a + sigma))
        self.scale.copy_(a + sigma)
        if self.target == "cd":
            self.copied = copy.deepcopy(self.velocity).requires_grad_(False)

    def learned(self) -> None:
        self.copied = None

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        states, c = batch
        rows, level = spread_intervals(states, self.intervals)
        found = self._end(states[rows, level], level, c)
        aim = states[:, -1]
        if self.copied is not None:
            if self.training:
                self._follow(self.copied)
            aim = self._end(states[rows, level + 1], level + 1, c, self.copied)
        return (found - aim).square().sum(1).mean()

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """``loss``: squared distance from the path's end, mean over all levels, whatever the
        target; ``ode_error``: the same from noise alone.
        """
        states, c = batch
        level = torch.arange(self.intervals, device=c.device).repeat(len(states))
        aim = states[:, -1].repeat_interleave(self.intervals, 0)
        told = c.repeat_interleave(self.intervals, 0)
        found = self._end(states[:, :-1].flatten(0, 1), level, told)
        loss = (found - aim).square().sum(1).mean()
        return {"loss": loss, "ode_error": self.ode_error(batch)}

    @torch.no_grad()
    def _follow(self, copied: nn.Module) -> None:
        pairs = zip(copied.parameters(), self.velocity.parameters(), strict=True)
        for mean, weight in pairs:
            mean.lerp_(weight, 1 - self.decay)

    def _end(self, u: Tensor, level: Tensor, c: Tensor, net: nn.Module | None = None) -> Tensor:
        """f of states (B, A) at levels (B,), by the student or by its copy."""
        share, x = self.share[level], u / self.scale[level].unsqueeze(1)
        found: Tensor = (self.velocity if net is None else net)(x, share, c)
        return x + (1 - share).unsqueeze(1) * found

    def _carry(self, x: Tensor, c: Tensor) -> Tensor:
        return self._end(x, x.new_zeros(len(x), dtype=torch.long), c)

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        dim = self.scaler.n_active
        u = self._carry(noise.normal(dim).to(c), c)
        for i in range(1, self.steps):
            level = torch.full((len(u),), i * self.intervals // self.steps, device=u.device)
            share, scale = self.share[level].unsqueeze(1), self.scale[level].unsqueeze(1)
            noisy = scale * (share * u + (1 - share) * noise.normal(dim).to(c))
            u = self._end(noisy, level, c)
        return u
