"""Adversarial variational Bayes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from caloman_cli.config.values import Count, checked
from caloman_cli.models.encoders.base import LatentDim
from caloman_cli.models.encoders.learned import Learned
from caloman_cli.models.encoders.networks import Network
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.adversarial import Contrast, Duel, LogRatio
from caloman_cli.models.nn.mlp import Activation


@checked
class AVB(Duel, Learned):
    r"""A variational autoencoder whose posterior is whatever a network makes of noise.

    :math:`z = g(x, c, \epsilon)`, :math:`\epsilon \sim N(0, 1)`: latents can be drawn, but have no
    density. Loss of the player ``model``: :math:`-E[\log p(x | z, c)] + E[T(x, z)]` [nats], where
    T is what a classifier, the player ``critic``, has learned of :math:`\log q(z | x, c) - \log
    p(z)`, see :class:`~caloman_cli.models.nn.adversarial.LogRatio`; the prior is N(0, 1). With
    ``head=gaussian head.sigma=fixed head.value=s`` the first term is the squared reconstruction
    error over 2 s^2, up to a constant. As good as T is the loss an evidence bound, which is
    therefore an estimate only, and the two-step model has no ``log_prob``.

    Args:
        latent_dim: D, or ``auto``, which is resolved before a model is built.
        hidden: Hidden widths of the encoder; the decoder mirrors them.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`; the critic's, too.
        noise_dim: Width of epsilon.
        contrast: What the critic tells the posterior from: ``adaptive``, a normal distribution
            that follows it, or ``prior``.
        critic_steps: Steps of the critic for each of encoder and decoder.
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
        Mescheder, Nowozin, Geiger (2017), Adversarial variational Bayes, arXiv:1701.04722.
    """

    def __init__(
        self,
        latent_dim: LatentDim = 35,
        hidden: Sequence[Count] = (512, 512, 512),
        activation: Activation = "silu",
        noise_dim: Count = 64,
        contrast: Contrast = "adaptive",
        critic_steps: Count = 2,
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
            more_dim=noise_dim,
            x_dim=x_dim,
            c_dim=c_dim,
            head=head,
        )
        self.noise_dim = noise_dim
        sizes = self.seen_dim, self.n_learned, critic_hidden, activation
        self.critic: LogRatio = LogRatio(*sizes, contrast)
        self.duel(critic_steps)

    def _draw(self, x: Tensor, c: Tensor) -> Tensor:
        return self.encoded(x, c, torch.randn(len(x), self.noise_dim, device=x.device))

    def training_only(self) -> list[nn.Parameter]:
        return [*super().training_only(), *self.critic.parameters()]

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x, c = batch
        if player == "critic":
            with torch.no_grad():
                z = self._draw(x, c)
            return self.critic.loss(self.seen(x, c), z)
        unlikely, ratio = self._terms(x, c)
        return unlikely + ratio

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The loss, the reconstruction error, and the divergence as the critic has it [nats].

        T is easily too small, above all early in the training, and no epoch should be chosen for
        it. With ``contrast=adaptive`` the loss is here that of the normal distribution which
        follows the posterior, whose divergence is known: a bound, whatever the critic says.
        """
        x, c = batch
        unlikely, ratio = self._terms(x, c)
        found = {
            "loss": unlikely + ratio,
            "reconstruction": self.reconstruction_error(x, c).mean(),
            "kl": ratio,
        }
        r = self.critic.follower(self.seen(x, c))
        if r is not None:
            z = self.with_moments(r, x, c).sample()
            unlikely = -self.head.log_prob(self.decode(z, c), x).mean()
            found["loss"] = unlikely + r.kl().sum(1).mean()
        return found

    def _terms(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Means of -log p(x | z, c) and of T(x, z)."""
        z = self.draw(x, c)
        ratio = self.critic(self.seen(x, c), z[:, : self.n_learned])
        return -self.head.log_prob(self.decode(z, c), x).mean(), ratio.mean()
