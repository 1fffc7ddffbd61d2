"""Densities that draw a latent variable of their own first."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from caloman_cli.config.values import Count, Fraction, Positive
from caloman_cli.models.densities.base import Density, Noising
from caloman_cli.models.encoders.posterior import GaussianPosterior
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.mlp import MLP, Activation
from caloman_cli.models.nn.scaler import ScalerKind
from caloman_cli.models.noise import Noise

_FLOOR = 1e-3  # scaled latents have variance 1: no likelihood grows without an end
_LOG_SIGMA = 3.0  # keeps exp() finite
_EDGE = 1e-9  # of uniform numbers, whose ends are infinite normal ones
_ROWS = 1 << 15  # of networks at once
FIXED = 1  # seed of what is always the same; that of Density's own noise is 0


class LatentVariable(Density):
    r"""w ~ N(0, 1), u ~ N(m(w, c), s(w, c)^2), dimension by dimension, with m and s of a network.

    ``log_prob`` integrates over w with draws of an approximate posterior. The draws are the same
    for all showers and at every call, so that batching does not matter and numbers of two calls
    can be compared. What they err does not average out over showers: for a small error give more.
    A new one writes ``_build``, which calls this class's and adds what draws w,
    ``_some_log_prob`` and its loss.

    Args:
        latent_dim: Width of w.
        hidden: Hidden widths of the networks.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        draws: Of w for ``log_prob``.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.
        noise: See :class:`Density`.
        noise_sigma: See :class:`Density`.
        latents: See :class:`Density`.
        c_dim: See :class:`Density`.
    """

    def __init__(
        self,
        latent_dim: Count,
        hidden: Sequence[Count],
        activation: Activation,
        draws: Count,
        scaler: ScalerKind,
        prune: Fraction,
        noise: Noising,
        noise_sigma: Positive,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__(scaler, prune, noise, noise_sigma, latents=latents, c_dim=c_dim)
        self.latent_dim, self.hidden, self.activation = latent_dim, list(hidden), activation
        self.draws = draws

    def _build(self, dim: int) -> None:
        self.decoder = MLP(self.latent_dim + self.c_dim, self.hidden, 2 * dim, self.activation)

    def _some_log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        """log p(u | c), or what stands for it, of a few rows, shape (B,)."""
        raise NotImplementedError

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Minus ``log_prob`` of latents with their noise, if any [nats], always of the same w."""
        u, c, log_det = self.scaled(batch)
        return {"loss": -(self._log_prob(u, c) + log_det).mean()}

    def _bound(
        self, q: GaussianPosterior, u: Tensor, c: Tensor, draws: int, seed: int | None, beta: float
    ) -> Tensor:
        r"""log(mean of :math:`p(u | w, c)\, (p(w) / q(w))^\beta`), shape (B,), over draws of q.

        On average it is not above log p(u | c), whatever q is, if ``beta`` is 1.

        Args:
            q: Of w, row by row.
            u: Scaled latents, shape (B, A).
            c: Conditions, shape (B, C).
            draws: How many.
            seed: See :func:`epsilon`.
            beta: See above.

        References:
            Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders,
            arXiv:1509.00519.
        """
        noise = epsilon(len(u), draws, self.latent_dim, u, seed)
        w = q.mean + q.sigma * noise
        # log p(w) - log q(w), whose constants cancel.
        excess = (0.5 * (noise.square() - w.square()) + q.sigma.log()).sum(2)
        log_weights = self._log_likelihood(u, w, c) + beta * excess
        return torch.logsumexp(log_weights, 0) - math.log(draws)

    def _log_likelihood(self, u: Tensor, w: Tensor, c: Tensor) -> Tensor:
        """log p(u | w, c) of draws w (K, B, W), shape (K, B)."""
        decoded = self._decoded(w.flatten(0, 1), repeated(c, len(w)))
        return decoded.log_prob(repeated(u, len(w))).unflatten(0, (len(w), -1))

    def _decoded(self, w: Tensor, c: Tensor) -> GaussianPosterior:
        """p(u | w, c)."""
        mean, log_sigma = self.decoder(torch.cat([w, c], 1)).chunk(2, 1)
        return GaussianPosterior(mean, _FLOOR + log_sigma.clamp(max=_LOG_SIGMA).exp())

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        u = self._decoded(noise.normal(self.latent_dim).to(c), c)
        return u.mean + u.sigma * noise.normal(u.mean.shape[1]).to(c)

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        rows = max(1, _ROWS // self.draws)
        parts = zip(u.split(rows), c.split(rows), strict=True)
        return torch.cat([self._some_log_prob(*part) for part in parts])


def epsilon(rows: int, draws: int, dim: int, like: Tensor, seed: int | None) -> Tensor:
    """Standard normal noise (``draws``, ``rows``, ``dim``).

    Args:
        rows: B.
        draws: Of each row.
        dim: Width of a draw.
        like: Whose device it lives on.
        seed: Of noise that is the same for all rows and at every call; None: torch's generator
            draws it.
    """
    if seed is None:
        return torch.randn(draws, rows, dim, device=like.device)
    # Points that fill space evenly: their mean errs less, and it is an error of all rows at once.
    points = torch.quasirandom.SobolEngine(dim, scramble=True, seed=seed).draw(draws)
    normal = torch.special.ndtri(points.double().clamp(_EDGE, 1.0 - _EDGE))
    return normal.to(like).unsqueeze(1).expand(draws, rows, dim)


def repeated(part: Tensor, draws: int) -> Tensor:
    """Rows (B, W) once for each draw, (``draws`` B, W)."""
    return part.expand(draws, *part.shape).flatten(0, 1)
