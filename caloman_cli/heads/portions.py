r"""Portions of an energy: mixtures of normal distributions for their logits.

What is divided are energies above the readout cut, the excess that is free once every lit voxel
has its cut. A portion of it lies between 0 and 1, and any value of its logit is possible: no
truncation, no normalisation, no draw that does not fit. The last of the K components is centred
at an energy and not at a portion: single particles that cross a cell leave an edge in MeV.

Normal and not logistic: over a hundred draws in a row, the tails of logistic distributions sooner
or later take a layer's whole energy.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_LOG_SCALE = (-5.0, 2.0)  # of a component, before the shift; in units of the data's width
_SHIFT = -0.5
_LARGEST = -0.05  # log of the portion that an energy is, if it is nearly all there is or more
_LEAST = 1e-3  # cuts: the resolution of an excess
_HALF_LOG_TAU = 0.5 * math.log(math.tau)


class Components(NamedTuple):
    """K components, each field of shape (\\*, K, S, B).

    Args:
        weight: Logits of the weights.
        center: Logits of portions; of the last component, the log of an excess over the cut.
        log_scale: Logarithms of the standard deviations.
    """

    weight: Tensor
    center: Tensor
    log_scale: Tensor

    def placed(self, free: Tensor, offset: Tensor | float = 0.0) -> "Components":
        """All centres as logits of portions of the free excess (\\*, S, B), plus an offset."""
        portion = self.center[..., :-1, :, :]
        if isinstance(offset, Tensor):
            portion = portion + offset.unsqueeze(-3)
        fixed = _logit(self.center[..., -1:, :, :] - log_excess(free).unsqueeze(-3))
        return self._replace(center=torch.cat([portion, fixed], -3))

    def log_prob(self, y: Tensor) -> Tensor:
        """Log-density of y (\\*, S, B) [nats]."""
        t = (y.unsqueeze(-3) - self.center) * torch.exp(-self.log_scale)
        components = -0.5 * t.square() - self.log_scale - _HALF_LOG_TAU
        return torch.logsumexp(F.log_softmax(self.weight, -3) + components, -3)

    def portions_only(self) -> "Components":
        """Without the component at an energy."""
        return Components(*(field[..., :-1, :, :] for field in self))

    def center_of_mass(self) -> Tensor:
        """Weighted mean of the centres, (\\*, S, B)."""
        return (torch.softmax(self.weight, -3) * self.center).sum(-3)

    def chosen(self, uniform: Tensor) -> "Component":
        """One component for each of the numbers in [0, 1), shape (\\*, S, B)."""
        center, log_scale = self.center[..., 0, :, :], self.log_scale[..., 0, :, :]
        fixed = torch.zeros_like(uniform, dtype=torch.bool)
        below = torch.zeros_like(uniform)
        weight = torch.softmax(self.weight, -3)
        for k in range(1, weight.shape[-3]):
            below = below + weight[..., k - 1, :, :]
            fixed = uniform >= below
            center = torch.where(fixed, self.center[..., k, :, :], center)
            log_scale = torch.where(fixed, self.log_scale[..., k, :, :], log_scale)
        return Component(center, log_scale.exp(), fixed)


class Component(NamedTuple):
    """One component each; ``fixed`` where the centre is the log of an excess."""

    center: Tensor
    scale: Tensor
    fixed: Tensor

    def draw(self, normal: Tensor, free: Tensor, offset: Tensor | float = 0.0) -> Tensor:
        """The logit of a portion of the free excess, see :meth:`Components.placed`."""
        fixed = _logit(self.center - log_excess(free))
        return torch.where(self.fixed, fixed, self.center + offset) + self.scale * normal


def components(
    raw: Tensor, mean: Tensor, std: Tensor, level: Tensor, spread: Tensor
) -> Components:
    """Raw network output (\\*, 3 K, S, B) -> K components that start apart from each other.

    Args:
        raw: Of the weights, the centres and the scales.
        mean, std: Where the logits of portions lie, (\\*, S, 1).
        level, spread: Where the logs of excesses over the cut lie, the same.
    """
    weight, center, log_scale = raw.unflatten(-3, (3, -1)).unbind(-4)
    n = center.shape[-3] - 1
    start = torch.linspace(-1.0, 1.0, n, device=raw.device) if n > 1 else raw.new_zeros(1)
    start = start[:, None, None]
    mean, std, level, spread = (part.unsqueeze(-3) for part in (mean, std, level, spread))
    center = torch.cat(
        [mean + std * (center[..., :-1, :, :] + start), level + spread * center[..., -1:, :, :]],
        -3,
    )
    width = torch.cat([torch.ones_like(start) * std, spread], -3)
    return Components(weight, center, log_scale.clamp(*_LOG_SCALE) + _SHIFT + width.log())


def log_excess(excess: Tensor) -> Tensor:
    """The logarithm of energies above the cut, in cuts, down to the resolution."""
    return torch.log(excess.clamp(min=_LEAST))


def _logit(log_portion: Tensor) -> Tensor:
    log_portion = log_portion.clamp(max=_LARGEST)
    return log_portion - torch.log(-torch.expm1(log_portion))
