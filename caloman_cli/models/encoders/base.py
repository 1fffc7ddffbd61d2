"""The contract of a generalized autoencoder."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from caloman_cli.config.options import option_of
from caloman_cli.config.values import Count
from caloman_cli.errors import UserError
from caloman_cli.models.encoders.jacobian import half_logdet
from caloman_cli.models.encoders.posterior import DiracPosterior, GaussianPosterior, Posterior
from caloman_cli.models.heads.base import Head
from caloman_cli.models.latents import LatentKind, Latents, LayerLatents
from caloman_cli.models.nn.codebook import Bins
from caloman_cli.models.trainable import RowSource, Trainable, iterate

LatentDim = Count | Literal["auto"]
_ROWS = 4096  # of training rows at once
AVERAGED = 16  # draws, where a posterior that can only draw is asked for its mean


class Encoder(Trainable):
    r"""Learns the manifold: x (B, V) <-> z (B, D), given c (B, C).

    A batch of training rows is the tuple (x, c). Latents are what an encoder learns, and behind
    them the moments that the head would like to be told of a shower, with a little noise and free
    of charge; beside codes they are codes, too, of bins with as many training showers each. These
    are the business of this class alone. A new encoder writes, of the E latents that it learns,

    - ``_posterior(x, c)``, a :class:`~caloman_cli.models.encoders.posterior.Posterior`; or, where
      it can only draw, ``_draw(x, c)`` -> z (B, E), see :attr:`only_draws`;
    - ``_decode(z, told)`` -> the decoder's raw output (B, ``raw_dim``), with ``told``
      (B, ``told_dim``) the moments and conditions;
    - ``loss((x, c), player)``, which may use all methods here.

    Args:
        n_learned: E, less those of layers, or ``auto``, which is resolved before a model is
            built.
        conditional: Let encoder and decoder see c.
        n_codes: Of how many codes each latent is one; None: latents are real numbers.
        layer_latents: How many latents of each layer are learned behind the ``n_learned``.
        x_dim: Voxels V (given at build time, never in YAML, as the following).
        c_dim: Condition width C.
        head: The distribution that the decoder parametrises.

    Attributes:
        n_turns: Orientations in which training shows a shower, see :meth:`Head.turned`; the
            density model learns latents of turned showers, too.
        remedy: What to try where training leaves no latent in use; None: none is meant to be.
        n_shower: How many of the E latents are the shower's; those of layers stand behind them.
        most_latents: The largest E that it can learn; what ``auto`` stands for is no larger.

    Raises:
        UserError: ``n_learned`` is out of range.
    """

    n_turns: int = 1
    remedy: str | None = "give more epochs, a lower encoder.latent_dim or another preprocess="

    def __init__(
        self,
        n_learned: LatentDim,
        *,
        conditional: bool = True,
        n_codes: int | None = None,
        layer_latents: int = 0,
        x_dim: int,
        c_dim: int,
        head: Head,
    ) -> None:
        super().__init__()
        self.most_latents = x_dim
        self.n_shower = self.n_learned = checked_latent_dim(n_learned, x_dim)
        layers = None
        if layer_latents:
            layers = LayerLatents(self.n_shower, layer_latents, head.conditions.of_layers)
            self.n_learned = layers.stop
        self.head, self.conditional = head, conditional
        self.raw_dim = head.out_dim - head.moment_dim
        self.seen_dim = head.feature_dim + (c_dim if conditional else 0)
        self.told_dim = head.moment_dim + (c_dim if conditional else 0)
        dim = self.n_learned + head.moment_dim
        kind: LatentKind = "real" if n_codes is None else "codes"
        self.latents = Latents(dim, kind, n_codes, option_of("encoder", self), layers=layers)
        self.bins = None
        if n_codes is not None and head.moment_dim:
            self.bins = Bins(head.moment_dim, n_codes)

    @property
    def latent_dim(self) -> int:
        """D, the moments included."""
        return self.latents.dim

    @property
    def only_draws(self) -> bool:
        """Whether latents can be drawn, but their posterior has no name, as AVB's."""
        return type(self)._posterior is Encoder._posterior

    def prepare(self, train: RowSource) -> None:
        """Measure the head's statistics on rows (x (V,), c (C,)), and bins of its moments."""
        self.head.prepare(train)
        if self.bins is not None:
            rows = iterate(train, _ROWS)
            self.bins.fit(torch.cat([self.head.moments(x, c) for x, c in rows]))

    def draw(self, x: Tensor, c: Tensor) -> Tensor:
        """Latents z (B, D) of showers, by torch's generator; what the density has to learn."""
        if not self.only_draws:
            return self.posterior(x, c).sample()
        learned = self._draw(x, c)
        return torch.cat([learned, self._moments(x, c).sample()], 1)

    def encode(self, x: Tensor, c: Tensor) -> Tensor:
        """The mean of :meth:`draw`, shape (B, D); where there is no posterior, of a few draws."""
        if not self.only_draws:
            return self.posterior(x, c).mean
        learned = torch.stack([self._draw(x, c) for _ in range(AVERAGED)]).mean(0)
        return torch.cat([learned, self._moments(x, c).mean], 1)

    def posterior(self, x: Tensor, c: Tensor) -> Posterior:
        """q(z | x, c) of all latents.

        Raises:
            UserError: The encoder :attr:`only_draws`.
        """
        return self.with_moments(self._posterior(x, c), x, c)

    def with_moments(self, learned: Posterior, x: Tensor, c: Tensor) -> Posterior:
        """q(z | x, c) of all latents, from that of the learned ones."""
        return learned.beside(self._moments(x, c)) if self.head.moment_dim else learned

    def decode(self, z: Tensor, c: Tensor) -> tuple[Any, ...]:
        """The parameters of the head, see :meth:`Head.params`."""
        learned, moments = z.tensor_split([self.n_learned], 1)
        moments = self.heard(moments)
        return self.params(self._decode(learned, self.told(moments, c)), moments, c)

    def heard(self, moments: Tensor) -> Tensor:
        """Moments as latents have them (B, M), as numbers."""
        return moments if self.bins is None else self.bins.means(moments)

    def told(self, moments: Tensor, c: Tensor) -> Tensor:
        """What a decoding network reads beside learned latents, shape (B, ``told_dim``)."""
        return torch.cat([moments, c], 1) if self.conditional else moments

    def params(self, raw: Tensor, moments: Tensor, c: Tensor) -> tuple[Any, ...]:
        """The parameters of the head, of the decoder's output and moments as numbers."""
        found: tuple[Any, ...] = self.head.params(
            torch.cat([raw, moments], 1) if self.head.moment_dim else raw, c
        )
        return found

    def seen(self, x: Tensor, c: Tensor) -> Tensor:
        """What an encoding network reads of showers, shape (B, ``seen_dim``)."""
        features = self.head.features(x)
        return torch.cat([features, c], 1) if self.conditional else features

    def _moments(self, x: Tensor, c: Tensor) -> Posterior:
        moments = self.head.moments(x, c)
        if self.bins is not None:
            return DiracPosterior(self.bins(moments))
        return GaussianPosterior(moments, torch.full_like(moments, self.head.moment_sigma))

    def _posterior(self, x: Tensor, c: Tensor) -> Posterior:
        """q(z | x, c) of the learned latents, (B, E)."""
        raise UserError(
            f"encoder={option_of('encoder', self)} can only draw latents, it has no density of "
            "them: use an encoder that has, e.g. encoder=vae"
        )

    def _draw(self, x: Tensor, c: Tensor) -> Tensor:
        """Learned latents (B, E), by torch's generator, where it :attr:`only_draws`."""
        raise NotImplementedError

    def _decode(self, z: Tensor, told: Tensor) -> Tensor:
        """The decoder's raw output (B, ``raw_dim``) of learned latents (B, E)."""
        raise NotImplementedError

    def training_only(self) -> list[nn.Parameter]:
        """Parameters that :meth:`decode` and the head never read: the network that encodes."""
        return []

    def reconstruction_error(self, x: Tensor, c: Tensor) -> Tensor:
        """Squared distance of x to the decoded mean, summed over voxels, shape (B,)."""
        return (x - self.head.mean(self.decode(self.encode(x, c), c))).square().sum(1)

    def half_logdet(self, z: Tensor, c: Tensor) -> Tensor:
        """Half the log-determinant of J^T J, J = d mean / dz, shape (B,), float64 [nats]."""
        return half_logdet(lambda zs, cs: self.head.mean(self.decode(zs, cs)), z, c)

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        x, c = batch
        return {"loss": self.loss(batch), "reconstruction": self.reconstruction_error(x, c).mean()}


def checked_latent_dim(latent_dim: LatentDim, x_dim: int) -> int:
    """D as a number.

    Raises:
        UserError: It is ``auto``, which must be estimated from data before a model is built, or
            not in 1 ... V.
    """
    if latent_dim == "auto":
        raise UserError(
            "encoder.latent_dim=auto must be estimated from showers first, as `caloman train` "
            "does: give a number, e.g. encoder.latent_dim=35"
        )
    if latent_dim > x_dim:
        raise UserError(
            f"encoder.latent_dim={latent_dim}: a shower has {x_dim} voxels, give no more than that"
        )
    return latent_dim
