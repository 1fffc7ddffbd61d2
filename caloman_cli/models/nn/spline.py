"""Monotone rational-quadratic splines without branches, and the coupling layer made of them."""

import math

import torch
from nflows.transforms import PiecewiseRationalQuadraticCouplingTransform
from torch import Tensor
from torch.nn import functional as F

MIN_BIN = 1e-3
MIN_SLOPE = 1e-3
_SLOPE_ONE = math.log(math.expm1(1 - MIN_SLOPE))  # before softplus


def rational_quadratic_spline(
    x: Tensor,
    widths: Tensor,
    heights: Tensor,
    slopes: Tensor,
    tail_bound: float,
    inverse: bool = False,
) -> tuple[Tensor, Tensor]:
    r"""Map every number by its own monotone spline on [-B, B], and by the identity outside.

    With bin slope s, knot slopes d0 and d1 and the relative height v in the bin, the inverse
    solves a quadratic whose discriminant is written here as

    .. math:: (d_0 (1 - v) - d_1 v)^2 + 4 s^2 v (1 - v),

    a sum of squares: unlike :math:`b^2 - 4ac`, to which it is equal, rounding cannot make it
    negative. The root is taken in the form that has no cancellation. Nothing depends on the data
    but values: the graph is static, and one odd number cannot stop a batch.

    Args:
        x: Any shape S.
        widths: Bin widths as fractions of 2B, positive, sum 1, shape (K, *S), K >= 2.
        heights: Bin heights as fractions of 2B, positive, sum 1, shape (K, *S).
        slopes: Slopes at the inner knots before softplus, shape (K - 1, *S); outer slopes are 1.
        tail_bound: B.
        inverse: Map heights to widths instead of widths to heights.

    Returns:
        The image of x and the log of its derivative, both of shape S. NaN in gives NaN out.

    References:
        Durkan, Bekasov, Murray, Papamakarios (2019), Neural Spline Flows, arXiv:1906.04032.
    """
    n_bins = len(widths)
    inside = x.abs() <= tail_bound
    unit = x.clamp(-tail_bound, tail_bound) / (2 * tail_bound) + 0.5

    right, top = widths.cumsum(0), heights.cumsum(0)
    knots = (top if inverse else right)[:-1]
    index = (unit >= knots).sum(0, keepdim=True)
    before = (index - 1).clamp(min=0)
    first, last = index == 0, index == n_bins - 1
    width, height = widths.gather(0, index)[0], heights.gather(0, index)[0]
    left = right.gather(0, before).masked_fill(first, 0.0)[0]
    bottom = top.gather(0, before).masked_fill(first, 0.0)[0]
    d0 = F.softplus(slopes.gather(0, before)) + MIN_SLOPE
    d1 = F.softplus(slopes.gather(0, index.clamp(max=n_bins - 2))) + MIN_SLOPE
    d0, d1 = d0.masked_fill(first, 1.0)[0], d1.masked_fill(last, 1.0)[0]
    slope = height / width

    if inverse:
        theta = _solve(((unit - bottom) / height).clamp(0.0, 1.0), slope, d0, d1)
    else:
        theta = ((unit - left) / width).clamp(0.0, 1.0)
    rest = 1 - theta
    mixed = theta * rest
    below = slope * (1 - 2 * mixed) + (d0 + d1) * mixed
    above = d1 * theta.square() + 2 * slope * mixed + d0 * rest.square()
    log_slope = above.log() + 2 * (slope / below).log()
    if inverse:
        unit, log_slope = left + theta * width, -log_slope
    else:
        unit = bottom + height * (slope * theta.square() + d0 * mixed) / below
    return (
        torch.where(inside, (2 * unit - 1) * tail_bound, x),
        torch.where(inside, log_slope, x - x),
    )


def _solve(v: Tensor, slope: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
    """The relative width in [0, 1] at which a bin reaches the relative height v."""
    tilt = d0 * (1 - v) - d1 * v
    root = (tilt.square() + 4 * slope.square() * v * (1 - v)).clamp(min=1e-30).sqrt()
    rising = tilt >= 0
    near = 2 * slope * torch.where(rising, v, 1 - v)
    theta = near / (near + tilt.abs() + root)
    return torch.where(rising, theta, 1 - theta)


def inverse_image(y: Tensor, sizes: Tensor, slopes: Tensor, tail_bound: float) -> Tensor:
    """The inverse of :func:`rational_quadratic_spline` without its slope, in few operations.

    Args:
        y: Any shape S.
        sizes: Widths and heights of the bins, shape (2, K, \\*S).
        slopes: Shape (K - 1, \\*S).
        tail_bound: B.

    Returns:
        x of shape S. It is not made for gradients.
    """
    limited = y.clamp(-tail_bound, tail_bound)
    unit = limited * (0.5 / tail_bound) + 0.5
    ends = sizes.cumsum(1)
    index = (unit >= ends[1, :-1]).sum(0, keepdim=True)
    both = index.expand(2, *index.shape)
    size = sizes.gather(1, both)
    left, bottom = (ends.gather(1, both) - size).flatten(0, 1).unbind()
    width, height = size.flatten(0, 1).unbind()
    # Slopes at the ends are 1.
    padded = F.pad(slopes, [0, 0] * y.dim() + [1, 1], value=_SLOPE_ONE)
    d0, d1 = (F.softplus(padded.gather(0, torch.cat([index, index + 1]))) + MIN_SLOPE).unbind()
    v = ((unit - bottom) / height).clamp(0.0, 1.0)
    double, rest = 2 * height / width, 1 - v
    tilt = torch.addcmul(d0 * rest, d1, v, value=-1)
    root = torch.hypot(tilt, double * (v * rest).sqrt())
    rising = tilt >= 0
    near = double * torch.where(rising, v, rest)
    theta = near / (near + tilt.abs() + root)
    theta = torch.where(rising, theta, 1 - theta)
    image = torch.addcmul(left, theta, width) * (2 * tail_bound) - tail_bound
    return image + (y - limited)


def fractions_of(logits: Tensor, hidden: int) -> Tensor:
    """Widths and heights of bins (2, K, \\*S) from the outputs of a network of this width."""
    n_bins = logits.shape[1]
    scaled = logits * (1 / math.sqrt(hidden))
    return torch.softmax(scaled, 1) * (1 - MIN_BIN * n_bins) + MIN_BIN


class SplineCoupling(PiecewiseRationalQuadraticCouplingTransform):
    """The coupling layer of nflows with :func:`rational_quadratic_spline` as its kernel.

    Parameters, their names and the function are those of nflows 0.14, so weights are
    interchangeable; only the numerics differ.
    """

    def _piecewise_cdf(
        self, inputs: Tensor, transform_params: Tensor, inverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        # Bins lead and rows come last, so that every operation runs along contiguous rows.
        params = transform_params.permute(2, 1, 0)
        n_bins = self.num_bins
        logits = params[: 2 * n_bins].unflatten(0, (2, n_bins))
        fractions = fractions_of(logits, self.transform_net.hidden_features)
        outputs, log_slope = rational_quadratic_spline(
            inputs.t(),
            fractions[0],
            fractions[1],
            params[2 * n_bins :],
            self.tail_bound,
            inverse,
        )
        return outputs.t(), log_slope.t()
