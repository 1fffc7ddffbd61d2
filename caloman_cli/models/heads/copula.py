r"""A Gaussian factor copula of voxels: who is brighter than usual together, at the same marginals.

Every voxel has a normal score

.. math::
    u_v = \frac{\lambda_v \cdot w + \epsilon_v}{s_v}, \qquad s_v^2 = 1 + |\lambda_v|^2,

with factors w and noise :math:`\epsilon` that are standard normal, and is the quantile of its own
distribution at :math:`\Phi(u_v)`: dark below the quantile of that, brighter with larger scores.
Given w, voxels are independent. What that changes of a voxel's log-probability is

.. math::
    \log s_v + \frac{u_v^2 - (s_v u_v - \lambda_v \cdot w)^2}{2}
    \qquad\text{or}\qquad
    \log\frac{\Phi(s_v k_v - \lambda_v \cdot w)}{\Phi(k_v)}

of a lit voxel's score u, or of a dark one, whose score is anything below k.

Both are concave in w, and so what is known of w after a shower has one maximum and is close to
normal. The integral over w is taken there: a cubature of :math:`2 R` directions on the normal
distribution with the maximum and the curvature of the integrand (adaptive Gauss-Hermite, exact up
to the third order of what it misses). It has an error of either sign: an estimate, without noise.

References:
    Murray, Dunson, Carin, Lucas (2013), Bayesian Gaussian copula factor models for mixed data,
    Journal of the American Statistical Association 108, 656, arXiv:1111.0317.
    Liu, Pierce (1994), A note on Gauss-Hermite quadrature, Biometrika 81, 624.
"""

import math
from typing import NamedTuple

import torch
from scipy.special import roots_genlaguerre
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.models.heads.mixture import Mixture, log_density, quantile, tails
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.layers import LayerMap

_START = 0.1  # typical loadings: at none at all they would stay there
_STEPS = 8  # of Newton's to the maximum
_LEAST = 1e-30  # a probability of which a normal score is taken
_FASTEST = 10.0  # logarithm of how fast a score grows


class Scores(NamedTuple):
    """Normal scores of a shower's voxels.

    Args:
        known: Of which voxels they are known, (B, V).
        at: These, (B, V); finite everywhere.
        side: 1 for voxels that are dark, -1 for those that are lit, it is not known how brightly,
            0 for others, (B, V).
        edge: What scores of dark voxels are below, and those of lit ones above, (B, V).
    """

    known: Tensor
    at: Tensor
    side: Tensor
    edge: Tensor


class Points(NamedTuple):
    """Where an integral over the factors looks.

    Args:
        factors: w of each point, (P, B, R).
        log_weight: What the logarithm of the integrand gets there, (P, B).
    """

    factors: Tensor
    log_weight: Tensor


class Free(NamedTuple):
    """Of layers whose voxels are known up to a common factor, their sum before it was one.

    Args:
        rate: How fast scores grow with the logarithm of that factor, (B, V).
        layers: The layers.
    """

    rate: Tensor
    layers: LayerMap


