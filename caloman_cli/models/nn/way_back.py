"""From normal numbers back through a spline flow, in few tensor operations."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.models.nn.spline import SplineCoupling, fractions_of, inverse_image


class WayBack:
    """The inverse of a flow of [spline coupling, permutation, linear map], without its slopes.

    What depends on the weights alone is computed once for all layers, what depends on the context
    once for all networks.

    Args:
        layers: The flow's transforms, three a layer or two without a linear map; what they learn
            meanwhile is not seen.
    """

    def __init__(self, layers: nn.ModuleList) -> None:
        self._couplings: list[Any] = [m for m in layers if isinstance(m, SplineCoupling)]
        every: list[Any] = list(layers)
        step = len(every) // len(self._couplings)
        permutations, maps = every[1::step], every[2::step] if step == 3 else []
        order = torch.stack([each._permutation for each in permutations]).argsort(1)
        self._orders, self._maps = order.unbind(), None
        if maps:
            inverses = _inverses(maps)
            # Permuted outputs are a permuted map.
            index = order.unsqueeze(2).expand_as(inverses)
            inverses = inverses.gather(1, index)
            bias = torch.stack([each.bias for each in maps]).unsqueeze(2)
            self._maps = inverses.unbind(), (-inverses @ bias).squeeze(2).unbind()
        gates = [
            block.context_layer
            for each in self._couplings
            for block in getattr(each.transform_net, "blocks", ())
            if hasattr(block, "context_layer")
        ]
        self._gate = None
        if gates:
            self._gate = torch.cat([g.weight for g in gates]), torch.cat([g.bias for g in gates])

    def __call__(self, u: Tensor, context: Tensor | None) -> Tensor:
        """x (B, D) for u (B, D) and the context (B, C)."""
        gates: list[Tensor] = []
        if self._gate is not None and context is not None:
            hidden = self._couplings[0].transform_net.hidden_features
            gates = list(torch.sigmoid(F.linear(context, *self._gate)).split(hidden, 1))
        x = u
        for k in reversed(range(len(self._couplings))):
            if self._maps is None:
                x = x.index_select(1, self._orders[k])
            else:
                x = F.linear(x, self._maps[0][k], self._maps[1][k])
            x = _uncoupled(self._couplings[k], x, context, gates)
        return x


def _uncoupled(coupling: Any, x: Tensor, context: Tensor | None, gates: list[Tensor]) -> Tensor:
    """x (B, D) before a coupling; its gates are taken from the end of the list."""
    net, n_bins = coupling.transform_net, coupling.num_bins
    seen = x.index_select(1, coupling.identity_features)
    found = _parameters(net, seen, context, gates).t()
    params = found.unflatten(0, (coupling.num_transform_features, -1)).transpose(0, 1)
    logits, slopes = params.split([2 * n_bins, n_bins - 1])
    sizes = fractions_of(logits.unflatten(0, (2, n_bins)), net.hidden_features)
    moved = x.index_select(1, coupling.transform_features).t()
    moved = inverse_image(moved, sizes, slopes, coupling.tail_bound)
    return x.index_copy(1, coupling.transform_features, moved.t())


def _parameters(net: Any, seen: Tensor, context: Tensor | None, gates: list[Tensor]) -> Tensor:
    """What a :class:`~caloman_cli.models.nn.flows.Conditioner` says, whose gates are known."""
    blocks = getattr(net, "blocks", None)
    if blocks is None:
        found: Tensor = net(seen, context)
        return found
    hidden = net.initial_layer(seen if context is None else torch.cat([seen, context], 1))
    own = [gates.pop() for _ in blocks][::-1] if gates else [None] * len(blocks)
    for block, gate in zip(blocks, own, strict=True):
        first, second = block.linear_layers
        step = second(block.activation(first(block.activation(hidden))))
        hidden = hidden + step if gate is None else torch.addcmul(hidden, step, gate)
    last = net.final_layer
    return torch.addmm(last.bias.unsqueeze(1), last.weight, hidden.t()).t()


def _inverses(maps: list[Any]) -> Tensor:
    """The inverse matrices of LU-parametrised maps, shape (N, D, D)."""
    one, size = maps[0], maps[0].features
    entries = torch.stack([torch.cat([each.lower_entries, each.upper_entries]) for each in maps])
    places = torch.cat([one._lower_flat, one._upper_flat])
    # Each solver reads its own triangle.
    both = entries.new_zeros(len(maps), size * size).index_copy(1, places, entries)
    both = both.unflatten(1, (size, size))
    diagonal = F.softplus(torch.stack([each.unconstrained_upper_diag for each in maps])) + one.eps
    upper = both + torch.diag_embed(diagonal)
    eye = torch.eye(size, dtype=both.dtype, device=both.device).expand_as(both)
    half = torch.linalg.solve_triangular(both, eye, upper=False, unitriangular=True)
    return torch.linalg.solve_triangular(upper, half, upper=True)
