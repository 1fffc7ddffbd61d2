"""What was counted of halvings, by the energy of the patch that is halved."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_BINS, _PER_FOLD, _LOWEST = 64, 5.0, 0.6  # of log energies in cuts: how many, how fine, from where
_FINE, _FARTHEST = 480, 12.0  # bins of logits of portions, and where the last one ends
_KNOTS = 33  # quantiles of these that are kept
_ENOUGH = 400  # counts in a bin; else its neighbours are counted with it
_OF_ALL = 10.0  # counts that all kinds together lend to each bin
_GAP = 1e-3  # between knots, at least
_LEAST = 1e-3  # cuts: energies are told apart
_EVERYWHERE = 0.3  # of a case, beside what was counted
_FADES = 0.5  # a bin, of halves that are dark, where no shower had one
_RAREST = 1e-7  # and so much at least


class Place(NamedTuple):
    """Between the middles of which two bins patches (\\*) lie.

    Args:
        bins: The lower one's row of the tables, int64.
        part: How far they are on to the next one's.
    """

    bins: Tensor
    part: Tensor

    @classmethod
    def of_kind(cls, kind: Tensor) -> "Place":
        """The first bin of kinds, int64."""
        return cls(kind * _BINS, torch.zeros((), device=kind.device))


class Tables(nn.Module):
    """Frequencies of cases and quantiles of portions, by a patch's energy, of K kinds of patches.

    Between the middles of bins both are interpolated, so that edges of spectra, which lie at other
    portions of other energies, stay sharp.

    Args:
        kinds: How many kinds there are.
    """

    cases: Tensor
    portions: Tensor
    knots: Tensor
    gaps: Tensor
    corners: Tensor
    shift: Tensor
    before: Tensor

    def __init__(self, kinds: int) -> None:
        super().__init__()
        knots = torch.logit((torch.arange(_KNOTS) + 0.5) / _KNOTS)
        fixed = {
            "knots": knots,
            "gaps": knots.diff(),
            "corners": torch.tensor([0, 1, _KNOTS, _KNOTS + 1]).view(4, 1, 1),
            "shift": torch.tensor(-_LOWEST * _PER_FOLD - 0.5),
            "before": torch.tensor(-0.5),
        }
        for name, values in fixed.items():
            self.register_buffer(name, values, persistent=False)
        self.register_buffer("cases", torch.zeros(kinds * _BINS, 3))
        self.register_buffer("portions", knots.repeat(kinds * _BINS, 1))
        self._cases = torch.zeros(0)
        self._portions = torch.zeros(0)

    def add(self, case: Tensor, energy: Tensor, kind: Tensor, y: Tensor) -> None:
        """Take patches, all (N,).

        Args:
            case: Which half is lit, or 2 for both.
            energy: In cuts.
            kind: int64.
            y: Logits of first halves' portions, which count where both are lit.
        """
        bins = ((energy.log() - _LOWEST) * _PER_FOLD).long().clamp(0, _BINS - 1) + kind * _BINS
        both = case == 2
        at = ((y[both] + _FARTHEST) * (_FINE / 2 / _FARTHEST)).long().clamp(0, _FINE - 1)
        cases = torch.bincount(bins * 3 + case, minlength=self.cases.numel())
        portions = torch.bincount(bins[both] * _FINE + at, minlength=len(self.cases) * _FINE)
        # int32 and on the CPU: these are the largest numbers by far.
        cases, portions = cases.cpu().int(), portions.cpu().int()
        self._cases = self._cases + cases if len(self._cases) else cases
        self._portions = self._portions + portions if len(self._portions) else portions

    def finish(self) -> None:
        """Set the tables from what was added."""
        counts = self._cases.view(-1, _BINS, 3)
        cases = _fading(_widened(counts) + _EVERYWHERE, counts)
        self.cases.copy_(torch.log(cases / cases.sum(2, keepdim=True)).flatten(0, 1))
        kinds = self._portions.view(-1, 1, _BINS, _FINE)
        lent = kinds.sum((0, 1, 2), dtype=torch.float64)
        lent *= _OF_ALL / lent.sum().clamp(min=1.0)
        found = [_quantiles(_widened(one) + lent) for one in kinds]
        self.portions.copy_(torch.cat(found).flatten(0, 1))
        self._cases, self._portions = torch.zeros(0), torch.zeros(0)

    def place(self, energy: Tensor, kind: Place) -> Place:
        """Where patches (\\*) of energies in cuts and of kinds lie."""
        at = torch.add(self.shift, energy.clamp(min=_LEAST).log(), alpha=_PER_FOLD)
        at = at.clamp(0, _BINS - 1.001)
        # What is no number must not be a place either: it is found behind the batch.
        return Place(at.long().clamp_(0, _BINS - 2) + kind.bins, at.frac())

    def of_cases(self, place: Place) -> Tensor:
        """Log-probabilities of the cases, (3, \\*)."""
        low, high = self.cases[place.bins], self.cases[place.bins + 1]
        return low.lerp(high, place.part.unsqueeze(-1)).movedim(-1, 0)

    def standard(self, y: Tensor, place: Place) -> tuple[Tensor, Tensor]:
        """Logits of portions as numbers that would be standard logistic ones, and the log-slope.

        All (\\*): were a portion's distribution nothing but what was counted.
        """
        bins, part = place
        ends = self.portions[bins].lerp(self.portions[bins + 1], part.unsqueeze(-1))
        knot = (y.unsqueeze(-1) >= ends[..., 1:-1]).sum(-1)
        low, high = (ends.gather(-1, (knot + i).unsqueeze(-1)).squeeze(-1) for i in (0, 1))
        slope = self.gaps[knot] / (high - low)
        return self.knots[knot] + (y - low) * slope, slope.log()

    def portion(self, t: Tensor, place: Place) -> Tensor:
        """The inverse: logits of portions, (H, B)."""
        knot = torch.add(self.before, torch.sigmoid(t), alpha=_KNOTS).long().clamp(0, _KNOTS - 2)
        rows = self.corners + (place.bins * _KNOTS + knot)
        below, above = self.portions.view(-1)[rows].chunk(2)
        low, high = below.lerp(above, place.part).unbind(0)
        return torch.addcmul(low, (t - self.knots[knot]) / self.gaps[knot], high - low)


def _fading(cases: Tensor, counts: Tensor) -> Tensor:
    """Cases (K, bins, 3), of which a dark half fades beyond the last bin that had one in counts.

    What no shower did is not as likely everywhere: the more energy, the less so.
    """
    place = torch.arange(counts.shape[1])
    last = torch.where(counts[..., :2].sum(2) > 0, place, -1).amax(1, keepdim=True)
    beyond = (place - last - 1).clamp(min=0) * (counts.sum((1, 2)) > 0).view(-1, 1)
    share = cases / cases.sum(2, keepdim=True)
    at_last = share.gather(1, last.clamp(min=0).unsqueeze(2).expand(-1, 1, 3))[..., :2]
    dark = at_last * (_FADES ** beyond.double()).unsqueeze(2).clamp(min=_RAREST)
    there = share[..., :2]
    dark = torch.where(beyond.unsqueeze(2) > 0, torch.minimum(dark, there), there)
    return torch.cat([dark, 1.0 - dark.sum(2, keepdim=True)], 2)


def _widened(counts: Tensor) -> Tensor:
    """Counts (K, bins, .), float64, with so many bins next to each that they are enough."""
    counts = counts.double()
    found, totals = counts, counts.sum(2)
    done = totals >= _ENOUGH
    sums, totals = (F.pad(x.cumsum(1), [0] * (2 * x.dim() - 4) + [1, 0]) for x in (counts, totals))
    place, bins = torch.arange(counts.shape[1]), counts.shape[1]
    width = 1
    while not bool(done.all()) and width < 2 * bins:
        low, high = (place - width).clamp(min=0), (place + width + 1).clamp(max=bins)
        now = ~done & ((totals[:, high] - totals[:, low] >= _ENOUGH) | (width >= bins))
        found = torch.where(now.unsqueeze(2), sums[:, high] - sums[:, low], found)
        done, width = done | now, width + max(1, width // 2)
    return found


def _quantiles(counts: Tensor) -> Tensor:
    """Logits of portions at the knots, (K, bins, knots), of counts (K, bins, fine bins)."""
    below = F.pad((counts + 1e-9).cumsum(2), (1, 0))
    below = below / below[..., -1:]
    at = ((torch.arange(_KNOTS, dtype=torch.float64) + 0.5) / _KNOTS).expand(*below.shape[:2], -1)
    place = torch.searchsorted(below, at.contiguous()).clamp(1, _FINE)
    low, high = below.gather(2, place - 1), below.gather(2, place)
    width = 2 * _FARTHEST / _FINE
    found = width * (place - 1 + (at - low) / (high - low)) - _FARTHEST
    gaps = found.diff(dim=2).clamp(min=_GAP)
    return torch.cat([found[..., :1], found[..., :1] + gaps.cumsum(2)], 2)
