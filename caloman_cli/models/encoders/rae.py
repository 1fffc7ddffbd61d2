"""The regularised autoencoder: no prior of latents, but a scale and noise."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from caloman_cli.config.values import Count, NotNegative, checked
from caloman_cli.models.encoders.base import LatentDim
from caloman_cli.models.encoders.learned import Learned
from caloman_cli.models.encoders.networks import Network
from caloman_cli.models.encoders.posterior import DiracPosterior
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.mlp import Activation
from caloman_cli.models.nn.running import Running

NoiseScale = Literal["fixed", "half_normal"]
"""Standard deviation of a row's noise: the same for all, or drawn, s = noise \\|N(0, 1)\\|."""
_FLOOR = 1e-8  # of a variance


@checked
class RAE(Learned):
    r"""A deterministic autoencoder whose decoder learns under noise on normalised latents.

    Loss: :math:`-E[\log p(x | u + s \epsilon, c)]` [nats], :math:`\epsilon \sim N(0, 1)`, with u
    of mean 0 and variance 1 over each batch, latent by latent, and over the training's batches
    afterwards. Nothing else is asked of the latents: the density model learns their distribution.

    Noise of scale s punishes slopes of the decoder, :math:`\frac12 s^2 \|\partial \log p /
    \partial u\|^2` to first order, which makes its latents smooth: near ones decode to near
    showers, and what a density model gets wrong by s is not seen. Gradients go through the
    normalisation, else the encoder would outgrow the noise. This is RAE-GP with noise for its
    gradient penalty (Bishop 1995) and a normalisation for its penalty of large latents. Latents
    that nobody uses are of variance 1, too: ``density.prune`` does not find them.

    Args:
        latent_dim: D, or ``auto``, which is resolved before a model is built.
        hidden: Hidden widths of the encoder; the decoder mirrors them.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        noise: s, in units of the latents' standard deviation; 0: a plain autoencoder of
            normalised latents.
        noise_scale: See :data:`NoiseScale`: all smaller noise, too, or none but this.
        conditional: Let encoder and decoder see c.
        layer_norm: Normalise hidden layers of encoder and decoder.
        network: See :data:`~caloman_cli.models.encoders.networks.Network`.
        x_dim: V.
        c_dim: C.
        head: The distribution that the decoder parametrises.

    Raises:
        UserError: An argument is out of range.

    References:
        Ghosh, Sajjadi, Vergari, Black, Schölkopf (2020), From variational to deterministic
        autoencoders, arXiv:1903.12436.
        Zheng, Ma, Tong, Xie (2025), Diffusion transformers with representation autoencoders
        (the drawn scale), arXiv:2510.11690.
        Bishop (1995), Training with noise is equivalent to Tikhonov regularization,
        Neural Comput. 7, 108.
    """

    remedy = "give a lower encoder.noise or encoder.latent_dim, or more epochs"

    def __init__(
        self,
        latent_dim: LatentDim = 35,
        hidden: Sequence[Count] = (512, 512, 512),
        activation: Activation = "silu",
        noise: NotNegative = 0.2,
        noise_scale: NoiseScale = "half_normal",
        conditional: bool = True,
        layer_norm: bool = False,
        network: Network = "mlp",
        *,
        x_dim: int,
        c_dim: int,
        head: Head,
    ) -> None:
        super().__init__(
            latent_dim,
            hidden,
            activation,
            layer_norm,
            network,
            conditional=conditional,
            x_dim=x_dim,
            c_dim=c_dim,
            head=head,
        )
        self.noise, self.noise_scale = noise, noise_scale
        self.scale = Running(torch.tensor([[0.0], [1.0]]).repeat(1, self.n_learned))

    def averaged_buffers(self) -> list[Tensor]:
        return [self.scale.mean]

    def _posterior(self, x: Tensor, c: Tensor) -> DiracPosterior:
        return DiracPosterior(_normalised(self.encoded(x, c), self.scale.mean))

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x, c = batch
        return -self.head.log_prob(self.decode(self._shaken(x, c), c), x).mean()

    def _shaken(self, x: Tensor, c: Tensor) -> Tensor:
        """Latents (B, D), moments included, under noise; training normalises them by the batch."""
        raw = self.encoded(x, c)
        scale = self.scale.mean
        if self.training and len(raw) > 1:
            scale = torch.stack([raw.mean(0), raw.var(0, correction=0)])
            self.scale.update(scale.detach())
        u = _normalised(raw, scale)
        s = self.noise * torch.ones_like(u[:, :1])
        if self.noise_scale == "half_normal":
            s = s * torch.randn_like(s).abs()
        shaken = DiracPosterior(u + s * torch.randn_like(u))
        return self.with_moments(shaken, x, c).sample()


def _normalised(raw: Tensor, scale: Tensor) -> Tensor:
    """(B, E) with mean and variance of ``scale`` (2, E) taken out."""
    mean, variance = scale
    return (raw - mean) / (variance + _FLOOR).sqrt()
