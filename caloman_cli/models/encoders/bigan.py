"""The bidirectional generative adversarial network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from caloman_cli.config.values import Count, NotNegative, Positive, checked
from caloman_cli.models.encoders.base import LatentDim
from caloman_cli.models.encoders.learned import Learned
from caloman_cli.models.encoders.networks import Network
from caloman_cli.models.encoders.posterior import DiracPosterior
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.adversarial import Critic, Duel, gradient_penalty
from caloman_cli.models.nn.mlp import Activation


@checked
class BiGAN(Duel, Learned):
    r"""Encoder g and decoder G make pairs (x, g(x)) and (G(z), z) that a critic cannot tell.

    :math:`z \sim U[-prior\_range, prior\_range]^D`. The critic D maximises the Wasserstein
    distance :math:`E[D(x, g(x))] - E[D(G(z), z)]` under a gradient penalty between the pairs;
    encoder and decoder minimise it, plus ``reconstruction_weight`` times
    :math:`-E[\log p(x | g(x))]`. With ``head=gaussian head.sigma=fixed head.value=s`` this is the
    squared reconstruction error over 2 s^2, up to a constant. The players are ``critic`` and
    ``model``, that is g and G.

    G(z) is the head's mean: a head that draws voxels, zeros among them, is judged by it. Moments
    and c are told to the critic beside both pairs. Validation's ``loss`` is :math:`-\log p(x |
    g(x))` alone: numbers of a critic that learns cannot be compared from epoch to epoch.

    Args:
        latent_dim: D, or ``auto``, which is resolved before a model is built.
        hidden: Hidden widths of the encoder; the decoder mirrors them.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`; the critic's, too.
        reconstruction_weight: See above.
        penalty: Weight of the gradient penalty.
        critic_steps: Steps of the critic for each of encoder and decoder.
        prior_range: See above.
        critic_hidden: Hidden widths of the critic.
        conditional: Let encoder, decoder and critic see c.
        layer_norm: Normalise hidden layers of encoder and decoder.
        network: See :data:`~caloman_cli.models.encoders.networks.Network`.
        x_dim: V.
        c_dim: C.
        head: The distribution that the decoder parametrises.

    Raises:
        UserError: An argument is out of range.

    References:
        Donahue, Kraehenbuehl, Darrell (2017), Adversarial feature learning, arXiv:1605.09782.
        Dumoulin et al. (2017), Adversarially learned inference, arXiv:1606.00704.
        Arjovsky, Chintala, Bottou (2017), Wasserstein GAN, arXiv:1701.07875.
    """

    remedy = (
        "give a higher encoder.reconstruction_weight, a lower encoder.latent_dim or more epochs"
    )

    def __init__(
        self,
        latent_dim: LatentDim = 35,
        hidden: Sequence[Count] = (512, 512, 512),
        activation: Activation = "silu",
        reconstruction_weight: NotNegative = 1.0,
        penalty: NotNegative = 10.0,
        critic_steps: Count = 2,
        prior_range: Positive = 1.0,
        critic_hidden: Sequence[Count] = (256, 256),
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
        self.reconstruction_weight, self.penalty = reconstruction_weight, penalty
        self.prior_range = prior_range
        width = x_dim + self.n_learned + self.told_dim
        self.critic: Critic = Critic(width, critic_hidden, activation)
        self.duel(critic_steps)

    def _posterior(self, x: Tensor, c: Tensor) -> DiracPosterior:
        return DiracPosterior(self.encoded(x, c))

    def training_only(self) -> list[nn.Parameter]:
        return [*super().training_only(), *self.critic.parameters()]

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x, c = batch
        if player == "critic":
            return self._critic_loss(x, c)
        z = self.draw(x, c)
        unlikely = -self.head.log_prob(self.decode(z, c), x).mean()
        return self._distance(x, c, z) + self.reconstruction_weight * unlikely

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """-log p(x | g(x)) [nats], the reconstruction error, the critic's Wasserstein distance."""
        x, c = batch
        z = self.draw(x, c)
        return {
            "loss": -self.head.log_prob(self.decode(z, c), x).mean(),
            "reconstruction": self.reconstruction_error(x, c).mean(),
            "wasserstein": self._distance(x, c, z),
        }

    def _critic_loss(self, x: Tensor, c: Tensor) -> Tensor:
        with torch.no_grad():
            z = self.draw(x, c)
            real, generated, told = self._pairs(x, c, z)
        far = self.critic.said(*real, told).mean() - self.critic.said(*generated, told).mean()
        eta = torch.rand(len(x), 1, device=x.device)
        return self.penalty * gradient_penalty(self.critic, real, generated, eta, told) - far

    def _distance(self, x: Tensor, c: Tensor, z: Tensor) -> Tensor:
        """What the critic takes for the Wasserstein distance of the pairs."""
        real, generated, told = self._pairs(x, c, z)
        return self.critic.said(*real, told).mean() - self.critic.said(*generated, told).mean()

    def _pairs(
        self, x: Tensor, c: Tensor, z: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor]:
        """(x, g(x)), (G(z), z), and the moments and conditions of both."""
        learned, moments = z.tensor_split([self.n_learned], 1)
        prior = (2.0 * torch.rand_like(learned) - 1.0) * self.prior_range
        generated = self.head.mean(self.decode(torch.cat([prior, moments], 1), c))
        told = torch.cat([moments, c], 1) if self.conditional else moments
        return (x, learned), (generated, prior), told
