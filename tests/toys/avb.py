"""An encoder whose posterior can only be drawn from, with two players."""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.models.encoders.base import Encoder
from caloman_cli.models.heads.base import Head
from caloman_cli.models.nn.mlp import MLP


class AVB(Encoder):
    """An autoencoder whose latents are a network's of shower and noise.

    A critic tells them from the prior's, which is what the divergence costs.

    Args:
        latent_dim: D.
        noise: Random numbers that the encoder sees.
        hidden: Width of the networks.

    References:
        Mescheder, Nowozin, Geiger (2017), Adversarial variational Bayes, arXiv:1701.04722.
    """

    players: Mapping[str, int] = MappingProxyType({"model": 1, "critic": 2})

    def __init__(
        self,
        latent_dim: int | str = 3,
        noise: int = 4,
        hidden: int = 16,
        *,
        x_dim: int,
        c_dim: int,
        head: Head,
    ) -> None:
        super().__init__(latent_dim, x_dim=x_dim, c_dim=c_dim, head=head)
        self.noise = noise
        self.encoder = MLP(self.seen_dim + noise, [hidden], self.n_learned, "silu")
        self.decoder = MLP(self.n_learned + self.told_dim, [hidden], self.raw_dim, "silu")
        self.critic = MLP(self.seen_dim + self.n_learned, [hidden], 1, "silu")

    def player_parameters(self, player: str) -> list[nn.Parameter]:
        critic = list(self.critic.parameters())
        if player == "critic":
            return critic
        mine = {id(parameter) for parameter in critic}
        return [parameter for parameter in self.parameters() if id(parameter) not in mine]

    def _draw(self, x: Tensor, c: Tensor) -> Tensor:
        eps = torch.randn(len(x), self.noise, device=x.device)
        return self.encoder(torch.cat([self.seen(x, c), eps], 1))

    def training_only(self) -> list[nn.Parameter]:
        return [*self.encoder.parameters(), *self.critic.parameters()]

    def _decode(self, z: Tensor, told: Tensor) -> Tensor:
        return self.decoder(torch.cat([z, told], 1))

    def _ratio(self, x: Tensor, c: Tensor, z: Tensor) -> Tensor:
        """What the critic takes for log q(z | x) - log p(z), (B,)."""
        return self.critic(torch.cat([self.seen(x, c), z], 1))[:, 0]

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        x, c = batch
        z = self.draw(x, c)
        learned = z[:, : self.n_learned]
        if player == "critic":
            prior = self._ratio(x, c, torch.randn_like(learned))
            return (F.softplus(-self._ratio(x, c, learned.detach())) + F.softplus(prior)).mean()
        return (self._ratio(x, c, learned) - self.head.log_prob(self.decode(z, c), x)).mean()
