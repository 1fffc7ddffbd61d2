r"""What an autoregressive model says of one place after the other, and how it reads those before.

The states of places, (B, T, W), come from a network that has seen the condition and the values of
the places before: :mod:`caloman_cli.models.densities.autoregressive`.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from caloman_cli.models.nn.clusters import chosen
from caloman_cli.models.nn.mlp import MLP
from caloman_cli.models.noise import Noise

SIGMA_FLOOR = 1e-3  # in scaled latents: else a likelihood may grow without end
_LOG_SIGMA = 3.0  # keeps exp() finite
_RIDGE = 1e-8  # of a correlation: coordinates may depend on each other
_LEAST = 1e-6  # of a residual's variance
_REACH = 2  # layers before, that a linear map of a layer sees


def least_squares(u: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each of u (N, A) from c (N, C) and those before it, in float64.

    Returns:
        Slopes of c and u (A, C + A), offsets (A,), and the log of what they leave (A,).
    """
    both, known = torch.cat([c, u], 1).double(), c.shape[1]
    mean, std = both.mean(0), both.std(0, correction=0)
    std = torch.where(std > 0, std, 1.0)
    both = (both - mean) / std
    eye = torch.eye(both.shape[1], dtype=both.dtype, device=both.device)
    root = torch.linalg.cholesky(both.T @ both / len(both) + _RIDGE * eye)
    residual = root.diagonal()
    # The rows of this inverse are the residuals, in terms of the numbers.
    inverse = torch.linalg.solve_triangular(root / residual, eye, upper=False, unitriangular=True)
    slopes = ((eye - inverse) * std[:, None] / std)[known:]
    variance = (residual * std)[known:].square()
    return slopes, mean[known:] - slopes @ mean, 0.5 * variance.clamp(min=_LEAST).log()


