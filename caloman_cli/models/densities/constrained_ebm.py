"""An energy on a manifold that an encoder says by a function which is zero there."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from caloman_cli.config.values import Count, Fraction, Natural, NotNegative, Positive, checked
from caloman_cli.errors import UserError
from caloman_cli.models.densities.ebm import EBM
from caloman_cli.models.latents import ANOTHER_PART, Latents
from caloman_cli.models.nn.constrained import (
    Constraint,
    Walked,
    brought,
    constrained_mala,
    jacobian_of,
    tangent,
)
from caloman_cli.models.nn.mlp import Activation
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource

_FORGET = 0.05  # share of a step in the mean of proposals that failed

log = logging.getLogger(__name__)


@checked
class ConstrainedEBM(EBM):
    r"""p(z | c) ~ exp(-E(z, c) / T) on {F(z, c) = 0}, with respect to the manifold's own volume.

    As :class:`EBM`, but chains and samples walk on the manifold, which may have holes and parts
    that lie apart, as no image of a connected space has: Langevin steps along its tangents, each
    brought back by Newton's method and taken by Metropolis' rule, see
    :func:`~caloman_cli.models.nn.constrained.constrained_mala`. What cannot be brought back is
    rejected, and counted in the score ``failed``. Chains begin at training rows, brought to the
    manifold: each of its parts is there, in its share. ``log_prob`` is -E / T, whatever the
    distance of z from the manifold.

    Lengths count, so that latents are shifted, by their regression over c, and all divided by one
    number.

    Args:
        hidden: See :class:`EBM`, as all arguments.
        activation: See :class:`EBM`.
        temperature: See :class:`EBM`.
        base: See :class:`EBM`.
        penalty: See :class:`EBM`.
        chains: See :class:`EBM`.
        walk: See :class:`EBM`.
        restart: See :class:`EBM`.
        steps: See :class:`EBM`.
        latents: See :class:`Density`.
        c_dim: See :class:`Density`.

    Raises:
        UserError: The encoder says no manifold by a function.

    References:
        Ross, Loaiza-Ganem, Caterini, Cresswell (2022), Neural implicit manifold learning for
        topology-aware density estimation, arXiv:2206.11267.
        Zappa, Holmes-Cerfon, Goodman (2018), Monte Carlo on manifolds, arXiv:1702.08446.
    """

    failed: Tensor

    def __init__(
        self,
        hidden: Sequence[Count] = (64, 64),
        activation: Activation = "silu",
        temperature: Positive = 1.0,
        base: Positive = 3.0,
        penalty: NotNegative = 1e-4,
        chains: Count = 1024,
        walk: Count = 5,
        restart: Fraction = 0.05,
        steps: Natural = 40,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        sizes = temperature, base, penalty, chains, walk, restart, steps
        super().__init__(hidden, activation, *sizes, "none", latents=latents, c_dim=c_dim)
        if latents.constraint is None:
            instead = ANOTHER_PART if latents.part_of else "use encoder=implicit, or density=ebm"
            raise UserError(
                "density=constrained_ebm walks on a manifold that is where a function is zero, "
                f"{latents.source} has none: {instead}"
            )
        # In a tuple: the function belongs to the encoder, which learns and saves it.
        self._constraint = (latents.constraint,)

    def _build(self, dim: int) -> None:
        super()._build(dim)
        self.register_buffer("failed", torch.zeros(()))

    def prepare(self, train: RowSource) -> None:
        """Measure the latents' scale, of all of them, and set chains to rows."""
        self._settle(train)

    def _width(self, covariance: Tensor) -> Tensor:
        side = covariance.diagonal().mean().sqrt()
        return side * torch.eye(len(covariance), dtype=covariance.dtype, device=side.device)

    def _manifold(self, c: Tensor) -> Constraint:
        """F of y, in units of y."""
        return lambda y: self._constraint[0](self._outer(y, c), c) / self.factor[0, 0]

    def _anew(self, rows: Tensor, c: Tensor) -> Tensor:
        found, there = brought(self._manifold(c), rows)
        return torch.where(there.unsqueeze(1), found, rows)  # Newton's method may lead far away

    def _walk(self, y: Tensor, c: Tensor, noise: Noise, size: Tensor) -> tuple[Tensor, Tensor]:
        found = self._gone(y, c, noise, self.walk, size)
        self.failed.lerp_(found.failed.mean(), _FORGET)
        return found.q, found.taken

    def _gone(self, y: Tensor, c: Tensor, noise: Noise, steps: int, size: Tensor) -> Walked:
        manifold = self._manifold(c)
        return constrained_mala(lambda at: self._energy(at, c), manifold, y, noise, steps, size)

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        y, there = brought(self._manifold(c), self.chains.near(c, noise))
        if not there.all():
            log.warning(
                "density=constrained_ebm: %d of %d walks begin off the manifold and stay there",
                *(int((~there).sum()), len(y)),
            )
        return self._outer(self._gone(y, c, noise, self.steps, self.chains.size).q, c)

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Those of :class:`EBM`, the noise along tangents; and the share of steps that failed."""
        return {**super().scores(batch), "failed": self.failed.clone()}

    def _along(self, y: Tensor, c: Tensor, v: Tensor) -> Tensor:
        return tangent(jacobian_of(self._manifold(c), y)[1], v)
