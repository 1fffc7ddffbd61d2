"""Sampled voxels, ring by ring: what was drawn before decides what is drawn next."""

import functools
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from caloman_cli.config.values import Count, Several, checked
from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError
from caloman_cli.models.heads.block_networks import BlockNetworks, energy_told, sum_after
from caloman_cli.models.heads.block_weights import Follow, Hidden, Weights
from caloman_cli.models.heads.blocks import Blocks, Order
from caloman_cli.models.heads.dipoles import Dipoles
from caloman_cli.models.heads.division import divide
from caloman_cli.models.heads.lit import TOLERANCE, cross_entropy, must_end
from caloman_cli.models.heads.portions import FAR, log_slope, logit, portion
from caloman_cli.models.heads.shares import ShareHead
from caloman_cli.models.heads.walk import Take, Walk, put
from caloman_cli.models.nn.logistic import SMALLEST
from caloman_cli.models.nn.marks import choose, mark
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.conditions import Conditions

_NOTHING = 1e-12


class Walked(NamedTuple):
    """Where walks begin.

    Args:
        state: Shape (B, state).
        energies: Of the layers, over the cut, (B, L).
        moments: Which way the layers lean, (B, .), with ``dipoles``.
    """

    state: Tensor
    energies: Tensor
    moments: Tensor


