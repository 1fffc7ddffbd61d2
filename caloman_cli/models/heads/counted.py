"""Halvings that begin with what was counted: how often halves are lit, and how they share."""

from collections.abc import Iterator

import torch
from torch import Tensor

from caloman_cli.models.heads.halving import Halving, chosen, logit
from caloman_cli.models.heads.tables import Place, Tables
from caloman_cli.models.nn.logistic import LOG_SCALE, log_logistic, log_mixture


class CountedHalving(Halving[Place]):
    """Networks say how halvings differ from those of all patches of a kind at such an energy.

    Cases have the logarithms of their frequencies to begin with, and portions are standard
    logistic numbers once they are put through their distribution: a sharp edge of voxels' spectrum
    is there before the first step. ``At`` is where a patch lies in the tables: of a step the first
    bin of its kind, (H, 1).

    Args:
        groups: How many patches each step halves.
        components: K of each mixture.
        kinds: Of what is halved, of one tree of a step after the other, int64.
        layers: How many layers each of these has, one behind the other.
    """

    kinds: Tensor

    def __init__(
        self, groups: list[int], components: int, kinds: list[Tensor], layers: list[int]
    ) -> None:
        super().__init__(groups, components)
        numbers, n = [torch.zeros(0, dtype=torch.long)], 0
        for own, repeated in zip(kinds, layers, strict=True):
            numbers.append((own + n).repeat_interleave(repeated))
            n += int(own.max()) + 1
        self.register_buffer("kinds", torch.cat(numbers), persistent=False)
        self.counted = Tables(n)

    def measure(self, first: Tensor, second: Tensor) -> None:
        super().measure(first, second)
        energy, case, rows, columns = self._there(first, second)
        y = logit(first[rows, columns], second[rows, columns])
        self.counted.add(case, energy, self.kinds[rows], y)

    def measured(self) -> None:
        super().measured()
        self.counted.finish()

    def steps(self) -> Iterator[Place]:
        bins, part = Place.of_kind(self.kinds.unsqueeze(1))
        return (Place(own, part) for own in bins.split(self.groups))

    def log_prob(self, raw: Tensor, first: Tensor, second: Tensor) -> Tensor:
        energy, case, rows, columns = self._there(first, second)  # few patches are lit
        place, both = self.counted.place(energy, Place.of_kind(self.kinds[rows])), case == 2
        cases, *mixture = raw[:, rows, columns].split(self.sizes)
        impossible = (~both & (energy < 2.0)).to(energy)
        of_cases = torch.log_softmax(self._cases(cases, impossible, place), 0)
        found = of_cases.gather(0, case.unsqueeze(0))[0]
        weight, center, log_scale = (part[:, both] for part in mixture)
        y = logit(first[rows, columns][both], second[rows, columns][both])
        t, slope = self.counted.standard(y, Place(place.bins[both], place.part[both]))
        log_scale = log_scale.clamp(*LOG_SCALE)
        parts = log_logistic((t - center) * torch.exp(-log_scale)) - log_scale
        of_part = log_mixture(weight, parts, 0) + slope
        sums = raw.new_zeros(raw.shape[2]).index_add(0, columns, found)
        return sums.index_add(0, columns[both], of_part)

    def _there(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Energies and cases of the N lit patches, and which they are: rows and columns."""
        rows, columns = ((first > 0) | (second > 0)).nonzero(as_tuple=True)
        one, other = first[rows, columns], second[rows, columns]
        case = torch.where(other > 0, torch.where(one > 0, 2, 1), 0)
        return one + other, case, rows, columns

    def _at(self, energy: Tensor, at: Place) -> Place:
        return self.counted.place(energy, at)

    def _cases(self, cases: Tensor, impossible: Tensor, at: Place) -> Tensor:
        said = cases + self.counted.of_cases(at)
        never = self.never if impossible.dim() > 1 else self.never[..., 0]
        return torch.addcmul(said, never, impossible)

    def _drawn(
        self,
        mixture: list[Tensor],
        left: Tensor,
        of_component: Tensor,
        noise: Tensor,
        at: Place,
    ) -> Tensor:
        weight, center, log_scale = mixture
        center, log_scale, _ = chosen(weight, center, log_scale.clamp(*LOG_SCALE), of_component)
        return self.counted.portion(torch.addcmul(center, log_scale.exp(), noise), at)

    def _typical(self, mixture: list[Tensor], energy: Tensor, at: Place) -> Tensor:
        weight, center, _ = mixture
        return self.counted.portion((torch.softmax(weight, 0) * center).sum(0), at)
