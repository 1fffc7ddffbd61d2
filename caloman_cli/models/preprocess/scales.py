"""From shares to the real line and to unit scale."""

import math
from typing import Annotated

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from caloman_cli.config.values import checked
from caloman_cli.data.geometry import Geometry
from caloman_cli.models.preprocess.base import Context, Stream, Transform
from caloman_cli.models.preprocess.moments import Moments


@checked
class Logit(Transform):
    r"""Shares in [0, 1] to the real line, :math:`\mathrm{logit}(\alpha + (1 - 2\alpha) v)`.

    Args:
        alpha: Distance that is kept from 0 and 1.

    Raises:
        UserError: alpha is not in (0, 0.5).
    """

    def __init__(self, alpha: Annotated[float, Gt(0), Lt(0.5)] = 1e-6) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor, context: Context) -> Tensor:
        share = x.clamp(0.0, 1.0)
        # Both logarithms keep their small argument: 1 - p would lose alpha in float32.
        inner = 1.0 - 2.0 * self.alpha
        return torch.log(self.alpha + inner * share) - torch.log(
            self.alpha + inner * (1.0 - share)
        )

    def inverse(self, x: Tensor, context: Context) -> Tensor:
        share = (torch.sigmoid(x) - self.alpha) / (1.0 - 2.0 * self.alpha)
        return share.clamp(0.0, 1.0)

    def log_det(self, x: Tensor, context: Context) -> Tensor:
        """Beyond 0 and 1 that at the end, where :meth:`forward` leaves a share."""
        share, inner = x.double().clamp(0.0, 1.0), 1.0 - 2.0 * self.alpha
        one = self.alpha + inner * share
        return (math.log(inner) - one.log() - (self.alpha + inner * (1.0 - share)).log()).sum(1)


class Standardize(Transform):
    """Mean 0 and standard deviation 1 per voxel, measured on the training split.

    A voxel that never changes is only shifted.
    """

    mean: Tensor
    std: Tensor

    def bind(self, geometry: Geometry) -> None:
        self.register_buffer("mean", torch.zeros(geometry.n_voxels))
        self.register_buffer("std", torch.ones(geometry.n_voxels))

    def fit(self, stream: Stream) -> None:
        moments = Moments()
        for x, _ in stream():
            moments.add(x)
        self.mean.copy_(moments.mean)
        self.std.copy_(moments.std)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return (x - self.mean) / self.std

    def inverse(self, x: Tensor, context: Context) -> Tensor:
        return x * self.std + self.mean

    def log_det(self, x: Tensor, context: Context) -> Tensor:
        return -self.std.double().log().sum().expand(len(x))


class Clip(Transform):
    """Keep generated values inside [min, max] of the whole training split."""

    lower: Tensor
    upper: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("lower", torch.tensor(-torch.inf))
        self.register_buffer("upper", torch.tensor(torch.inf))

    def fit(self, stream: Stream) -> None:
        lows, highs = zip(*((x.amin(), x.amax()) for x, _ in stream()), strict=True)
        self.lower.copy_(torch.stack(lows).amin())
        self.upper.copy_(torch.stack(highs).amax())

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return x

    def inverse(self, x: Tensor, context: Context) -> Tensor:
        return torch.clamp(x, self.lower, self.upper)

    def log_det(self, x: Tensor, context: Context) -> Tensor:
        """0: real values stay as they are, and generated ones outside are left out."""
        return x.new_zeros(len(x), dtype=torch.float64)
