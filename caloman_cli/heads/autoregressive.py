"""Sampled voxels, ring by ring: what was drawn before decides what is drawn next."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError
from caloman_cli.heads import mixture
from caloman_cli.heads.blocks import Blocks
from caloman_cli.heads.hurdle_mixture import ShareHead
from caloman_cli.heads.log_shares import LogShares
from caloman_cli.noise import Noise
from caloman_cli.preprocess.conditions import Conditions

_NOTHING = 1e-12
ATTEMPTS = 4  # at drawing a block that leaves something to the blocks after it
_LEAST = 1e-6  # of a layer's energy that a network is told is left
_TOLERANCE = 1.0 - 1e-3  # what is left of a layer must reach the cut, up to rounding
_TWO = 2.0 * _TOLERANCE  # what two blocks need

Decide = Callable[[mixture.Block, Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor, Tensor]]
"""(parameters, edge (B, S), room (B,), must it end? (B,), block) -> how much a voxel is lit and y,
both (B, S), and whether the block uses up its layer, boolean (B,)."""


class Autoregressive(ShareHead):
    r"""Blocks of voxels in order; each sees the decoder's state and every block before it.

    With f_j the standardised log-shares and bits of block j, block i is drawn from a hurdle
    mixture (:mod:`caloman_cli.heads.mixture`) whose parameters are a perceptron of

    .. math::
        h_i = s(z, c) + \sum_{j < i} U_j f_j + R_i r_i + b_i ,

    where s is the decoder's output and :math:`r_i` what is left of the layer's energy. A voxel's
    share is taken of **what is left** when its block begins. A block with a lit voxel may end its
    layer, with a probability of its own, and the last one does: it is scaled to use up what is
    left, so that layers sum to one without rescaling what was drawn before. Correlations
    between the voxels of different blocks are exact in form; within a block voxels are
    independent. One pass over the blocks samples; in training all blocks are seen at once.

    A non-empty layer without a lit voxel lights the most probable one.

    Args:
        order: A block is a ``layer``, a ``ring`` in alpha or a ``half_ring`` (every other slice).
        state: Width of s and h.
        hidden: Width of a block's perceptron.
        components: K of the mixture.
        geometry: The detector.
        conditions: Tells the layers' energies.

    Raises:
        UserError: An argument is out of range.

    References:
        Uria, Murray, Larochelle (2013), RNADE: the real-valued neural autoregressive
        density-estimator, arXiv:1306.0186.
    """

    def __init__(
        self,
        order: Literal["layer", "ring", "half_ring"] = "half_ring",
        state: int = 256,
        hidden: int = 128,
        components: int = 3,
        *,
        geometry: Geometry,
        conditions: Conditions,
    ) -> None:
        super().__init__(components, geometry=geometry, conditions=conditions)
        if min(state, hidden) < 1:
            raise UserError(f"head.state={state}, head.hidden={hidden} must be 1 or more")
        self.blocks = Blocks(geometry, order)
        n, size = len(self.blocks), self.blocks.size
        self.out_dim = state
        self.footprint = 4 * self.x_dim + 4 * (state + hidden)
        self.feature_dim = 2 * self.x_dim
        self.shares = LogShares(n, size)
        width = (self.n_parameters + 1) * size + 1
        self.read = nn.Parameter(0.1 * torch.randn(n, 2 * size, state))
        self.left = nn.Parameter(0.1 * torch.randn(n, 2, state))
        self.bias = nn.Parameter(torch.zeros(n, state))
        self.weight_1 = nn.Parameter(torch.randn(n, state, hidden) / math.sqrt(state))
        self.bias_1 = nn.Parameter(torch.zeros(n, hidden))
        self.weight_2 = nn.Parameter(0.3 * torch.randn(n, hidden, width) / math.sqrt(hidden))
        self.bias_2 = nn.Parameter(torch.zeros(n, width))

    def _measure(self, x: Tensor, c: Tensor) -> None:
        parts = self.blocks.split(x)
        self.shares.add(_log_of(parts, self.blocks.remaining(parts)), parts > 0)

    def _measured(self) -> None:
        self.shares.finish()

    def features(self, x: Tensor) -> Tensor:
        """Standardised log-shares of what is left, 0 where empty, and which voxels are lit."""
        parts = self.blocks.split(x)
        y, lit = self._standard(parts, self.blocks.remaining(parts))
        return torch.cat([self.blocks.join(y), self.blocks.join(lit)], 1)

    def params(self, raw: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        """The state (B, state) and the layers' energies over the cut (B, L)."""
        return raw, self.conditions.layer_energies(c) / self.cut

    def from_mean(self, mean: Tensor, sigma: Tensor) -> tuple[Tensor, ...]:
        raise UserError("an autoregressive head has no plain mean")

    def log_prob(self, params: tuple[Tensor, ...], x: Tensor) -> Tensor:
        state, energies = params
        parts = self.blocks.split(x)
        left = self.blocks.remaining(parts)
        y, lit = self._standard(parts, left)
        read = torch.bmm(torch.cat([y, lit], 2).transpose(0, 1), self.read)
        budget = left * energies[:, self.blocks.layer_index]
        h = read.cumsum(0) - read + state
        h = h + torch.bmm(_told(left, budget).transpose(0, 1), self.left) + self.bias[:, None]
        h = F.silu(torch.baddbmm(self.bias_1[:, None], F.silu(h), self.weight_1))
        raw = torch.baddbmm(self.bias_2[:, None], h, self.weight_2).transpose(0, 1)
        block = self._split(raw)
        edge = (-torch.log(budget.clamp(min=0.5))[:, :, None] - self.shares.mean) / self.shares.std
        ends = (self.blocks.after(parts) <= 0).to(x)
        n_lit = lit.sum(2)
        free = lit * ~((ends > 0) & (n_lit == 1))[:, :, None]
        voxels = mixture.log_prob(block.given(ends), y, lit, edge, free)
        possible = budget >= _TOLERANCE
        ending = -F.binary_cross_entropy_with_logits(block.end, ends, reduction="none")
        must = self.blocks.last | (budget < _TWO)
        ending = torch.where(possible & (n_lit > 0) & ~must, ending, 0.0)
        voxels = torch.where(possible[:, :, None] & self.blocks.valid, voxels, 0.0)
        return voxels.sum((1, 2)) + ending.sum(1)

    def sample(self, params: tuple[Tensor, ...], noise: Noise) -> Tensor:
        uniform = noise.uniform(3, self.x_dim)[:, :, self.blocks.voxel]
        uniform = uniform.unflatten(2, (len(self.blocks), self.blocks.size))
        ending = noise.uniform(len(self.blocks))
        logits = []

        def decide(
            block: mixture.Block, edge: Tensor, room: Tensor, must: Tensor, i: int
        ) -> tuple[Tensor, Tensor, Tensor]:
            logits.append(block.voxels.lit)
            ends = must | (ending[:, i] < torch.sigmoid(block.end))
            m = block.given(ends.to(edge))
            lit, y = mixture.draw(m, uniform[:, :2, i], edge)
            for attempt in range(ATTEMPTS):
                # Voxels that are drawn apart may take more together than there is: once more.
                share = torch.exp((y * self.shares.std[i] + self.shares.mean[i]).clamp(max=0.0))
                share = share * (lit & self.blocks.valid[i])
                over = torch.nonzero(~ends & (share.sum(1) > room))[:, 0]
                if not len(over):
                    break
                again = mixture.redrawn(uniform[over, :, i], attempt)
                part = mixture.Mixture(*(values[over] for values in m))
                y = y.index_copy(0, over, mixture.draw(part, again, edge[over])[1])
            return lit.to(y), y, ends

        x = self._walk(params, decide)
        if bool(((self.layers.sum(x) <= 0) & (params[1] > 0)).any()):
            brightest = self.layers.brightest(self.blocks.join(torch.stack(logits, 1)))
            x = self._rescued(x, brightest, params[1])
        return self._normalised(x)

    def mean(self, params: tuple[Tensor, ...]) -> Tensor:
        """Each voxel lit by its probability, at the mean of y, given the same of those before."""

        def decide(
            block: mixture.Block, edge: Tensor, room: Tensor, must: Tensor, i: int
        ) -> tuple[Tensor, Tensor, Tensor]:
            return *mixture.typical(block.given(must.to(edge))), must

        return self._normalised(self._walk(params, decide))

    def _walk(self, params: tuple[Tensor, ...], decide: Decide) -> Tensor:
        """Shares (B, V), block after block."""
        h, energies = params
        left = torch.ones_like(energies[:, 0])
        shares = []
        for i, layer in enumerate(self.blocks.layer):
            if self.blocks.opens[i]:
                left = torch.ones_like(left)
            budget = left * energies[:, layer]
            mean, std = self.shares.mean[i], self.shares.std[i]
            edge = (-torch.log(budget.clamp(min=0.5))[:, None] - mean) / std
            must = (budget < _TWO) | self.blocks.last[i]
            room = 1.0 - 1.0 / budget.clamp(min=1.0)  # what comes later needs the cut at least
            lit, y, ends = decide(self._block(h, left, budget, i), edge, room, must, i)
            lit = lit * ((budget >= _TOLERANCE)[:, None] & self.blocks.valid[i])
            share = left[:, None] * torch.exp((y * std + mean).clamp(max=0.0)) * lit
            total = share.sum(1)
            most = torch.where(ends, left, left * room)
            goal = torch.where(ends, most, torch.minimum(total, most))
            share = share * (goal / total.clamp(min=_NOTHING))[:, None]
            if i + 1 < len(self.blocks):
                seen = (_log_of(share, left) - mean) / std * lit
                h = torch.addmm(h, torch.cat([seen, lit], 1), self.read[i])
            left = torch.where(total > 0, left - goal, left)
            shares.append(share)
        return self.blocks.join(torch.stack(shares, 1))

    def _block(self, h: Tensor, left: Tensor, budget: Tensor, i: int) -> mixture.Block:
        told = F.pad(_told(left, budget), (0, 1), value=1.0)
        h = F.silu(torch.addmm(h, told, torch.cat([self.left[i], self.bias[i, None]])))
        h = F.silu(torch.addmm(self.bias_1[i], h, self.weight_1[i]))
        return self._split(torch.addmm(self.bias_2[i], h, self.weight_2[i]))

    def _split(self, raw: Tensor) -> mixture.Block:
        voxels = raw[..., :-1].unflatten(-1, (self.n_parameters + 1, self.blocks.size))
        return mixture.Block(
            mixture.mixture(voxels[..., :-1, :]), raw[..., -1], voxels[..., -1, :]
        )

    def _standard(self, parts: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised log-shares of what is left, 0 where empty, and bits, both (B, N, S)."""
        lit = (parts > 0).to(parts)
        return (_log_of(parts, left) - self.shares.mean) / self.shares.std * lit, lit


def _log_of(share: Tensor, left: Tensor) -> Tensor:
    """log(share / left): (\\*, S) of (\\*,)."""
    return torch.log(share.clamp(min=_NOTHING)) - torch.log(left.clamp(min=_NOTHING))[..., None]


def _told(left: Tensor, budget: Tensor) -> Tensor:
    """What a network is told of the energy that is left: (\\*,) of the layer, over the cut."""
    return torch.stack(
        [torch.log(left.clamp(min=_LEAST)) / 3.0, torch.log(budget.clamp(min=0.5)) / 5.0], -1
    )
