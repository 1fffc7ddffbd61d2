"""The vector-quantised autoencoder."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from caloman_cli.config.values import Count, Fraction, NotNegative, Several, Share, checked
from caloman_cli.models.encoders.base import LatentDim
from caloman_cli.models.encoders.learned import Learned
from caloman_cli.models.encoders.networks import Network
from caloman_cli.models.encoders.posterior import DiracPosterior
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.codebook import Codebook
from caloman_cli.models.nn.mlp import Activation
from caloman_cli.models.trainable import RowSource

_VECTORS = 1 << 15  # that the first words are chosen from


@checked
class VQVAE(Learned):
    r"""Each latent is a code: which of the K words of a codebook is nearest to a vector.

    An encoder writes a vector of W numbers for each of D positions; a decoder reads the words
    that are nearest to these. Loss: :math:`-E[\log p(x | e)] + \beta \sum \|v - sg(e)\|^2` [nats],
    with sg constant; the likelihood's slopes go through the words to the vectors as if these were
    the same. Words follow the vectors, see :class:`~caloman_cli.models.nn.codebook.Codebook`, and
    where weights are averaged, so are they. All positions share the words.

    Moments that the head would like to be told are codes, too: the number of a bin, of K with as
    many training showers each, whose mean the decoder hears.

    ``TwoStep.log_prob`` is a lower bound: the term of a shower's own codes in the sum over all.

    Args:
        latent_dim: Positions D, or ``auto``, which is resolved before a model is built.
        hidden: Hidden widths of the encoder; the decoder mirrors them.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        n_codes: Words K.
        code_width: W.
        commitment: beta.
        decay: Of the words' means, from batch to batch.
        dead: Words that stand for less than this part of 1 / K of the vectors are taken anew.
        conditional: Let encoder and decoder see c.
        layer_norm: Normalise hidden layers of encoder and decoder.
        network: See :data:`~caloman_cli.models.encoders.networks.Network`.
        x_dim: V.
        c_dim: C.
        head: The distribution that the decoder parametrises.

    Raises:
        UserError: An argument is out of range.

    References:
        van den Oord, Vinyals, Kavukcuoglu (2017), Neural discrete representation learning,
        arXiv:1711.00937.
        Razavi, van den Oord, Vinyals (2019), Generating diverse high-fidelity images with
        VQ-VAE-2, arXiv:1906.00446.
    """

    remedy = "give a lower encoder.commitment, more encoder.latent_dim or more epochs"

    def __init__(
        self,
        latent_dim: LatentDim = 16,
        hidden: Sequence[Count] = (512, 512, 512),
        activation: Activation = "silu",
        n_codes: Several = 512,
        code_width: Count = 8,
        commitment: NotNegative = 0.25,
        decay: Share = 0.99,
        dead: Fraction = 0.03,
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
            n_codes=n_codes,
            per_latent=code_width,
            latent_width=code_width,
            x_dim=x_dim,
            c_dim=c_dim,
            head=head,
        )
        self.commitment = commitment
        self.codebook = Codebook(n_codes, code_width, decay, dead)

    def averaged_buffers(self) -> list[Tensor]:
        return [self.codebook.words]

    @torch.no_grad()
    def prepare(self, train: RowSource) -> None:
        super().prepare(train)
        step = max(1, len(train) * self.n_learned // _VECTORS)
        x, c = train.rows(np.arange(0, len(train), step))
        self.codebook.begin(self._vectors(x, c).flatten(0, 1))

    def _vectors(self, x: Tensor, c: Tensor) -> Tensor:
        """(B, D, W)."""
        return self.encoded(x, c).unflatten(1, (self.n_learned, -1))

    def _posterior(self, x: Tensor, c: Tensor) -> DiracPosterior:
        return DiracPosterior(self.codebook.nearest(self._vectors(x, c)).to(x))

    def _decode(self, z: Tensor, told: Tensor) -> Tensor:
        return super()._decode(self.codebook(z).flatten(1), told)

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x, c = batch
        vectors = self._vectors(x, c)
        codes = self.codebook.nearest(vectors)
        words = self.codebook(codes)
        if self.training:
            self.codebook.follow(vectors.detach(), codes)
        through = vectors + (words - vectors).detach()
        moments = self.heard(self._moments(x, c).sample())
        raw = super()._decode(through.flatten(1), self.told(moments, c))
        likelihood = self.head.log_prob(self.params(raw, moments, c), x)
        away = (vectors - words).square().sum((1, 2))
        return (self.commitment * away - likelihood).mean()

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Also the part of the codebook that is not in use, by its perplexity."""
        unused = 1.0 - self.codebook.perplexity() / len(self.codebook.words)
        return {**super().scores(batch), "unused": unused}
