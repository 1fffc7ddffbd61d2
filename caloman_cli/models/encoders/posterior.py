r"""What an encoder says of a shower's latents: :math:`q(z \mid x, c)`, row by row."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from caloman_cli.errors import UserError


class Posterior:
    """A distribution of latents z (B, D), independent from row to row.

    Attributes:
        mean: Shape (B, D).
        sigma: Standard deviations, shape (B, D); zeros where nothing is left to chance.
    """

    mean: Tensor
    sigma: Tensor

    @property
    def has_density(self) -> bool:
        """Whether :meth:`log_prob` and :meth:`kl` can be asked for."""
        return True

    def sample(self) -> Tensor:
        """z (B, D), drawn by torch's generator and differentiable."""
        raise NotImplementedError

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z | x, c) [nats], shape (B,).

        Raises:
            UserError: There is no density.
        """
        raise NotImplementedError

    def kl(self) -> Tensor:
        """KL(q || N(0, 1)) of each dimension [nats], shape (B, D).

        Raises:
            UserError: There is no density.
        """
        raise NotImplementedError

    def beside(self, other: "Posterior") -> "Posterior":
        """Both, independent of each other: the latents of this one come first."""
        return _Beside(self, other)


@dataclass(frozen=True)
class GaussianPosterior(Posterior):
    """Independent normals.

    Args:
        mean: Shape (B, D).
        sigma: Shape (B, D).
    """

    mean: Tensor
    sigma: Tensor

    def sample(self) -> Tensor:
        return self.mean + self.sigma * torch.randn_like(self.mean)

    def log_prob(self, z: Tensor) -> Tensor:
        square = ((z - self.mean) / self.sigma).square()
        return -(0.5 * (square + math.log(2 * math.pi)) + torch.log(self.sigma)).sum(1)

    def kl(self) -> Tensor:
        square = self.mean.square() + self.sigma.square()
        return 0.5 * (square - 1.0) - torch.log(self.sigma)

    def beside(self, other: Posterior) -> Posterior:
        if not isinstance(other, GaussianPosterior):
            return super().beside(other)
        pairs = (self.mean, other.mean), (self.sigma, other.sigma)
        return GaussianPosterior(*(torch.cat(pair, 1) for pair in pairs))


class DiracPosterior(Posterior):
    """One point, which a deterministic encoder gives.

    Args:
        mean: Shape (B, D).
    """

    def __init__(self, mean: Tensor) -> None:
        self.mean, self.sigma = mean, torch.zeros_like(mean)

    @property
    def has_density(self) -> bool:
        return False

    def sample(self) -> Tensor:
        return self.mean

    def log_prob(self, z: Tensor) -> Tensor:
        raise UserError(
            "a deterministic encoder has no density of latents: use an encoder that has, e.g. "
            "encoder=vae"
        )

    def kl(self) -> Tensor:
        raise UserError(
            "the divergence of a deterministic encoder from N(0, 1) is infinite: use an encoder "
            "with a density of latents, e.g. encoder=vae"
        )


class _Beside(Posterior):
    def __init__(self, first: Posterior, last: Posterior) -> None:
        self.first, self.last = first, last
        self.mean = torch.cat([first.mean, last.mean], 1)
        self.sigma = torch.cat([first.sigma, last.sigma], 1)

    @property
    def has_density(self) -> bool:
        return self.first.has_density and self.last.has_density

    def sample(self) -> Tensor:
        return torch.cat([self.first.sample(), self.last.sample()], 1)

    def log_prob(self, z: Tensor) -> Tensor:
        first, last = z.tensor_split([self.first.mean.shape[1]], 1)
        return self.first.log_prob(first) + self.last.log_prob(last)

    def kl(self) -> Tensor:
        return torch.cat([self.first.kl(), self.last.kl()], 1)
