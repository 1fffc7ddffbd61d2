"""Walks that go on through a whole training."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from caloman_cli.models.noise import Noise

Walk = Callable[[Tensor, Tensor, Noise, Tensor], tuple[Tensor, Tensor]]
"""(y (B, A), c (B, C), noise, step size) -> where walks end (B, A), share of steps taken (B,)."""
_TAKEN = 0.574  # share of proposals that steps of the best size have
_ADAPT = 0.02  # of the step size's logarithm, at each turn
_FIRST = 0.05  # step size where the training begins
_NEAR = 32  # chains that a sample chooses from where it begins


class Chains(nn.Module):
    """Rows y (A,), each with a condition c (C,) of its own, kept with the model.

    Their steps' size follows the share of proposals that is taken, to 0.574.

    Args:
        n: How many.
        dim: A.
        c_dim: C.

    References:
        Tieleman (2008), Training restricted Boltzmann machines using approximations to the
        likelihood gradient, ICML 1064.
        Roberts, Rosenthal (1998), Optimal scaling of discrete approximations to Langevin
        diffusions, J. R. Stat. Soc. B 60, 255.
    """

    y: Tensor
    c: Tensor
    log_size: Tensor

    def __init__(self, n: int, dim: int, c_dim: int) -> None:
        super().__init__()
        self.register_buffer("y", torch.zeros(n, dim))
        self.register_buffer("c", torch.zeros(n, c_dim))
        self.register_buffer("log_size", torch.tensor(math.log(_FIRST)))

    @property
    def size(self) -> Tensor:
        """Of a step."""
        return self.log_size.exp()

    @torch.no_grad()
    def fill(self, y: Tensor, c: Tensor) -> None:
        """Set all of them."""
        self.y.copy_(y)
        self.c.copy_(c)

    def some(self, n: int) -> tuple[Tensor, Tensor]:
        """n of them, or all, as they are: y (B, A) and c (B, C)."""
        index = torch.randperm(len(self.y), device=self.y.device)[:n]
        return self.y[index], self.c[index]

    @torch.no_grad()
    def turn(self, anew: Tensor, c: Tensor, restart: float, walk: Walk) -> tuple[Tensor, Tensor]:
        """As many as a batch has rows go on, each at its own condition; a few begin anew.

        Args:
            anew: Where they would begin, (B, A).
            c: Conditions that they would have then, (B, C).
            restart: Share of them that do.
            walk: See :data:`Walk`.

        Returns:
            y and c of these chains.
        """
        index = torch.randperm(len(self.y), device=c.device)[: len(c)]
        n = len(index)
        fresh = torch.rand(n, 1, device=c.device) < restart
        y = torch.where(fresh, anew[:n], self.y[index])
        own = torch.where(fresh, c[:n], self.c[index])
        # Walks take numbered noise: here by torch's generator, from which a step is repeated.
        noise = Noise(int(torch.randint(2**62, ())), 0, n, c.device)
        y, taken = walk(y, own, noise, self.size)
        self.y[index], self.c[index] = y, own
        self.log_size += _ADAPT * (taken.mean() - _TAKEN)
        return y, own

    def near(self, c: Tensor, noise: Noise) -> Tensor:
        """Of a few chains the one whose condition is nearest to one of c (B, C), (B, A)."""
        n = len(self.y)
        index = (noise.uniform(_NEAR).to(c) * n).long().clamp(max=n - 1)
        apart = (self.c[index] - c.unsqueeze(1)).square().sum(2)
        return self.y[index.gather(1, apart.argmin(1, keepdim=True))[:, 0]]
