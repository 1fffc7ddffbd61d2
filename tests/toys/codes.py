"""A density of codes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from caloman_cli.models.densities.base import Density
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.mlp import MLP
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource


class Codes(Density):
    """One code after the other, given those before it and c.

    Args:
        hidden: Width of the network.
    """

    accepts = ("codes",)

    def __init__(self, hidden: int = 32, *, latents: Latents, c_dim: int) -> None:
        super().__init__("none", latents=latents, c_dim=c_dim)
        assert latents.n_codes is not None
        self.n_codes = latents.n_codes
        seen = self.z_dim * (self.n_codes + 1) + c_dim
        self.network = MLP(seen, [hidden], self.n_codes, "silu")

    def prepare(self, train: RowSource) -> None:
        """Nothing to measure: codes have no scale."""

    def _logits(self, z: Tensor, c: Tensor, place: int) -> Tensor:
        """Of the code at a place, (B, K)."""
        before = F.one_hot(z.long(), self.n_codes).to(c)
        before = before * (torch.arange(self.z_dim, device=c.device) < place)[:, None]
        at = F.one_hot(torch.tensor(place, device=c.device), self.z_dim).to(c)
        return self.network(torch.cat([before.flatten(1), at.expand(len(z), -1), c], 1))

    def _log_prob(self, u: Tensor, c: Tensor) -> Tensor:
        total = u.new_zeros(len(u))
        for place in range(self.z_dim):
            each = self._logits(u, c, place).log_softmax(1)
            total = total + each.gather(1, u[:, place, None].long())[:, 0]
        return total

    def _sample(self, c: Tensor, noise: Noise) -> Tensor:
        uniform = noise.uniform(self.z_dim)
        u = torch.zeros(len(c), self.z_dim, device=c.device)
        for place in range(self.z_dim):
            below = self._logits(u, c, place).softmax(1).cumsum(1)
            code = (below < uniform[:, place, None]).sum(1)
            u[:, place] = code.clamp(max=self.n_codes - 1).to(u)
        return u
