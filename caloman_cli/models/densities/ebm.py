"""A density told by an energy, up to a constant, and drawn from by walks."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from caloman_cli.config.values import Count, Fraction, Natural, NotNegative, Positive, checked
from caloman_cli.models.densities.base import Density, Noising
from caloman_cli.models.kinds import Kind
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.chains import Chains
from caloman_cli.models.nn.langevin import mala
from caloman_cli.models.nn.mlp import MLP, Activation
from caloman_cli.models.nn.regression import slopes_of
from caloman_cli.models.nn.scaler import ScalerKind
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource

_SIGMA = 0.1  # of the noise on latents in the validation score
_ROWS = 20_000  # that the normal is fitted to
_FLOOR = 1e-6  # of its variances


@checked
class EBM(Density):
    r"""p(u | c) ~ exp(-E(u, c) / T), with E of a network, at the temperature T.

    .. math:: E(u, c) = f(y, c) + \frac{T}{2 s^2} |y|^2, \quad y = L^{-1} (u - m(c))

    with m the linear regression of latents over c, and L L^T the covariance of what it leaves: f
    tilts a normal. The network f grows no faster than linearly, so that there always is a
    normalisation, which nobody computes: ``log_prob`` is -E / T and a score. Loss: the mean of
    E / T over rows, less that over chains, whose slope is that of -log p; and a penalty on
    :math:`f^2`, which holds the free constant.

    Chains are rows (y, c), kept with the model. At each step as many as a batch has rows go on by
    ``walk`` Langevin steps at the present energy, **each at its own c**, and by Metropolis' rule,
    so that their limit is exp(-E / T) whatever the step; a share of them, ``restart``, begins
    anew at :math:`N(0, s^2)`. Their steps' size follows the share that is taken, to 0.574. A
    sample begins where a chain is whose condition is near its own, and goes on from there by
    ``steps`` steps.

    Published versions step at a temperature of about :math:`10^{-6}`, which is descent, and lose
    the chains when a model is saved. As any energy learned by chains, this one is for few
    dimensions and for modes that chains can go between.

    The validation score is how well the slope of E tells noise on latents (denoising score
    matching), as there is no likelihood to compare.

    Args:
        hidden: Hidden widths of f.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        temperature: T.
        base: s.
        penalty: Weight of the mean of :math:`(f / T)^2`.
        chains: How many.
        walk: Langevin steps of a chain for one step of the training.
        restart: Share of the chains that begin anew.
        steps: Langevin steps of a sample.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.
        noise: See :class:`Density`.
        noise_sigma: See :class:`Density`.

    References:
        Du, Mordatch (2019), Implicit generation and modeling with energy-based models,
        arXiv:1903.08689.
        Loaiza-Ganem et al. (2022), Diagnosing and fixing manifold overfitting in deep generative
        models, arXiv:2204.07172.
    """

    kind: Kind = "score"
    needs_grad = True
    centre: Tensor
    slope: Tensor
    factor: Tensor

    def __init__(
        self,
        hidden: Sequence[Count] = (128, 128),
        activation: Activation = "silu",
        temperature: Positive = 1.0,
        base: Positive = 2.0,
        penalty: NotNegative = 1e-4,
        chains: Count = 4096,
        walk: Count = 20,
        restart: Fraction = 0.05,
        steps: Natural = 100,
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        noise: Noising = "none",
        noise_sigma: Positive = 0.1,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__(scaler, prune, noise, noise_sigma, latents=latents, c_dim=c_dim)
        self.hidden, self.activation = list(hidden), activation
        self.temperature, self.base, self.penalty = temperature, base, penalty
        self.n_chains, self.walk, self.restart, self.steps = chains, walk, restart, steps
        self._build(self.z_dim)

    def _build(self, dim: int) -> None:
        self.network = MLP(dim + self.c_dim, self.hidden, 1, self.activation)
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("slope", torch.zeros(self.c_dim, dim))
        self.register_buffer("factor", torch.eye(dim))
        self.chains = Chains(self.n_chains, dim, self.c_dim)

    @torch.no_grad()
    def prepare(self, train: RowSource) -> None:
        """Fit the scaling and the normal that is tilted, and set chains to rows."""
        super().prepare(train)
        self._settle(train)

    def _settle(self, train: RowSource) -> None:
        """What follows from scaled rows."""
        index = np.linspace(0, len(train) - 1, min(_ROWS, len(train))).astype(np.int64)
        u, c, _ = (part.double() for part in self.scaled(train.rows(index)))
        self.slope.copy_(slopes_of(u, c))
        left = u - c @ self.slope.double()
        self.centre.copy_(left.mean(0))
        self.factor.copy_(self._width(torch.cov(left.T, correction=0).reshape(2 * left.shape[1:])))
        index = torch.randint(len(train), (self.n_chains,)).numpy()
        u, c, _ = self.scaled(train.rows(index))
        self.chains.fill(self._anew(self._inner(u, c), c), c)

    def _width(self, covariance: Tensor) -> Tensor:
        """L (A, A)."""
        floor = _FLOOR * torch.eye(len(covariance), dtype=covariance.dtype).to(covariance)
        return torch.linalg.cholesky(covariance + floor)

    def _inner(self, u: Tensor, c: Tensor) -> Tensor:
        """y (B, A) of u."""
        apart = (u - self.centre - c @ self.slope).T
        return torch.linalg.solve_triangular(self.factor, apart, upper=False).T

    def _outer(self, y: Tensor, c: Tensor) -> Tensor:
        """u (B, A) of y."""
        return y @ self.factor.T + self.centre + c @ self.slope

    def _f(self, y: Tensor, c: Tensor) -> Tensor:
        """f / T, (B,)."""
        return self.network(torch.cat([y, c], 1)).squeeze(1) / self.temperature

    def _energy(self, y: Tensor, c: Tensor) -> Tensor:
        """E / T [nats], (B,)."""
        return self._f(y, c) + 0.5 * (y / self.base).square().sum(1)

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        u, c, _ = self.scaled(batch)
        y = self._inner(u, c)
        negative, own = self._negatives(y, c)
        square = self._f(y, c).square().mean() + self._f(negative, own).square().mean()
        gap = self._energy(y, c).mean() - self._energy(negative, own).mean()
        return gap + self.penalty * square

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Mean square of what the slope misses of noise, and the difference of E / T to chains."""
        u, c, _ = self.scaled(batch)
        generator = torch.Generator(u.device).manual_seed(0)
        y = self._inner(u, c)
        epsilon = torch.randn(y.shape, generator=generator, device=y.device)
        epsilon = self._along(y, c, epsilon)
        with torch.enable_grad():
            noisy = (y + _SIGMA * epsilon).detach().requires_grad_()
            (slope,) = torch.autograd.grad(self._energy(noisy, c).sum(), noisy)
        missed = (_SIGMA * self._along(y, c, slope) - epsilon).square().sum(1).mean()
        chains = self._energy(self.chains.y, self.chains.c).mean()
        return {"loss": missed, "gap": self._energy(y, c).mean() - chains}

    def _along(self, y: Tensor, c: Tensor, v: Tensor) -> Tensor:
        """What of v (B, A) is a direction in which latents may go."""
        return v

    def _anew(self, rows: Tensor, c: Tensor) -> Tensor:
        """Where chains begin beside rows (y, c) of the training, (B, A)."""
        return self.base * torch.randn_like(rows)

    def _negatives(self, rows: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """As many chains as there are rows (y, c); training walks them first."""
        if not self.training:
            return self.chains.some(len(c))
        return self.chains.turn(self._anew(rows, c), c, self.restart, self._walk)

    def _walk(self, y: Tensor, c: Tensor, noise: Noise, size: Tensor) -> tuple[Tensor, Tensor]:
        """Where chains end, and the share of steps that each took."""
        return mala(lambda at: self._energy(at, c), y, noise, self.walk, size)

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        y = self.chains.near(c, noise)
        y, _ = mala(lambda at: self._energy(at, c), y, noise, self.steps, self.chains.size)
        return self._outer(y, c)

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        return -self._energy(self._inner(u, c), c)
