r"""Portions of an energy: mixtures on a logarithmic scale that have no impossible values.

What is divided are energies above the readout cut, the excess that is free once every lit voxel
has its cut. A portion r of it that m others share the rest of is drawn as

.. math::
    y = \mathrm{logit}\,(1 - (1 - r)^m) ,

of which any value is possible: no truncation, no normalisation, no draw that does not fit. For
m + 1 parts of a whole that is divided uniformly, y is a standard logistic variable. The last of
the K components is centred at an energy and not at a portion: single particles that cross a cell
leave an edge in MeV.

Voxels divide with logistic components, whose tails are the natural ones at the cut. Blocks take
their energies with normal ones: over a hundred draws in a row, the tails of logistic distributions
sooner or later take a layer's whole energy.

References:
    Connor, Mosimann (1969), Concepts of independence for proportions, JASA 64, 194.
"""

import functools
import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from caloman_cli.models.nn.logistic import LOG_SCALE, SHIFT, log_logistic
from caloman_cli.models.nn.marks import choose, mark

_LARGEST = -0.05  # log of the portion that an energy is, if it is nearly all there is or more
_MINUS_MOST = -math.exp(_LARGEST)
LEAST = 1e-3  # cuts: the resolution of an excess
_TINY = 1e-9
FAR = 50.0  # of the logarithm of odds: nothing is left
_HALF_LOG_TAU = 0.5 * math.log(math.tau)


Family = Literal["normal", "logistic"]

Scale = tuple[Tensor, Tensor]
"""What standardised logarithms of excesses are relative to, mean and width."""


class Components(NamedTuple):
    """K components, each field of shape (\\*, K, S, B).

    Args:
        weight: Logits of the weights.
        center: y of portions; of the last component, the log of an excess over the cut.
        log_scale: Logarithms of the scales.
    """

    weight: Tensor
    center: Tensor
    log_scale: Tensor

    def placed(self, free: Tensor, others: Tensor | float = 1.0) -> "Components":
        """All centres as y of portions of the free excess (\\*, S, B)."""
        if isinstance(others, Tensor):
            others = others.unsqueeze(-3)
        fixed = _fixed(self.center[..., -1:, :, :], free.unsqueeze(-3), others)
        return self._replace(center=torch.cat([self.center[..., :-1, :, :], fixed], -3))

    def log_prob(self, y: Tensor, family: Family) -> Tensor:
        """Log-density of y (\\*, S, B) [nats]."""
        t = (y.unsqueeze(-3) - self.center) * torch.exp(-self.log_scale)
        density = -0.5 * t.square() - _HALF_LOG_TAU if family == "normal" else log_logistic(t)
        weight = F.log_softmax(self.weight, -3)
        return torch.logsumexp(weight + density - self.log_scale, -3)

    def portions_only(self) -> "Components":
        """Without the component at an energy."""
        return Components(*(field[..., :-1, :, :] for field in self))

    def center_of_mass(self) -> Tensor:
        """Weighted mean of the centres, (\\*, S, B)."""
        return (torch.softmax(self.weight, -3) * self.center).sum(-3)

    def chosen(self, uniform: Tensor) -> "Component":
        """One component for each of the numbers in [0, 1), shape (\\*, S, B)."""
        weights = torch.softmax(self.weight, -3).unbind(-3)
        center, *centers = self.center.unbind(-3)
        log_scale, *log_scales = self.log_scale.unbind(-3)
        below, fixed = weights[0], torch.zeros_like(uniform)
        for weight, at, width in zip(weights[1:], centers, log_scales, strict=True):
            fixed = mark(torch.le, below, uniform)
            center, log_scale = choose(fixed, at, center), choose(fixed, width, log_scale)
            below = below + weight
        return Component(center, log_scale.exp(), fixed)


class Component(NamedTuple):
    """One component each; ``fixed`` is 1 where the centre is the log of an excess."""

    center: Tensor
    scale: Tensor
    fixed: Tensor

    def draw(
        self,
        noise: Tensor,
        free: Tensor,
        others: Tensor | float = 1.0,
        shift: Tensor | float = 0.0,
    ) -> Tensor:
        """y of a portion of the free excess; ``noise`` is standard, of the family, and ``shift``
        is added to the centre of a portion."""
        fixed = _fixed(self.center, free, others)
        return choose(self.fixed, fixed, self.center + shift) + self.scale * noise

    def draws(self, noise: Tensor, others: Tensor) -> "Draws":
        """The same for portions that are taken one after the other, fields (S, B).

        Args:
            noise: Standard, of the family.
            others: How many share what a place leaves.
        """
        log_odds = self.center.clamp(-FAR, FAR)
        factor = torch.exp((self.scale * noise).clamp(-FAR, FAR))
        return Draws(log_odds, -torch.exp(log_odds), factor, self.fixed, -others)


class Draws(NamedTuple):
    """Draws that wait for what is free, each field (S, B) or, of one place, (B,).

    Args:
        log_odds: Of a portion, before noise and shift.
        energy: Minus the excess that the centre is, where ``fixed`` is 1.
        factor: Of the odds: the noise.
        fixed: Whether the component is at an energy.
        others: Minus how many share the rest.
    """

    log_odds: Tensor
    energy: Tensor
    factor: Tensor
    fixed: Tensor
    others: Tensor

    def unstacked(self) -> list["Draws"]:
        """One after the other."""
        fields = (field.unbind(0) for field in self)
        return [Draws(*one) for one in zip(*fields, strict=True)]

    def odds(self, free: Tensor, shift: Tensor) -> Tensor:
        """exp(y) at one place; ``shift`` is added to the centre of a portion."""
        portion = (self.energy / free.clamp(min=LEAST)).clamp(min=_MINUS_MOST)
        of_energy = torch.expm1(self.others * torch.log1p(portion))
        of_portion = torch.exp((self.log_odds + shift).clamp(max=FAR))
        return choose(self.fixed, of_energy, of_portion) * self.factor


