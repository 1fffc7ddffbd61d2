"""What has learned from the paths of another density's ODE."""

from collections.abc import Callable

import torch
from torch import Tensor

from caloman_cli.config.values import Fraction
from caloman_cli.errors import UserError
from caloman_cli.models.densities.base import Density
from caloman_cli.models.densities.ode import ODE
from caloman_cli.models.densities.velocity import Velocity
from caloman_cli.models.kinds import Kind
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.scaler import ScalerKind
from caloman_cli.models.trainable import RowSource


class Student(Density):
    """Knows where a teacher's :class:`ODE` leads, without a solver; made by ``caloman distill``.

    A batch of training rows is (states (B, k + 1, A), c (B, C)): a path of the teacher's ODE at
    the times 0, 1/k, ..., 1, in its scaled space. Noise is drawn as the teacher draws it, so that
    one seed gives both the same showers, up to the student's error. There is no density.

    Args:
        net: The network, made with ``dim`` and ``c_dim``.
        scaler: The teacher's, see :class:`Density`.
        prune: The teacher's, see :class:`Density`.
        latents: See :class:`Density`.
        c_dim: See :class:`Density`.

    Attributes:
        steps: Network evaluations per sample.
        intervals: k.
    """

    kind: Kind = "none"
    steps: int
    intervals: int

    def __init__(
        self,
        net: Callable[..., Velocity],
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__(scaler, prune, latents=latents, c_dim=c_dim)
        self.net = net
        self._build(self.z_dim)

    def _build(self, dim: int) -> None:
        self.velocity = self.net(dim=dim, c_dim=self.c_dim)

    def learn_from(self, teacher: ODE) -> None:
        """Take the teacher's scaling, and its weights where the networks have the same shape."""
        self.load_state_dict(teacher.scaler.state_dict(prefix="scaler."), strict=False)
        theirs, mine = teacher.weights(), self.velocity.state_dict()
        if _shapes(theirs) == _shapes(mine):
            self.velocity.load_state_dict(theirs)

    def learned(self) -> None:
        """Forget what only learning needs."""

    def prepare(self, train: RowSource) -> None:
        """Nothing to compute: the scaling is the teacher's."""

    def ode_error(self, batch: tuple[Tensor, ...]) -> Tensor:
        """Squared distance of where the student and the teacher get from the same noise.

        Summed over dimensions, mean over rows, in scaled latents.
        """
        states, c = batch
        return (self._carry(states[:, 0], c) - states[:, -1]).square().sum(1).mean()

    def _carry(self, x: Tensor, c: Tensor) -> Tensor:
        """Noise (B, A) to where the teacher's ODE ends (B, A)."""
        raise NotImplementedError

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        raise UserError(
            f"a distilled density ({type(self).__name__}) samples but has no log_prob: ask its "
            "teacher's run, which config.yaml names under distill.run"
        )


def spread_intervals(states: Tensor, intervals: int) -> tuple[Tensor, Tensor]:
    """Row numbers (B,) and an interval of the path for each row (B,), all equally often."""
    first = torch.randint(intervals, (), device=states.device)
    rows = torch.arange(len(states), device=states.device)
    return rows, (first + rows) % intervals


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}
