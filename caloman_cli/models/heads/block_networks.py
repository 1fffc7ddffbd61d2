"""The networks of an autoregressive head: what they say of each block of voxels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.models.heads.block_weights import (
    Follow,
    Hidden,
    Linears,
    Weights,
    standard,
    unbound,
)
from caloman_cli.models.heads.blocks import Blocks
from caloman_cli.models.heads.lit import Bits
from caloman_cli.models.heads.portions import LEAST, Components, components, logit, offsets
from caloman_cli.models.heads.shares import LogShares

_NOTHING = 1e-12
_LEAST = 1e-6  # of a layer's energy that a network is told is left
_LITTLE = 0.05  # cuts of excess that it is told is free
_MARGIN, _NEVER = 1.5, 12.0  # times the largest energy that ended a block; off the logit beyond it
_GATES, _GATE_WIDTH = (-1.5, -0.75, 0.0, 0.75, 1.5), 0.45  # standard deviations of a log-energy


class BlockNetworks(nn.Module):
    """Three perceptrons for each of N blocks, asked for one of them or for all at once.

    Beside them runs a linear map of what was seen of the blocks near it, mixed from several by
    the layer's energy: how alike neighbours are need not share the perceptrons' hidden units.

    The argument ``at`` is one of :meth:`blocks`, for tensors (\\*, B), or :meth:`every`, for
    tensors (N, \\*, B) of all blocks. Energies are in units of the readout cut.

    Args:
        blocks: The voxels of each block.
        state: Width of what the walk carries from block to block.
        hidden: Width of each of a block's three perceptrons.
        components: K of the mixtures.
        told: Numbers that a block is told beside what is left of its layer's energy.
    """

    limit: Tensor
    near: Tensor
    gate_centers: Tensor

    def __init__(
        self, blocks: Blocks, state: int, hidden: int, components: int, told: int
    ) -> None:
        super().__init__()
        n, size = len(blocks), blocks.size
        self.size, self.components = size, components
        self.parts = LogShares(n, size)  # log(voxel / block), which networks see
        self.shares = LogShares(n, 1)  # log(block / left), the same
        self.levels = LogShares(n, size)  # log of a voxel's excess
        self.totals = LogShares(n, 1)  # logit of a block's portion
        self.total_levels = LogShares(n, 1)  # log of its excess
        self.register_buffer("limit", torch.zeros(n))  # largest energy that ended a block
        self.wholes = LogShares(n, 1)  # log of the layer's energy
        self.read = nn.Parameter(0.1 * torch.randn(n, state, 3 * size + 1))
        self.left = nn.Parameter(0.1 * torch.randn(n, state, 3 + told))
        self.hidden = Linears(n, state, 3 * hidden, 1.0)
        self.says_bits = Linears(n, hidden, 3 * size, 0.3)
        self.total_hears = nn.Parameter(0.1 * torch.randn(n, hidden, size + 2))
        self.says_total = Linears(n, hidden, 3 * components + 1, 0.3)
        self.split_hears = nn.Parameter(0.1 * torch.randn(n, hidden, size + 4))
        self.says_split = Linears(n, hidden, 3 * components * size, 0.3)
        self.register_buffer("near", blocks.near, persistent=False)
        self.register_buffer("gate_centers", torch.tensor(_GATES)[:, None], persistent=False)
        n_near = blocks.near.shape[1] * (3 * size + 1) + told
        self.follows = nn.Parameter(torch.zeros(n, 2 * len(_GATES) * size, n_near))
        self.goes_on = nn.Parameter(torch.zeros(n, len(_GATES), size, size))

    def every(self) -> Weights:
        """Of all blocks."""
        totals, total_levels, levels = (
            standard(measured) for measured in (self.totals, self.total_levels, self.levels)
        )
        ones = torch.ones_like(levels.std)
        before = F.pad(self.read[:-1], (0, 0, 0, 0, 1, 0))
        return Weights(
            read=self.read,
            left=self.left,
            step=torch.cat([before, self.left], 2),
            near=self.near,
            follows=self.follows,
            within=self.goes_on.transpose(2, 3).flatten(2).transpose(1, 2),
            hidden=self.hidden.weights,
            bits=self.says_bits.weights,
            total_hears=self.total_hears,
            total=self.says_total.weights,
            split_hears=self.split_hears,
            split=self.says_split.weights,
            parts=standard(self.parts),
            shares=standard(self.shares),
            totals=totals,
            wholes=standard(self.wholes),
            total_offsets=offsets(self.components, *totals, *total_levels),
            split_offsets=offsets(self.components, 0.0 * ones, ones, *levels),
            limit=self.limit[:, None],
        )

    def blocks(self) -> list[Weights]:
        """Of each block."""
        return unbound(self.every())

    def measure(self, voxels: Tensor, after: Tensor, whole: Tensor) -> None:
        """Take rows: energies (N, S, B), what their layers have left after them and in all."""
        taken, after = voxels.sum(1, keepdim=True), after[:, None]
        lit = voxels > 0
        some, n_lit = (taken > 0) & (after > 0), lit.sum(1, keepdim=True)
        log_n = torch.log(n_lit.clamp(min=1))
        for measured, value, known in (
            (self.parts, _log(voxels) - _log(taken), lit & (n_lit > 1)),
            (self.shares, _log(taken) - _log(taken + after), n_lit > 0),
            (self.levels, torch.log((voxels - 1.0).clamp(min=LEAST)), lit),
            (self.totals, logit(taken - n_lit, after - 1.0) - log_n, some),
            (self.wholes, _log(whole)[:, None], whole[:, None] > 0),
            (self.total_levels, torch.log((taken - n_lit).clamp(min=LEAST)) - log_n, some),
        ):
            measured.add(value.movedim(2, 0), known.movedim(2, 0))
        ended = torch.where(after > 0, 0.0, taken)
        self.limit.copy_(torch.maximum(self.limit, ended.amax((1, 2))))

    def measured(self) -> None:
        """Set the statistics from what was taken."""
        for module in self.children():
            if isinstance(module, LogShares):
                module.finish()

    def seen(self, voxels: Tensor, lit: Tensor, left: Tensor, at: Weights) -> Tensor:
        """What blocks to come see of a block, (\\*, 3 S + 1, B).

        How voxels divide the block, apart from what the block takes of what is left, so that
        small differences between voxels are not hidden behind a large one that they share.

        Args:
            voxels: Their energies, (\\*, S, B).
            lit: How much each is lit, the same.
            left: What the layer had left, (\\*, B).
            at: The block, or all.
        """
        taken, n_lit = voxels.sum(-2, keepdim=True), lit.sum(-2, keepdim=True)
        ratio = voxels / taken.clamp(min=_NOTHING)
        parts = at.parts(_log(ratio)) * (lit * (n_lit > 1).to(lit))
        share = at.shares(_log(taken) - _log(left).unsqueeze(-2)) * taken.sign()
        uneven = ratio - lit / n_lit.clamp(min=1.0)
        return torch.cat([parts, share, lit, 3.0 * uneven], -2)

    def states(self, state: Tensor, seen: Tensor, told: Tensor) -> Tensor:
        """The states (N, state, B) of all blocks.

        Args:
            state: The first one, (state, B).
            seen: Of every block, (N, ., B).
            told: What each block is told of what its layer has left, (N, ., B).
        """
        read = torch.bmm(self.read, seen)
        return (read + torch.bmm(self.left, told)).cumsum(0) - read + state

    def state(self, h: Tensor, seen: Tensor | None, told: Tensor, at: Weights) -> Tensor:
        """The state of a block, of that and what is seen of the block before it; h is lost."""
        if seen is None:
            return _plus(h, at.left, told)
        return _plus(h, at.step, torch.cat([seen, told]))

    def layers(self, h: Tensor, at: Weights) -> Hidden:
        """From the state (\\*, state, B)."""
        of_bits, of_total, of_split = at.hidden(F.hardswish(h)).chunk(3, -2)
        return of_bits, of_total, of_split

    def gates(self, whole: Tensor, at: Weights) -> Tensor:
        """How near the layer's energy (\\*, B) is to each of G: (\\*, G, B); of a block, those of
        all blocks of its layer."""
        t = at.wholes(_log(whole).unsqueeze(-2))
        return torch.softmax(-0.5 * ((t - self.gate_centers) / _GATE_WIDTH).square(), -2)

    def follow(self, near: Tensor, gates: Tensor, at: Weights) -> Follow:
        """What was seen of blocks ``near``, and what else the block is told, adds to the bits'
        logits and to the split's centres.

        With weights that depend on the layer's energy: the fewer particles there are, the more a
        voxel goes its own way.
        """
        parts = torch.matmul(at.follows, near).unflatten(-2, (len(_GATES), -1))
        of_bits, of_split = (gates.unsqueeze(-2) * parts).sum(-3).chunk(2, -2)
        return Follow(of_bits, of_split, gates)

    def within(self, y: Tensor, gates: Tensor) -> Tensor:
        """What portions y, 0 where there are none, add to the centres of later voxels, all
        (N, S, B)."""
        weight = self.goes_on.tril(-1).flatten(1, 2)
        parts = torch.bmm(weight, _bounded(y)).unflatten(1, (len(_GATES), -1))
        return (gates.unsqueeze(2) * parts).sum(1)

    def follows_within(self, gates: Tensor, at: Weights) -> Tensor:
        """What portions, as :meth:`within` sees them, add to the centres of later ones: (S, S, B),
        of voxels before and of those that follow."""
        return torch.matmul(at.within, gates).unflatten(0, (self.size, self.size))

    def bits(self, hidden: Tensor, follows: Tensor, at: Weights) -> Bits:
        """Of voxels that are lit."""
        bits = Bits(*at.bits(F.hardswish(hidden)).chunk(3, -2))
        return bits._replace(logit=bits.logit + follows)

    def total(
        self, hidden: Tensor, lit: Tensor, free: Tensor, at: Weights
    ) -> tuple[Tensor, Components]:
        """Logit of the end, (\\*, B), and of the block's portion of what is free, S = 1."""
        heard = _counted(lit, free)
        raw = at.total(F.hardswish(_plus(hidden, at.total_hears, heard)))
        # Without this, ends that never happened would have a small chance in each of many blocks.
        beyond = free > _MARGIN * at.limit
        end, raw = raw[..., 0, :] - _NEVER * beyond, raw[..., 1:, None, :]
        return end, components(raw, at.total_offsets.of_several(heard[..., -2:-1, :]))

    def split(
        self,
        hidden: Tensor,
        lit: Tensor,
        y: Tensor,
        free: Tensor,
        some: Tensor,
        center: Tensor,
        at: Weights,
    ) -> Components:
        """Of each voxel's portion of the block's free excess.

        Where ``some`` is 1, the layer goes on after the block, and y is the block's portion of
        it; elsewhere it is 0. Portions are around ``center``.
        """
        some = some.unsqueeze(-2)
        heard = torch.cat([_counted(lit, free), at.totals(y.unsqueeze(-2)) * some, some], -2)
        raw = at.split(F.hardswish(_plus(hidden, at.split_hears, heard)))
        return components(raw.unflatten(-2, (-1, self.size)), at.split_offsets.moved(center))

    def what_is_near(self, seen: Tensor, at: Weights) -> Tensor:
        """Of what was seen of all blocks, (N + 1, D, B), that of those near: (\\*, M D, B)."""
        shape = (*at.near.shape[:-1], -1, seen.shape[2])
        return seen.index_select(0, at.near.flatten()).view(shape)


