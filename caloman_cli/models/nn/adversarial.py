"""What adversarial models share: the players, and the losses of what judges them."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.models.encoders.posterior import GaussianPosterior
from caloman_cli.models.nn.mlp import MLP, Activation
from caloman_cli.models.trainable import Trainable

Contrast = Literal["adaptive", "prior"]
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_LOG_SIGMA = (-12.0, 6.0)  # keeps exp() and its gradient finite in float32


class Critic(MLP):
    """A number of each row of some tensors side by side.

    Args:
        in_dim: Their width together.
        hidden: Hidden widths.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
    """

    def __init__(self, in_dim: int, hidden: Sequence[int], activation: Activation) -> None:
        super().__init__(in_dim, hidden, 1, activation)

    def said(self, *parts: Tensor) -> Tensor:
        """Of tensors (B, W), shape (B,)."""
        return self(torch.cat(parts, 1))[:, 0]


class Duel(Trainable):
    """A Trainable with a network ``critic``, which is the player of this name.

    The player ``model`` has everything else. Where ``critic`` is None there is no such player.
    The learning rate of the critic is ``trainer.<stage>.player_lr={critic: ...}``.
    """

    critic: nn.Module | None

    def duel(self, critic_steps: int = 1) -> None:
        """Set the players: so many steps of the critic for each of the model."""
        own = {} if self.critic is None else {"critic": critic_steps}
        self.players = {**own, "model": 1}

    def player_parameters(self, player: str) -> list[nn.Parameter]:
        judge = [] if self.critic is None else list(self.critic.parameters())
        if player == "critic":
            return judge
        theirs = {id(parameter) for parameter in judge}
        return [p for p in super().player_parameters(player) if id(p) not in theirs]


def telling_apart(first: Tensor, second: Tensor) -> Tensor:
    """Cross entropy of a classifier whose logits (B,) should be high for the first [nats].

    At its minimum the logit is the log-ratio of the densities of what is first and second; it is
    2 log 2 where both are the same.
    """
    return F.softplus(-first).mean() + F.softplus(second).mean()


def gradient_penalty(
    critic: Critic,
    real: tuple[Tensor, ...],
    generated: tuple[Tensor, ...],
    eta: Tensor,
    told: Tensor,
) -> Tensor:
    r"""Mean of :math:`(|\nabla D| - 1)^2` between what is real and what is generated.

    Args:
        critic: D, which reads the parts and what it is told.
        real: Parts (B, W), without a graph; the gradient is with respect to all of them together.
        generated: As many of the same shapes, without a graph.
        eta: Where between them in [0, 1], shape (B, 1), the same for all parts of a row.
        told: Conditions (B, C), which are the same for both.

    References:
        Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville (2017), Improved training of Wasserstein
        GANs, arXiv:1704.00028.
    """
    between = torch.cat(real, 1).lerp(torch.cat(generated, 1), eta).requires_grad_()
    found = critic.said(between, told).sum()
    (slope,) = torch.autograd.grad(found, between, create_graph=True)
    return (slope.norm(dim=1) - 1.0).square().mean()


def mmd(x: Tensor, y: Tensor, width: float, scales: Sequence[float] = SCALES) -> Tensor:
    r"""Squared maximum mean discrepancy of two samples, without bias, so it may be negative.

    The kernel is the sum over scales s of :math:`C / (C + |x - y|^2)` with :math:`C = s\,
    2 d\, width^2`, the inverse multiquadratic one, whose tails reach further than a Gaussian's.

    Args:
        x: Shape (N, d).
        y: Shape (N, d).
        width: Standard deviation of what is expected: 2 d width^2 is the mean squared distance of
            two of its draws.
        scales: s.

    Returns:
        A scalar; zero for samples of one row, which say nothing without bias.

    References:
        Gretton, Borgwardt, Rasch, Schoelkopf, Smola (2012), A kernel two-sample test, JMLR 13.
        Tolstikhin, Bousquet, Gelly, Schoelkopf (2018), Wasserstein auto-encoders,
        arXiv:1711.01558.
    """
    n, dim = x.shape
    if n < 2:
        return x.sum() * 0.0

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        # Not of differences, which would be N N d numbers.
        square = a.square().sum(1)[:, None] + b.square().sum(1) - 2.0 * a @ b.T
        sizes = (2.0 * dim * width**2 * scale for scale in scales)
        return sum((size / (size + square.clamp(min=0.0)) for size in sizes), square.new_zeros(()))

    own, theirs, mixed = kernel(x, x), kernel(y, y), kernel(x, y)
    within = own.sum() - own.diagonal().sum() + theirs.sum() - theirs.diagonal().sum()
    return within / (n * (n - 1)) - 2.0 * mixed.mean()


class LogRatio(nn.Module):
    r"""What is taken for :math:`\log q(z | x) - \log p(z)` of latents that can only be drawn.

    A classifier tells draws of q from those of a normal distribution r, and its logit is
    :math:`\log q - \log r`; what is known, :math:`\log r - \log p`, is added. p = N(0, 1). r is

    - ``contrast=prior``: p;
    - ``contrast=adaptive``: that of independent normals which follows q by maximum likelihood.
      Where q is narrow it is far harder to tell from q than p is, and what the classifier has to
      find is little. (The paper's r has the moments that an encoder of a certain form gives; this
      one serves any encoder.)

    An encoder gains wherever this lags behind it: give it several steps for each of the encoder's.

    Args:
        seen_dim: Width of what is seen of x.
        dim: D.
        hidden: Hidden widths of the networks.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        contrast: See above.

    References:
        Mescheder, Nowozin, Geiger (2017), Adversarial variational Bayes, arXiv:1701.04722.
    """

    def __init__(
        self,
        seen_dim: int,
        dim: int,
        hidden: Sequence[int],
        activation: Activation,
        contrast: Contrast,
    ) -> None:
        super().__init__()
        self.net = Critic(seen_dim + dim, hidden, activation)
        self.normal: MLP | None = None
        if contrast == "adaptive":
            self.normal = MLP(seen_dim, hidden, 2 * dim, activation)

    def forward(self, seen: Tensor, z: Tensor) -> Tensor:
        """log q(z | x) - log p(z) of z (B, D) [nats], shape (B,); r is taken as it is."""
        with torch.no_grad():
            r = self.follower(seen)
        if r is None:
            return self.net.said(seen, z)
        unit = (z - r.mean) / r.sigma
        known = 0.5 * (z.square() - unit.square()) - r.sigma.log()
        return self.net.said(seen, unit) + known.sum(1)

    def loss(self, seen: Tensor, z: Tensor) -> Tensor:
        """What the critic minimises given draws z (B, D) of q [nats].

        The classifier's cross entropy between q and r, and minus the log-likelihood of r, if it
        follows.
        """
        seen, z = seen.detach(), z.detach()
        r, unlikely = self.follower(seen), z.new_zeros(())
        if r is not None:
            unlikely = -r.log_prob(z).mean()
            z = ((z - r.mean) / r.sigma).detach()
        other = self.net.said(seen, torch.randn_like(z))
        return telling_apart(self.net.said(seen, z), other) + unlikely

    def follower(self, seen: Tensor) -> GaussianPosterior | None:
        """r, of the prior None."""
        if self.normal is None:
            return None
        mean, log_sigma = self.normal(seen).chunk(2, 1)
        return GaussianPosterior(mean, log_sigma.clamp(*_LOG_SIGMA).exp())
