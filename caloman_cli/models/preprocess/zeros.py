"""Exact zeros for models that have densities: noise below the readout cut, and its removal."""

import math

import torch
from torch import Tensor

from caloman_cli.config.values import NotNegative, checked
from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError
from caloman_cli.models.preprocess.base import Context, Transform
from caloman_cli.models.preprocess.layers import LayerMap

_ROUNDING = 1e-5  # relative: a voxel exactly at the cut must not be lost on its way back
_WIDEST = 3.0  # standard deviations of the noise that are drawn
_LANDS = 0.1  # decades above the cut that voxels from the gap below it land in
_NOTHING = 1e-20


@checked
class DequantizeZeros(Transform):
    r"""Dark voxels get energies below the readout cut, :math:`E = E_{cut} 10^{a + s n}`.

    Acts on shares of a layer's energy (after :class:`LayerShare`): a dark voxel's share is
    :math:`E / \max(E_l, E_{cut})`, n is standard normal, cut at three standard deviations. A voxel
    is lit exactly if its energy is above the cut, so nothing lit is lost at any layer energy,
    which a fixed share as border would not grant.

    Inverse, the border is in the middle (of the logarithm) between the cut and the largest noise:
    no real voxel is in between, and what a model that is a little blurred puts there belongs to
    either side. Such voxels land within a tenth of a decade above the cut; shares below the
    border become zero, except the largest of a layer. Then lit voxels share the energy of their
    layer that is left over when each has the cut, in proportion to what they have above it: a
    layer whose voxels do not quite sum to its energy loses none of them. On showers that are
    already cut it undoes the forward direction.

    The noise is a function of the shower, not of torch's generator: the same shower gets the same
    noise on every device, in training and in evaluation, before and after a resume. n comes from
    a hash of the positions of the shower's lit voxels, its incident energy and the voxel.

    Args:
        level: a, decades between the cut and the noise; negative.
        spread: s, width of the noise in decades.

    Raises:
        UserError: The noise would reach the cut, or the detector has none.

    References:
        Krause, Shih (2021), CaloFlow, arXiv:2106.05285, which adds noise below the cut.
        Steele, Lea, Flood (2014), Fast splittable pseudorandom number generators.
    """

    keys: Tensor

    def __init__(self, level: float = -1.0, spread: NotNegative = 0.2) -> None:
        super().__init__()
        if level + _WIDEST * spread >= 0:
            raise UserError(
                f"DequantizeZeros: level={level}, spread={spread} reach the readout cut: "
                f"choose level + {_WIDEST:g} spread below 0, e.g. level=-1.0 spread=0.2"
            )
        self.level, self.spread = level, spread

    def bind(self, geometry: Geometry) -> None:
        if not geometry.threshold > 0:
            raise UserError(
                f"DequantizeZeros puts noise below the readout cut, and {geometry.name} has none "
                f"(threshold={geometry.threshold}): choose preprocess=logit_shares"
            )
        self.threshold = geometry.threshold
        self.layers = LayerMap(geometry)
        generator = torch.Generator().manual_seed(0)
        keys = torch.randint(1 << 62, (geometry.n_voxels,), generator=generator)
        self.register_buffer("keys", keys, persistent=False)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        dark = self.threshold * 10 ** (self.level + self.spread * self._normal(x, context))
        reference = self.layers.spread(context.layers.clamp(min=self.threshold))
        return torch.where(x > 0, x, dark / reference)

    def inverse(self, x: Tensor, context: Context) -> Tensor:
        cut = self.threshold / self.layers.spread(context.layers.clamp(min=self.threshold))
        border = (self.level + _WIDEST * self.spread) / 2
        lit = (x >= cut * 10**border).scatter(1, self.layers.brightest(x), True)
        # Where in the gap, from 0 at the border to 1 at the cut.
        place = (1 - torch.log10((x / cut).clamp(min=_NOTHING)) / border).clamp(0, 1)
        x = torch.where(x < cut * (1 - _ROUNDING), cut * 10 ** (_LANDS * place), x)
        least = cut * (1 + _ROUNDING)
        excess = torch.where(lit, (x - least).clamp(min=0), 0)
        free = 1 - self.layers.sum(least * lit)
        scale = free / self.layers.sum(excess).clamp(min=_NOTHING)
        shared = least + excess * self.layers.spread(scale)
        # Where there are more lit voxels than cuts, those transforms whose inverses follow decide.
        kept = torch.where(self.layers.spread(free > 0), shared, torch.maximum(x, least))
        return torch.where(lit, kept, 0.0)

    def log_det(self, x: Tensor, context: Context) -> Tensor:
        """Minus the log-density of the dark voxels' noise per MeV; nothing for lit ones.

        Per MeV, because :class:`LayerShare` before it takes a dark voxel for an energy too: the
        two together leave what :math:`\\log q` of the noise as a share is. So a density of all
        voxels becomes a lower bound on that of the lit ones times the probability that the others
        are dark.
        """
        n, within = self._normal(x, context).double(), math.erf(_WIDEST / math.sqrt(2))
        log_energy = math.log(self.threshold) + math.log(10.0) * (self.level + self.spread * n)
        width = math.log(within * math.log(10.0) * math.sqrt(math.tau))
        width += math.log(self.spread) if self.spread > 0 else -math.inf
        density = -0.5 * n.square() - width - log_energy
        # In empty layers LayerShare added nothing: the noise is relative to the cut there.
        log_unit = torch.where(context.layers > 0, 0.0, math.log(self.threshold))
        dark = density + self.layers.spread(log_unit.double())
        return -torch.where(x > 0, 0.0, dark).sum(1)

    def _normal(self, x: Tensor, context: Context) -> Tensor:
        """Standard normal numbers (B, V) inside three standard deviations."""
        shower = torch.where(x > 0, self.keys, 0).sum(1, keepdim=True)
        shower = shower ^ _mixed(context.e_inc.float().view(torch.int32).long())
        uniform = ((_mixed(shower + self.keys) >> 8 & 0xFFFFFF).to(x) + 0.5) / (1 << 24)
        edge = 0.5 * math.erfc(_WIDEST / math.sqrt(2))
        return torch.special.ndtri(edge + (1 - 2 * edge) * uniform)


class Log(Transform):
    """Logarithms of positive shares; generated shares never exceed 1."""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return x.log()

    def inverse(self, x: Tensor, context: Context) -> Tensor:
        return x.clamp(max=0.0).exp()

    def log_det(self, x: Tensor, context: Context) -> Tensor:
        return -x.double().log().sum(1)


def _mixed(state: Tensor) -> Tensor:
    """Splitmix64's finaliser; int64 wraps around, and shifts must not bring in the sign."""
    state = (state ^ (state >> 30 & (1 << 34) - 1)) * -0x40A7B892E31B1A47
    state = (state ^ (state >> 27 & (1 << 37) - 1)) * -0x6B2FB644ECCEEE15
    return state ^ (state >> 31 & (1 << 33) - 1)
