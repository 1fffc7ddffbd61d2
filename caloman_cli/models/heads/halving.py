"""How patches are halved at once: what a network says of it, and how it is drawn."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.models.heads.portions import (
    LEAST,
    Components,
    components,
    log_slope,
    logit,
    offsets,
    portion,
)
from caloman_cli.models.heads.shares import LogShares
from caloman_cli.models.nn.logistic import SMALLEST

TOLD = 2
"""Numbers that networks are told of a patch."""
_NEVER = -30.0  # the logit of what is impossible
_START = 0.3  # of the raw numbers' width, at first


def n_raw(components: int) -> int:
    """P, the raw numbers of a patch: three cases, and a mixture of K components."""
    return 3 + 3 * components


class HalvingNetwork(nn.Module):
    """What is told of a layer -> raw numbers of the patches that are halved.

    A perceptron reads the decoder's state and all patches of the layer; another one for each
    patch that is halved reads those next to it, so that what is local need not share the first
    one's hidden units.

    Args:
        state: Numbers of the decoder's state.
        patches: N, that are told.
        hidden: Width of the first one.
        local: Width of the others.
        near: Positions of patches next to those that are halved, N for none, int64 (H, M).
        raw: P.
    """

    near: Tensor

    def __init__(
        self, state: int, patches: int, hidden: int, local: int, near: Tensor, raw: int
    ) -> None:
        super().__init__()
        self.raw, self.halved = raw, len(near)
        self.hears = nn.Linear(state + TOLD * patches, hidden)
        self.says = nn.Linear(hidden, self.halved * raw)
        nn.init.normal_(self.says.weight, std=_START / hidden**0.5)
        nn.init.zeros_(self.says.bias)
        read = TOLD * near.shape[1]
        self.looks = nn.Parameter(torch.randn(self.halved, read + 1, local) / read**0.5)
        self.adds = nn.Parameter(torch.zeros(self.halved, local, raw))
        self.register_buffer("near", near.flatten(), persistent=False)

    def forward(self, state: Tensor, told: Tensor, around: Tensor) -> Tensor:
        """Of G layers, (B, P, G times H).

        Args:
            state: Of the layers, (B, G, S).
            told: Of their patches, (B, TOLD, G, N).
            around: What is told of patches in other layers, (B, G, .).
        """
        n, _, layers, _ = told.shape
        dense = torch.cat([state, told.transpose(1, 2).flatten(2), around], 2)
        raw = self.says(F.silu(self.hears(dense))).unflatten(2, (self.raw, -1))
        # The last place is no patch.
        close = F.pad(told, (0, 1)).index_select(3, self.near)
        close = (
            close.unflatten(3, (self.halved, -1)).permute(3, 0, 2, 1, 4).flatten(3).flatten(1, 2)
        )
        h = F.silu(torch.baddbmm(self.looks[:, -1:], close, self.looks[:, :-1]))
        added = torch.bmm(h, self.adds).unflatten(1, (n, layers)).permute(1, 3, 2, 0)
        return (raw.transpose(1, 2) + added).flatten(2)


class Halving(nn.Module):
    """H patches that go to their first halves, to their second ones, or to both.

    Energies are in units of the readout cut; raw numbers are (B, P, H).

    Args:
        patches: H.
        components: K of each mixture.
    """

    def __init__(self, patches: int, components: int) -> None:
        super().__init__()
        self.components = components
        self.logits = LogShares(1, patches)  # of the first half's portion
        self.firsts = LogShares(1, patches)  # log of its excess

    def measure(self, first: Tensor, second: Tensor) -> None:
        """Take rows: the halves' energies (B, H)."""
        both = ((first > 0) & (second > 0)).unsqueeze(1)
        self.logits.add(logit(first - 1.0, second - 1.0).unsqueeze(1), both)
        self.firsts.add(torch.log((first - 1.0).clamp(min=LEAST)).unsqueeze(1), both)

    def measured(self) -> None:
        """Set the statistics from what was taken."""
        self.logits.finish()
        self.firsts.finish()

    def standardised(self, first: Tensor, second: Tensor) -> Tensor:
        """The logits of portions of any two numbers (B, H), 0 where one of them is."""
        both = (first > 0) & (second > 0)
        odds = torch.log(torch.where(both, first, 1.0) / torch.where(both, second, 1.0))
        return torch.where(both, (odds - self.logits.mean[0]) / self.logits.std[0], 0.0)

    def log_prob(self, raw: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Of the halves' energies (B, H), per unit of the portions' logits, (B,)."""
        energy, alone = first + second, first > 0
        both = alone & (second > 0)
        cases, parts = self._says(raw, both | (energy >= 2.0))
        which = torch.where(both, 2, torch.where(alone, 0, 1)).unsqueeze(1)
        of_case = F.log_softmax(cases, 1).gather(1, which)[:, 0]
        y = logit(first - 1.0, second - 1.0).unsqueeze(1)
        of_part = parts.placed((energy - 2.0).unsqueeze(1)).log_prob(y, "logistic")[:, 0]
        found = torch.where(energy > 0, of_case, 0.0) + torch.where(both, of_part, 0.0)
        return found.sum(1)

    def log_slope(self, first: Tensor, second: Tensor) -> Tensor:
        """Log-slope of the portions' logits by the first halves' energies, (B,)."""
        both = (first > 0) & (second > 0)
        return torch.where(both, log_slope(first - 1.0, second - 1.0), 0.0).sum(1)

    def draw(self, raw: Tensor, energy: Tensor, uniform: Tensor) -> Tensor:
        """First and second halves' energies, (B, 2 H).

        Args:
            raw: Of the network.
            energy: Of the patches, (B, H).
            uniform: Numbers in (0, 1), (B, 3, H).
        """
        cases, parts = self._says(raw, energy >= 2.0)
        p = torch.softmax(cases, 1)
        of_case, of_component, of_part = uniform.unbind(1)
        excess, free = energy.unsqueeze(1) - 2.0, (energy - 2.0).clamp(min=0.0)
        chosen = parts.chosen(of_component.unsqueeze(1))
        r, s = portion(chosen.draw(torch.logit(of_part, SMALLEST).unsqueeze(1), excess)[:, 0])
        no_second = (of_case < p[:, 0]) | (energy <= 0)
        # Probabilities are rounded: exactly one case, and both only where there is energy for it.
        no_first = ((of_case >= 1.0 - p[:, 1]) | (energy < 2.0)) & ~no_second
        first = torch.where(no_second, energy, (1.0 + r * free).masked_fill(no_first, 0.0))
        second = torch.where(no_first, energy, (1.0 + s * free).masked_fill(no_second, 0.0))
        return torch.cat([first, second], 1)

    def mean(self, raw: Tensor, energy: Tensor) -> Tensor:
        """Halves by the probabilities of the cases and the components' mean centre, (B, 2 H)."""
        cases, parts = self._says(raw, energy >= 2.0)
        alone, _, both = torch.softmax(cases, 1).unbind(1)
        placed = parts.placed((energy - 2.0).unsqueeze(1))
        r, _ = portion(placed.center_of_mass()[:, 0])
        part = torch.minimum(1.0 + r * (energy - 2.0).clamp(min=0.0), energy)
        first = energy * alone + part * both
        return torch.cat([first, energy - first], 1)

    def _says(self, raw: Tensor, possible: Tensor) -> tuple[Tensor, Components]:
        """Logits of the three cases (B, 3, H) and components (B, K, 1, H).

        Both halves can be lit where it is ``possible``.
        """
        both = torch.where(possible, raw[:, 2], _NEVER)
        cases = torch.cat([raw[:, :2], both.unsqueeze(1)], 1)
        logits, firsts = self.logits, self.firsts
        at = offsets(self.components, logits.mean, logits.std, firsts.mean, firsts.std)
        return cases, components(raw[:, 3:].unsqueeze(2), at)