class Mixtures(nn.Module):
    r"""Real numbers: each place has a mixture of K normals, around a linear map of what is known.

    :math:`u_i = b_i + L_i u_{<i} + C_i c + s_i \sum` mixture, with sigmas of at least
    :data:`SIGMA_FLOOR`. L, C, b and s begin as the least squares of the training rows: a narrow
    conditional is known to a linear map before the network says a word, which then has numbers of
    order one to tell.

    Args:
        dim: Places A.
        c_dim: Width C of conditions.
        width: W, of states.
        components: K.
    """

    known: Tensor

    def __init__(self, dim: int, c_dim: int, width: int, components: int) -> None:
        super().__init__()
        self.c_dim = c_dim
        self.embedding = MLP(1, [width], width, "silu")
        self.mixture = nn.Linear(width, 3 * components)
        with torch.no_grad():
            self.mixture.weight.mul_(0.1)
            reach = {1: 0.0, 2: 0.7}.get(components, 1.0)  # two at 1 would leave no width
            spread = reach * torch.linspace(-1.0, 1.0, components)
            rest = (1.0 - spread.square().mean()).sqrt().log().expand(components)
            self.mixture.bias.copy_(torch.cat([torch.zeros(components), spread, rest]))
        self.linear = nn.Parameter(torch.zeros(dim, c_dim + dim))
        self.offset = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(dim))
        known = torch.ones(dim, c_dim + dim).tril(c_dim - 1)
        self.register_buffer("known", known, persistent=False)

    @torch.no_grad()
    def fit(self, u: Tensor, c: Tensor) -> None:
        """Least squares of each of u (N, A) from c (N, C) and those before it."""
        slopes, offset, log_scale = least_squares(u, c)
        self.linear.copy_(slopes)
        self.offset.copy_(offset)
        self.log_scale.copy_(log_scale)

    def read(self, values: Tensor) -> Tensor:
        """What the network is told of values (B, T), shape (B, T, W)."""
        return self.embedding(values.unsqueeze(-1))

    def log_prob(self, states: Tensor, u: Tensor, c: Tensor) -> Tensor:
        """log p of u (B, A) at states (B, A, W), summed over places, shape (B,)."""
        linear = torch.cat([c, u], 1) @ (self.linear * self.known).T + self.offset
        log_weights, mean, sigma = self._mixtures(states, linear, self.log_scale)
        far = (u.unsqueeze(-1) - mean) / sigma
        each = log_weights - 0.5 * far.square() - sigma.log() - 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(each, -1).sum(1)

    def chances(self, noise: Noise, like: Tensor) -> Tensor:
        """The random numbers of all places, (2, B, A)."""
        dim = len(self.offset)
        return torch.stack([noise.uniform(dim), noise.normal(dim)]).to(like)

    def draw(self, place: int, state: Tensor, u: Tensor, c: Tensor, chances: Tensor) -> Tensor:
        """A value at a place, (B,), from its state (B, W); of u (B, A) those before it count."""
        slopes = self.linear[place] * self.known[place]
        linear = torch.cat([c, u], 1) @ slopes + self.offset[place]
        log_weights, mean, sigma = self._mixtures(state, linear, self.log_scale[place])
        uniform, normal = chances[:, :, place]
        found = chosen(log_weights, uniform.unsqueeze(1)).unsqueeze(1)
        return (mean.gather(1, found) + sigma.gather(1, found) * normal.unsqueeze(1))[:, 0]

    def _mixtures(
        self, states: Tensor, linear: Tensor, log_scale: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log of weights, means and sigmas, shape (..., K)."""
        log_weights, mean, log_sigma = self.mixture(states).chunk(3, -1)
        scale = log_scale.exp().unsqueeze(-1)
        sigma = SIGMA_FLOOR + scale * log_sigma.clamp(max=_LOG_SIGMA).exp()
        return log_weights.log_softmax(-1), linear.unsqueeze(-1) + scale * mean, sigma


class NearMixtures(Mixtures):
    """Mixtures whose linear maps, each place's own, see what is near: a few rows tell these.

    That is some columns of c, the layer's own latents before it and those of :data:`_REACH` layers
    before.

    Args:
        of_layer: The layer of each place, in order.
        seen: Of each layer, which columns of c.
        c_dim: See :class:`Mixtures`.
        width: See :class:`Mixtures`.
        components: See :class:`Mixtures`.
    """

    def __init__(
        self,
        of_layer: list[int],
        seen: list[list[int]],
        c_dim: int,
        width: int,
        components: int,
    ) -> None:
        super().__init__(len(of_layer), c_dim, width, components)
        self.layers = []
        known = torch.zeros_like(self.known)
        for layer in sorted(set(of_layer)):
            own = [i for i, other in enumerate(of_layer) if other == layer]
            near = [i for i, other in enumerate(of_layer) if 0 < layer - other <= _REACH]
            columns = [*seen[layer], *(c_dim + i for i in near)]
            self.layers.append((own, columns))
            for i in own:
                known[i, columns + [c_dim + j for j in own if j < i]] = 1.0
        self.known.copy_(known)

    @torch.no_grad()
    def fit(self, u: Tensor, c: Tensor) -> None:
        both = torch.cat([c, u], 1)
        for own, columns in self.layers:
            slopes, offset, log_scale = least_squares(u[:, own], both[:, columns])
            for row, i in enumerate(own):
                self.linear[i, columns + [self.c_dim + j for j in own]] = slopes[row].to(c)
            self.offset[own] = offset.to(c)
            self.log_scale[own] = log_scale.to(c)


class Categories(nn.Module):
    """Codes: each place has a probability of each of K, which begins as its frequency.

    Args:
        dim: Places A.
        n_codes: K.
        width: W, of states.
    """

    def __init__(self, dim: int, n_codes: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_codes, width)
        self.logits = nn.Linear(width, n_codes, bias=False)
        with torch.no_grad():
            self.logits.weight.mul_(0.1)
        self.frequencies = nn.Parameter(torch.zeros(dim, n_codes))

    @torch.no_grad()
    def fit(self, u: Tensor, c: Tensor) -> None:
        """Log of how often each code was at each place of u (N, A), none of them never."""
        n_codes = self.frequencies.shape[1]
        counts = torch.stack([torch.bincount(one.long(), minlength=n_codes) for one in u.T])
        self.frequencies.copy_((counts + 1.0).log() - math.log(len(u) + n_codes))

    def read(self, values: Tensor) -> Tensor:
        """What the network is told of codes (B, T), shape (B, T, W)."""
        found: Tensor = self.embedding(values.long())
        return found

    def log_prob(self, states: Tensor, u: Tensor, c: Tensor) -> Tensor:
        """log p of u (B, A) at states (B, A, W), summed over places, shape (B,)."""
        logits = self.logits(states) + self.frequencies
        each = functional.cross_entropy(logits.mT, u.long(), reduction="none")
        return -each.sum(1)

    def chances(self, noise: Noise, like: Tensor) -> Tensor:
        """The random numbers of all places, (B, A)."""
        return noise.uniform(len(self.frequencies)).to(like)

    def draw(self, place: int, state: Tensor, u: Tensor, c: Tensor, chances: Tensor) -> Tensor:
        """A code at a place, (B,), from its state (B, W)."""
        logits = self.logits(state) + self.frequencies[place]
        return chosen(logits.log_softmax(1), chances[:, place, None]).to(u)
