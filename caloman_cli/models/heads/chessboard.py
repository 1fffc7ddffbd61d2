"""Voxels of a second colour, which see those of the first that touch them.

Voxels of a layer are the squares of a chessboard of slices and rings, and the next layer's have
the other colour. Once those of the first colour are drawn, one small network adds to what the
decoder said of each of the second. It is the same network for all; a ring of a layer has only a
shift of its own, so that nothing depends on where slices begin.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from caloman_cli.data.geometry import Geometry
from caloman_cli.models.heads.mixture import Mixture, n_parameters
from caloman_cli.models.nn.logistic import LOG_SCALE, SHIFT

_FAR = 10.0  # what the network is told, at most
_OWN, _BESIDE = 4, 2  # voxels that touch one in its layer, and in those before and behind


def second_colour(geometry: Geometry) -> Tensor:
    """Which voxels are of the second colour, shape (V,)."""
    parts = [
        (torch.arange(layer.n_alpha)[:, None] + torch.arange(layer.n_r) + position) % 2 > 0
        for position, layer in enumerate(geometry.layers)
    ]
    return torch.cat([part.flatten() for part in parts])


def touching(geometry: Geometry) -> Tensor:
    """Voxels of the first colour that touch those of the second, int64 (V, 6), V for none.

    Columns: a slice before and behind, a ring inwards and outwards, a layer before and behind,
    where that has as many slices and rings.
    """
    nothing = geometry.n_voxels
    first = torch.cat([~second_colour(geometry), torch.tensor([False])])
    found = torch.cat(list(_next_to(geometry)))
    # An odd number of slices has two of a colour next to each other, two slices meet twice.
    found = torch.where(first[found], found, nothing)
    found[:, 1] = torch.where(found[:, 1] == found[:, 0], nothing, found[:, 1])
    return found


def _next_to(geometry: Geometry) -> Iterator[Tensor]:
    """Voxels that touch those of each layer."""
    images = [
        torch.arange(part.start, part.stop).unflatten(0, (layer.n_alpha, layer.n_r))
        for layer, part in zip(geometry.layers, geometry.slices, strict=True)
    ]
    for position, image in enumerate(images):
        nothing = torch.full_like(image, geometry.n_voxels)
        edge, several = nothing[:, :1], len(image) > 1
        seen = [image.roll(step, 0) if several else nothing for step in (1, -1)]
        seen += [torch.cat([edge, image[:, :-1]], 1), torch.cat([image[:, 1:], edge], 1)]
        for other in position - 1, position + 1:
            alike = 0 <= other < len(images) and images[other].shape == image.shape
            seen.append(images[other] if alike else nothing)
        yield torch.stack(seen, 2).flatten(0, 1)


class Seen(NamedTuple):
    """What is known when the second colour is drawn.

    Args:
        y: Standardised log-shares, 0 where a voxel is dark, (B, V).
        relative: The same of shares of what the first colour has of their layer, (B, V).
        lit: 1 where a voxel is lit, else 0, (B, V).
        taken: What the first colour has of the layer, spread over its voxels, (B, V).
        edge: The cut in units of y, (B, V).
    """

    y: Tensor
    relative: Tensor
    lit: Tensor
    taken: Tensor
    edge: Tensor


class Chessboard(nn.Module):
    """The network, and who sees whom.

    Args:
        geometry: The detector.
        components: K of the mixtures.
        hidden: Width.
    """

    first: Tensor
    second: Tensor
    near: Tensor
    place: Tensor

    def __init__(self, geometry: Geometry, components: int, hidden: int) -> None:
        super().__init__()
        second = second_colour(geometry)
        rings = [torch.arange(layer.n_r).repeat(layer.n_alpha) for layer in geometry.layers]
        starts = torch.tensor([0, *(layer.n_r for layer in geometry.layers)]).cumsum(0).tolist()
        place = torch.cat([start + ring for start, ring in zip(starts, rings, strict=False)])
        self.register_buffer("first", ~second, persistent=False)
        self.register_buffer("second", second.nonzero()[:, 0], persistent=False)
        self.register_buffer("near", touching(geometry)[second], persistent=False)
        self.register_buffer("place", place[second], persistent=False)
        size = n_parameters(components)
        self.of_place = nn.Parameter(torch.zeros(starts[-1], hidden))
        self.reads = nn.Linear(size + 2 + 2 * (_OWN + _BESIDE), hidden)
        self.thinks = nn.Linear(hidden, hidden)
        self.says = nn.Linear(hidden, size)
        nn.init.zeros_(self.says.weight)
        nn.init.zeros_(self.says.bias)

    def forward(self, m: Mixture, seen: Seen) -> Mixture:
        """Of voxels of the second colour alone, (B, ., S), of mixtures of all (B, ., V)."""
        m = self.of_second(m)
        own = torch.cat([m.lit.unsqueeze(-2), m.weight, m.center, m.log_scale], -2)
        y, relative, lit = (self._around(part) for part in (seen.y, seen.relative, seen.lit))
        about = [
            own.mT,
            torch.stack([part[:, self.second] for part in (seen.taken, seen.edge)], 2),
            y[..., :_OWN],
            relative[..., _OWN:],
            lit,
        ]
        told = torch.cat(about, 2).clamp(-_FAR, _FAR)
        hidden = nn.functional.silu(self.reads(told) + self.of_place[self.place])
        said = self.says(nn.functional.silu(self.thinks(hidden))).mT
        k = m.weight.shape[-2]
        lit_more, weight, center, log_scale = said.split([1, k, k, k], -2)
        lowest, highest = (limit + SHIFT for limit in LOG_SCALE)
        return Mixture(
            m.lit + lit_more.squeeze(-2),
            m.weight + weight,
            m.center + center,
            (m.log_scale + log_scale).clamp(lowest, highest),
        )

    def of_second(self, m: Mixture) -> Mixture:
        """Mixtures of voxels of the second colour."""
        return Mixture(*(field.index_select(-1, self.second) for field in m))

    def joined(self, m: Mixture, second: Mixture) -> Mixture:
        """All mixtures, with others for the second colour."""
        pairs = zip(m, second, strict=True)
        return Mixture(*(field.index_copy(-1, self.second, new) for field, new in pairs))

    def _around(self, part: Tensor) -> Tensor:
        """What voxels have that touch those of the second colour, 0 for none, (B, S, 6)."""
        padded = torch.cat([part, part.new_zeros(len(part), 1)], 1)
        return padded.index_select(1, self.near.flatten()).unflatten(1, self.near.shape)