def _plus(first: Tensor, weight: Tensor, x: Tensor) -> Tensor:
    """first + weight x, of one block or of all; in place of the first where nothing is learned."""
    if torch.is_grad_enabled():
        product = torch.addmm if weight.ndim == 2 else torch.baddbmm
        return product(first, weight, x)
    return first.addmm_(weight, x) if weight.ndim == 2 else first.baddbmm_(weight, x)


def _bounded(y: Tensor) -> Tensor:
    """What later voxels of a block are told of a portion's y: no extremes."""
    return 2.0 * torch.tanh(0.5 * y)


def sum_after(values: Tensor) -> Tensor:
    """The sum of all later places, exactly 0 if they are: (\\*, S, B)."""
    return F.pad(values, (0, 0, 0, 1))[..., 1:, :].flip(-2).cumsum(-2).flip(-2)


def energy_told(share: Tensor, left: Tensor) -> Tensor:
    """What is left of a layer, a share of it and an energy (\\*, B), for networks: (\\*, 3, B)."""
    return torch.stack(
        [
            torch.log(share.clamp(min=_LEAST)) / 3.0,
            torch.log(left.clamp(min=0.5)) / 5.0,
            torch.ones_like(left),
        ],
        -2,
    )


def _counted(lit: Tensor, free: Tensor) -> Tensor:
    """Bits, the log of how many are set and of the free excess (\\*, B): (\\*, S + 2, B)."""
    n_lit = lit.sum(-2, keepdim=True).clamp(min=1.0)
    excess = torch.log(free.clamp(min=_LITTLE)).unsqueeze(-2) / 3.0
    return torch.cat([lit, torch.log(n_lit), excess], -2)


def _log(share: Tensor) -> Tensor:
    return torch.log(share.clamp(min=_NOTHING))
