"""The student of a flow: its ODE, solved by one network evaluation."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from caloman_cli.config.values import Count, Fraction, checked
from caloman_cli.errors import UserError
from caloman_cli.models.densities.base import Density
from caloman_cli.models.densities.ode import ODE
from caloman_cli.models.densities.velocity import Velocity
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.scaler import ScalerKind
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource


@checked
class FlowMap(Density):
    r"""Carries noise to latents in ``steps`` jumps, as the :class:`ODE` of a teacher does.

    One jump is :math:`x_{i+1} = x_i + \frac1k f(x_i, t_i, c)` with :math:`t_i = i / k` and
    k = ``steps``: f is the teacher's velocity averaged over the interval. A batch of training rows
    is (states (B, k + 1, A), c (B, C)): the teacher's path at the times :math:`t_i`, in its scaled
    space. The objective is the squared difference between the student's and the teacher's next
    state, summed over dimensions, an interval per row.

    Noise is drawn as the teacher draws it, so that one seed gives both the same showers, up to
    the student's error. The map has no tractable Jacobian, hence no density.

    Args:
        net: The network f, made with ``dim`` and ``c_dim``.
        steps: Network evaluations per sample.
        scaler: The teacher's, see :class:`Density`.
        prune: The teacher's, see :class:`Density`.

    Raises:
        UserError: ``steps`` is below 1.

    References:
        Liu, Gong, Liu (2022), Rectified flow, arXiv:2209.03003, distillation of section 2.2.
        Luhman, Luhman (2021), Knowledge distillation in iterative generative models,
        arXiv:2101.02388.
        Boffi, Albergo, Vanden-Eijnden (2024), Flow map matching, arXiv:2406.07507.
    """

    kind = "none"

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
        super().__init__(scaler, prune, latents=latents, c_dim=c_dim)
        self.net, self.steps = net, steps
        self._build(self.z_dim)

    def _build(self, dim: int) -> None:
        self.velocity = self.net(dim=dim, c_dim=self.c_dim)

    def learn_from(self, teacher: ODE) -> None:
        """Take the teacher's scaling, and its weights where the networks have the same shape.

        With the teacher's weights the student begins as the teacher's Euler solver.
        """
        self.load_state_dict(teacher.scaler.state_dict(prefix="scaler."), strict=False)
        if not isinstance(teacher.velocity, nn.Module):
            return
        theirs, mine = teacher.velocity.state_dict(), self.velocity.state_dict()
        if _shapes(theirs) == _shapes(mine):
            self.velocity.load_state_dict(theirs)

    def prepare(self, train: RowSource) -> None:
        """Nothing to compute: the scaling is the teacher's."""

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        states, c = batch
        first = torch.randint(self.steps, (), device=states.device)
        interval = (first + torch.arange(len(states), device=states.device)) % self.steps
        rows = torch.arange(len(states), device=states.device)
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
        end = self._carry(states[:, 0], c)
        return {
            "loss": (end - states[:, -1]).square().sum(1).mean(),
            "jump": (reached - ends).square().sum(1).mean(),
        }

    def _jump(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        return x + self.velocity(x, t, c) / self.steps

    def _carry(self, x: Tensor, c: Tensor) -> Tensor:
        """Noise (B, A) to scaled latents (B, A)."""
        for i in range(self.steps):
            x = self._jump(x, x.new_full((len(x),), i / self.steps), c)
        return x

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        return self._carry(noise.normal(self.scaler.n_active).to(c), c)

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        raise UserError(
            "a distilled density (FlowMap) samples but has no log_prob: ask its teacher's run, "
            "which config.yaml names under distill.run"
        )


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}
