"""Densities that say one latent after the other."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from caloman_cli.models.densities.base import Density, Noising
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.mlp import MLP
from caloman_cli.models.nn.places import Categories, Mixtures
from caloman_cli.models.nn.scaler import ScalerKind
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource

_ROWS = 65_536  # of the training split, that a model begins with


class Autoregressive(Density):
    r""":math:`p(u | c) = \prod_i p(u_i | u_1 \ldots u_{i-1}, c)`: exact, a pass a place to sample.

    Place i reads one token, of c, of its own number and of :math:`u_{i-1}`; the first one reads
    no latent. A network that sees no later token makes states of them, of which each place's
    distribution is made. A new density writes ``_network``; one whose places are not all of a kind
    ``_mark``, ``_tokens`` and ``_gains``, too.

    Args:
        width: Of tokens and states, W.
        components: Normals of each place's mixture, where latents are real.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.
        noise: See :class:`Density`.
        noise_sigma: See :class:`Density`.
        latents: See :class:`Density`.
        c_dim: See :class:`Density`.
    """

    def __init__(
        self,
        width: int,
        components: int,
        scaler: ScalerKind,
        prune: float,
        noise: Noising,
        noise_sigma: float,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__(scaler, prune, noise, noise_sigma, latents=latents, c_dim=c_dim)
        self.width, self.components = width, components

    def _build(self, dim: int) -> None:
        self.condition = MLP(self.c_dim + 1, [self.width], self.width, "silu")
        self._mark(dim)
        self.places = self._places(dim)
        self.network = self._network()

    def _mark(self, dim: int) -> None:
        """Make what tells places apart."""
        self.place = nn.Parameter(torch.randn(dim, self.width) / math.sqrt(self.width))
        # A value may mean something else at each place.
        self.gain = nn.Parameter(torch.ones(dim, self.width))

    def _places(self, dim: int) -> Mixtures | Categories:
        if self.latents.n_codes is None:
            return Mixtures(dim, self.c_dim, self.width, self.components)
        return Categories(dim, self.latents.n_codes, self.width)

    def _network(self) -> nn.Module:
        """Tokens (B, T, W), and its memory of those before them if any -> states (B, T, W), and
        the memory of all of them, as :class:`torch.nn.LSTM` has it. State t has seen no token
        behind t."""
        raise NotImplementedError

    def prepare(self, train: RowSource) -> None:
        if self.latents.kind == "real":
            super().prepare(train)
        step = math.ceil(len(train) / _ROWS)
        u, c, _ = self.scaled(train.rows(np.arange(0, len(train), step)))
        self.places.fit(u, c)

    def _told(self, c: Tensor) -> Tensor:
        """(B, W)."""
        return self.condition(torch.cat([c, c.new_ones(len(c), 1)], 1))

    def _tokens(self, c: Tensor) -> Tensor:
        """What places read of c and of themselves, (B, A, W)."""
        return self._told(c).unsqueeze(1) + self.place

    def _gains(self) -> Tensor:
        """Of what each place reads of the value before it, (A, W)."""
        return self.gain

    def _states(self, u: Tensor, c: Tensor) -> Tensor:
        """(B, A, W): that of place i is of c and of latents before i."""
        before = nn.functional.pad(self.places.read(u[:, :-1]), (0, 0, 1, 0))
        states: Tensor = self.network(self._tokens(c) + self._gains() * before)[0]
        return states

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        return self.places.log_prob(self._states(u, c), u, c)

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        tokens, gains = self._tokens(c), self._gains()
        chances, memory = self.places.chances(noise, c), None
        u = c.new_zeros(tokens.shape[:2])
        for i, token in enumerate(tokens.unbind(1)):
            if i:
                token = token + gains[i] * self.places.read(u[:, i - 1 : i])[:, 0]
            state, memory = self.network(token.unsqueeze(1), memory)
            u[:, i] = self.places.draw(i, state[:, 0], u, c, chances)
        return u
