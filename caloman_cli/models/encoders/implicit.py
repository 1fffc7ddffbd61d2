"""A manifold that is where a function is zero."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from caloman_cli.config.options import option_of
from caloman_cli.config.values import Count, Fraction, NotNegative, Positive, checked
from caloman_cli.errors import UserError
from caloman_cli.models.encoders.base import LatentDim, checked_latent_dim
from caloman_cli.models.encoders.networks import Network
from caloman_cli.models.encoders.projection import Decoder, Projection
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.chains import Chains
from caloman_cli.models.nn.constrained import brought
from caloman_cli.models.nn.langevin import mala
from caloman_cli.models.nn.mlp import MLP, Activation
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource, iterate

LIMIT = 64
"""Voxels, at most: each step of a walk solves for as many numbers as the manifold lacks."""
_CHUNK = 65_536
_ROUNDS = 8  # of Newton's method, that takes a shower to the manifold
_BASE = 2.0  # standard deviation of the normal that keeps chains together, in the showers' spreads
_LEAST = 1e-12  # spread of showers that are all the same


@checked
class Implicit(Projection):
    r"""{x: F(x, c) = 0}, with F of a network, of d = V - M dimensions; latents are points of it.

    What is an image of connected space cannot have holes or parts that lie apart; what is where a
    function is zero can. Loss, in units of the showers' spread:

    .. math::
        E|F(x)| - E|F(\tilde x)|^2 + \beta E|F(\tilde x)|^4
        + \mu E[(r - s)^2], \quad r = |v^T J_F(x)| / |v|, \ v \sim N(0, 1)

    The first term has F vanish at showers, the second and third elsewhere, at points
    :math:`\tilde x` of chains that look for more zeros, by Langevin steps down :math:`|F|^2`, and
    the last has F as steep in all M directions, so that it is of full rank, and near the manifold
    the distance. F sees squares beside the numbers themselves: without them trainings ended on
    the plane that lies between the sides of a surface that closes. An encoded shower is the point
    that a few of Newton's steps bring it to, or itself where they lead nowhere; the
    reconstruction error is the squared distance that these go.

    Solving for M numbers at each step of a walk takes long where M is large: for spaces of few
    dimensions only.

    Args:
        latent_dim: d, the manifold's dimension, below V, or ``auto``.
        function_hidden: Hidden widths of F.
        rank_weight: mu.
        slope: s.
        bound: beta.
        chains: How many.
        walk: Langevin steps of a chain for one step of the training.
        restart: Share of the chains that begin anew at each step of the training.
        heat: Temperature of their walks down :math:`|F|^2`.
        decoder: See :data:`~caloman_cli.models.encoders.projection.Decoder`; the following are of
            a learned one.
        hidden: Hidden widths, the last one first.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`; that of F, too.
        conditional: Let F and a learned decoder see c.
        network: See :data:`~caloman_cli.models.encoders.networks.Network`.
        x_dim: V.
        c_dim: C.
        head: The distribution that the decoder parametrises.

    Raises:
        UserError: An argument is out of range, there are more than 64 voxels, or the head cannot
            express a plain mean with ``decoder=closed``.

    References:
        Ross, Loaiza-Ganem, Caterini, Cresswell (2022), Neural implicit manifold learning for
        topology-aware density estimation, arXiv:2206.11267.
    """

    place: Tensor
    unit: Tensor

    def __init__(
        self,
        latent_dim: LatentDim = 2,
        function_hidden: Sequence[Count] = (128, 128),
        rank_weight: NotNegative = 1.0,
        slope: Positive = 1.0,
        bound: NotNegative = 0.1,
        chains: Count = 2048,
        walk: Count = 10,
        restart: Fraction = 0.05,
        heat: Positive = 0.1,
        decoder: Decoder = "auto",
        hidden: Sequence[Count] = (384, 384),
        activation: Activation = "silu",
        conditional: bool = True,
        network: Network = "mlp",
        *,
        x_dim: int,
        c_dim: int,
        head: Head,
    ) -> None:
        style = decoder, hidden, activation, conditional, network
        if x_dim > LIMIT:
            raise UserError(
                "encoder=implicit solves for V - d numbers at each step of a walk, which takes "
                f"too long for the {x_dim} voxels behind head={option_of('head', head)}: "
                f"at most {LIMIT}; use another encoder, e.g. encoder=rae"
            )
        super().__init__(None, *style, x_dim=x_dim, c_dim=c_dim, head=head)
        self.most_latents = x_dim - 1
        self.manifold_dim = checked_latent_dim(latent_dim, x_dim)
        if self.manifold_dim >= x_dim:
            raise UserError(
                f"encoder=implicit encoder.latent_dim={latent_dim}: a function of {x_dim} voxels "
                f"is zero on less than all dimensions, give {x_dim - 1} or fewer"
            )
        self.rank_weight, self.slope, self.bound = rank_weight, slope, bound
        self.walk, self.restart, self.heat = walk, restart, heat
        told = c_dim if conditional else 0
        missing = x_dim - self.manifold_dim
        self.function = MLP(2 * x_dim + told, function_hidden, missing, activation)
        self.chains = Chains(chains, x_dim, c_dim)
        self.register_buffer("place", torch.zeros(x_dim))
        self.register_buffer("unit", torch.ones(()))
        self.register_buffer("sigma", torch.zeros(()), persistent=False)
        self.latents = replace(self.latents, constraint=self.constraint)

    def constraint(self, z: Tensor, c: Tensor) -> Tensor:
        """F, zero on the manifold, near it the distance in units of z: (B, D) -> (B, V - d)."""
        return self._f((z[:, : self.n_learned] - self.place) / self.unit, c) * self.unit

    def _f(self, y: Tensor, c: Tensor) -> Tensor:
        """The same in units of the showers' spread."""
        # With squares a surface that closes is no further away than a plane.
        seen = [y, y.square()]
        return self.function(torch.cat([*seen, c] if self.conditional else seen, 1))

    @torch.no_grad()
    def _fix(self, train: RowSource) -> None:
        sums = torch.zeros(2, self.head.x_dim, dtype=torch.float64, device=self.place.device)
        for x, _ in iterate(train, _CHUNK):
            x = x.double()
            sums += torch.stack([x.sum(0), x.square().sum(0)])
        mean, square = sums / len(train)
        self.place.copy_(mean)
        self.unit.copy_((square - mean.square()).clamp(min=0.0).mean().sqrt().clamp(min=_LEAST))
        index = torch.randint(len(train), (len(self.chains.y),)).numpy()
        self.chains.fill(_BASE * torch.randn_like(self.chains.y), train.rows(index)[1])

    @torch.no_grad()
    def _project(self, x: Tensor, c: Tensor) -> Tensor:
        with torch.inference_mode(False):
            y, told = (x.clone() - self.place) / self.unit, c.clone()
            there, found = brought(lambda at: self._f(at, told), y, rounds=_ROUNDS)
            # Where Newton's method leads nowhere a shower stays what it is.
            return torch.where(found.unsqueeze(1), there, y) * self.unit + self.place

    def _lift(self, z: Tensor, c: Tensor) -> Tensor:
        return z

    def training_only(self) -> list[nn.Parameter]:
        return list(self.function.parameters())

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x, c = batch
        y = (x - self.place) / self.unit
        found = self._vanishing(y, c) + self._elsewhere(y, c)
        return found if self.closed else found + self._unlikely(batch)

    def _vanishing(self, y: Tensor, c: Tensor) -> Tensor:
        """What F is at showers, and how far from as steep as it should be."""
        with torch.enable_grad():
            at = y.detach().requires_grad_()
            value = self._f(at, c)
            v = torch.randn_like(value)
            (slope,) = torch.autograd.grad((value * v).sum(), at, create_graph=True)
        r = slope.norm(dim=1) / v.norm(dim=1)
        rank = (r - self.slope).square().mean()
        return value.norm(dim=1).mean() + self.rank_weight * rank

    def _elsewhere(self, y: Tensor, c: Tensor) -> Tensor:
        """What F is where chains look for zeros; training walks them first."""
        if self.training:
            anew = _BASE * torch.randn_like(y)
            at, own = self.chains.turn(anew, c, self.restart, self._walk)
        else:
            at, own = self.chains.some(len(y))
        square = self._f(at, own).square().sum(1)
        return self.bound * square.square().mean() - square.mean()

    def _walk(self, y: Tensor, c: Tensor, noise: Noise, size: Tensor) -> tuple[Tensor, Tensor]:
        def energy(at: Tensor) -> Tensor:
            far = 0.5 * (at / _BASE).square().sum(1)
            return self._f(at, c).square().sum(1) / self.heat + far

        return mala(energy, y, noise, self.walk, size)
