"""How patches are halved at once: what a network says of it, and how it is drawn."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.models.heads.shares import LogShares
from caloman_cli.models.nn.logistic import LOG_SCALE, SHIFT, log_logistic, log_mixture
from caloman_cli.models.nn.marks import choose, mark

CASES = 3
"""The first half takes all, the second one, or both are lit."""
_NEVER = -1e4  # added to the logit of what is impossible
_START = 0.3  # of the raw numbers' width, at first
_LEAST = 1e-3  # cuts: the resolution of an excess
_LARGEST = -0.05  # log of the portion that an energy is, if it is nearly all there is or more


def n_raw(components: int) -> int:
    """P, the raw numbers of a patch: three cases, and a mixture of K components."""
    return CASES + 3 * components


class HalvingNetwork(nn.Module):
    """What is told of layers -> raw numbers of the patches that are halved.

    A perceptron reads the decoder's state and all patches of a layer; others read what is next to
    each patch that is halved, so that what is local need not share the first one's hidden units.
    Patches that differ by their angle share these: a shower looks the same if it is turned.
    Rows of showers are last.

    Args:
        all_of: Rows of the table that the first one reads, int64 (M, G), of G layers.
        next_to: Those that the others read, int64 (H, N, G).
        kinds: Which of the others is each patch's, int64 (H,).
        hidden: Width of the first one.
        local: Width of the others.
        raw: P.
        gain: Of what the others say, which is nothing at first: an optimiser's step moves it so
            much further.

    Attributes:
        footprint: Numbers per shower that exist at once.
    """

    all_of: Tensor
    next_to: Tensor
    kinds: Tensor

    def __init__(
        self,
        all_of: Tensor,
        next_to: Tensor,
        kinds: Tensor,
        hidden: int,
        local: int,
        raw: int,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.gain = gain
        self.halved, read, self.layers = next_to.shape
        n = int(kinds.max()) + 1
        self.hears = nn.Linear(len(all_of), hidden)
        self.says = nn.Parameter(torch.randn(self.halved * raw, hidden) * _START / hidden**0.5)
        self.looks = nn.Parameter(torch.randn(n, local, read) / read**0.5)
        self.sees = nn.Parameter(torch.randn(n, local, 1) / read**0.5)
        self.adds = nn.Parameter(torch.zeros(n, raw, local))
        self.bias = nn.Parameter(torch.zeros(self.halved, raw, 1))
        self.register_buffer("all_of", all_of.flatten(), persistent=False)
        self.register_buffer("next_to", next_to.flatten(), persistent=False)
        self.register_buffer("kinds", kinds, persistent=False)
        said = hidden + self.halved * (local + 2 * raw)
        self.footprint = all_of.numel() + next_to.numel() + said * self.layers

    def forward(self, table: Tensor) -> Tensor:
        """Of a table (R, B) of what is known, (P, H times G, B)."""
        n = table.shape[1]
        dense = table.index_select(0, self.all_of).view(-1, self.layers * n)
        h = F.silu(torch.addmm(self.hears.bias.unsqueeze(1), self.hears.weight, dense))
        of_all = torch.mm(self.says, h).view(self.halved, -1, self.layers * n)
        close = table.index_select(0, self.next_to).view(self.halved, -1, self.layers * n)
        looks, sees, adds = (
            x.index_select(0, self.kinds) for x in (self.looks, self.sees, self.adds)
        )
        h = F.silu(torch.baddbmm(sees, looks, close))
        raw = torch.baddbmm(of_all, adds, h, alpha=self.gain) + self.bias
        return raw.view(self.halved, -1, self.layers, n).transpose(0, 1).flatten(1, 2)


class Offsets(NamedTuple):
    """Where the K components of halvings lie, fields (K, H, 1).

    Args:
        shift: Centres whose raw number is 0.
        scale: How far the raw number 1 moves them.
        log_scale: What is added to the raw logarithms of their scales.
    """

    shift: Tensor
    scale: Tensor
    log_scale: Tensor


class Halving(nn.Module):
    """H patches that go to their first halves, to their second ones, or to both.

    Energies are in units of the readout cut; raw numbers are (P, H, B).

    Args:
        groups: How many of them lend each other statistics, where few are lit.
        components: K of each mixture, the last one at an energy.
    """

    start: Tensor
    never: Tensor

    def __init__(self, groups: list[int], components: int) -> None:
        super().__init__()
        self.sizes = [CASES, components, components, components]
        self.logits = LogShares(sum(groups), groups=groups)  # of the first half's portion
        self.firsts = LogShares(sum(groups), groups=groups)  # log of its excess
        # Where components begin, in widths: those at portions apart from each other.
        start = torch.linspace(-1.0, 1.0, components - 1) if components > 2 else torch.zeros(1)
        self.register_buffer("start", F.pad(start, (0, 1))[:, None, None], persistent=False)
        never = torch.tensor([0.0, 0.0, _NEVER])[:, None, None]
        self.register_buffer("never", never, persistent=False)

    def measure(self, first: Tensor, second: Tensor) -> None:
        """Take rows: the halves' energies (H, B)."""
        both = ((first > 0) & (second > 0)).mT
        self.logits.add(_logit(first, second).mT, both)
        self.firsts.add(_excess(first).log().mT, both)

    def measured(self) -> None:
        """Set the statistics from what was taken."""
        self.logits.finish()
        self.firsts.finish()

    def offsets(self) -> Offsets:
        """Where all components lie."""
        k = self.sizes[1] - 1
        shift, scale = (
            torch.stack([of_portions] * k + [of_energy]).unsqueeze(2)
            for of_portions, of_energy in (
                (self.logits.mean, self.firsts.mean),
                (self.logits.std, self.firsts.std),
            )
        )
        return Offsets(shift + scale * self.start, scale, scale.log() + SHIFT)

    def standardised(self, first: Tensor, second: Tensor) -> Tensor:
        """The logits of portions of any two numbers (H, B), 0 where one of them is."""
        both = (first > 0) & (second > 0)
        odds = torch.log(torch.where(both, first, 1.0) / torch.where(both, second, 1.0))
        mean, std = self.logits.mean.unsqueeze(1), self.logits.std.unsqueeze(1)
        return torch.where(both, (odds - mean) / std, 0.0)

    def log_prob(self, raw: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Of the halves' energies (H, B), per unit of the portions' logits, (B,)."""
        energy, alone = first + second, first > 0
        both = alone & (second > 0)
        impossible = (~both & (energy < 2.0)).to(energy)
        cases, weight, center, log_scale = self._says(raw, impossible, self.offsets())
        which = torch.where(both, 2, torch.where(alone, 0, 1)).unsqueeze(0)
        of_case = F.log_softmax(cases, 0).gather(0, which)[0]
        t = (_logit(first, second) - self._placed(center, energy)) * torch.exp(-log_scale)
        of_part = log_mixture(weight, log_logistic(t) - log_scale, 0)
        found = torch.where(energy > 0, of_case, 0.0) + torch.where(both, of_part, 0.0)
        return found.sum(0)

    def log_slope(self, first: Tensor, second: Tensor) -> Tensor:
        """Log-slope of the portions' logits by the first halves' energies, (B,)."""
        both = (first > 0) & (second > 0)
        first, second = _excess(first), _excess(second)
        slope = torch.log(first + second) - torch.log(first) - torch.log(second)
        return torch.where(both, slope, 0.0).sum(0)

    def draw(self, raw: Tensor, energy: Tensor, random: Tensor, at: Offsets) -> Tensor:
        """First and second halves' energies, (2 H, B).

        Args:
            raw: Of the network.
            energy: Of the patches, (H, B).
            random: Two uniform numbers in (0, 1) and a logistic one, (3, H, B).
            at: Where components lie.
        """
        of_case, of_component, noise = random.unbind(0)
        impossible = mark(torch.lt, energy, 2.0)
        cases, weight, center, log_scale = self._says(raw, impossible, at)
        alone, other, _ = torch.softmax(cases, 0).unbind(0)
        left = energy - 2.0
        free = left.clamp(min=_LEAST)
        log_free = free.log()
        center, log_scale, fixed = _chosen(weight, center, log_scale, of_component)
        center = choose(fixed, _portion(center, free, log_free), center)
        y = torch.addcmul(center, log_scale.exp(), noise)
        # Probabilities are rounded: exactly one case, and both only where there is energy for it.
        no_second = mark(torch.lt, of_case, alone)
        second = 1.0 - no_second
        both = mark(torch.lt, of_case + other, 1.0) * (1.0 - impossible) * second
        parts = torch.sigmoid(torch.cat([y, -y])).unflatten(0, (2, -1))
        one = torch.stack([no_second, second - both])
        return torch.addcmul(one * energy, 1.0 + parts * left, both).flatten(0, 1)

    def mean(self, raw: Tensor, energy: Tensor, at: Offsets) -> Tensor:
        """Halves by the probabilities of the cases and the components' mean centre, (2 H, B)."""
        impossible = (energy < 2.0).to(energy)
        cases, weight, center, _ = self._says(raw, impossible, at)
        alone, _, both = torch.softmax(cases, 0).unbind(0)
        y = (torch.softmax(weight, 0) * self._placed(center, energy)).sum(0)
        part = torch.minimum(1.0 + torch.sigmoid(y) * (energy - 2.0).clamp(min=0.0), energy)
        first = energy * alone + part * both
        return torch.cat([first, energy - first])

    def _says(self, raw: Tensor, impossible: Tensor, at: Offsets) -> tuple[Tensor, ...]:
        """Logits of the cases (3, H, B); logits of the weights, centres and log-scales (K, H, B).

        Both halves cannot be lit where ``impossible`` is 1.
        """
        cases, weight, center, log_scale = raw.split(self.sizes)
        center = torch.addcmul(at.shift, at.scale, center)
        log_scale = log_scale.clamp(*LOG_SCALE) + at.log_scale
        return torch.addcmul(cases, self.never, impossible), weight, center, log_scale

    def _placed(self, center: Tensor, energy: Tensor) -> Tensor:
        """All centres as logits of portions of what is free of patches' energies (H, B)."""
        free = _excess(energy - 1.0)
        return torch.cat([center[:-1], _portion(center[-1:], free, free.log())])


def _excess(energy: Tensor) -> Tensor:
    """What an energy has over the cut, as finely as is resolved."""
    return (energy - 1.0).clamp(min=_LEAST)


def _logit(first: Tensor, second: Tensor) -> Tensor:
    """Of the portion that the first of two has of their excess."""
    return torch.log(_excess(first) / _excess(second))


def _portion(log_energy: Tensor, free: Tensor, log_free: Tensor) -> Tensor:
    """The logit of an energy's portion of what is free."""
    log_energy = torch.minimum(log_energy, log_free + _LARGEST)
    return log_energy - torch.log(free - log_energy.exp())


def _chosen(
    weight: Tensor, center: Tensor, log_scale: Tensor, uniform: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Centre and log-scale of one component for each number in (0, 1); 1 where it is the last."""
    weights = torch.softmax(weight, 0).unbind(0)
    at, *centers = center.unbind(0)
    width, *log_scales = log_scale.unbind(0)
    below, last = weights[0], torch.zeros_like(at)
    for more, other, its in zip(weights[1:], centers, log_scales, strict=True):
        last = mark(torch.le, below, uniform)
        at, width = choose(last, other, at), choose(last, its, width)
        below = below + more
    return at, width, last
