"""What the networks of a step are told: places in a table of all that is known by then."""

import torch
from torch import Tensor

from caloman_cli.data.geometry import Layer
from caloman_cli.models.heads.scales import Patch, Scales
from caloman_cli.models.heads.told import TOLD

NEAR = 8
"""Patches next to one that its halving looks at closely."""
ABOVE = 2
"""Patches of another layer over one, or of where it would be turned, that its halving looks at."""
_OVERLAP = 1e6  # of a voxel that two patches share, beside voxels of common edges


class Sight:
    """Rows of a table with a row for each patch's first number, one of zeros, the same of the
    other numbers, and behind them what decoders say of layers.

    Args:
        scales: The patches.
        state: S, numbers that a decoder says of a layer.
        most: Patches of a layer that are seen at once: where there are more, larger ones stand
            for them.
        told: Numbers that are told of patches next to one, the first :data:`TOLD` of all others.
        reach: How many of its own widths a patch looks to both sides along alpha.
    """

    def __init__(
        self, scales: Scales, state: int, most: int, told: int = TOLD, reach: int = 0
    ) -> None:
        self.scales, self.state, self.most, self.told = scales, state, most, told
        self.turns = [side * away for away in range(1, reach + 1) for side in (1, -1)]
        self.rows = told * (scales.n_patches + 1)
        """Where what the decoder says begins."""
        self._found: dict[tuple[int, ...], Tensor] = {}
        self._whose = {
            layer: (number, position)
            for number, tree in enumerate(scales.trees)
            for position, layer in enumerate(tree.layers)
        }

    def all_of(self, number: int, step: int) -> Tensor:
        """What is told of whole layers of a tree: int64 (M, G)."""
        columns = []
        for layer in self.scales.trees[number].layers:
            seen = [self._there(layer, step)]
            for other, exists in self.scales.around[layer]:
                there = self._there(other, step)
                seen.append(there if exists else self._nothing(len(there)))
            own = self.rows + layer * self.state + torch.arange(self.state)
            columns.append(torch.cat([self._told(torch.cat(seen), TOLD), own]))
        return torch.stack(columns, 1)

    def next_to(self, number: int, step: int) -> Tensor:
        """What is told of patches next to those that a step halves: int64 (H, M, G).

        A patch itself and those that touch it, corners last; those that lie where it would be
        turned; then those over it in other layers.
        """
        tree = self.scales.trees[number]
        columns = []
        for layer in tree.layers:
            seen = [self._closest(number, layer, step, 1 + NEAR)]
            seen += [self._closest(number, layer, step, ABOVE, turn) for turn in self.turns]
            for other, exists in self.scales.around[layer]:
                over = self._closest(number, other, step, ABOVE)
                seen.append(over if exists else self._nothing(*over.shape))
            columns.append(self._told(torch.cat(seen, 1), self.told, 1))
        return torch.stack(columns, 2)

    def kinds(self, number: int, step: int) -> Tensor:
        """Numbers of what a step halves of a tree, int64 (H,): the same for patches that differ by
        their angle, and of which so do those in their layer that are told."""
        tree = self.scales.trees[number]
        slices = tree.patches[0][1]
        found: dict[tuple[Patch | None, ...], int] = {}
        kinds = []
        told = [self._pairs(number, number, step, 1 + NEAR, 0)]
        told += [self._pairs(number, number, step, ABOVE, turn) for turn in self.turns]
        for (first, *_), near in zip(tree.halved(step), torch.cat(told, 1).tolist(), strict=True):
            around = (tree.patches[i] if i >= 0 else None for i in near)
            turned = tuple(one and _turned(one, first, slices) for one in around)
            kinds.append(found.setdefault(turned, len(found)))
        return torch.tensor(kinds)

    def _closest(self, number: int, layer: int, step: int, most: int, turn: int = 0) -> Tensor:
        """Places of a layer's patches closest to those that a step halves of a tree, (H, most).

        With ``turn`` those that overlap with these turned by so many of their own widths.
        """
        other, position = self._whose[layer]
        patches = self._pairs(number, other, step, most, turn)
        found = self.scales.places[other][patches, position]
        return torch.where(patches < 0, self.scales.n_patches, found)

    def _pairs(self, *key: int) -> Tensor:
        """The same as numbers of patches, -1 for none, of any layers of two trees."""
        if key not in self._found:
            self._found[key] = self._pair(*key)
        return self._found[key]

    def _pair(self, number: int, other: int, step: int, most: int, turn: int) -> Tensor:
        tree, its = self.scales.trees[number], self.scales.trees[other]
        there, slices = its.steps[step].there, tree.patches[0][1]
        now, others = _edges(tree.patches, tree.steps[step].now), _edges(its.patches, there)
        own, over = (self.scales.layers[each.layers[0]] for each in (tree, its))
        if (own.n_alpha, own.n_r) != (over.n_alpha, over.n_r):
            now, others = _lengths(now, own, over.n_alpha), _lengths(others, over, own.n_alpha)
            slices *= over.n_alpha
        length, order = _sorted(*_common(_moved(now, turn, slices), others, slices))
        found = torch.where(
            length > (_OVERLAP / 2 if turn else 0.0), torch.tensor(there)[order], -1
        )[:, :most]
        none = torch.full((len(now), most - found.shape[1]), -1)
        return torch.cat([found, none], 1)

    def _nothing(self, *shape: int) -> Tensor:
        """Places of no patch."""
        return torch.full(shape, self.scales.n_patches)

    def _there(self, layer: int, step: int) -> Tensor:
        """Places of the patches of a layer."""
        number, position = self._whose[layer]
        steps = self.scales.trees[number].steps[: step + 1]
        there = [one.there for one in steps if len(one.there) <= self.most][-1]
        return self.scales.places[number][there, position]

    def _told(self, places: Tensor, told: int, axis: int = 0) -> Tensor:
        """The rows of so many numbers that are told of patches."""
        return torch.cat([places + i * (self.scales.n_patches + 1) for i in range(told)], axis)


