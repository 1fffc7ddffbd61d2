"""Densities whose noise is known exactly, for tests of local dimensions."""

import math

import torch
from torch import Tensor


class Gaussians:
    """A mixture of normals N(m_i, diag(l_i)) under noise.

    Args:
        weights: Shape (K,).
        means: Shape (K, D).
        variances: Shape (K, D).
        clock: ``flow`` (signal 1 - t, noise t) or ``vp`` (noise t, the rest signal).
    """

    def __init__(self, weights, means, variances, clock="vp"):
        self.log_weights = torch.as_tensor(weights, dtype=torch.float64).log()
        self.means = torch.as_tensor(means, dtype=torch.float64)
        self.variances = torch.as_tensor(variances, dtype=torch.float64)
        self.clock = clock

    def signal(self, t: Tensor) -> Tensor:
        return 1 - t if self.clock == "flow" else (1 - t.square()).sqrt()

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def _parts(self, y: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted log-densities (B, K), and minus their slopes (B, K, D)."""
        a, s = self.signal(t)[:, None, None], self.sigma(t)[:, None, None]
        variance = a**2 * self.variances + s**2
        apart = y[:, None] - a * self.means
        each = -0.5 * (apart**2 / variance + variance.log() + math.log(2 * math.pi)).sum(2)
        return self.log_weights + each, apart / variance

    def log_density(self, y: Tensor, t: Tensor) -> Tensor:
        return torch.logsumexp(self._parts(y, t)[0], 1)

    def epsilon(self, u: Tensor, t: Tensor, c: Tensor) -> Tensor:
        each, slopes = self._parts(u, t)
        return self.sigma(t)[:, None] * (each.softmax(1)[:, :, None] * slopes).sum(1)


def gaussian(variances, clock="vp") -> Gaussians:
    """One normal around 0."""
    return Gaussians(
        [1.0], torch.zeros(1, len(variances)), torch.as_tensor(variances)[None], clock
    )


def plane(k: int, dim: int) -> Tensor:
    """Variances of standard normal data in the first k of ``dim`` dimensions."""
    return torch.cat([torch.ones(k), torch.zeros(dim - k)]).double()