class Offsets(NamedTuple):
    """What the raw numbers of K components are relative to, each field (\\*, K, S, B or 1).

    Args:
        shift: Where a component lies whose raw centre is 0.
        scale: How far the raw centre 1 moves it.
        log_scale: Its logarithm, with what is added to all raw scales.
    """

    shift: Tensor
    scale: Tensor
    log_scale: Tensor

    def moved(self, portions: Tensor) -> "Offsets":
        """The components at portions moved by ``portions`` (\\*, S, B)."""
        k, device = self.shift.shape[-3], self.shift.device
        shift = torch.addcmul(self.shift, _at_portions(k, device), portions.unsqueeze(-3))
        return self._replace(shift=shift)

    def of_several(self, log_n: Tensor) -> "Offsets":
        """For the sum of n alike, given log n (\\*, 1, B): larger, narrower in the logarithm."""
        log_n = log_n.unsqueeze(-3)
        narrow = -0.5 * log_n
        return Offsets(self.shift + log_n, self.scale * torch.exp(narrow), self.log_scale + narrow)


def offsets(k: int, mean: Tensor, std: Tensor, level: Tensor, spread: Tensor) -> Offsets:
    """Of K components.

    Args:
        k: K.
        mean, std: Where the logits of portions lie, (\\*, S, 1).
        level, spread: Where the logs of excesses over the cut lie, the same.
    """
    shift, scale = (
        torch.stack([of_portions] * (k - 1) + [of_energy], -3)
        for of_portions, of_energy in ((mean, level), (std, spread))
    )
    return Offsets(shift, scale, scale.log() + SHIFT)


def components(raw: Tensor, at: Offsets) -> Components:
    """Raw network output (\\*, 3 K, S, B) -> K components that start apart from each other.

    Args:
        raw: Of the weights, the centres and the scales.
        at: Where they lie.
    """
    weight, center, log_scale = raw.chunk(3, -3)
    center = torch.addcmul(at.shift, at.scale, center + _starts(center.shape[-3], raw.device))
    return Components(weight, center, log_scale.clamp(*LOG_SCALE) + at.log_scale)


@functools.cache
def _starts(k: int, device: torch.device) -> Tensor:
    """Where components start, in widths, (K, 1, 1): those at portions apart from each other."""
    with torch.inference_mode(False):  # kept for training too
        start = torch.linspace(-1.0, 1.0, k - 1) if k > 2 else torch.zeros(1)
        return F.pad(start, (0, 1)).to(device)[:, None, None]


@functools.cache
def _at_portions(k: int, device: torch.device) -> Tensor:
    """1 for a component at portions, 0 for that at an energy, (K, 1, 1)."""
    with torch.inference_mode(False):
        return F.pad(torch.ones(k - 1), (0, 1)).to(device)[:, None, None]


def logit(mine: Tensor, rest: Tensor, others: Tensor | float = 1.0) -> Tensor:
    """y of the portion mine / (mine + rest), of energies in cuts, see above."""
    ratio = mine.clamp(min=LEAST) / rest.clamp(min=LEAST)
    return _log_expm1(others * torch.log1p(ratio))


def log_slope(mine: Tensor, rest: Tensor, others: Tensor | float = 1.0) -> Tensor:
    """log dy / d mine of :func:`logit` while mine + rest stays, per cut [nats].

    As :func:`logit` it takes the resolution of an excess for what is below.
    """
    mine, rest = mine.clamp(min=LEAST), rest.clamp(min=LEAST)
    log_left = -others * torch.log1p(mine / rest)
    log_others = others.log() if isinstance(others, Tensor) else math.log(others)
    return log_others - rest.log() - torch.log(-torch.expm1(log_left.clamp(max=-_TINY)))


def portion(y: Tensor, others: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
    """The portion whose y this is, and what it leaves; precise where either is small."""
    log_left = -F.softplus(y) / others
    return -torch.expm1(log_left), torch.exp(log_left)


def standardised(excess: Tensor, scale: Scale, known: Tensor) -> Tensor:
    """Logarithms of excesses over the cut in units of a scale, 0 where they are not known."""
    return torch.where(known, (torch.log(excess.clamp(min=LEAST)) - scale[0]) / scale[1], 0.0)


def shared(weight: Tensor, excess: Tensor, y: Tensor, scale: Scale) -> Tensor:
    """Parts of an excess along axis 1, in proportion to weights times exponentials.

    Args:
        weight: 0 for what gets nothing, (B, S, \\*).
        excess: What is shared, (B, 1, \\*).
        y: Standardised logarithms, (B, S, \\*).
        scale: What they are relative to.
    """
    log_part = y * scale[1] + scale[0]
    most = torch.where(weight > 0, log_part, -torch.inf).amax(1, keepdim=True)
    part = weight * torch.exp((log_part - most).clamp(max=0.0))
    return part / part.sum(1, keepdim=True).clamp(min=_TINY) * excess


def _fixed(log_energy: Tensor, free: Tensor, others: Tensor | float) -> Tensor:
    """y of an energy, given its logarithm, as a portion of the free excess."""
    log_portion = (log_energy - torch.log(free.clamp(min=LEAST))).clamp(max=_LARGEST)
    return _log_expm1(-others * torch.log(-torch.expm1(log_portion)))


def _log_expm1(x: Tensor) -> Tensor:
    x = x.clamp(min=_TINY)
    return x + torch.log(-torch.expm1(-x))
