"""Independent normals around a decoded mean."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from caloman_cli.config.values import Positive, checked
from caloman_cli.data.geometry import Geometry
from caloman_cli.models.heads.base import Head
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.conditions import Conditions

Sigma = Literal["shower", "voxel", "fixed"]
_LOG_SIGMA = (-12.0, 6.0)  # keeps exp() and its gradient finite in float32


class Normal(NamedTuple):
    """Parameters of voxels.

    Args:
        mean: Shape (B, V).
        sigma: Shape (B or 1, V or 1).
    """

    mean: Tensor
    sigma: Tensor


@checked
class Gaussian(Head[Normal]):
    """x ~ N(mean, sigma^2), voxel by voxel.

    Args:
        sigma: ``shower``: one decoded sigma for all voxels of a shower, as CaloMan;
            ``voxel``: one per voxel; ``fixed``: the constant ``value``.
        draw: Generate by drawing; otherwise showers are the decoded mean, as CaloMan.
        value: The sigma of ``sigma=fixed``, in units of x.

    Raises:
        UserError: An argument is not one of these.

    References:
        Cresswell et al. (2022), CaloMan: fast generation of calorimeter showers with density
        estimation on learned manifolds, arXiv:2211.15380.
    """

    def __init__(
        self,
        sigma: Sigma = "shower",
        draw: bool = False,
        value: Positive = 1.0,
        *,
        geometry: Geometry,
        conditions: Conditions,
    ) -> None:
        super().__init__(geometry=geometry, conditions=conditions)
        self.sigma, self.draw, self.value = sigma, draw, value
        self.out_dim = self.x_dim + {"shower": 1, "voxel": self.x_dim, "fixed": 0}[sigma]
        self.footprint, self.images = self.out_dim, (1, self.out_dim // self.x_dim)
        self.kind = "exact" if draw else "score"  # what is not drawn has no density
        self.deterministic = not draw

    def params(self, raw: Tensor, c: Tensor) -> Normal:
        """Mean (B, V) and sigma (B, 1 or V)."""
        mean, log_sigma = raw[:, : self.x_dim], raw[:, self.x_dim :]
        if self.sigma == "fixed":
            return Normal(mean, mean.new_full((1, 1), self.value))
        return Normal(mean, log_sigma.clamp(*_LOG_SIGMA).exp())

    def from_mean(self, mean: Tensor, sigma: Tensor) -> Normal:
        return Normal(mean, sigma.to(mean).reshape(1, -1))

    def sample(self, params: Normal, noise: Noise) -> Tensor:
        mean, sigma = params
        return mean + sigma * noise.normal(self.x_dim) if self.draw else mean

    def mean(self, params: Normal) -> Tensor:
        return params.mean

    def log_prob(self, params: Normal, x: Tensor) -> Tensor:
        mean, sigma = params
        residual = ((x - mean) / sigma).square().sum(1)
        volume = torch.log(sigma).expand(-1, self.x_dim).sum(1)
        return -0.5 * (residual + self.x_dim * math.log(2 * math.pi)) - volume
