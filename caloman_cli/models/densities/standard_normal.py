"""The prior itself as density: what sampling without a second step would give."""

import math

from torch import Tensor

from caloman_cli.models.densities.base import Density
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource


class StandardNormal(Density):
    """z ~ N(0, I), whatever the condition: no parameters, an honest baseline.

    It is right for a variational autoencoder whose aggregate posterior matches its prior, and
    shows by how much a learned density does better.
    """

    def __init__(self, *, latents: Latents, c_dim: int) -> None:
        super().__init__("none", latents=latents, c_dim=c_dim)

    def prepare(self, train: RowSource) -> None:
        """Nothing to compute: the latents are taken in the units of the prior."""

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        return noise.normal(self.z_dim).to(c)

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        return -0.5 * (u.square().sum(1) + self.z_dim * math.log(2 * math.pi))
