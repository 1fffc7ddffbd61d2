"""A causal transformer as density of latents, real numbers or codes."""

from torch import nn

from caloman_cli.config.values import Count, Fraction, Positive, checked
from caloman_cli.models.densities.autoregressive import Autoregressive
from caloman_cli.models.densities.base import Noising
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.scaler import ScalerKind
from caloman_cli.models.nn.transformer import CausalTransformer


@checked
class Transformer(Autoregressive):
    """Each latent's distribution is made of those before it and of c by causal attention.

    A code has a probability of each of K; a real latent a mixture of normals around a linear map,
    see :class:`~caloman_cli.models.nn.places.Mixtures`. A sample keeps keys and values, so that a
    place costs one token.

    Args:
        width: Of tokens and states.
        n_heads: Heads of attention, whose number divides the width.
        n_layers: Blocks of attention and perceptron.
        components: Normals of each mixture, where latents are real.
        dropout: Drop-out probability while it trains.
        scaler: See :class:`Density`; codes have no scale.
        prune: See :class:`Density`; of codes all are learned.
        noise: See :class:`Density`.
        noise_sigma: See :class:`Density`.

    Raises:
        UserError: An argument is out of range.

    References:
        Vaswani et al. (2017), Attention is all you need, arXiv:1706.03762.
        Esser, Rombach, Ommer (2021), Taming transformers for high-resolution image synthesis
        (a transformer as prior of codes), arXiv:2012.09841.
    """

    accepts = ("real", "codes")

    def __init__(
        self,
        width: Count = 128,
        n_heads: Count = 4,
        n_layers: Count = 4,
        components: Count = 10,
        dropout: Fraction = 0.0,
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        noise: Noising = "none",
        noise_sigma: Positive = 0.1,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        if latents.kind == "codes":
            scaler, prune = "none", 0.0
        scaling = scaler, prune, noise, noise_sigma
        super().__init__(width, components, *scaling, latents=latents, c_dim=c_dim)
        self.n_heads, self.n_layers, self.dropout = n_heads, n_layers, dropout
        self._build(self.z_dim)

    def _network(self) -> nn.Module:
        return CausalTransformer(self.width, self.n_heads, self.n_layers, self.dropout)
