"""How patches are halved at once: what networks say of it, and how it is drawn."""

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.models.heads.shares import LogShares
from caloman_cli.models.nn.logistic import LOG_SCALE, SHIFT, log_logistic, log_mixture
from caloman_cli.models.nn.marks import choose, mark

CASES = 3
"""The first half takes all, the second one, or both are lit."""
_NEVER = -1e4  # added to the logit of what is impossible
_LEAST = 1e-3  # cuts: the resolution of an excess
_LARGEST = -0.05  # log of the portion that an energy is, if it is nearly all there is or more

At = TypeVar("At")


def n_raw(components: int) -> int:
    """P, the raw numbers of a patch: three cases, and a mixture of K components."""
    return CASES + 3 * components


class Halving(nn.Module, Generic[At]):
    """H patches that go to their first halves, to their second ones, or to both.

    Energies are in units of the readout cut; raw numbers are (P, H, B). ``At`` is what a step has
    to know of its patches beside these.

    Args:
        groups: How many patches each step halves; these lend each other statistics, where few are
            lit.
        components: K of each mixture.
    """

    never: Tensor

    def __init__(self, groups: list[int], components: int) -> None:
        super().__init__()
        self.groups, self.sizes = groups, [CASES, components, components, components]
        self.logits = LogShares(sum(groups), groups=groups)  # of the first half's portion
        never = torch.tensor([0.0, 0.0, _NEVER])[:, None, None]
        self.register_buffer("never", never, persistent=False)

    def measure(self, first: Tensor, second: Tensor) -> None:
        """Take rows: the halves' energies (H, B)."""
        self.logits.add(logit(first, second).mT, ((first > 0) & (second > 0)).mT)

    def measured(self) -> None:
        """Set the statistics from what was taken."""
        self.logits.finish()

    def steps(self) -> Iterator[At]:
        """What each step has to know."""
        raise NotImplementedError

    def log_prob(self, raw: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Of the halves' energies (H, B), per unit of the portions' logits, (B,)."""
        raise NotImplementedError

    def standardised(self, first: Tensor, second: Tensor) -> Tensor:
        """The logits of portions of any two numbers (H, B), 0 where one of them is."""
        both = (first > 0) & (second > 0)
        odds = torch.log(torch.where(both, first, 1.0) / torch.where(both, second, 1.0))
        mean, std = self.logits.mean.unsqueeze(1), self.logits.std.unsqueeze(1)
        return torch.where(both, (odds - mean) / std, 0.0)

    def log_slope(self, first: Tensor, second: Tensor) -> Tensor:
        """Log-slope of the portions' logits by the first halves' energies, (B,)."""
        both = (first > 0) & (second > 0)
        first, second = excess(first), excess(second)
        slope = torch.log(first + second) - torch.log(first) - torch.log(second)
        return torch.where(both, slope, 0.0).sum(0)

    def draw(self, raw: Tensor, energy: Tensor, random: Tensor, at: At) -> Tensor:
        """First and second halves' energies, (2 H, B).

        Args:
            raw: Of the network.
            energy: Of the patches, (H, B).
            random: Two uniform numbers in (0, 1) and a logistic one, (3, H, B).
            at: Of the step.
        """
        of_case, of_component, noise = random.unbind(0)
        impossible, left = mark(torch.lt, energy, 2.0), energy - 2.0
        cases, *mixture = raw.split(self.sizes)
        at = self._at(energy, at)
        alone, other, _ = torch.softmax(self._cases(cases, impossible, at), 0).unbind(0)
        y = self._drawn(mixture, left, of_component, noise, at)
        # Probabilities are rounded: exactly one case, and both only where there is energy for it.
        no_second = mark(torch.lt, of_case, alone)
        second = 1.0 - no_second
        both = mark(torch.lt, of_case + other, 1.0) * second
        both = torch.addcmul(both, both, impossible, value=-1.0)
        parts = torch.sigmoid(torch.cat([y, -y])).unflatten(0, (2, -1))
        one = torch.stack([no_second, second - both])
        return torch.addcmul(one * energy, 1.0 + parts * left, both).flatten(0, 1)

    def mean(self, raw: Tensor, energy: Tensor, at: At) -> Tensor:
        """Halves by the probabilities of the cases and the components' mean centre, (2 H, B)."""
        alone, _, both = self.probabilities(raw, energy, at).unbind(0)
        y = self._typical(list(raw.split(self.sizes)[1:]), energy, self._at(energy, at))
        part = torch.minimum(1.0 + torch.sigmoid(y) * (energy - 2.0).clamp(min=0.0), energy)
        first = energy * alone + part * both
        return torch.cat([first, energy - first])

    def probabilities(self, raw: Tensor, energy: Tensor, at: At) -> Tensor:
        """Of the first half alone, the second one alone and both, (3, H, B)."""
        cases, *_ = raw.split(self.sizes)
        return torch.softmax(
            self._cases(cases, (energy < 2.0).to(energy), self._at(energy, at)), 0
        )

    def _at(self, energy: Tensor, at: At) -> At:
        """What is to know of a step's patches at their energies (H, B)."""
        return at

    def _cases(self, cases: Tensor, impossible: Tensor, at: At) -> Tensor:
        """Logits of the cases (3, H, B): not both halves where ``impossible`` is 1."""
        return torch.addcmul(cases, self.never, impossible)

    def _drawn(
        self,
        mixture: list[Tensor],
        left: Tensor,
        of_component: Tensor,
        noise: Tensor,
        at: At,
    ) -> Tensor:
        """Logits of portions of what is ``left`` of energies, (H, B).

        Args:
            mixture: Raw weights, centres and log-scales, (K, H, B) each.
            left: Over two cuts.
            of_component, noise: A uniform and a logistic number for each.
            at: Of the step, at their energies.
        """
        raise NotImplementedError

    def _typical(self, mixture: list[Tensor], energy: Tensor, at: At) -> Tensor:
        """The same of the components' mean centre."""
        raise NotImplementedError


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


class PlacedHalving(Halving[Offsets]):
    """Components of portions' logits, placed by their mean and width; the last at an energy."""

    start: Tensor

    def __init__(self, groups: list[int], components: int) -> None:
        super().__init__(groups, components)
        self.firsts = LogShares(sum(groups), groups=groups)  # log of its excess
        # Where components begin, in widths: those at portions apart from each other.
        start = torch.linspace(-1.0, 1.0, components - 1) if components > 2 else torch.zeros(1)
        self.register_buffer("start", F.pad(start, (0, 1))[:, None, None], persistent=False)

    def measure(self, first: Tensor, second: Tensor) -> None:
        super().measure(first, second)
        self.firsts.add(excess(first).log().mT, ((first > 0) & (second > 0)).mT)

    def measured(self) -> None:
        super().measured()
        self.firsts.finish()

    def steps(self) -> Iterator[Offsets]:
        parts = (field.split(self.groups, 1) for field in self.offsets())
        return map(Offsets._make, zip(*parts, strict=True))

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

    def log_prob(self, raw: Tensor, first: Tensor, second: Tensor) -> Tensor:
        energy, alone, at = first + second, first > 0, self.offsets()
        both = alone & (second > 0)
        impossible = (~both & (energy < 2.0)).to(energy)
        cases, weight, *says = raw.split(self.sizes)
        cases = self._cases(cases, impossible, at)
        center, log_scale = self._says(says, at)
        which = torch.where(both, 2, torch.where(alone, 0, 1)).unsqueeze(0)
        of_case = F.log_softmax(cases, 0).gather(0, which)[0]
        t = (logit(first, second) - self._placed(center, energy)) * torch.exp(-log_scale)
        of_part = log_mixture(weight, log_logistic(t) - log_scale, 0)
        found = torch.where(energy > 0, of_case, 0.0) + torch.where(both, of_part, 0.0)
        return found.sum(0)

    def _drawn(
        self,
        mixture: list[Tensor],
        left: Tensor,
        of_component: Tensor,
        noise: Tensor,
        at: Offsets,
    ) -> Tensor:
        weight, *says = mixture
        center, log_scale, fixed = chosen(weight, *self._says(says, at), of_component)
        free = left.clamp(min=_LEAST)
        center = choose(fixed, _portion(center, free, free.log()), center)
        return torch.addcmul(center, log_scale.exp(), noise)

    def _typical(self, mixture: list[Tensor], energy: Tensor, at: Offsets) -> Tensor:
        weight, *says = mixture
        center, _ = self._says(says, at)
        return (torch.softmax(weight, 0) * self._placed(center, energy)).sum(0)

    def _says(self, raw: list[Tensor], at: Offsets) -> tuple[Tensor, Tensor]:
        """Centres and log-scales (K, H, B) of raw ones."""
        center, log_scale = raw
        log_scale = log_scale.clamp(*LOG_SCALE) + at.log_scale
        return torch.addcmul(at.shift, at.scale, center), log_scale

    def _placed(self, center: Tensor, energy: Tensor) -> Tensor:
        """All centres as logits of portions of what is free of patches' energies (H, B)."""
        free = excess(energy - 1.0)
        return torch.cat([center[:-1], _portion(center[-1:], free, free.log())])


def excess(energy: Tensor) -> Tensor:
    """What an energy has over the cut, as finely as is resolved."""
    return (energy - 1.0).clamp(min=_LEAST)


def logit(first: Tensor, second: Tensor) -> Tensor:
    """Of the portion that the first of two has of their excess."""
    return torch.log(excess(first) / excess(second))


def _portion(log_energy: Tensor, free: Tensor, log_free: Tensor) -> Tensor:
    """The logit of an energy's portion of what is free."""
    log_energy = torch.minimum(log_energy, log_free + _LARGEST)
    return log_energy - torch.log(free - log_energy.exp())


def chosen(
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
