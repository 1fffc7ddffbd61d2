"""A density that wraps densities: a nested node of the config, made once for every cluster."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from caloman_cli.models.densities.base import Density
from caloman_cli.models.kinds import weakest
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource, TensorRows


class Clustered(Density):
    """A mixture: one density for each cluster of latents, chosen by the condition.

    Args:
        part: The density of one cluster.
        clusters: How many.

    References:
        Brown et al. (2022), Verifying the union of manifolds hypothesis for image data,
        arXiv:2207.02862.
    """

    def __init__(
        self,
        part: Callable[..., Density],
        clusters: int = 2,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__("none", latents=latents, c_dim=c_dim)
        self.parts = nn.ModuleList(part(latents=latents, c_dim=c_dim) for _ in range(clusters))
        self.bias = nn.Parameter(torch.zeros(clusters))
        self.slope = nn.Parameter(torch.zeros(c_dim, clusters))
        self.kind = weakest(*(each.kind for each in self._parts()))
        self.needs_grad = any(each.needs_grad for each in self._parts())

    def _parts(self) -> list[Density]:
        return [each for each in self.parts if isinstance(each, Density)]

    def prepare(self, train: RowSource) -> None:
        """Find the clusters by a few rounds of k-means and prepare each part with its own."""
        z, c = train.rows(np.arange(len(train)))
        order = z[:, 0].argsort()
        own = torch.empty(len(z), dtype=torch.long)
        own[order] = torch.arange(len(z)) * len(self.parts) // len(z)
        for _ in range(10):
            centres = torch.stack([z[own == k].mean(0) for k in range(len(self.parts))])
            nearest = torch.cdist(z, centres).argmin(1)
            if nearest.bincount(minlength=len(self.parts)).min() < 2:
                break
            own = nearest
        for k, each in enumerate(self._parts()):
            each.prepare(TensorRows(z[own == k], c[own == k], device=z.device))

    def _weights(self, c: Tensor) -> Tensor:
        """log-probabilities of the clusters, (B, K)."""
        return (self.bias + c @ self.slope).log_softmax(1)

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        each = torch.stack([part.log_prob(u, c) for part in self._parts()], 1)
        return (self._weights(c) + each).logsumexp(1)

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        below = self._weights(c).exp().cumsum(1) < noise.uniform(1).to(c)
        chosen = below.sum(1).clamp(max=len(self.parts) - 1)
        drawn = torch.stack([part.sample(c, noise) for part in self._parts()])
        return drawn[chosen, torch.arange(len(c), device=c.device)]
