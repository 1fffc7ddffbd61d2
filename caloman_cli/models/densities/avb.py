"""Adversarial variational Bayes of latents."""

from collections.abc import Sequence

import torch
from torch import Tensor

from caloman_cli.config.values import Count, Fraction, Positive, checked
from caloman_cli.models.densities.base import Noising
from caloman_cli.models.densities.latent_variable import FIXED, LatentVariable, epsilon, repeated
from caloman_cli.models.kinds import Kind, weakest
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.adversarial import Contrast, Duel, LogRatio
from caloman_cli.models.nn.mlp import MLP, Activation
from caloman_cli.models.nn.scaler import ScalerKind


@checked
class AVB(Duel, LatentVariable):
    r"""As :class:`VAE`, but q(w | u, c) is whatever a network makes of noise.

    :math:`w = g(u, c, \epsilon)`. Loss of the player ``model``: :math:`-E[\log p(u | w, c)] +
    E[T(u, w)]`, where T is what a classifier, the player ``critic``, has learned of :math:`\log
    q(w | u, c) - \log p(w)`, see :class:`~caloman_cli.models.nn.adversarial.LogRatio`.

    T is easily too small, above all early in the training, and no epoch should be chosen for it.
    So ``log_prob`` does without it where it can: with ``contrast=adaptive`` it is the
    importance-weighted bound over ``draws`` draws of the normal distribution that follows q,
    whose density is known. With ``contrast=prior`` it is minus the loss above: the evidence lower
    bound, were T exact, and else an estimate, which may err to either side.

    Args:
        latent_dim: See :class:`LatentVariable`, as all arguments but the next three.
        hidden: Hidden widths; encoder and critic have the same.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        noise_dim: Width of epsilon.
        contrast: What the critic tells q from: ``adaptive``, a normal distribution that follows
            it, or ``prior``.
        critic_steps: Steps of the critic for each of the model.
        draws: Draws of w for ``log_prob``.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.
        noise: See :class:`Density`.
        noise_sigma: See :class:`Density`.

    References:
        Mescheder, Nowozin, Geiger (2017), Adversarial variational Bayes, arXiv:1701.04722.
    """

    kind: Kind = "bound"

    def __init__(
        self,
        latent_dim: Count = 20,
        hidden: Sequence[Count] = (256, 256),
        activation: Activation = "silu",
        noise_dim: Count = 32,
        contrast: Contrast = "adaptive",
        critic_steps: Count = 5,
        draws: Count = 64,
        scaler: ScalerKind = "standardize",
        prune: Fraction = 0.0,
        noise: Noising = "none",
        noise_sigma: Positive = 0.1,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        sizes = latent_dim, hidden, activation, draws
        scaling = scaler, prune, noise, noise_sigma
        super().__init__(*sizes, *scaling, latents=latents, c_dim=c_dim)
        self.noise_dim = noise_dim
        self.contrast: Contrast = contrast
        if contrast == "prior":
            self.kind = weakest(self.kind, "estimate")
        self._build(self.z_dim)
        self.duel(critic_steps)

    def _build(self, dim: int) -> None:
        super()._build(dim)
        seen, style = dim + self.c_dim, (self.hidden, self.activation)
        self.encoder = MLP(seen + self.noise_dim, self.hidden, self.latent_dim, self.activation)
        self.critic: LogRatio = LogRatio(seen, self.latent_dim, *style, self.contrast)

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        u, c, log_det = self.scaled(batch)
        seen, seed = torch.cat([u, c], 1), None if self.training else FIXED
        if player == "critic":
            with torch.no_grad():
                w = self._drawn(seen, 1, seed)[0]
            return self.critic.loss(seen, w)
        return -(self._with_ratio(u, c, seen, 1, seed) + log_det).mean()

    def _drawn(self, seen: Tensor, draws: int, seed: int | None) -> Tensor:
        """Draws of q(w | u, c), (K, B, W)."""
        noise = epsilon(len(seen), draws, self.noise_dim, seen, seed)
        drawn = self.encoder(torch.cat([repeated(seen, draws), noise.flatten(0, 1)], 1))
        return drawn.unflatten(0, (draws, -1))

    def _with_ratio(
        self, u: Tensor, c: Tensor, seen: Tensor, draws: int, seed: int | None
    ) -> Tensor:
        """Mean over draws of q of log p(u | w, c) - T(u, w), shape (B,)."""
        w = self._drawn(seen, draws, seed)
        ratio = self.critic(repeated(seen, draws), w.flatten(0, 1)).unflatten(0, (draws, -1))
        return (self._log_likelihood(u, w, c) - ratio).mean(0)

    def _some_log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        seen = torch.cat([u, c], 1)
        r = self.critic.follower(seen)
        if r is None:
            return self._with_ratio(u, c, seen, self.draws, FIXED)
        return self._bound(r, u, c, self.draws, FIXED, 1.0)
