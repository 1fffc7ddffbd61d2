"""A mixture of normals whose parameters a network writes."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from caloman_cli.config.values import Count, Fraction, Positive, checked
from caloman_cli.models.densities.base import Density, Noising
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.clusters import chosen, k_means
from caloman_cli.models.nn.mlp import MLP, Activation
from caloman_cli.models.nn.regression import slopes_of
from caloman_cli.models.nn.scaler import ScalerKind
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource

Covariance = Literal["full", "diagonal"]
_FLOOR = 1e-3  # scaled latents have variance 1: no likelihood grows without an end
_LOG_SIGMA = 3.0  # keeps exp() finite
_ROWS = 20_000  # that the first guess is made from
_VALUES = 1 << 24  # of the network's output at once
_QUIET = 0.1  # of the network's last weights: it begins near the first guess


class _Normals(NamedTuple):
    """K normals of each row.

    Args:
        log_weights: Normalised, shape (B, K).
        mean: Shape (B, K, A).
        slopes: Of a coordinate over those before it, strictly lower triangular, (B, K, A, A).
        sigma: Standard deviation of a coordinate given those before it, (B, K, A).
    """

    log_weights: Tensor
    mean: Tensor
    slopes: Tensor
    sigma: Tensor


@checked
class GMM(Density):
    r"""p(u | c) = :math:`\sum_k w_k(c)\, N(u; m_k(c), S_k(c))`, with full covariances.

    A covariance is told by its modified Cholesky factors, :math:`S^{-1} = (1 - B)^T D^{-2}
    (1 - B)`: B, strictly lower triangular, has the regression of each coordinate over those
    before it, D what is left of its standard deviation. Any B and any D > 0 are a covariance; D
    is kept above a floor. Means are an affine function of c, the same for all components, and
    beside it what a network says, which writes everything else, too.

    The first guess is made by k-means of what a linear regression over c leaves of the latents.

    Args:
        components: K.
        hidden: Hidden widths of the network.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        covariance: ``full``, or ``diagonal``, which sets B = 0 and grows with A, not with A^2.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.
        noise: See :class:`Density`.
        noise_sigma: See :class:`Density`.

    References:
        Bishop (1994), Mixture density networks, Aston University NCRG/94/004.
        Pourahmadi (1999), Joint mean-covariance models with applications to longitudinal data:
        unconstrained parameterisation, Biometrika 86, 677.
    """

    def __init__(
        self,
        components: Count = 10,
        hidden: Sequence[Count] = (128, 128),
        activation: Activation = "silu",
        covariance: Covariance = "full",
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        noise: Noising = "none",
        noise_sigma: Positive = 0.1,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__(scaler, prune, noise, noise_sigma, latents=latents, c_dim=c_dim)
        self.components, self.hidden, self.activation = components, list(hidden), activation
        self.covariance = covariance
        self._build(self.z_dim)

    def _build(self, dim: int) -> None:
        pairs = dim * (dim - 1) // 2 if self.covariance == "full" else 0
        self.sizes = [1, dim, dim, pairs]
        wide = self.components * sum(self.sizes)
        self.network = MLP(max(self.c_dim, 1), self.hidden, wide, self.activation)
        self.linear = nn.Linear(self.c_dim, dim, bias=False) if self.c_dim else None

    def prepare(self, train: RowSource) -> None:
        super().prepare(train)
        index = np.linspace(0, len(train) - 1, min(_ROWS, len(train))).astype(np.int64)
        u, c, _ = self.scaled(train.rows(index))
        self._guess(u.double(), c.double())

    @torch.no_grad()
    def _guess(self, u: Tensor, c: Tensor) -> None:
        """Set the network's last bias, and the affine function, from rows."""
        if self.linear is not None:
            slopes = slopes_of(u, c)
            self.linear.weight.copy_(slopes.T)
            u = u - c @ slopes
        centres, own = k_means(u, self.components)
        # Components that no point is left for begin as the broad cloud of all.
        counts = own.bincount(minlength=self.components)
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        last.weight.mul_(_QUIET)
        apart = u - centres[own]
        within, dim = apart.T @ apart / len(u), u.shape[1]
        said = []
        for k, count in enumerate(counts.tolist()):
            part = apart[own == k]
            # As if a point for each dimension, and one, had been seen of the mean covariance.
            covariance = (part.T @ part + (dim + 1) * within) / (count + dim + 1)
            mean = centres[k] if k < len(centres) else u.mean(0)
            said.append(self._told(math.log(max(count, 1) / len(u)), mean, covariance))
        last.bias.copy_(torch.stack(said).flatten())

    def _told(self, log_weight: float, mean: Tensor, covariance: Tensor) -> Tensor:
        """What the network has to write for a normal, (1 + 2 A + pairs,)."""
        dim = len(mean)
        eye = torch.eye(dim, dtype=mean.dtype, device=mean.device)
        if self.covariance == "diagonal":
            covariance = covariance.diagonal().diag()
        factor = torch.linalg.cholesky(covariance + _FLOOR**2 * eye)
        sigma = factor.diagonal()
        # S = (1 - B)^-1 D^2 (1 - B)^-T, so that the factor is (1 - B)^-1 D.
        slopes = eye - torch.linalg.inv(factor / sigma)
        lower = torch.tril_indices(dim, dim, -1)[:, : self.sizes[3]]
        raw = (sigma - _FLOOR).clamp(min=_FLOOR).log()
        return torch.cat([mean.new_full((1,), log_weight), mean, raw, slopes[lower[0], lower[1]]])

    def _normals(self, c: Tensor) -> _Normals:
        """The mixtures of conditions c (B, C)."""
        raw = self.network(c if self.c_dim else c.new_zeros(len(c), 1))
        raw = raw.unflatten(1, (self.components, -1))
        weights, mean, log_sigma, pairs = raw.split(self.sizes, 2)
        if self.linear is not None:
            mean = mean + self.linear(c).unsqueeze(1)
        dim = mean.shape[2]
        slopes = mean.new_zeros(*mean.shape, dim)
        if self.sizes[3]:
            rows, columns = torch.tril_indices(dim, dim, -1, device=c.device)
            slopes[..., rows, columns] = pairs
        sigma = _FLOOR + log_sigma.clamp(max=_LOG_SIGMA).exp()
        return _Normals(weights.squeeze(2).log_softmax(1), mean, slopes, sigma)

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        uniform, epsilon = noise.uniform(1).to(c), noise.normal(self.sizes[1]).to(c)
        rows = max(1, _VALUES // (self.components * sum(self.sizes)))
        parts = zip(*(every.split(rows) for every in (c, uniform, epsilon)), strict=True)
        return torch.cat([self._drawn(*part) for part in parts])

    def _drawn(self, c: Tensor, uniform: Tensor, epsilon: Tensor) -> Tensor:
        normals = self._normals(c)
        one = torch.arange(len(c), device=c.device), chosen(normals.log_weights, uniform)
        _, mean, slopes, sigma = (part[one] for part in normals)
        # (1 - B) (u - m) = D epsilon; the diagonal is taken to be 1.
        right = (sigma * epsilon).unsqueeze(2)
        apart = torch.linalg.solve_triangular(-slopes, right, upper=False, unitriangular=True)
        found: Tensor = mean + apart.squeeze(2)
        return found

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        rows = max(1, _VALUES // (self.components * sum(self.sizes)))
        parts = zip(u.split(rows), c.split(rows), strict=True)
        return torch.cat([self._some_log_prob(*part) for part in parts])

    def _some_log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        log_weights, mean, slopes, sigma = self._normals(c)
        apart = u.unsqueeze(1) - mean
        y = (apart - (slopes @ apart.unsqueeze(3)).squeeze(3)) / sigma
        each = -0.5 * (y.square() + math.log(2 * math.pi)) - sigma.log()
        return (log_weights + each.sum(2)).logsumexp(1)
