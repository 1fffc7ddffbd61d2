r"""Mixtures of logistic distributions, as heads and energy models are made of.

A component at m of scale s has the density :math:`\sigma(t)\,\sigma(-t) / s` with
:math:`t = (y - m) / s`. Its distribution function and the inverse of it are elementary: who cuts
it, or places it elsewhere, says so beside.

References:
    Salimans et al. (2017), PixelCNN++ (mixtures of logistics), arXiv:1701.05517.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

LOG_SCALE = (-5.0, 2.0)  # of a component of a head, before the shift, in units of the data's width
SHIFT = -0.5  # of the same
SMALLEST = 1e-7  # uniform number, and distance from one, of which a logit is taken


def log_logistic(t: Tensor) -> Tensor:
    r""":math:`\log \sigma(t) + \log \sigma(-t)`, of the standard distribution [nats]."""
    return -t - 2.0 * F.softplus(-t)


def log_mixture(weight: Tensor, components: Tensor, dim: int) -> Tensor:
    """The log-density of a mixture [nats].

    Args:
        weight: Logits of the components' weights.
        components: Their log-densities, of the same shape.
        dim: The axis of the components, which goes.
    """
    return torch.logsumexp(F.log_softmax(weight, dim) + components, dim)
