r"""A hurdle for exact zeros, times a truncated mixture for what is not zero.

With probability :math:`\mathrm{sigmoid}(l)` a voxel is lit; then its standardised log-share y has
the density :math:`\sum_k w_k f_k(y)`, with :math:`f_k` a logistic density of centre m and scale s
**truncated below at the readout cut** e,

.. math::
    f(y) = \frac{\sigma(t)\,\sigma(-t)}{s\,\sigma((m - e)/s)}, \qquad t = (y - m) / s, \; y \ge e .

Logistic and not normal, because its distribution function and the inverse of it are elementary:
truncation costs one logarithm in training and nothing in sampling. Without truncation a part of
every component lies below the cut, is lost, and leaves showers with too few lit voxels. Where y
is the logarithm of an excess over the cut there is no edge, and nothing is truncated.

References:
    Salimans et al. (2017), PixelCNN++ (mixtures of logistics), arXiv:1701.05517.
    Cragg (1971), Some statistical models for limited dependent variables, Econometrica 39, 829.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from caloman_cli.models.nn.logistic import LOG_SCALE, SHIFT, SMALLEST, log_logistic, log_mixture
from caloman_cli.models.nn.marks import choose, mark

_LARGEST = 1.0 - 1e-7  # a survival probability, kept from 1
_LEAST = 1e-30  # the same, kept from 0
_ROUNDS = 10  # of the search for a quantile


class Mixture(NamedTuple):
    """Parameters of voxels (\\*, S).

    Args:
        lit: Logit of the probability of not being empty, shape (\\*, S).
        weight: Logits of the components' weights, shape (\\*, K, S).
        center: Shape (\\*, K, S).
        log_scale: Shape (\\*, K, S).
    """

    lit: Tensor
    weight: Tensor
    center: Tensor
    log_scale: Tensor

    def widened(self, n: Tensor) -> "Mixture":
        """For n parts (\\*, S) that are drawn apart, then scaled to a sum: as wide as these were.

        Scaling takes an n-th of the variance of logarithms away.
        """
        n = n.clamp(min=2).unsqueeze(-2)
        return self._replace(log_scale=self.log_scale + 0.5 * torch.log(n / (n - 1.0)))


def n_parameters(components: int) -> int:
    """P, the raw numbers per voxel of a mixture of K components."""
    return 1 + 3 * components


def mixture(raw: Tensor, fixed: tuple[Tensor, Tensor] | None = None) -> Mixture:
    """Raw network output (\\*, P, S) -> parameters; the components start apart from each other.

    Args:
        raw: Of the bits, weights, centres and scales.
        fixed: Centre and width in units of y, (\\*, S) or what broadcasts to it, that the last
            component's raw numbers are relative to, where they do not belong to y itself.
    """
    k = (raw.shape[-2] - 1) // 3
    free = k if fixed is None else k - 1
    start = torch.linspace(-1.0, 1.0, free, device=raw.device) if free > 1 else raw.new_zeros(1)
    center = raw[..., 1 + k : 1 + k + free, :] + start[:, None]
    log_scale = raw[..., 1 + 2 * k :, :].clamp(*LOG_SCALE) + SHIFT
    if fixed is not None:
        place, width = (part.unsqueeze(-2) for part in fixed)
        center = torch.cat([center, place + width * raw[..., 2 * k : 2 * k + 1, :]], -2)
        widths = torch.log(width).expand_as(log_scale[..., -1:, :])
        log_scale = torch.cat([log_scale[..., :-1, :], log_scale[..., -1:, :] + widths], -2)
    return Mixture(raw[..., 0, :], raw[..., 1 : 1 + k, :], center, log_scale)


def log_prob(m: Mixture, y: Tensor, lit: Tensor, edge: Tensor) -> Tensor:
    """Log-probability of being empty, or log-density of y, per voxel [nats].

    Args:
        m: Parameters.
        y: Standardised log-shares, finite where a voxel is empty too, shape (\\*, S).
        lit: 1 where a voxel is lit, else 0, shape (\\*, S).
        edge: The cut in units of y, broadcast to (\\*, S); :math:`-\\infty` for none.
    """
    return log_density(m, y, edge) * lit - F.binary_cross_entropy_with_logits(
        m.lit, lit, reduction="none"
    )


def log_density(m: Mixture, y: Tensor, edge: Tensor | None = None) -> Tensor:
    """Log-density of y (\\*, S) of lit voxels, truncated at the edge if there is one [nats]."""
    inverse = torch.exp(-m.log_scale)
    t = (y.unsqueeze(-2) - m.center) * inverse
    components = log_logistic(t) - m.log_scale
    if edge is not None:  # log sigma(-below) = -softplus(below)
        components = components + F.softplus((edge.unsqueeze(-2) - m.center) * inverse)
    return log_mixture(m.weight, components, -2)


def draw(m: Mixture, uniform: Tensor, edge: Tensor) -> tuple[Tensor, Tensor]:
    """Which voxels are lit, and y for all of them, each of shape (\\*, S).

    The first uniform number chooses lit or not and then, stretched to (0, 1), the component.

    Args:
        m: Parameters.
        uniform: Numbers in [0, 1), shape (\\*, 2, S).
        edge: The cut in units of y, broadcast to (\\*, S); :math:`-\\infty` for none.
    """
    probability = torch.sigmoid(m.lit)
    lit = uniform[..., 0, :] < probability
    return lit, value(m, uniform[..., 0, :] / probability, uniform[..., 1, :], edge)


def value(m: Mixture, choice: Tensor, place: Tensor, edge: Tensor | None = None) -> Tensor:
    """y (\\*, S) of lit voxels, from two uniform numbers each: of the component and in it."""
    center, log_scale = m.center[..., 0, :], m.log_scale[..., 0, :]
    below = torch.zeros_like(choice)
    weight = torch.softmax(m.weight, -2)
    for k in range(1, m.center.shape[-2]):
        below = below + weight[..., k - 1, :]
        later = mark(torch.le, below, choice)
        center = choose(later, m.center[..., k, :], center)
        log_scale = choose(later, m.log_scale[..., k, :], log_scale)
    scale = torch.exp(log_scale)
    if edge is None:
        return center + scale * torch.logit(place, SMALLEST)
    return _above(center, scale, torch.log1p(-place), edge)


def _above(center: Tensor, scale: Tensor, log_survival: Tensor, edge: Tensor) -> Tensor:
    """Where a truncated component has such a survival probability."""
    # In logarithms: far above a component a survival probability is 0 in float32.
    survival = F.logsigmoid((center - edge) / scale) + log_survival
    y = center + scale * (torch.log1p(-survival.exp().clamp(max=_LARGEST)) - survival)
    return torch.maximum(y, edge)


def tails(m: Mixture, y: Tensor, edge: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities that a lit voxel is above y and below it, precise where they are small.

    Args:
        m: Parameters.
        y: Shape (\\*, S).
        edge: The cut in units of y, broadcast to (\\*, S); :math:`-\\infty` for none.
    """
    inverse = torch.exp(-m.log_scale)
    log_above = F.logsigmoid((m.center - y.unsqueeze(-2)) * inverse)
    log_above = log_above - F.logsigmoid((m.center - edge.unsqueeze(-2)) * inverse)
    log_above = log_above.clamp(max=0.0)
    weight = torch.softmax(m.weight, -2)
    return (weight * log_above.exp()).sum(-2), (weight * -torch.expm1(log_above)).sum(-2)


