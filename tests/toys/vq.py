"""An encoder that hands over codes."""

import torch
from torch import Tensor, nn

from caloman_cli.models.encoders.base import Encoder
from caloman_cli.models.encoders.posterior import DiracPosterior
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.mlp import MLP


class VQ(Encoder):
    """A vector-quantised autoencoder: each latent is one of a few words of a codebook.

    Args:
        latent_dim: Codes per shower.
        n_codes: Words in the codebook.
        width: Numbers per word.
        hidden: Width of the networks.

    References:
        van den Oord, Vinyals, Kavukcuoglu (2017), Neural discrete representation learning,
        arXiv:1711.00937.
    """

    def __init__(
        self,
        latent_dim: int | str = 4,
        n_codes: int = 8,
        width: int = 2,
        hidden: int = 16,
        *,
        x_dim: int,
        c_dim: int,
        head: Head,
    ) -> None:
        super().__init__(latent_dim, n_codes=n_codes, x_dim=x_dim, c_dim=c_dim, head=head)
        self.encoder = MLP(self.seen_dim, [hidden], self.n_learned * width, "silu")
        self.codebook = nn.Parameter(torch.randn(n_codes, width))
        flat = self.n_learned * width
        self.decoder = MLP(flat + self.told_dim, [hidden], self.raw_dim, "silu")

    def _vectors(self, x: Tensor, c: Tensor) -> Tensor:
        """(B, D, width)."""
        return self.encoder(self.seen(x, c)).unflatten(1, (self.n_learned, -1))

    def _posterior(self, x: Tensor, c: Tensor) -> DiracPosterior:
        distance = (self._vectors(x, c).unsqueeze(2) - self.codebook).square().sum(3)
        return DiracPosterior(distance.argmin(2).to(x))

    def training_only(self) -> list[nn.Parameter]:
        return list(self.encoder.parameters())

    def _decode(self, z: Tensor, told: Tensor) -> Tensor:
        return self._speak(self.codebook[z.long()], told)

    def _speak(self, words: Tensor, told: Tensor) -> Tensor:
        return self.decoder(torch.cat([words.flatten(1), told], 1))

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x, c = batch
        vectors = self._vectors(x, c)
        codes, moments = self.encode(x, c).tensor_split([self.n_learned], 1)
        words, moments = self.codebook[codes.long()], self.heard(moments)
        commitment = (vectors - words.detach()).square() + (vectors.detach() - words).square()
        through = vectors + (words - vectors).detach()
        raw = self._speak(through, self.told(moments, c))
        likelihood = self.head.log_prob(self.params(raw, moments, c), x)
        return commitment.sum((1, 2)).mean() - likelihood.mean()
