"""The student of a flow: its ODE, solved by one network evaluation."""

from collections.abc import Callable

import torch
from torch import Tensor

from caloman_cli.config.values import Count, Fraction, checked
from caloman_cli.models.densities.student import Student, spread_intervals
from caloman_cli.models.densities.velocity import Velocity
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.scaler import ScalerKind
from caloman_cli.models.noise import Noise


@checked
class FlowMap(Student):
    r"""Carries noise to latents in ``steps`` jumps, as the :class:`ODE` of a teacher does.

    One jump is :math:`x_{i+1} = x_i + \frac1k f(x_i, t_i, c)` with :math:`t_i = i / k` and
    k = ``steps``: f is the teacher's velocity averaged over the interval. The objective is the
    squared difference between the student's and the teacher's next state, summed over dimensions,
    an interval per row. With the teacher's weights, if it has those of a velocity, the student
    begins as the teacher's Euler solver.

    Args:
        net: See :class:`Student`, the network f.
        steps: Network evaluations per sample.
        scaler: See :class:`Student`.
        prune: See :class:`Student`.

    Raises:
        UserError: ``steps`` is below 1.

    References:
        Liu, Gong, Liu (2022), Rectified flow, arXiv:2209.03003, distillation of section 2.2.
        Luhman, Luhman (2021), Knowledge distillation in iterative generative models,
        arXiv:2101.02388.
        Boffi, Albergo, Vanden-Eijnden (2024), Flow map matching, arXiv:2406.07507.
    """

    def __init__(
        self,
        net: Callable[..., Velocity],
        steps: Count = 1,
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__(net, scaler, prune, latents=latents, c_dim=c_dim)
        self.steps = self.intervals = steps

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        states, c = batch
        rows, interval = spread_intervals(states, self.steps)
        reached = self._jump(states[rows, interval], interval / self.steps, c)
        return (reached - states[rows, interval + 1]).square().sum(1).mean()

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """``loss``: squared error of the whole path's end, the student on its own; ``jump``: of a
        single jump from the teacher's state, as in training.
        """
        states, c = batch
        begins, ends = states[:, :-1].flatten(0, 1), states[:, 1:].flatten(0, 1)
        t = torch.arange(self.steps, device=states.device).repeat(len(states)) / self.steps
        reached = self._jump(begins, t, c.repeat_interleave(self.steps, 0))
        return {
            "loss": self.ode_error(batch),
            "jump": (reached - ends).square().sum(1).mean(),
        }

    def _jump(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        return x + self.velocity(x, t, c) / self.steps

    def _carry(self, x: Tensor, c: Tensor) -> Tensor:
        for i in range(self.steps):
            x = self._jump(x, x.new_full((len(x),), i / self.steps), c)
        return x

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        return self._carry(noise.normal(self.scaler.n_active).to(c), c)
