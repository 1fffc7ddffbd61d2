"""What trees learn to say of noisy data, and how data are drawn with what they say."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from caloman_cli.models.noise import Noise

Asked = Callable[[int, np.ndarray], np.ndarray]
"""Number of a time, x (B, A) -> what its trees say of x, (B, A)."""


class FlowTarget:
    r"""The velocity :math:`x_1 - x_0` of :math:`x_t = (1 - t) x_0 + t x_1`, at t = i / n.

    At t = 1, where noise is nothing, it is :math:`x_1` itself.

    Args:
        times: n.
        solver: ``heun`` or ``euler``.
    """

    def __init__(self, times: int, solver: Literal["heun", "euler"]) -> None:
        self.times, self.solver = times, solver

    def mixed(self, i: int, x1: np.ndarray, x0: np.ndarray) -> np.ndarray:
        """Data and noise (N, A) at the i-th time."""
        t = np.float32(i / self.times)
        return (1 - t) * x0 + t * x1

    def wanted(self, x1: np.ndarray, x0: np.ndarray) -> np.ndarray:
        """What trees learn to say, (N, A)."""
        return x1 - x0

    def within(
        self, i: int, x: np.ndarray, said: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> np.ndarray:
        """What trees said of x (B, A), such that the mean of data lies between low and high."""
        left = np.float32(1 - i / self.times)
        return (np.clip(x + left * said, low, high) - x) / left

    def draw(self, x: np.ndarray, asked: Asked, noise: Noise) -> np.ndarray:
        """From normal numbers x (B, A) to data in n steps."""
        step = np.float32(1 / self.times)
        for i in range(self.times):
            velocity = asked(i, x)
            if self.solver == "heun":
                there = x + step * velocity
                there = asked(i + 1, there) if i + 1 < self.times else there
                velocity = (velocity + there) / 2
            x = x + step * velocity
        return x


class DiffusionTarget:
    r"""The noise in :math:`x_t = \alpha_t x_1 + \sigma_t x_0`, at n times from 1 down to ``eps``.

    :math:`\alpha_t^2 = 1 - \sigma_t^2 = \exp(-\int_0^t \beta)` with a beta that rises linearly.
    What trees say of it, over :math:`-\sigma_t`, is the score. All samples end with Tweedie's
    formula, the mean of data given :math:`x_{eps}`.

    Args:
        times: n.
        solver: ``euler_maruyama``: the reverse stochastic equation, as published; ``euler`` and
            ``heun``: its ordinary one, whose slope over :math:`\sigma / \alpha` is the noise.
        beta: At time 0 and at time 1.
        eps: The last time.

    References:
        Song et al. (2021), Score-based generative modeling through stochastic differential
        equations, arXiv:2011.13456. Song, Meng, Ermon (2021), Denoising diffusion implicit
        models, arXiv:2010.02502.
    """

    def __init__(
        self,
        times: int,
        solver: Literal["heun", "euler", "euler_maruyama"],
        beta: tuple[float, float],
        eps: float,
    ) -> None:
        self.times, self.solver = times, solver
        t = np.linspace(1, eps, times)
        logarithm = -0.25 * t**2 * (beta[1] - beta[0]) - 0.5 * t * beta[0]
        self.steps = -np.diff(t, append=0).astype("f4")
        self.beta = (beta[0] + t * (beta[1] - beta[0])).astype("f4")
        self.signal = np.exp(logarithm).astype("f4")
        self.sigma = np.sqrt(-np.expm1(2 * logarithm)).astype("f4")

    def mixed(self, i: int, x1: np.ndarray, x0: np.ndarray) -> np.ndarray:
        """Data and noise (N, A) at the i-th time."""
        found: np.ndarray = self.signal[i] * x1 + self.sigma[i] * x0
        return found

    def wanted(self, x1: np.ndarray, x0: np.ndarray) -> np.ndarray:
        """What trees learn to say, (N, A)."""
        return x0

    def within(
        self, i: int, x: np.ndarray, said: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> np.ndarray:
        """What trees said of x (B, A), such that the mean of data lies between low and high."""
        mean = np.clip((x - self.sigma[i] * said) / self.signal[i], low, high)
        found: np.ndarray = (x - self.signal[i] * mean) / self.sigma[i]
        return found

    def draw(self, x: np.ndarray, asked: Asked, noise: Noise) -> np.ndarray:
        """From normal numbers x (B, A) to data."""
        last = self.times - 1
        if self.solver == "euler_maruyama":
            for i in range(last):
                rate = self.steps[i] * self.beta[i]
                kick = noise.normal(x.shape[1]).cpu().numpy()
                score = -asked(i, x) / self.sigma[i]
                x = x + rate * (x / 2 + score) + np.sqrt(rate) * kick
            found: np.ndarray = (x - self.sigma[last] * asked(last, x)) / self.signal[last]
            return found
        level = np.append(self.sigma / self.signal, np.float32(0))
        x = x / self.signal[0]
        for i in range(self.times):
            step = level[i + 1] - level[i]
            slope = asked(i, x * self.signal[i])
            if self.solver == "heun" and i < last:
                there = asked(i + 1, (x + step * slope) * self.signal[i + 1])
                slope = (slope + there) / 2
            x = x + step * slope
        return x
