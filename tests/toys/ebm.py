"""A density that is drawn from by walking down its slopes, which takes gradients."""

import math

import torch
from torch import Tensor

from caloman_cli.models.densities.base import Density
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.mlp import MLP
from caloman_cli.models.noise import Noise


class EBM(Density):
    """p(u | c) ~ exp(-E(u, c)), learned from the slopes of E at noisy latents.

    Args:
        hidden: Width of the network.
        sigma: Noise on latents in training, in their standard deviations.
        steps: Langevin steps per sample.
        size: Of a step.
        scaler: See :class:`Density`.
        prune: See :class:`Density`.

    References:
        Vincent (2011), A connection between score matching and denoising autoencoders,
        Neural Computation 23, 1661.
    """

    kind = "score"  # not normalised
    needs_grad = True

    def __init__(
        self,
        hidden: int = 32,
        sigma: float = 0.3,
        steps: int = 30,
        size: float = 0.05,
        scaler: str = "standardize",
        prune: float = 0.0,
        *,
        latents: Latents,
        c_dim: int,
    ) -> None:
        super().__init__(scaler, prune, latents=latents, c_dim=c_dim)
        self.hidden, self.sigma, self.steps, self.size = hidden, sigma, steps, size
        self._build(self.z_dim)

    def _build(self, dim: int) -> None:
        # Energies of sum zero have no use for a constant: the last layer gives features.
        self.network = MLP(dim + self.c_dim, [self.hidden], self.hidden, "silu")

    def _energy(self, u: Tensor, c: Tensor) -> Tensor:
        return self.network(torch.cat([u, c], 1)).square().sum(1)

    def _slope(self, u: Tensor, c: Tensor) -> Tensor:
        """dE/du, (B, A); validation asks for it where gradients are off."""
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            energy = self._energy(u, c).sum()
            return torch.autograd.grad(energy, u, create_graph=self.training)[0]

    def _mismatch(self, u: Tensor, c: Tensor, noise: Tensor) -> Tensor:
        slope = self._slope(u + self.sigma * noise, c)
        return (self.sigma * slope - noise).square().sum(1).mean()

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        u = self.scaler(batch[0])[0]
        return self._mismatch(u, batch[1], torch.randn_like(u))

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        u = self.scaler(batch[0])[0]
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(u.shape, generator=generator).to(u)
        return {"loss": self._mismatch(u, batch[1], noise)}

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        u = noise.normal(self.scaler.n_active).to(c)
        for _ in range(self.steps):
            # A stranger's own way to take a gradient: nothing here switches them on.
            u.requires_grad_()
            slope = torch.autograd.grad(self._energy(u, c).sum(), u)[0]
            kick = math.sqrt(self.size) * noise.normal(self.scaler.n_active).to(c)
            u = (u - 0.5 * self.size * slope + kick).detach()
        return u

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        return -self._energy(u, c)
