r"""Mixtures of logistic distributions, each truncated to an interval.

With :math:`t = (y - m) / s` and the interval's ends a, b in the same units, the density is

.. math::
    f(y) = \frac{\sigma(t)\,\sigma(-t)}{s\,(\sigma(b) - \sigma(a))}, \qquad
    \sigma(b) - \sigma(a) = \sigma(b)\,\sigma(-a)\,(1 - e^{a - b}),

and the last form loses nothing far out in either tail. A logistic distribution's inverse is
elementary too, so a draw needs no rejection.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from caloman_cli.models.nn.logistic import log_logistic, log_mixture

_NARROWEST = 1e-6  # interval, in units of a component's scale


class LogisticMixture(NamedTuple):
    """Parameters of N numbers, shape (\\*, K) each.

    Args:
        weight: Logits of the components' weights.
        center: m.
        log_scale: log s.
    """

    weight: Tensor
    center: Tensor
    log_scale: Tensor


def log_prob(mixture: LogisticMixture, y: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Log-density of y, shape (\\*,), on [low, high]; y beyond an end counts as lying on it."""
    inverse = torch.exp(-mixture.log_scale)
    t, a, b = (
        (value.unsqueeze(-1) - mixture.center) * inverse
        for value in (torch.minimum(torch.maximum(y, low), high), low, high)
    )
    inside = torch.log(-torch.expm1((a - b).clamp(max=-_NARROWEST)))
    mass = inside - F.softplus(-b) - F.softplus(a)
    parts = log_logistic(t) - mixture.log_scale - mass
    return log_mixture(mixture.weight, parts, -1)


def pick(weight: Tensor, uniform: Tensor) -> Tensor:
    """Components of mixtures, int64, shape (1, B), from logits (K, B) and numbers (1, B)."""
    below = torch.softmax(weight, 0).cumsum(0)[:-1]
    return (uniform >= below).sum(0, keepdim=True)


def draw(center: Tensor, scale: Tensor, uniform: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """y in [low, high] of a component each; all float64 and of one shape."""
    # A scale below zero turns the interval to the side of zero where no probability is close to 1.
    to_low = center - low
    turned = torch.copysign(scale, to_low)
    first, last = torch.sigmoid(-to_low / turned), torch.sigmoid((high - center) / turned)
    t = torch.logit(torch.lerp(first, last, uniform), eps=1e-300)
    return torch.clamp(torch.addcmul(center, turned, t), low, high)
