"""What encoders share whose latents are a projection: the decoder in closed form, or a network."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from caloman_cli.config.options import option_of
from caloman_cli.config.values import Count
from caloman_cli.errors import UserError
from caloman_cli.models.encoders.base import Encoder, LatentDim
from caloman_cli.models.encoders.networks import Network, decoding
from caloman_cli.models.encoders.posterior import DiracPosterior
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.mlp import Activation
from caloman_cli.models.trainable import RowSource, iterate

Decoder = Literal["auto", "closed", "learned"]
"""``closed``: the head's mean is the point of the manifold; ``learned``: a network writes what the
head speaks of; ``auto``: closed where the head can express a plain mean."""
_EXACT = 1024  # widest space whose covariance is formed and diagonalised
_OVERSAMPLE = 20
_CHUNK_VALUES = 1 << 22
_CONSTANT = (
    1e-6  # standard deviation, in units of the largest, of a latent that is the same always
)


class Projection(Encoder):
    """Showers to points of a manifold that is made without the head, and its coordinates.

    Where the head can express a plain mean (:meth:`Head.from_mean`), what is decoded is the point
    itself. Elsewhere a network learns by likelihood what the head speaks of, from the latents and
    what is told beside them; it does not change the latents. A new one writes, of E latents,

    - ``_fix(train)``: what is measured of the training split, after the head's statistics;
    - ``_project(x, c)``: showers to latents (B, E);
    - ``_lift(z, c)``: latents to points (B, :attr:`width`) of the space that is projected.

    That space is the one of voxels where the decoder is closed, and of the head's features
    elsewhere, see :meth:`space`.

    Args:
        n_learned: E, see :class:`Encoder`; None: as many as voxels.
        decoder: See :data:`Decoder`.
        hidden: Hidden widths that an encoder's network would have; the head's mirrors them.
        activation: Of this network, see :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        conditional: Let this network see c.
        network: See :data:`~caloman_cli.models.encoders.networks.Network`.
        x_dim: V.
        c_dim: C.
        head: The distribution that the decoder parametrises.

    Attributes:
        closed: Whether the decoder is.
        width: Of what is projected.

    Raises:
        UserError: ``n_learned`` is out of range, or ``decoder=closed`` with a head that cannot
            express a plain mean.
    """

    sigma: Tensor
    middle: Tensor
    spread: Tensor

    def __init__(
        self,
        n_learned: LatentDim | None,
        decoder: Decoder,
        hidden: Sequence[Count],
        activation: Activation,
        conditional: bool,
        network: Network,
        *,
        x_dim: int,
        c_dim: int,
        head: Head,
    ) -> None:
        super().__init__(
            x_dim if n_learned is None else n_learned,
            conditional=conditional,
            x_dim=x_dim,
            c_dim=c_dim,
            head=head,
        )
        plain, name = has_plain_mean(head), option_of("encoder", self)
        if decoder == "closed" and not plain:
            raise UserError(
                f"encoder={name} encoder.decoder=closed decodes a plain mean, which head="
                f"{option_of('head', head)} cannot express: use encoder.decoder=learned, or "
                "head=gaussian or head=hurdle_mixture"
            )
        self.closed = plain if decoder == "auto" else decoder == "closed"
        self.width = x_dim if self.closed or n_learned is None else head.feature_dim
        self.most_latents = self.width
        if self.n_learned > self.width:
            raise UserError(
                f"encoder={name} encoder.latent_dim={self.n_learned}: head="
                f"{option_of('head', head)} shows {self.width} features of a shower, give no more "
                "than that"
            )
        if not self.closed:
            style = hidden, activation, False
            read = self.n_learned + self.told_dim
            self.decoder = decoding(network, head, read, self.raw_dim, *style)
            self.register_buffer("middle", torch.zeros(self.n_learned))
            self.register_buffer("spread", torch.ones(self.n_learned))

    def space(self, x: Tensor) -> Tensor:
        """What is projected of showers x (B, V), shape (B, :attr:`width`)."""
        return x if self.closed else self.head.features(x)

    @torch.no_grad()
    def prepare(self, train: RowSource) -> None:
        """Measure, on rows (x (V,), c (C,)), the head, the manifold and the latents' scales."""
        super().prepare(train)
        self._fix(train)
        if self.closed:
            return
        sums = [self.middle.new_zeros(2, self.n_learned, dtype=torch.float64)]
        for x, c in iterate(train, max(1, _CHUNK_VALUES // self.head.x_dim)):
            z = self._project(x, c).double()
            sums.append(sums.pop() + torch.stack([z.sum(0), z.square().sum(0)]))
        mean, square = sums[0] / len(train)
        spread = (square - mean.square()).clamp(min=0.0).sqrt()
        self.middle.copy_(mean)
        self.spread.copy_(torch.where(spread > _CONSTANT * spread.max(), spread, 1.0))

    def _fix(self, train: RowSource) -> None:
        """Measure the manifold, where it is measured."""

    def _plane(self, train: RowSource, power: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The directions of largest variance, see :func:`principal_plane`.

        Raises:
            UserError: There are fewer rows than directions.
        """
        if len(train) <= self.n_learned:
            raise UserError(
                f"encoder={option_of('encoder', self)}: {len(train)} training showers cannot fix "
                f"encoder.latent_dim={self.n_learned} directions: lower latent_dim"
            )
        return principal_plane(train, self.width, self.n_learned, power, self.space)

    def _project(self, x: Tensor, c: Tensor) -> Tensor:
        """Latents (B, E) of showers."""
        raise NotImplementedError

    def _lift(self, z: Tensor, c: Tensor) -> Tensor:
        """Points (B, ``width``) of latents (B, E)."""
        raise NotImplementedError

    def _posterior(self, x: Tensor, c: Tensor) -> DiracPosterior:
        return DiracPosterior(self._project(x, c))

    def decode(self, z: Tensor, c: Tensor) -> tuple[Any, ...]:
        if not self.closed:
            return super().decode(z, c)
        return self.head.from_mean(self._lift(z, c), self.sigma)

    def _decode(self, z: Tensor, told: Tensor) -> Tensor:
        raw: Tensor = self.decoder(torch.cat([(z - self.middle) / self.spread, told], 1))
        return raw

    def half_logdet(self, z: Tensor, c: Tensor) -> Tensor:
        """Zero, of the manifold itself: its coordinates keep lengths."""
        return torch.zeros(len(z), dtype=torch.float64, device=z.device)

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        """The squared reconstruction error, or what the head's network minimises [nats]."""
        return self.reconstruction_error(*batch).mean() if self.closed else self._unlikely(batch)

    def _unlikely(self, batch: tuple[Tensor, ...]) -> Tensor:
        """Mean of -log p(x | z, c) by the head's network; latents get no gradient of it."""
        x, c = batch
        with torch.no_grad():
            z = self.draw(x, c)
        return -self.head.log_prob(self.decode(z, c), x).mean()


def has_plain_mean(head: Head) -> bool:
    """Whether a decoder in closed form can speak through a head."""
    if head.moment_dim:
        return False
    try:
        head.from_mean(torch.zeros(1, head.x_dim), torch.ones(()))
    except (UserError, NotImplementedError):
        return False
    return True


def principal_plane(
    train: RowSource,
    width: int,
    dim: int,
    power: int,
    space: Callable[[Tensor], Tensor] = lambda x: x,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The directions of largest variance, streamed over the training split, in float64.

    Up to 1024 numbers the covariance is diagonalised exactly; above, a randomised range finder
    finds the leading directions without forming it.

    Args:
        train: Rows (x (V,), c (C,)).
        width: W, of ``space``.
        dim: D directions.
        power: Power iterations of the range finder, each one pass over the data.
        space: x (B, V) -> what is looked at, (B, W).

    Returns:
        Mean (W,), directions (D, W), variances (D,) and the variance of all the others together.

    References:
        Halko, Martinsson, Tropp (2011), Finding structure with randomness, arXiv:0909.4061.
    """
    step = max(1, _CHUNK_VALUES // width)

    def seen() -> Iterator[Tensor]:
        return (space(x).double() for x, _ in iterate(train, step))

    center = sum((values.sum(0) for values in seen()), torch.zeros(())) / len(train)

    def covariance_times(basis: Tensor) -> tuple[Tensor, Tensor]:
        """Covariance (W, W) times a basis (W, K), and the covariance's trace."""
        product, total = torch.zeros_like(basis), basis.new_zeros(())
        identity = basis.shape[0] == basis.shape[1]
        for values in seen():
            shifted = values - center
            product += shifted.T @ (shifted if identity else shifted @ basis)
            total += shifted.square().sum()
        return product / len(train), total / len(train)

    columns = min(dim + _OVERSAMPLE, width)
    if width <= _EXACT or columns == width:
        basis = torch.eye(width, dtype=torch.float64, device=center.device)
    else:
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(width, columns, dtype=torch.float64, generator=generator)
        basis = torch.linalg.qr(start.to(center.device)).Q
        for _ in range(1 + power):
            basis = torch.linalg.qr(covariance_times(basis)[0]).Q
    product, total = covariance_times(basis)
    values, vectors = torch.linalg.eigh(basis.T @ product)
    values, leading = values.flip(0)[:dim], (basis @ vectors.flip(1)[:, :dim]).T
    # eigh leaves the sign open; fix it, so that any machine finds the same latents.
    sign = leading.gather(1, leading.abs().argmax(1, keepdim=True)).sign()
    rest = (total - values.sum()).clamp(min=1e-12 * total + 1e-24)
    return center, leading * sign, values, rest
