r"""The density of parts that are drawn apart and then scaled to a sum.

n positive numbers with logarithms :math:`\mu_i + \sigma_i y_i`, whose y have the densities
:math:`f_i`, are divided by their sum. What is left are shares :math:`v_i` with the density

.. math::
    p(v_1 \dots v_{n-1}) = \prod_i \frac{1}{\sigma_i v_i}
    \int \prod_i f_i\!\left(y_i(v) + \frac{t}{\sigma_i}\right) dt ,

where :math:`e^t` is the sum that the division took away.
"""

import math
from collections.abc import Callable

import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from caloman_cli.models.heads.mixture import Mixture, log_density
from caloman_cli.models.heads.portions import LEAST, Scale, standardised

_FARTHEST = 6.0  # log of a sum that is looked for
_ROUNDS, _POINTS = 4, 9  # each looks four times as closely at where the last one was best
_WIDEST, _NODES = 3.5, 32  # asinh of the distance to the maximum in widths; points


def log_integral(log_f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    r""":math:`\log \int_a^b f(t)\,dt` of functions with one maximum each, as products are.

    By Gauss and Legendre's rule, on points that lie close to each other near the maximum; a
    second maximum far from the first is not seen, which makes the integral too small.

    Args:
        log_f: log f at t (\*), of as many functions.
        low: a, shape (\*); may be minus infinity.
        high: b, shape (\*); may be infinity.

    Returns:
        Shape (\*); minus infinity where b < a or f is zero.
    """
    with torch.no_grad():  # where to look does not change what is found
        center, width = _maximum(log_f, low, high)
    # Gauss and Legendre's rule in u, t = center + width sinh u, between the ends in u.
    first, last = (
        ((end - center) / width).asinh().clamp(-_WIDEST, _WIDEST) for end in (low, high)
    )
    middle, half_range = 0.5 * (first + last), 0.5 * (last - first)
    total = torch.full_like(low, -torch.inf)
    for place, weight in zip(*leggauss(_NODES), strict=True):
        u = middle + half_range * place
        value = log_f(center + width * u.sinh()) + u.cosh().log() + math.log(weight)
        total = torch.logaddexp(total, value)
    total = total + (width * half_range.clamp(min=0.0)).log()
    return torch.where(low < high, total, -torch.inf)


def log_parts(m: Mixture, parts: Tensor, scale: Scale, several: Tensor) -> Tensor:
    """Log-density of parts of an excess that are drawn as :func:`shared` makes them, per cut.

    Args:
        m: Of the standardised logarithms, before it is widened, (\\*, K, S).
        parts: Excesses over the cut, (\\*, S).
        scale: What their logarithms are relative to, (\\*, S).
        several: Which of them were drawn, two or more of a row, (\\*, S).

    Returns:
        Shape (\\*): of all but one of them, 0 where there is nothing to divide.
    """
    rows = torch.nonzero(several.sum(-1) > 1, as_tuple=True)
    m = Mixture(*(field[rows] for field in m))
    m = m.widened(several[rows].sum(-1, keepdim=True).to(parts))
    some, part = several[rows], parts[rows].clamp(min=LEAST)
    y, std = standardised(part, (scale[0][rows], scale[1][rows]), some), scale[1][rows]

    def log_f(log_sum: Tensor) -> Tensor:
        density = log_density(m, y + log_sum[:, None] / std)
        return torch.where(some, density, 0.0).sum(1)

    endless = torch.full_like(y[:, 0], torch.inf)
    volume = torch.where(some, part.log() + std.log(), 0.0).sum(1)
    whole = torch.where(some, part, 0.0).sum(1)
    found = log_integral(log_f, -endless, endless) - volume + whole.log()
    return parts.new_zeros(parts.shape[:-1]).index_put(rows, found)


def _maximum(
    log_f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Where f is largest, and how wide it is there."""
    center, half = torch.zeros_like(low), _FARTHEST
    for _ in range(_ROUNDS):
        center, half = _best(log_f, center, half, low, high), half / 4.0
    left, middle, right = (log_f(center + shift) for shift in (-half, 0.0, half))
    bend = (2.0 * middle - left - right) / half**2
    # At an edge of what is possible, or on a slope, a bend is none.
    bend = torch.where(torch.isfinite(bend), bend, 0.0)
    return center, bend.clamp(min=1e-2, max=1e8).rsqrt()


def _best(
    log_f: Callable[[Tensor], Tensor], center: Tensor, half: float, low: Tensor, high: Tensor
) -> Tensor:
    """Where f is largest of nine points up to ``half`` from the centre, inside [low, high]."""
    best, largest = center, torch.full_like(center, -torch.inf)
    for place in torch.linspace(-half, half, _POINTS).tolist():
        at = torch.minimum(torch.maximum(center + place, low), high)
        value = log_f(at)
        better = value > largest
        best, largest = torch.where(better, at, best), torch.where(better, value, largest)
    return best
