"""A density that is no torch module: numpy arrays, which travel as bytes."""

import io
import math

import numpy as np
import torch
from torch import Tensor

from caloman_cli.models.densities.base import Density
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource


class KDE(Density):
    """Normal kernels at training latents, weighted by how near their conditions are.

    Args:
        rows: Training rows to keep, at most.
        width: Of the kernels, in standard deviations of the latents.
        reach: Of the weights, in units of the conditions.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.
    """

    def __init__(
        self,
        rows: int = 200,
        width: float = 0.3,
        reach: float = 1.0,
        scaler: str = "standardize",
        prune: float = 0.0,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__(scaler, prune, latents=latents, c_dim=c_dim)
        self.rows, self.width, self.reach = rows, width, reach
        self.u, self.c = np.zeros((0, self.z_dim)), np.zeros((0, c_dim))

    def _build(self, dim: int) -> None:
        """Nothing: there are no networks."""

    def prepare(self, train: RowSource) -> None:
        super().prepare(train)
        chosen = np.linspace(0, len(train) - 1, min(self.rows, len(train))).astype(np.int64)
        z, c = train.rows(chosen)
        self.u, self.c = self.scaler(z)[0].cpu().double().numpy(), c.cpu().double().numpy()

    def get_extra_state(self) -> bytes:
        kept = io.BytesIO()
        np.savez(kept, u=self.u, c=self.c)
        return kept.getvalue()

    def set_extra_state(self, state: bytes) -> None:
        with np.load(io.BytesIO(state), allow_pickle=False) as kept:
            self.u, self.c = kept["u"], kept["c"]

    def _weights(self, c: Tensor) -> Tensor:
        """log-probabilities of the kernels, (B, N)."""
        apart = (c.double().unsqueeze(1) - torch.from_numpy(self.c).to(c.device)).square().sum(2)
        return (-0.5 * apart / self.reach**2).log_softmax(1)

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        below = self._weights(c).exp().cumsum(1) < noise.uniform(1).to(c)
        kernel = below.sum(1).clamp(max=len(self.u) - 1).cpu().numpy()
        centre = torch.from_numpy(self.u[kernel]).to(c)
        return centre + self.width * noise.normal(centre.shape[1]).to(c)

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        apart = (u.double().unsqueeze(1) - torch.from_numpy(self.u).to(u.device)).square().sum(2)
        constant = u.shape[1] * math.log(self.width * math.sqrt(2 * math.pi))
        each = self._weights(c) - 0.5 * apart / self.width**2 - constant
        return each.logsumexp(1).to(u)
