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


def draw(mixture: LogisticMixture, uniform: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """y in [low, high], float64, shape (N,), from uniform numbers (N, 2) and parameters (N, K)."""
    below = torch.softmax(mixture.weight, -1).cumsum(-1)[:, :-1]
    which = (uniform[:, :1] >= below).sum(-1, keepdim=True)
    center = mixture.center.gather(-1, which)[:, 0].double()
    scale = mixture.log_scale.gather(-1, which)[:, 0].double().exp()
    a, b = (low - center) / scale, (high - center) / scale
    # On the side of zero where the interval lies, so that no probability is close to 1.
    flip = a > 0
    a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
    first, last = torch.sigmoid(a), torch.sigmoid(b)
    t = torch.logit(first + uniform[:, 1].double() * (last - first), eps=1e-300)
    t = torch.minimum(torch.maximum(t, a), b)
    y = center + scale * torch.where(flip, -t, t)
    return torch.minimum(torch.maximum(y, low), high)
