r"""Local intrinsic dimension of points, from a model that takes noise off them.

What is asked of a model is the noise :math:`\hat\epsilon(y, t, c)` in :math:`y = a(t) u +
\sigma(t) \epsilon`, whose score is :math:`s = -\hat\epsilon / \sigma`. Two numbers follow for
each point u (of D coordinates) and each time t:

- **FLIPD**, from how the density around u thins out as noise is added:

  .. math:: D + \sigma^2 \big[\nabla\cdot s(y, t, c) + |s(y, t, c)|^2\big]
            = D - \sigma \nabla\cdot\hat\epsilon + |\hat\epsilon|^2
            \quad\text{at}\quad y = a(t)\, u;

- the **denoising loss**, :math:`E_\epsilon |\epsilon - \hat\epsilon(a u + \sigma\epsilon, t,
  c)|^2`: noise across a manifold is seen and taken off, noise along it cannot be told from data,
  one unit for each direction. The best possible loss is no less than the dimension, and a
  network's is larger.

Both count the directions in which data vary by much more than :math:`\sigma / a`, so both depend
on t: at large t directions drown in noise, at small t a network no longer follows the score of a
thin distribution and either counts all D. In between is a plateau, at one end of which the curve
over log t has its knee. Never read one number without its curve.

References:
    Kamkari et al. (2024), A geometric view of data complexity: efficient local intrinsic
    dimension estimation with diffusion models, arXiv:2406.03537 (FLIPD).
    Yeats et al. (2025), A connection between score matching and local intrinsic dimension,
    arXiv:2510.12975 (the denoising loss).
    Satopaa, Albrecht, Irwin, Raghavan (2011), Finding a "Kneedle" in a haystack (the knee).
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from caloman_cli.config.values import Count, Several, Share, checked
from caloman_cli.errors import UserError

EXACT_TRACE = 512  # dimensions up to which the divergence is summed exactly
_DIRECTIONS = 16  # at once
_VALUES = 1 << 22  # coordinates of directions at once
_TIMES = 4000  # among which one is looked for
_BENT = 0.1  # of a curve's range: how far from a straight line a knee has to be


class TakesNoiseOff(Protocol):
    """What is asked of a model; t (B,) is 0 where there is no noise and 1 where there is most."""

    def signal(self, t: Tensor) -> Tensor:
        """a(t), of t's shape."""
        ...

    def sigma(self, t: Tensor) -> Tensor:
        """The noise's standard deviation, of t's shape."""
        ...

    def epsilon(self, u: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """The mean of the noise in u (B, D) given conditions c (B, C), shape (B, D)."""
        ...


class Curves(NamedTuple):
    """Local dimensions of N points at T times, float64.

    Args:
        t: Times, shape (T,), rising.
        noise: sigma / a at these times, shape (T,).
        flipd: Shape (N, T).
        denoising: Shape (N, T).
    """

    t: np.ndarray
    noise: np.ndarray
    flipd: np.ndarray
    denoising: np.ndarray


class Knee(NamedTuple):
    """Where a curve bends most.

    Args:
        at: The number of its time.
        clear: Whether it bends by more than a tenth of its range; a straight or a flat curve has
            no knee, and the number means nothing.
    """

    at: int
    clear: bool


def flipd(
    model: TakesNoiseOff,
    u: Tensor,
    t: Tensor,
    c: Tensor,
    probes: int = 0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """FLIPD of points at one time each.

    Args:
        model: Takes noise off.
        u: Points, shape (B, D).
        t: Times in (0, 1), shape (B,).
        c: Conditions, shape (B, C).
        probes: Rademacher vectors of each point that the divergence is estimated with (their
            error is far below that of Gaussian ones); 0 sums it exactly.
        generator: Draws the vectors, on the CPU.

    Returns:
        Shape (B,); may be negative for a model that is wrong there.
    """
    y = model.signal(t)[:, None] * u
    found, pull = torch.func.vjp(lambda y: model.epsilon(y, t, c), y)[:2]

    def along(e: Tensor) -> Tensor:
        e = e.expand_as(y)
        total: Tensor = (pull(e)[0] * e).sum(1)
        return total

    if probes:
        signs = torch.randint(0, 2, (probes, *u.shape), generator=generator) * 2 - 1
        directions = signs.to(u) / probes**0.5
    else:
        directions = torch.eye(u.shape[1], dtype=u.dtype, device=u.device)
    divergence = torch.func.vmap(along, chunk_size=_DIRECTIONS)(directions).sum(0)
    return u.shape[1] - model.sigma(t) * divergence + found.square().sum(1)


def denoising_loss(
    model: TakesNoiseOff,
    u: Tensor,
    t: Tensor,
    c: Tensor,
    draws: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean of |epsilon - what the model takes for it|^2 over draws of noise, shape (B,).

    Args:
        model: Takes noise off.
        u: Points, shape (B, D).
        t: Times in (0, 1), shape (B,).
        c: Conditions, shape (B, C).
        draws: Of noise, for each point.
        generator: Draws it, on the CPU.
    """
    a, sigma = model.signal(t)[:, None], model.sigma(t)[:, None]
    total = u.new_zeros(len(u))
    for _ in range(draws):
        epsilon = torch.randn(u.shape, generator=generator).to(u)
        total += (epsilon - model.epsilon(a * u + sigma * epsilon, t, c)).square().sum(1)
    return total / draws


def knee(t: np.ndarray, curve: np.ndarray) -> Knee:
    """Where a curve (T,) over log t is furthest from the line between its ends.

    Above the line is the end of a plateau that falls, below it the beginning of one that was
    fallen to.
    """
    x = np.log(t)
    x = (x - x[0]) / (x[-1] - x[0])
    span = float(np.ptp(curve))
    if span == 0:
        return Knee(len(t) // 2, False)
    y = (curve - curve[0]) / span
    apart = np.abs(y - x * y[-1])
    index = int(apart.argmax())
    return Knee(index, bool(apart[index] > _BENT))


def time_of(model: TakesNoiseOff, noise: float, like: Tensor) -> float:
    """The time in [1e-4, 0.99] at which sigma / a is nearest to what is asked for.

    Args:
        model: Takes noise off.
        noise: sigma / a.
        like: A tensor of the model's type and device.
    """
    t = torch.from_numpy(np.geomspace(1e-4, 0.99, _TIMES)).to(like)
    apart = ((model.sigma(t) / model.signal(t)).log() - float(np.log(noise))).abs()
    return float(t[apart.argmin()])


@checked
class LocalDimension:
    """FLIPD and the denoising loss of points, on a grid of times.

    The divergence is summed exactly up to 512 dimensions and estimated above.

    Args:
        times: Of the grid, which is even in log t.
        t_min: The first.
        t_max: The last.
        draws: Of noise, for each point and time of the denoising loss.
        probes: Of each point, above 512 dimensions.
        seed: Of the noise and the probes.

    Raises:
        UserError: A setting is out of range, or the times do not rise.
    """

    def __init__(
        self,
        times: Several = 20,
        t_min: Share = 0.01,
        t_max: Share = 0.8,
        draws: Count = 8,
        probes: Count = 32,
        seed: int = 0,
    ) -> None:
        if t_min >= t_max:
            raise UserError(f"t_min={t_min} must be below t_max={t_max}, e.g. 0.01 and 0.8")
        self.t = np.geomspace(t_min, t_max, times)
        self.draws, self.probes, self.seed = draws, probes, seed

    def __call__(self, model: TakesNoiseOff, u: Tensor, c: Tensor) -> Curves:
        """The curves of points u (N, D) under conditions c (N, C)."""
        columns = [(self.flipd(model, u, c, t), self._loss(model, u, c, t)) for t in self.t]
        flipd, denoising = (np.stack(column, 1) for column in zip(*columns, strict=True))
        return Curves(self.t, self.noise(model, u), flipd, denoising)

    def noise(self, model: TakesNoiseOff, like: Tensor) -> np.ndarray:
        """sigma / a at the times of the grid, float64, shape (T,)."""
        t = torch.as_tensor(self.t).to(like)
        ratio: np.ndarray = (model.sigma(t) / model.signal(t)).double().cpu().numpy()
        return ratio

    def flipd(self, model: TakesNoiseOff, u: Tensor, c: Tensor, t: float) -> np.ndarray:
        """FLIPD of points u (N, D) at one time, float64, shape (N,)."""
        probes = 0 if u.shape[1] <= EXACT_TRACE else self.probes
        generator = torch.Generator().manual_seed(self.seed)
        return _by_parts(
            u, c, lambda u, c: flipd(model, u, u.new_full((len(u),), t), c, probes, generator)
        )

    def _loss(self, model: TakesNoiseOff, u: Tensor, c: Tensor, t: float) -> np.ndarray:
        generator = torch.Generator().manual_seed(self.seed)
        return _by_parts(
            u, c,
            lambda u, c: denoising_loss(
                model, u, u.new_full((len(u),), t), c, self.draws, generator
            ),
        )  # fmt: skip


def _by_parts(u: Tensor, c: Tensor, of: Callable[[Tensor, Tensor], Tensor]) -> np.ndarray:
    """A number of each row, as many rows at once as memory likes."""
    rows = max(1, _VALUES // (_DIRECTIONS * u.shape[1]))
    with torch.no_grad():
        parts = [of(*part) for part in zip(u.split(rows), c.split(rows), strict=True)]
    found: np.ndarray = torch.cat(parts).double().cpu().numpy()
    return found
