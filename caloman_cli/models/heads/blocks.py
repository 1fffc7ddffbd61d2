"""Which voxels an autoregressive head makes together, and in which order."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError

Order = Literal["layer", "ring", "half_ring"]


class Blocks(nn.Module):
    """Voxels in blocks: layer by layer, ring by ring from the axis, or half a ring at a time.

    Half rings are the even slices in alpha, then the odd ones, which have both their neighbours
    before them; in layers without slices, as many rings as half a ring has voxels elsewhere.
    Blocks are padded to S places; shapes are (N, S, B) for N blocks and B rows.

    Args:
        geometry: The detector.
        order: What a block is.

    Attributes:
        size: S.
        sizes: Voxels of each block.
        layer: The layer of each block, a list of N positions.
        spans: The first block of each layer and that behind its last one, a list of pairs.
        last: Whether it is the last one, boolean (N,).
        valid: Which places are voxels, boolean (N, S).
        near: The numbers of blocks before each that lie next to it, int64 (N, M). Of rings and
            half rings up to three of its layer and two that hold its first ring in the layer
            before, N where there is none; whole layers have none.

    Raises:
        UserError: The order is unknown.
    """

    place: Tensor
    voxel: Tensor
    valid: Tensor
    near: Tensor
    layer_index: Tensor
    later: Tensor
    last: Tensor

    def __init__(self, geometry: Geometry, order: Order) -> None:
        super().__init__()
        if order not in get_args(Order):
            raise UserError(f"head.order={order} is unknown: choose {', '.join(get_args(Order))}")
        blocks: list[Tensor] = []
        self.layer: list[int] = []
        self._rings: list[set[int]] = []  # of each block
        half = (max(layer.n_alpha for layer in geometry.layers) + 1) // 2
        for number, (layer, part) in enumerate(zip(geometry.layers, geometry.slices, strict=True)):
            rings = torch.arange(part.start, part.stop).view(layer.n_alpha, layer.n_r).T
            sliced = layer.n_alpha > 1
            most = {"layer": layer.n_r, "ring": 1, "half_ring": 1 if sliced else half}[order]
            for held in rings.tensor_split(math.ceil(layer.n_r / most)):
                halves = order == "half_ring" and sliced
                made = [held[:, k::2] for k in (0, 1)] if halves else [held]
                blocks += [block.T.flatten() for block in made]
                self._rings += [set((held[:, 0] - part.start).tolist())] * len(made)
                self.layer += [number] * len(made)
        self.sizes = [len(block) for block in blocks]
        self.size = max(self.sizes)
        edges = [-1, *self.layer, -1]
        opens = (a != b for a, b in zip(edges[:-2], self.layer, strict=True))
        starts = [i for i, first in enumerate(opens) if first]
        self.spans = list(zip(starts, [*starts[1:], len(blocks)], strict=True))
        voxel = torch.zeros(len(blocks), self.size, dtype=torch.long)
        valid = torch.zeros(len(blocks), self.size, dtype=torch.bool)
        place = torch.zeros(geometry.n_voxels, dtype=torch.long)
        for number, block in enumerate(blocks):
            voxel[number, : len(block)], valid[number, : len(block)] = block, True
            place[block] = number * self.size + torch.arange(len(block))
        layer_index = torch.tensor(self.layer)
        same = layer_index.unsqueeze(0) == layer_index.unsqueeze(1)
        later = (same & torch.ones_like(same).triu(1)).float()
        last = torch.tensor([a != b for a, b in zip(edges[2:], self.layer, strict=True)])
        near = torch.tensor([self._near(number) for number in range(len(blocks))])
        near = near[:, :0] if order == "layer" else near
        for name, value in (
            ("near", near),
            ("voxel", voxel.flatten()),
            ("valid", valid),
            ("place", place),
            ("layer_index", layer_index),
            ("later", later),
            ("last", last),
        ):
            self.register_buffer(name, value, persistent=False)

    def _near(self, i: int) -> list[int]:
        """See ``near``."""
        layer, ring, none = self.layer[i], min(self._rings[i]), len(self.layer)
        own = [j for j in (i - 1, i - 2, i - 3) if j >= 0 and self.layer[j] == layer]
        before = [j for j in range(i) if self.layer[j] == layer - 1 and ring in self._rings[j]][:2]
        return own + [none] * (3 - len(own)) + before + [none] * (2 - len(before))

    def __len__(self) -> int:
        return len(self.layer)

    def split(self, x: Tensor) -> Tensor:
        """(B, V) -> (N, S, B), zeros in the padding."""
        return x.T[self.voxel].unflatten(0, (len(self), self.size)) * self.valid[:, :, None]

    def join(self, x: Tensor) -> Tensor:
        """(N, S, B) -> (B, V)."""
        return x.flatten(0, 1)[self.place].T.contiguous()

    def after(self, x: Tensor) -> Tensor:
        """What a layer has left when a block ends, exactly 0 if nothing: (N, S, B) -> (N, B)."""
        return self.later @ x.sum(1)
