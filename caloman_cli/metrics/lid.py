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

Both count the directions in which data vary by much more than the noise over the signal,
:math:`\sigma / a`, whatever the model's clock, so both are functions of it: much of it drowns
directions, and with little a network no longer follows the score of a thin distribution and either
counts all D. In between is a plateau, if there is a dimension at all. Never read one number
without its curve.

References:
    Kamkari et al. (2024), A geometric view of data complexity: efficient local intrinsic
    dimension estimation with diffusion models, arXiv:2406.03537 (FLIPD).
    Yeats et al. (2025), A connection between score matching and local intrinsic dimension,
    arXiv:2510.12975 (the denoising loss).
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from caloman_cli.config.values import Count, Positive, Several, checked
from caloman_cli.errors import UserError

EXACT_TRACE = 512  # dimensions up to which the divergence is summed exactly
_DIRECTIONS = 16  # at once
_VALUES = 1 << 22  # coordinates of directions at once
_TIMES = 4000  # among which one is looked for
_FLAT = 0.1  # change of a curve, over itself, with the logarithm of the noise


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
        noise: sigma / a, shape (T,), rising.
        t: The model's times with these, shape (T,).
        flipd: Shape (N, T).
        denoising: Shape (N, T).
    """

    noise: np.ndarray
    t: np.ndarray
    flipd: np.ndarray
    denoising: np.ndarray


class Plateau(NamedTuple):
    """Where a curve is flattest.

    Args:
        at: The number of its noise.
        clear: Whether it changes there by less than a tenth while the noise does e-fold.
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


def plateau(noise: np.ndarray, curve: np.ndarray) -> Plateau:
    """Where a positive curve (T,) changes least, in per cent, with the logarithm of the noise.

    A knee, as of FLIPD in its paper, depends on where a curve without a plateau is cut off.
    """
    slope = np.abs(np.gradient(np.log(curve), np.log(noise)))
    at = int(slope.argmin())
    return Plateau(at, bool(slope[at] < _FLAT))


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
    """FLIPD and the denoising loss of points, on a grid of noises.

    The divergence is summed exactly up to 512 dimensions and estimated above.

    Args:
        times: Number of the grid's noises over the signal, which are even in their logarithm.
        noise_min: The first.
        noise_max: The last.
        draws: Of noise, for each point and time of the denoising loss.
        probes: Of each point, above 512 dimensions.
        seed: Of the noise and the probes.

    Raises:
        UserError: A setting is out of range, or the noises do not rise.
    """

    def __init__(
        self,
        times: Several = 20,
        noise_min: Positive = 0.01,
        noise_max: Positive = 4.0,
        draws: Count = 8,
        probes: Count = 32,
        seed: int = 0,
    ) -> None:
        if noise_min >= noise_max:
            raise UserError(
                f"noise_min={noise_min} must be below noise_max={noise_max}, e.g. 0.01 and 4"
            )
        self.noise = np.geomspace(noise_min, noise_max, times)
        self.draws, self.probes, self.seed = draws, probes, seed

    def __call__(self, model: TakesNoiseOff, u: Tensor, c: Tensor) -> Curves:
        """The curves of points u (N, D) under conditions c (N, C)."""
        times = np.array([time_of(model, noise, u) for noise in self.noise])
        columns = [(self.flipd(model, u, c, t), self._loss(model, u, c, t)) for t in times]
        flipd, denoising = (np.stack(column, 1) for column in zip(*columns, strict=True))
        return Curves(self.noise, times, flipd, denoising)

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