class Copula(nn.Module):
    """The loadings, draws of scores and the integral over factors.

    Args:
        n_voxels: V.
        rank: R.
    """

    def __init__(self, n_voxels: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.loadings = nn.Parameter(_START * torch.randn(n_voxels, rank))

    @property
    def scale(self) -> Tensor:
        """s (V,)."""
        return (1.0 + self.loadings.square().sum(1)).sqrt()

    def draw(self, m: Mixture, noise: Noise, edge: Tensor) -> tuple[Tensor, Tensor]:
        """Which voxels are lit, and y for all of them, each (B, V), as :func:`mixture.draw`."""
        w, own = noise.normal(self.rank), noise.normal(len(self.loadings))
        score = (w.to(self.loadings) @ self.loadings.T + own) / self.scale
        above = 0.5 * torch.erfc(score * math.sqrt(0.5))
        probability = torch.sigmoid(m.lit)
        return above < probability, quantile(m, above / probability.clamp(min=_LEAST), edge)

    def scores(self, m: Mixture, y: Tensor, edge: Tensor, lit: Tensor, known: Tensor) -> Scores:
        """Of voxels with y (B, V); which are lit, and of which it is known how brightly."""
        side = torch.where(known, 0.0, 1.0 - 2.0 * lit.to(y))
        return Scores(known, lit_scores(m, y, edge), side, dark_scores(m))

    def of_known(self, at: Tensor, w: Tensor) -> Tensor:
        """What voxels with scores (B, V) get of factors w (B, R), (B, V) [nats]."""
        rest = self.scale * at - w @ self.loadings.T
        return self.scale.log() + 0.5 * (at.square() - rest.square())

    def of_sides(self, scores: Scores, w: Tensor) -> Tensor:
        """The same of voxels of which it is known on which side of an edge they are, (B,)."""
        rest = scores.side * (self.scale * scores.edge - w @ self.loadings.T)
        before = torch.special.log_ndtr(scores.side * scores.edge)
        return torch.where(scores.side != 0, torch.special.log_ndtr(rest) - before, 0.0).sum(1)

    def given(self, scores: Scores, w: Tensor) -> Tensor:
        """The same of all voxels of a shower, (B,)."""
        known = torch.where(scores.known, self.of_known(scores.at, w), 0.0)
        return known.sum(1) + self.of_sides(scores, w)

    def log_prob(self, scores: Scores) -> Tensor:
        """What a shower's log-probability gets of the copula, (B,) [nats]."""
        factors, log_weight = self.points(scores)
        found = torch.stack([self.given(scores, w) for w in factors])
        return torch.logsumexp(found + log_weight, 0)

    @torch.no_grad()
    def points(self, scores: Scores, radii: int = 1, free: Free | None = None) -> Points:
        """Around the maximum of the integrand; where to look does not change what is found.

        Args:
            scores: Of a shower.
            radii: Points in each direction.
            free: Of layers whose voxels are known up to a common factor.
        """
        known, side = scores.known.to(scores.at), scores.side
        loadings, scale = self.loadings, self.scale
        squares = (loadings[:, :, None] * loadings[:, None, :]).flatten(1)
        own = torch.eye(self.rank).to(loadings)
        fixed = own + (known @ squares).unflatten(1, own.shape)
        pull = (known * scale * scores.at) @ loadings
        if free is not None:  # what factors and sums of layers both explain
            rate = known * scale * free.rate
            common = free.layers.sum((rate.unsqueeze(1) * loadings.T).flatten(0, 1))
            common = common.unflatten(0, (-1, self.rank))
            share = common / free.layers.sum(rate.square()).clamp(min=_LEAST).unsqueeze(1)
            fixed = fixed - share @ common.mT
            moved = free.layers.sum(rate * scale * scores.at).unsqueeze(2)
            pull = pull - (share @ moved).squeeze(2)
        w, curvature = torch.zeros_like(pull), fixed
        for step in range(_STEPS + 1):
            rest = side * (scale * scores.edge - w @ loadings.T)
            slope = _hazard(rest) * side
            bend = slope * (slope + side * rest)
            curvature = fixed + (bend @ squares).unflatten(1, own.shape)
            if step < _STEPS:
                rise = pull - slope @ loadings - (fixed @ w.unsqueeze(2)).squeeze(2)
                w = w + torch.linalg.solve(curvature, rise)
        root = torch.linalg.cholesky(curvature)
        places, log_share = _cubature(self.rank, radii)
        places, log_share = places.to(w), log_share.to(w)
        away = torch.linalg.solve_triangular(root.mT, places.T.expand(len(w), -1, -1), upper=True)
        factors = w + away.permute(2, 0, 1)
        log_weight = 0.5 * (places.square().sum(1)[:, None] - factors.square().sum(2))
        log_volume = root.diagonal(dim1=1, dim2=2).log().sum(1)
        return Points(factors, log_weight - log_volume + log_share[:, None])


def lit_scores(m: Mixture, y: Tensor, edge: Tensor) -> Tensor:
    """Normal scores (B, V) of voxels that are lit, with y (B, V)."""
    above, below = tails(m, y, edge)
    probability = torch.sigmoid(m.lit)
    return _score(torch.sigmoid(-m.lit) + probability * below, probability * above)


def dark_scores(m: Mixture) -> Tensor:
    """What normal scores (B, V) of voxels that are dark are below."""
    return _score(torch.sigmoid(-m.lit), torch.sigmoid(m.lit))


def rates(m: Mixture, y: Tensor, edge: Tensor) -> Tensor:
    """How fast they grow with y, (B, V)."""
    log_rate = log_density(m, y, edge) + F.logsigmoid(m.lit)
    log_rate = log_rate + 0.5 * lit_scores(m, y, edge).square()
    return math.sqrt(math.tau) * log_rate.clamp(max=_FASTEST).exp()


def _score(below: Tensor, above: Tensor) -> Tensor:
    """The normal score of probabilities that sum to one, of the smaller of both."""
    lower = below < above
    score = torch.special.ndtri(torch.where(lower, below, above).clamp(min=_LEAST))
    return torch.where(lower, score, -score)


def _hazard(x: Tensor) -> Tensor:
    r""":math:`\phi(x) / \Phi(x)`."""
    return torch.exp(-0.5 * x.square() - torch.special.log_ndtr(x)) / math.sqrt(math.tau)


def _cubature(dim: int, radii: int) -> tuple[Tensor, Tensor]:
    """Points (P, D) and logarithms of weights (P,) for the standard normal distribution.

    Radii are Gauss and Laguerre's, directions those of the axes.
    """
    half_square, weight = roots_genlaguerre(radii, 0.5 * dim - 1.0)
    radius = torch.from_numpy(2.0 * half_square).sqrt()
    axes = torch.cat([torch.eye(dim), -torch.eye(dim)]).double()
    places = (radius[:, None, None] * axes).flatten(0, 1)
    share = torch.from_numpy(weight / weight.sum() / len(axes))
    return places, share.log().repeat_interleave(len(axes))
