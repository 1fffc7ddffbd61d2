"""Conditional normalizing flows on vectors: neural spline couplings and masked affine layers."""

import math
from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Lt
from nflows.nn.nets import ResidualNet
from nflows.transforms import (
    CompositeTransform,
    MaskedAffineAutoregressiveTransform,
    RandomPermutation,
)
from nflows.transforms import LULinear as StockLULinear
from nflows.transforms.base import Transform
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.models.checks import require
from caloman_cli.models.nn.mlp import Activation
from caloman_cli.models.nn.spline import MIN_BIN, SplineCoupling
from caloman_cli.models.nn.way_back import WayBack

Bins = Annotated[int, Ge(2), Lt(int(1 / MIN_BIN))]
"""Bins of a spline, each with a least width."""
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "silu": F.silu,
    "elu": F.elu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
}
SEEN = 8.0  # scaled latents are of order 1
CHUNK = 2048  # rows; the spline parameters of a chunk stay in a core's cache


class ConditionalFlow(nn.Module):
    """A density p(x | context): an invertible map of x (B, D) to standard normal u (B, D).

    Args:
        transform: The map x -> u, with ``forward`` and ``inverse`` of nflows.
        dim: D.
    """

    def __init__(self, transform: Transform, dim: int) -> None:
        super().__init__()
        self.transform = transform
        self.dim = dim

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """u (B, D) and log|det du/dx| (B,)."""
        if len(x) == 0:  # which nflows cannot reshape
            return x, x.sum(1)
        u, logabsdet = self.transform(x, context)
        return u, logabsdet

    def inverse(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        """x (B, D) for u (B, D).

        Raises:
            FloatingPointError: Where the result is not finite.
        """
        if len(u) == 0:
            return u
        size = len(u) if torch.is_grad_enabled() else CHUNK
        back, parts = self._way_back(), []
        if torch.compiler.is_compiling():  # a graph has one part, of any number of rows
            return back(u, context)
        for start in range(0, len(u), size):
            rows = slice(start, start + size)
            parts.append(back(u[rows], None if context is None else context[rows]))
        x = torch.cat(parts)
        require(torch.isfinite(x).all(), lambda: self._diagnose("sampling", u, context))
        return x

    def _way_back(self) -> Callable[[Tensor, Tensor | None], Tensor]:
        """The inverse of the map: without its slopes where nothing is to be learned from it."""
        layers = self.transform._transforms
        if isinstance(layers[0], SplineCoupling) and not (
            torch.is_grad_enabled() or self.training
        ):
            return WayBack(layers)
        return lambda u, context: self.transform.inverse(u, context)[0]

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(x | context) [nats], shape (B,).

        Raises:
            FloatingPointError: Where the result is not a number.
        """
        u, logabsdet = self(x, context)
        result = logabsdet - 0.5 * (u.square().sum(1) + self.dim * math.log(2 * math.pi))
        if torch.isnan(result).any():
            raise FloatingPointError(self._diagnose("log_prob", x, context))
        return result

    def _diagnose(self, what: str, given: Tensor, context: Tensor | None) -> str:
        """Which of parameters, input and context to blame."""
        bad = [n for n, value in self.named_parameters() if not torch.isfinite(value).all()]
        if bad:
            return (
                f"{what} of a flow: {len(bad)} of its parameters are not finite ({bad[0]}, ...); "
                "training diverged: lower the learning rate or clip gradients"
            )
        for name, tensor in (("input", given), ("context", context)):
            if tensor is not None and not torch.isfinite(tensor).all():
                rows = int((~torch.isfinite(tensor)).any(1).sum())
                return (
                    f"{what} of a flow: {rows} of {len(tensor)} rows of its {name} are not finite"
                )
        return f"{what} of a flow: numbers overflowed; the input is far outside the training data"


class LULinear(StockLULinear):
    """The LU-parametrised linear map of nflows, inverted once per call and not once per row.

    nflows solves two triangular systems for all rows (with a deprecated function) or keeps a cache
    that outlives ``load_state_dict``; inverting the D x D matrix on every call is cheaper than the
    first and safer than the second.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features, identity_init=True)
        for name, index in (
            ("lower", np.tril_indices(features, -1)),
            ("upper", np.triu_indices(features, 1)),
        ):
            flat = torch.from_numpy(index[0] * features + index[1])
            self.register_buffer(f"_{name}_flat", flat, persistent=False)

    def _create_lower_upper(self) -> tuple[Tensor, Tensor]:
        empty = self.upper_diag.new_zeros(self.features * self.features)
        lower = empty.scatter(0, self._lower_flat, self.lower_entries)
        upper = empty.scatter(0, self._upper_flat, self.upper_entries)
        shape = (self.features, self.features)
        eye = torch.eye(self.features, dtype=empty.dtype, device=empty.device)
        return lower.view(shape) + eye, upper.view(shape) + self.upper_diag.diag()

    def inverse_no_cache(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        outputs = F.linear(inputs - self.bias, self.weight_inverse())
        return outputs, -self.logabsdet().expand(len(inputs))

    def weight_inverse(self) -> Tensor:
        lower, upper = self._create_lower_upper()
        eye = torch.eye(self.features, dtype=lower.dtype, device=lower.device)
        half = torch.linalg.solve_triangular(lower, eye, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, half, upper=True)


class Conditioner(ResidualNet):
    """The residual network of nflows, laid out for speed: same parameters, same function.

    The last layer leaves its result with rows last in memory, as :class:`SplineCoupling` wants it.
    """

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
        both = inputs if context is None else torch.cat((inputs, context), 1)
        hidden = self.initial_layer(both)
        for block in self.blocks:
            step = block.linear_layers[0](block.activation(hidden))
            step = block.linear_layers[1](block.dropout(block.activation(step)))
            if context is not None:
                step = step * torch.sigmoid(block.context_layer(context))
            hidden = hidden + step
        last = self.final_layer
        return torch.addmm(last.bias.unsqueeze(1), last.weight, hidden.t()).t()


class _Constant(nn.Module):
    """Learned spline parameters that depend on nothing: the conditioner of a flow in 1-d."""

    def __init__(self, n: int, hidden_features: int) -> None:
        super().__init__()
        self.hidden_features = hidden_features
        self.values = nn.Parameter(torch.zeros(n))

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
        return self.values.expand(len(inputs), -1)


def build_nsf(
    dim: int,
    context_dim: int,
    *,
    n_layers: int = 4,
    hidden: int = 64,
    n_blocks: int = 3,
    n_bins: int = 8,
    tail_bound: float = 8.0,
    activation: Activation = "relu",
    dropout: float = 0.0,
    lu: bool = True,
) -> ConditionalFlow:
    """A neural spline flow: n_layers of [spline coupling, random permutation, linear map].

    Couplings alternate which half of the coordinates they transform; a residual network of the
    other half and the context sets the splines. In one dimension there is no other half: the
    context alone sets them.

    Args:
        dim: D.
        context_dim: Width C of the context; 0 for none.
        n_layers: Layers.
        hidden: Width of the residual networks.
        n_blocks: Residual blocks per network.
        n_bins: Bins of a spline, 2 to 1000.
        tail_bound: Splines act on [-tail_bound, tail_bound], the identity outside.
        activation: One of :data:`ACTIVATIONS`.
        dropout: Drop-out probability of the networks.
        lu: Whether an LU-parametrised linear map follows each coupling.

    References:
        Durkan, Bekasov, Murray, Papamakarios (2019), Neural Spline Flows, arXiv:1906.04032.
    """
    function = ACTIVATIONS[activation]

    def conditioner(n_in: int, n_out: int) -> nn.Module:
        if n_in + context_dim == 0:
            return _Constant(n_out, hidden)
        return Conditioner(n_in, n_out, hidden, context_dim or None, n_blocks, function, dropout)

    layers: list[nn.Module] = []
    for i in range(n_layers):
        mask = [1 if dim == 1 or (j + i) % 2 else -1 for j in range(dim)]
        layers.append(
            SplineCoupling(mask, conditioner, n_bins, tails="linear", tail_bound=tail_bound)
        )
        layers.append(RandomPermutation(dim))
        if lu:
            layers.append(LULinear(dim))
    return ConditionalFlow(CompositeTransform(layers), dim)


class _BoundedAffine(MaskedAffineAutoregressiveTransform):
    """The affine layer of nflows, whose network sees numbers of the training data's size only.

    In sampling each coordinate follows from those before it: where one is far out, a network that
    sees it as it is answers with a larger one, and so on to infinity.
    """

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._elementwise_forward(inputs, self._parameters_of(inputs, context))

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        outputs, logabsdet = torch.zeros_like(inputs), inputs.new_zeros(len(inputs))
        for _ in range(inputs.shape[1]):
            parameters = self._parameters_of(outputs, context)
            outputs, logabsdet = self._elementwise_inverse(inputs, parameters)
        return outputs, logabsdet

    def _parameters_of(self, x: Tensor, context: Tensor | None) -> Tensor:
        found: Tensor = self.autoregressive_net(x.clamp(-SEEN, SEEN), context)
        return found


def build_maf(
    dim: int,
    context_dim: int,
    *,
    n_layers: int = 5,
    hidden: int = 64,
    n_blocks: int = 2,
    activation: Activation = "relu",
    dropout: float = 0.0,
    lu: bool = True,
) -> ConditionalFlow:
    """A masked autoregressive flow: n_layers of [affine layer, random permutation, linear map].

    ``log_prob`` takes one pass per layer, ``inverse`` takes D.

    Args:
        dim: D.
        context_dim: Width C of the context; 0 for none.
        n_layers: Layers.
        hidden: Width of the masked networks.
        n_blocks: Residual blocks per network.
        activation: One of :data:`ACTIVATIONS`.
        dropout: Drop-out probability of the networks.
        lu: Whether an LU-parametrised linear map follows each layer.

    References:
        Papamakarios, Pavlakou, Murray (2017), Masked Autoregressive Flow, arXiv:1705.07057.
    """
    function = ACTIVATIONS[activation]
    layers: list[nn.Module] = []
    for _ in range(n_layers):
        affine = _BoundedAffine(
            dim,
            hidden,
            context_features=context_dim or None,
            num_blocks=n_blocks,
            activation=function,
            dropout_probability=dropout,
        )
        # Start near the identity: scale = softplus(bias) + 1e-3 = 1.
        with torch.no_grad():
            affine.autoregressive_net.final_layer.bias[::2] = math.log(math.expm1(1 - 1e-3))
        layers += [affine, RandomPermutation(dim)]
        if lu:
            layers.append(LULinear(dim))
    return ConditionalFlow(CompositeTransform(layers), dim)