def _turned(patch: Patch, first: int, slices: int) -> Patch:
    """As it is seen from a slice."""
    start, end, inner, outer = patch
    return (start - first) % slices, end - start, inner, outer


def _edges(patches: list[Patch], which: list[int]) -> Tensor:
    return torch.tensor([patches[i] for i in which], dtype=torch.long).view(-1, 4)


def _moved(edges: Tensor, turn: int, slices: int) -> Tensor:
    """Edges (N, 4) turned by so many of their own widths."""
    width = edges[:, 1] - edges[:, 0]
    start = (edges[:, 0] + turn * width) % slices
    return torch.stack([start, start + width, *edges[:, 2:].unbind(1)], 1)


def _lengths(edges: Tensor, layer: Layer, fine: int) -> Tensor:
    """Slices cut into so many, and rings in mm, of edges (N, 4) of a layer's patches."""
    radii = torch.tensor(layer.r_edges, dtype=torch.float64)
    return torch.cat([edges[:, :2] * fine, radii[edges[:, 2:]]], 1)


def _sorted(common: Tensor, turn: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """The first numbers sorted, most first, and their order; of equals by the others."""
    order = torch.argsort(out, dim=1, stable=True)
    order = order.gather(1, torch.argsort(turn.gather(1, order), dim=1, stable=True))
    found, last = torch.sort(common.gather(1, order), dim=1, descending=True, stable=True)
    return found, order.gather(1, last)


def _common(first: Tensor, second: Tensor, slices: int) -> tuple[Tensor, Tensor, Tensor]:
    """What patches (H, 4) and (N, 4) have in common, (H, N): most where they overlap.

    Else the length of their common edge in voxels, half a one for a corner. Alpha is a circle.
    And how far the second ones are on, in alpha and outwards.
    """
    a, b, r, s = first.unsqueeze(1).unbind(2)
    start, end, inner, outer = second.unbind(1)
    rings = torch.minimum(s, outer) - torch.maximum(r, inner)
    best = torch.zeros(len(first), len(second))
    for turn in (-slices, 0, slices):
        arc = torch.minimum(b, end + turn) - torch.maximum(a, start + turn)
        short, long = torch.minimum(arc, rings), torch.maximum(arc, rings)
        edge = torch.where((short == 0) & (long >= 0), long.clamp(min=0.5), 0.0)
        best = torch.maximum(best, torch.where(short > 0, _OVERLAP * arc * rings, edge))
    on = (start + end - a - b + slices) % (2 * slices) - slices
    return best, on, inner + outer - r - s
