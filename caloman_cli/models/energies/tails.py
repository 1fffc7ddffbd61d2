"""Logarithmic tails, so that rare and far is not beyond what a spline covers."""

import torch
from torch import Tensor
from torch.nn import functional as F

_BEGIN = 4.0  # standard deviations of a Gaussian that leave 6 in 100,000 outside
_FARTHEST = 60.0  # of |x| - 4 after bending: exp(60) is still finite in single precision


def bend(x: Tensor) -> tuple[Tensor, Tensor]:
    r"""Identity up to :math:`|x| = 4`, then :math:`\pm(4 + \log(1 + |x| - 4))`.

    Value and slope have no step.

    Returns:
        The image and the log of the slope, both in the shape of x.
    """
    log_slope = -torch.log1p((x.abs() - _BEGIN).clamp(min=0.0))
    return x.clamp(-_BEGIN, _BEGIN) - x.sign() * log_slope, log_slope


def bent(x: Tensor, out: Tensor | None = None) -> Tensor:
    """The image of :func:`bend` alone, in few tensor operations; written to ``out`` if given."""
    beyond = F.softshrink(x, _BEGIN)
    return torch.add(x - beyond, torch.copysign(torch.log1p(beyond.abs()), beyond), out=out)


def unbend(x: Tensor) -> Tensor:
    """The inverse of :func:`bend`."""
    beyond = (x.abs() - _BEGIN).clamp(0.0, _FARTHEST)
    return x.clamp(-_BEGIN, _BEGIN) + x.sign() * torch.expm1(beyond)
