"""Normalizing flows as densities of latents."""

from torch import Tensor

from caloman_cli.config.values import Count, Fraction, Natural, Positive, checked
from caloman_cli.models.densities.base import Density, Noising
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.flows import Activation, Bins, ConditionalFlow, build_maf, build_nsf
from caloman_cli.models.nn.scaler import ScalerKind
from caloman_cli.models.noise import Noise


class _Flow(Density):
    """A density whose scaled latents are the image of standard normal numbers."""

    flow: ConditionalFlow

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        return self.flow.inverse(noise.normal(self.flow.dim).to(c), c if self.c_dim else None)

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        return self.flow.log_prob(u, c if self.c_dim else None)


@checked
class NSF(_Flow):
    """A neural spline flow with coupling layers: exact density, sampling in one pass.

    Args:
        n_layers: Coupling layers.
        hidden: Width of the residual networks.
        n_blocks: Residual blocks per network.
        n_bins: Bins of a spline.
        tail_bound: Splines act on [-tail_bound, tail_bound] of the *scaled* latents; beyond it
            only the linear layers do.
        activation: ``relu``, ``silu``, ``elu``, ``gelu`` or ``tanh``.
        dropout: Drop-out probability of the networks.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.
        noise: See :class:`Density`.
        noise_sigma: See :class:`Density`.

    References:
        Durkan, Bekasov, Murray, Papamakarios (2019), Neural Spline Flows, arXiv:1906.04032.
    """

    def __init__(
        self,
        n_layers: Count = 4,
        hidden: Count = 64,
        n_blocks: Natural = 3,
        n_bins: Bins = 16,
        tail_bound: Positive = 8.0,
        activation: Activation = "relu",
        dropout: Fraction = 0.0,
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        noise: Noising = "none",
        noise_sigma: Positive = 0.1,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__(scaler, prune, noise, noise_sigma, latents=latents, c_dim=c_dim)
        self.n_layers, self.hidden, self.n_blocks, self.n_bins = n_layers, hidden, n_blocks, n_bins
        self.tail_bound, self.activation, self.dropout = tail_bound, activation, dropout
        self._build(self.z_dim)

    def _build(self, dim: int) -> None:
        self.flow = build_nsf(
            dim,
            self.c_dim,
            n_layers=self.n_layers,
            hidden=self.hidden,
            n_blocks=self.n_blocks,
            n_bins=self.n_bins,
            tail_bound=self.tail_bound,
            activation=self.activation,
            dropout=self.dropout,
        )


@checked
class MAF(_Flow):
    """A masked autoregressive flow: exact density; sampling takes one pass per dimension.

    Args:
        n_layers: Affine autoregressive layers.
        hidden: Width of the masked networks.
        n_blocks: Residual blocks per network.
        activation: ``relu``, ``silu``, ``elu``, ``gelu`` or ``tanh``.
        dropout: Drop-out probability of the networks.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.
        noise: See :class:`Density`.
        noise_sigma: See :class:`Density`.

    References:
        Papamakarios, Pavlakou, Murray (2017), Masked Autoregressive Flow, arXiv:1705.07057.
    """

    def __init__(
        self,
        n_layers: Count = 5,
        hidden: Count = 64,
        n_blocks: Natural = 2,
        activation: Activation = "tanh",
        dropout: Fraction = 0.0,
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        noise: Noising = "none",
        noise_sigma: Positive = 0.1,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__(scaler, prune, noise, noise_sigma, latents=latents, c_dim=c_dim)
        self.n_layers, self.hidden, self.n_blocks = n_layers, hidden, n_blocks
        self.activation, self.dropout = activation, dropout
        self._build(self.z_dim)

    def _build(self, dim: int) -> None:
        self.flow = build_maf(
            dim,
            self.c_dim,
            n_layers=self.n_layers,
            hidden=self.hidden,
            n_blocks=self.n_blocks,
            activation=self.activation,
            dropout=self.dropout,
        )