def quantile(m: Mixture, survival: Tensor, edge: Tensor) -> Tensor:
    """Where a lit voxel's y (\\*, S) is above with a given probability; for drawing: no gradient.

    A mixture's quantile lies between those of its components: from there by Newton's steps in the
    logarithm of the smaller tail, or by halving where these lead out, always as many.

    Args:
        m: Parameters.
        survival: In (0, 1), shape (\\*, S).
        edge: The cut in units of y, broadcast to (\\*, S); :math:`-\\infty` for none.
    """
    above = survival.clamp(_LEAST, _LARGEST)
    scale, weight = torch.exp(m.log_scale), torch.softmax(m.weight, -2)
    of_each = _above(m.center, scale, above.log().unsqueeze(-2), edge.unsqueeze(-2))
    y = (weight * of_each).sum(-2)
    if m.center.shape[-2] == 1:
        return y
    low, high = of_each.amin(-2), of_each.amax(-2)
    inverse, upper = 1.0 / scale, above < 0.5
    kept = F.logsigmoid((m.center - edge.unsqueeze(-2)) * inverse)
    wanted = torch.where(upper, above.log(), torch.log1p(-above))
    for _ in range(_ROUNDS):
        t = (m.center - y.unsqueeze(-2)) * inverse
        parts = weight * torch.exp((F.logsigmoid(t) - kept).clamp(max=0.0))
        found, density = parts.sum(-2), (parts * torch.sigmoid(-t) * inverse).sum(-2)
        too_low = found > above
        low, high = torch.where(too_low, y, low), torch.where(too_low, high, y)
        tail = torch.where(upper, found, 1.0 - found).clamp(min=_LEAST)
        step = tail * (tail.log() - wanted) / density.clamp(min=_LEAST)
        following = torch.where(upper, y + step, y - step)
        inside = (following >= low) & (following <= high)
        y = torch.where(inside, following, 0.5 * (low + high))
    return y


def typical(m: Mixture) -> tuple[Tensor, Tensor]:
    """Probability of being lit and weighted mean of the centres, each of shape (\\*, S)."""
    return torch.sigmoid(m.lit), (torch.softmax(m.weight, -2) * m.center).sum(-2)
