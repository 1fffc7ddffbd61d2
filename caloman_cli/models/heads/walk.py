"""The walk from block to block while voxels are drawn, with the showers whose layer goes on."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from caloman_cli.models.heads.block_networks import BlockNetworks, energy_told
from caloman_cli.models.heads.block_weights import Follow, Hidden, Weights
from caloman_cli.models.heads.blocks import Blocks
from caloman_cli.models.heads.dipoles import Dipoles

_NOTHING = 1e-12
_FEWER = 0.9  # of the showers go on: the others are left behind

Take = Callable[[Hidden, Follow, Tensor, Tensor, int, Weights], tuple[Tensor, Tensor, Tensor]]
"""(hidden units of a block, what those near it add, what its layer has left (n,), which showers
these are (n,), the block's number and weights) -> the voxels' energies and how much each is lit,
both (S, n), and what then is left, (n,); all over the cut."""


class Walkers(NamedTuple):
    """n showers in a layer.

    Args:
        rows: Which of the batch they are, int64 (n,).
        state: What the walk carries from block to block, (state, n).
        whole: The layer's energy, (n,).
        left: What is left of it, (n,).
        gates: See :meth:`BlockNetworks.gates`, (G, n).
        dipole: What is left of its dipole, (2, n), if the walk is told.
        seen: Of the block before, (., n), after the first one.
    """

    rows: Tensor
    state: Tensor
    whole: Tensor
    left: Tensor
    gates: Tensor
    dipole: Tensor | None
    seen: Tensor | None = None

    def those(self, which: Tensor) -> "Walkers":
        """Some of them."""
        fields = ((name, field) for name, field in self._asdict().items() if field is not None)
        return self._replace(**{name: field.index_select(-1, which) for name, field in fields})


class Walk:
    """Takes a batch of B showers through all blocks.

    A shower whose layer is used up, or empty, would see the same in all blocks that are left of
    the layer: nothing. What they add to its state is known beforehand, and it waits for the next
    layer. Many layers are empty or end early.

    Args:
        blocks: The voxels of each block.
        networks: What is said of them.
        dipoles: What they take of a layer's dipole, if the walk is told.
        together: All showers take all blocks, so that shapes do not depend on values.
    """

    def __init__(
        self,
        blocks: Blocks,
        networks: BlockNetworks,
        dipoles: Dipoles | None,
        together: bool = False,
    ) -> None:
        self.blocks, self.networks, self.dipoles = blocks, networks, dipoles
        self.together, self.weights = together, networks.blocks()
        nothing = networks.left.new_zeros(1)
        dark = networks.left.new_zeros(networks.left.shape[2], 1)
        dark[:3] = energy_told(nothing, nothing)
        each = (networks.left @ dark).squeeze(2)
        # What a block and all later ones of its layer add to the state where nothing is left.
        self.dark = (each + blocks.later @ each).unsqueeze(2)

    def __call__(
        self, state: Tensor, energies: Tensor, dipole: Tensor | None, take: Take
    ) -> Tensor:
        """Shares of layers, (B, V).

        Args:
            state: (B, state).
            energies: Of the layers, over the cut, (B, L).
            dipole: Of the layers, (L, 2, B), if the walk is told.
            take: What a block takes of its layer.
        """
        n, size = len(self.blocks), self.blocks.size
        state = state.T.clone(memory_format=torch.contiguous_format)
        energies = energies.T.contiguous()
        voxels = state.new_zeros(n, size, state.shape[1])
        # What is seen of blocks, zero of dark ones; the last is for those that there are not.
        seen = state.new_zeros(n + 1, 3 * size + 1, state.shape[1])
        for layer, (first, end) in enumerate(self.blocks.spans):
            whole = energies[layer].clamp(min=_NOTHING)
            gates = self.networks.gates(whole, self.weights[first])
            rows = torch.arange(len(whole), device=whole.device)
            leans = None if dipole is None else dipole[layer]
            walkers = Walkers(rows, state, whole, energies[layer], gates, leans)
            for i in range(first, end):
                walkers = self._going_on(walkers, state, i)
                if not len(walkers.rows):
                    break
                drawn, walkers = self._step(walkers, seen, take, i)
                put(voxels[i], walkers.rows, drawn / walkers.whole)
            else:
                self._leave(walkers, state, end, 0.0)
        return self.blocks.join(voxels)

    def _step(self, walkers: Walkers, seen: Tensor, take: Take, i: int) -> tuple[Tensor, Walkers]:
        """The energies of block i, (S, n), and the walkers behind it; fills what is seen of it."""
        networks, at = self.networks, self.weights[i]
        dipole, left = walkers.dipole, walkers.left
        told = energy_told(left / walkers.whole, left)
        near = networks.what_is_near(seen, at).index_select(1, walkers.rows)
        if self.dipoles is not None and dipole is not None:
            lean = self.dipoles.told(dipole, left)
            told, near = torch.cat([told, lean]), torch.cat([near, lean])
        state = networks.state(walkers.state, walkers.seen, told, at)
        follow = networks.follow(near, walkers.gates, at)
        drawn, lit, after = take(networks.layers(state, at), follow, left, walkers.rows, i, at)
        if self.dipoles is not None and dipole is not None:
            dipole = self.dipoles.after(dipole, drawn, i)
        own = networks.seen(drawn, lit, left, at)
        put(seen[i], walkers.rows, own)
        return drawn, walkers._replace(state=state, left=after, dipole=dipole, seen=own)

    def _going_on(self, walkers: Walkers, state: Tensor, i: int) -> Walkers:
        """The walkers that go on to block i; all of them, if few do not."""
        if self.together:
            return walkers
        on = walkers.left > 0
        ahead = torch.nonzero(on)[:, 0]
        first = walkers.seen is None
        if not first and len(ahead) > _FEWER * len(on):
            return walkers
        self._leave(walkers.those(torch.nonzero(~on)[:, 0]), state, i, self.dark[i])
        return walkers.those(ahead)

    def _leave(self, walkers: Walkers, state: Tensor, i: int, dark: Tensor | float) -> None:
        """Keep in ``state`` (state, B) how walkers before block i end their layer, ``dark``."""
        gone = walkers.state + dark
        if walkers.seen is not None:
            gone = gone + self.weights[i - 1].read @ walkers.seen
        put(state, walkers.rows, gone)


def put(whole: Tensor, rows: Tensor, values: Tensor) -> None:
    """Values (S, n) of some showers, in their order, into those of all, (S, B)."""
    if len(rows) == whole.shape[1]:
        whole.copy_(values)
    else:
        whole.scatter_(1, rows.expand(len(values), -1), values)