@checked
class Autoregressive(ShareHead[Walked]):
    r"""Blocks of voxels in order; each sees the decoder's state and every block before it.

    With f_j the standardised log-shares and bits of block j, three perceptrons of

    .. math::
        h_i = s(z, c) + \sum_{j < i} U_j f_j + \sum_{j \leq i} R_j r_j ,

    where s is the decoder's output and :math:`r_i` what is left of the layer's energy before block
    i (with ``dipoles``, of its dipole in alpha too), and linear maps of the :math:`f_j` of the
    blocks next to it, and of what is left of the dipole, say of block i, one after the other,

    1. which voxels are lit, each given how many are lit before it in the block;
    2. whether they use up the layer, if one is lit;
    3. if not, which energy they take together;
    4. how they divide it: a lit voxel takes a portion of what those before it leave, the last one
       the rest.

    So the energy of a ring has a distribution of its own, which voxels drawn apart would blur.
    Portions are of what is free when every lit voxel and the blocks to come have the readout cut:
    all that can be drawn is possible, see :mod:`caloman_cli.models.heads.portions`.

    Training sees all blocks at once, sampling walks through them. Layers sum to one; a layer whose
    last blocks stay dark is scaled to it, and a non-empty layer without a lit voxel lights its
    most probable one. ``log_prob`` leaves these two out and is per unit of the logits of portions.

    Args:
        order: A block is a ``layer``, a ``ring`` in alpha or a ``half_ring``: every other slice,
            and several rings at once in layers without slices.
        state: Width of s and h.
        hidden: Width of each of a block's three perceptrons: of bits, total and split.
        components: K of each mixture, 2 or more: one is centred at an energy.
        dipoles: Let latents hold which way each layer leans, and tell the walk what is left of it,
            see :mod:`caloman_cli.models.heads.dipoles`; for encoders that hold moments.
        geometry: The detector.
        conditions: Tells the layers' energies.

    Raises:
        UserError: An argument is out of range.

    References:
        Uria, Murray, Larochelle (2013), RNADE: the real-valued neural autoregressive
        density-estimator, arXiv:1306.0186.
        Sethuraman (1994), A constructive definition of Dirichlet priors (stick-breaking),
        Statistica Sinica 4, 639.
    """

    kind = "exact"

    def __init__(
        self,
        order: Order = "half_ring",
        state: Count = 128,
        hidden: Count = 48,
        components: Several = 3,
        dipoles: bool = False,
        *,
        geometry: Geometry,
        conditions: Conditions,
    ) -> None:
        super().__init__(components, geometry=geometry, conditions=conditions)
        self.blocks = Blocks(geometry, order)
        self.footprint = 10 * self.x_dim + 4 * (state + hidden)
        self.feature_dim, self.images = 2 * self.x_dim + len(self.blocks), (2, 0)
        slices = any(layer.n_alpha > 1 for layer in geometry.layers)
        self.dipoles = Dipoles(geometry, self.blocks) if dipoles and slices else None
        told = 0 if self.dipoles is None else self.dipoles.told_dim
        self.moment_dim = 0 if self.dipoles is None else self.dipoles.dim
        self.out_dim = state + self.moment_dim
        self.networks = BlockNetworks(self.blocks, state, hidden, components, told)

    def _measure(self, x: Tensor, c: Tensor) -> None:
        whole = self._energies(c).T[self.blocks.layer_index]
        voxels = self.blocks.split(x) * whole[:, None]
        self.networks.measure(voxels, self.blocks.after(voxels), whole)

    def _measured(self) -> None:
        self.networks.measured()

    def features(self, x: Tensor) -> Tensor:
        """How voxels divide their blocks, which are lit, and what blocks take of what is left."""
        voxels = self.blocks.split(x)
        left, lit = voxels.sum(1) + self.blocks.after(voxels), (voxels > 0).to(x)
        seen = self.networks.seen(voxels, lit, left, self.networks.every())
        parts, share = seen.split([self.blocks.size, 1, 2 * self.blocks.size], 1)[:2]
        return torch.cat([self.blocks.join(parts), (x > 0).to(x), share[:, 0].T], 1)

    def moments(self, x: Tensor, c: Tensor) -> Tensor:
        """Which way each layer leans, with ``dipoles``."""
        if self.dipoles is None:
            return super().moments(x, c)
        return self.dipoles.moments(self.blocks.split(x), self._energies(c))

    def _energies(self, c: Tensor) -> Tensor:
        """The layers' energies over the cut (B, L)."""
        return self.conditions.layer_energies(c) / self.cut

    def params(self, raw: Tensor, c: Tensor) -> Walked:
        state, moments = raw.tensor_split([self.out_dim - self.moment_dim], 1)
        return Walked(state, self._energies(c), moments)

    def from_mean(self, mean: Tensor, sigma: Tensor) -> Walked:
        raise UserError("an autoregressive head has no plain mean")

    def log_prob(self, params: Walked, x: Tensor) -> Tensor:
        state, energies, moments = params
        networks, every = self.networks, self.networks.every()
        whole = energies.T[self.blocks.layer_index]
        voxels = self.blocks.split(x) * whole[:, None]  # (N, S, B)
        taken, after, lit = voxels.sum(1), self.blocks.after(voxels), (voxels > 0).to(x)
        left, n_lit = taken + after, lit.sum(1)

        seen = networks.seen(voxels, lit, left, every)
        told = energy_told(left / whole.clamp(min=_NOTHING), left)
        near = networks.what_is_near(F.pad(seen, (0, 0, 0, 0, 0, 1)), every)
        if self.dipoles is not None:
            dipole = self.dipoles.left(self.dipoles.energies(moments, energies), voxels)
            lean = self.dipoles.told(dipole, left)
            told, near = torch.cat([told, lean], 1), torch.cat([near, lean], 1)
        h = networks.states(state.T, seen, told)
        follow = networks.follow(near, networks.gates(whole, every), every)
        of_bits, of_total, of_split = networks.layers(h, every)
        given = networks.bits(of_bits, follow.bits, every).given(lit.cumsum(1) - lit)
        bits = -cross_entropy(given, lit)
        possible = (left >= 1.0 - TOLERANCE)[:, None] & self.blocks.valid[:, :, None]
        bits = torch.where(possible, bits, 0.0)

        free, some = left - n_lit - 1.0, (n_lit > 0) & (after > 0)
        end, total = networks.total(of_total, lit, free, every)
        ending = -cross_entropy(end, (after <= 0).to(x))
        chance = (n_lit > 0) & ~must_end(left, n_lit) & ~self.blocks.last[:, None]
        ending = torch.where(chance, ending, 0.0)
        y = logit(taken - n_lit, after - 1.0)
        share = total.placed(free[:, None]).log_prob(y[:, None], "normal")[:, 0]
        share = torch.where(some, share, 0.0)

        rest, others = sum_after(voxels), sum_after(lit)
        has_others = (lit > 0) & (others > 0)
        portions = torch.where(has_others, logit(voxels - 1.0, rest - others, others), 0.0)
        center = follow.split + networks.within(portions, follow.gates)
        split = networks.split(of_split, lit, y, taken - n_lit, some.to(x), center, every)
        split = split.placed(voxels + rest - others - 1.0, others.clamp(min=1.0))
        parts = torch.where(has_others, split.log_prob(portions, "logistic"), 0.0)
        return (bits + parts).sum((0, 1)) + (ending + share).sum(0)

    def log_density(self, params: Walked, x: Tensor) -> Tensor:
        r"""``log_prob`` times :math:`|dy / dx|` of the logits y of portions.

        y is triangular in the voxels' energies: a block's depends on what its layer has left,
        a voxel's on what its block has left.
        """
        energies = params.energies
        voxels = self.blocks.split(x) * energies.T[self.blocks.layer_index][:, None]
        taken, after, lit = voxels.sum(1), self.blocks.after(voxels), (voxels > 0).to(x)
        n_lit, rest, others = lit.sum(1), sum_after(voxels), sum_after(lit)
        some, has_others = (n_lit > 0) & (after > 0), (lit > 0) & (others > 0)
        of_blocks = torch.where(some, log_slope(taken - n_lit, after - 1.0), 0.0)
        several = others.clamp(min=1.0)
        of_voxels = torch.where(has_others, log_slope(voxels - 1.0, rest - others, several), 0.0)
        slopes = of_blocks.sum(0) + of_voxels.sum((0, 1))  # per cut
        return self.log_prob(params, x) + slopes + self._free_numbers(x, energies)

    def sample(self, params: Walked, noise: Noise) -> Tensor:
        n, size = len(self.blocks), self.blocks.size
        of_voxels = noise.uniform(n, 3 * size, rows_last=True)
        of_bits, of_parts = of_voxels.tensor_split([size], 1)
        of_ends, of_choices = noise.uniform(n, 2, rows_last=True).unbind(1)
        energies = noise.normal(n, rows_last=True)
        of_blocks = torch.stack([torch.logit(of_ends, SMALLEST), of_choices, energies], 1)
        numbers = list(zip(torch.logit(of_bits, SMALLEST), of_parts, of_blocks, strict=True))
        logits = params.state.new_zeros(n, size, of_voxels.shape[2])

        def take(
            hidden: Hidden, follow: Follow, budget: Tensor, rows: Tensor, i: int, at: Weights
        ) -> tuple[Tensor, Tensor, Tensor]:
            (for_bits, for_total, for_split), networks = hidden, self.networks
            of_bits, of_parts, of_block = numbers[i]
            of_end, of_choice, of_energy = of_block.index_select(1, rows)
            says = networks.bits(for_bits, follow.bits, at)
            put(logits[i], rows, says.logit)
            lit, n_lit = says.draw(of_bits.index_select(1, rows), budget, self.blocks.sizes[i])

            free = budget - n_lit - 1.0
            end, total = networks.total(for_total, lit, free, at)
            y = total.chosen(of_choice[None]).draw(of_energy[None], free[None])[0]
            part, stays = portion(y)
            continues = mark(torch.ge, budget, n_lit + 1.0) * mark(torch.le, end, of_end)
            continues = continues * ~self.blocks.last[i]
            some = n_lit.sign()
            taken = choose(continues, n_lit + part * free, budget) * some
            left = choose(some, (1.0 + stays * free) * continues, budget)
            voxels, several = lit * taken, torch.nonzero(n_lit > 1.0)[:, 0]
            if len(several):  # something to divide
                those = functools.partial(torch.index_select, dim=-1, index=several)
                both, free, center = those(lit), those(taken - n_lit), those(follow.split)
                split = networks.split(
                    those(for_split), both, those(y), free, those(continues), center, at
                )
                choice, place = of_parts.index_select(1, rows[several]).chunk(2)
                draws = split.chosen(choice).draws(torch.logit(place, SMALLEST), sum_after(both))
                odds = [one.odds for one in draws.unstacked()]
                follows = networks.follows_within(those(follow.gates), at)
                size = self.blocks.sizes[i]
                put(voxels, several, divide(those(taken), both, odds, follows, size))
            return voxels, lit, left

        x = self._walk(params, take)
        lost = ((self.layers.sum(x) <= 0) & (params.energies > 0)).any(1).nonzero()[:, 0]
        if len(lost):
            brightest = self.layers.brightest(self.blocks.join(logits[:, :, lost]))
            x[lost] = self._rescued(x[lost], brightest, params.energies[lost])
        return self._normalised(x)

    def mean(self, params: Walked) -> Tensor:
        """Voxels lit by their probabilities, shares at the mean centre, given those before."""

        def take(
            hidden: Hidden, follow: Follow, budget: Tensor, rows: Tensor, i: int, at: Weights
        ) -> tuple[Tensor, Tensor, Tensor]:
            (for_bits, for_total, for_split), networks = hidden, self.networks
            says = networks.bits(for_bits, follow.bits, at)
            n_lit, bits = torch.zeros_like(budget), []
            for s in range(self.blocks.size):
                bits.append(torch.sigmoid(says.voxel(s).given(n_lit)))
                n_lit = n_lit + bits[-1]
            lit = torch.stack(bits) * (self.blocks.valid[i, :, None] & (budget >= 1.0 - TOLERANCE))
            n_lit = lit.sum(0).clamp(max=budget)
            free = budget - n_lit - 1.0
            ends = must_end(budget, n_lit) | self.blocks.last[i]
            y = networks.total(for_total, lit, free, at)[1].placed(free[None]).center_of_mass()[0]
            taken = torch.where(ends, budget, n_lit + portion(y)[0] * free)
            continues = (~ends).to(y)
            split = networks.split(for_split, lit, y, taken - n_lit, continues, follow.split, at)
            typical = split.portions_only().center_of_mass()

            def odds(s: int, free: Tensor, shift: Tensor) -> Tensor:
                return torch.exp((typical[s] + shift).clamp(max=FAR)) * lit[s]

            every = [functools.partial(odds, s) for s in range(self.blocks.size)]
            follows = networks.follows_within(follow.gates, at)
            voxels = divide(taken, lit, every, follows, self.blocks.sizes[i])
            return voxels, lit, torch.where(ends, 0.0, budget - taken)

        # Together: Jacobians are taken of this, of many rows at once.
        return self._normalised(self._walk(params, take, together=True))

    def _walk(self, params: Walked, take: Take, together: bool = False) -> Tensor:
        """Shares (B, V), block after block."""
        state, energies, moments = params
        dipoles = None if self.dipoles is None else self.dipoles.energies(moments, energies)
        walk = Walk(self.blocks, self.networks, self.dipoles, together)
        return walk(state, energies, dipoles, take)
