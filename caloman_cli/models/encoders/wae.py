"""The Wasserstein autoencoder."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from caloman_cli.config.values import Count, NotNegative, Positive, checked
from caloman_cli.models.encoders.base import LatentDim
from caloman_cli.models.encoders.learned import Learned
from caloman_cli.models.encoders.networks import Network
from caloman_cli.models.encoders.posterior import DiracPosterior
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.adversarial import Critic, Duel, mmd, telling_apart
from caloman_cli.models.nn.mlp import Activation

Mode = Literal["adversarial", "mmd"]


@checked
class WAE(Duel, Learned):
    r"""A deterministic autoencoder whose latents, of all showers together, follow the prior.

    Loss: :math:`-E[\log p(x | g(x))] + weight \cdot d(g(x), z_p)`, :math:`z_p \sim N(0,
    prior\_sigma^2)`. With ``head=gaussian head.sigma=fixed head.value=s`` the first term is the
    squared reconstruction error over 2 s^2, up to a constant. d is

    - ``mode=mmd``: the squared maximum mean discrepancy of a batch, see
      :func:`~caloman_cli.models.nn.adversarial.mmd`;
    - ``mode=adversarial``: :math:`-\log` of what a critic of latents takes for the probability
      that g(x) is the prior's. Its player is ``critic``, which steps before ``model``, once each.

    The prior is matched by latents of all conditions together: how they depend on c is for the
    density model to learn. Validation's ``loss`` has the maximum mean discrepancy in both modes:
    numbers of a critic that learns cannot be compared from epoch to epoch.

    Args:
        latent_dim: D, or ``auto``, which is resolved before a model is built.
        hidden: Hidden widths of the encoder; the decoder mirrors them.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`; the critic's, too.
        mode: How latents are held to the prior.
        weight: Of this distance.
        prior_sigma: Of the prior.
        critic_hidden: Hidden widths of the critic, of ``mode=adversarial``.
        conditional: Let encoder and decoder see c.
        layer_norm: Normalise hidden layers of encoder and decoder.
        network: See :data:`~caloman_cli.models.encoders.networks.Network`.
        x_dim: V.
        c_dim: C.
        head: The distribution that the decoder parametrises.

    Raises:
        UserError: An argument is out of range.

    References:
        Tolstikhin, Bousquet, Gelly, Schoelkopf (2018), Wasserstein auto-encoders,
        arXiv:1711.01558.
    """

    remedy = "give a lower encoder.weight or encoder.latent_dim, or more epochs"

    def __init__(
        self,
        latent_dim: LatentDim = 35,
        hidden: Sequence[Count] = (512, 512, 512),
        activation: Activation = "silu",
        mode: Mode = "mmd",
        weight: NotNegative = 10.0,
        prior_sigma: Positive = 1.0,
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
        self.mode, self.weight, self.prior_sigma = mode, weight, prior_sigma
        self.critic: Critic | None = None
        if mode == "adversarial":
            self.critic = Critic(self.n_learned, critic_hidden, activation)
        self.duel()

    def _posterior(self, x: Tensor, c: Tensor) -> DiracPosterior:
        return DiracPosterior(self.encoded(x, c))

    def training_only(self) -> list[nn.Parameter]:
        critic = [] if self.critic is None else list(self.critic.parameters())
        return [*super().training_only(), *critic]

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x, c = batch
        if player == "critic":
            with torch.no_grad():
                z = self.encoded(x, c)
            return self._told_apart(z)
        unlikely, z = self._through(x, c)
        far = self._mmd(z) if self.critic is None else -_log_taken_for_prior(self.critic, z)
        return unlikely + self.weight * far

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The loss, the reconstruction error and the squared mean discrepancy from the prior."""
        unlikely, z = self._through(*batch)
        far = self._mmd(z)
        found = {
            "loss": unlikely + self.weight * far,
            "reconstruction": self.reconstruction_error(*batch).mean(),
            "mmd": far,
        }
        return found if self.critic is None else {**found, "critic": self._told_apart(z)}

    def _through(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of -log p(x | z) and the learned latents."""
        z = self.draw(x, c)
        return -self.head.log_prob(self.decode(z, c), x).mean(), z[:, : self.n_learned]

    def _prior(self, like: Tensor) -> Tensor:
        return self.prior_sigma * torch.randn_like(like)

    def _mmd(self, z: Tensor) -> Tensor:
        return mmd(z, self._prior(z), self.prior_sigma)

    def _told_apart(self, z: Tensor) -> Tensor:
        assert self.critic is not None
        return telling_apart(self.critic.said(z), self.critic.said(self._prior(z)))


def _log_taken_for_prior(critic: Critic, z: Tensor) -> Tensor:
    """Mean log-probability, by a critic with logits of being encoded, that z is the prior's."""
    return nn.functional.logsigmoid(-critic.said(z)).mean()
