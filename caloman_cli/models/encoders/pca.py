"""Principal components: the linear manifold, in closed form."""

from typing import Any

import torch
from torch import Tensor

from caloman_cli.config.values import Natural, checked
from caloman_cli.errors import UserError
from caloman_cli.models.encoders.base import Encoder, LatentDim
from caloman_cli.models.encoders.identity import require_mean
from caloman_cli.models.encoders.posterior import DiracPosterior
from caloman_cli.models.heads.base import Head
from caloman_cli.models.trainable import RowSource, iterate

_EXACT = 1024  # widest V whose covariance is formed and diagonalised
_OVERSAMPLE = 20
_CHUNK_VALUES = 1 << 22


@checked
class PCA(Encoder):
    """Projection on the D directions of largest variance; nothing is learned by descent.

    Statistics are streamed over the training split. Up to 1024 voxels the covariance is
    diagonalised exactly; above, a randomised range finder with ``power`` extra passes finds the
    leading directions without forming it. What the directions leave out becomes the head's
    sigma, the maximum-likelihood noise of probabilistic PCA.

    Args:
        latent_dim: D, or ``auto``, which is resolved before a model is built.
        power: Power iterations of the range finder, each one pass over the data.
        x_dim: V.
        c_dim: C.
        head: Must be able to express a plain mean (``from_mean``), e.g. ``gaussian``.

    Raises:
        UserError: An argument is out of range or the head cannot express a plain mean.

    References:
        Tipping, Bishop (1999), Probabilistic principal component analysis,
        J. R. Stat. Soc. B 61, 611.
        Halko, Martinsson, Tropp (2011), Finding structure with randomness, arXiv:0909.4061.
    """

    center: Tensor
    axes: Tensor
    sigma: Tensor

    def __init__(
        self, latent_dim: LatentDim = 35, power: Natural = 2, *, x_dim: int, c_dim: int, head: Head
    ) -> None:
        require_mean(head, "pca")
        super().__init__(latent_dim, x_dim=x_dim, c_dim=c_dim, head=head)
        self.power = power
        self.register_buffer("center", torch.zeros(x_dim))
        self.register_buffer("axes", torch.eye(self.latent_dim, x_dim))
        self.register_buffer("sigma", torch.ones(()))

    def prepare(self, train: RowSource) -> None:
        """Measure mean, axes and residual noise on rows (x (V,), c (C,)).

        Raises:
            UserError: There are fewer rows than directions.
        """
        if len(train) <= self.latent_dim:
            raise UserError(
                f"encoder=pca: {len(train)} training showers cannot fix "
                f"encoder.latent_dim={self.latent_dim} directions: lower latent_dim"
            )
        super().prepare(train)
        x_dim, count = self.axes.shape[1], len(train)
        step = max(1, _CHUNK_VALUES // x_dim)
        center = sum((x.double().sum(0) for x, _ in iterate(train, step)), torch.zeros(())) / count
        self.center.copy_(center)
        width = min(self.latent_dim + _OVERSAMPLE, x_dim)
        if x_dim <= _EXACT or width == x_dim:
            basis = torch.eye(x_dim, dtype=torch.float64, device=self.center.device)
        else:
            generator = torch.Generator().manual_seed(0)
            start = torch.randn(x_dim, width, dtype=torch.float64, generator=generator)
            basis = torch.linalg.qr(start.to(self.center.device)).Q
            for _ in range(1 + self.power):
                basis = torch.linalg.qr(self._covariance_times(train, step, basis)[0]).Q
        product, total = self._covariance_times(train, step, basis)
        values, vectors = torch.linalg.eigh(basis.T @ product)
        leading = (basis @ vectors.flip(1)[:, : self.latent_dim]).T
        # eigh leaves the sign open; fix it, so that any machine finds the same latents.
        sign = leading.gather(1, leading.abs().argmax(1, keepdim=True)).sign()
        self.axes.copy_(leading * sign)
        rest = total - values.flip(0)[: self.latent_dim].sum()
        floor = 1e-12 * total + 1e-24
        self.sigma.copy_((rest.clamp(min=floor) / max(x_dim - self.latent_dim, 1)).sqrt())

    def _covariance_times(
        self, train: RowSource, step: int, basis: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Covariance (V, V) times a basis (V, K), and the covariance's trace."""
        product, total = torch.zeros_like(basis), basis.new_zeros(())
        identity = basis.shape[0] == basis.shape[1]
        for x, _ in iterate(train, step):
            shifted = x.double() - self.center.double()
            product += shifted.T @ (shifted if identity else shifted @ basis)
            total += shifted.square().sum()
        return product / len(train), total / len(train)

    def _posterior(self, x: Tensor, c: Tensor) -> DiracPosterior:
        return DiracPosterior((x - self.center) @ self.axes.T)

    def decode(self, z: Tensor, c: Tensor) -> tuple[Any, ...]:
        return self.head.from_mean(self.center + z @ self.axes, self.sigma)

    def half_logdet(self, z: Tensor, c: Tensor) -> Tensor:
        """Zero: the axes are orthonormal."""
        return torch.zeros(len(z), dtype=torch.float64, device=z.device)

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        return self.reconstruction_error(*batch).mean()
