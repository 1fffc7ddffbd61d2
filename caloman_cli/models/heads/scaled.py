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

_FARTHEST = 6.0  # log of a sum that is looked for
_ROUNDS, _POINTS = 4, 9  # each looks four times as closely at where the last one was best
_WIDEST, _NODES = 3.5, 32  # asinh of the distance to the maximum in widths; points


def log_integral(log_f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    r""":math:`\log \int_a^b f(t)\,dt` of functions with one maximum each, as products are.

    By Gauss and Legendre's rule, on points that lie close to each other near the maximum; a
    second maximum far from the first is not seen, which makes the integral too small.

    Args:
        log_f: log f at t (\\*), of as many functions.
        low: a, shape (\\*); may be minus infinity.
        high: b, shape (\\*); may be infinity.

    Returns:
        Shape (\\*); minus infinity where b < a or f is zero.
    """
    center, half = torch.zeros_like(low), _FARTHEST
    for _ in range(_ROUNDS):
        center, half = _best(log_f, center, half, low, high), half / 4.0
    step = half
    left, middle, right = (log_f(center + shift) for shift in (-step, 0.0, step))
    bend = (2.0 * middle - left - right) / step**2
    # At an edge of what is possible, or on a slope, a bend is none.
    bend = torch.where(torch.isfinite(bend), bend, 0.0)
    width = bend.clamp(min=1e-2, max=1e8).rsqrt()
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
