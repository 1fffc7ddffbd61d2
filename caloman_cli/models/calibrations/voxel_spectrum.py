"""Each layer's spectrum of voxel energies becomes that of the training showers."""

import logging
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from caloman_cli.config.values import Count, NotNegative, checked
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.memory import values_at_once
from caloman_cli.errors import UserError
from caloman_cli.models.calibrations.base import Calibration, Generate
from caloman_cli.models.checks import static
from caloman_cli.models.nn.marks import choose
from caloman_cli.models.preprocess.layers import LayerMap
from caloman_cli.models.trainable import RowSource

log = logging.getLogger(__name__)

_STEP, _BINS = 0.01, 2048  # of the logarithm of an energy over the cut; 20 of it in all
_WIDE = 8  # such bins, in which spectra are compared
_LEVELS, _VOXELS_PER_LEVEL = 256, 200
_KEPT_VALUES = 1 << 28  # 1 GiB of generated voxels
_CHUNK_VALUES = 1 << 22
_CACHE_VALUES = 1 << 19  # mapped at once on a CPU
_NO_CUT = 1e-3  # MeV, where a detector has none
_LEAST = 1e-3  # of an excess over the cut stays
_NOTHING = 1e-9


@checked
class VoxelSpectrum(Calibration):
    r"""Each layer's spectrum of voxel energies becomes that of the training showers.

    A monotone map :math:`e \to e\, e^{d_l(e)}` of every lit voxel of layer l, then the excess
    over the readout cut of the layer's lit voxels is scaled by one factor, so that the layer
    keeps its energy and no voxel falls below the cut. The map is that of quantiles; as the factor
    changes spectra too, it is measured in rounds, of which the best one of each layer counts, or
    none. Which voxels are lit does not change.

    It corrects edges of a few per cent that mixtures blur, such as that of a single particle that
    crosses a cell. It knows nothing of incident energies or places: a model that is wrong there
    stays so.

    Args:
        showers: Training showers to measure with, at most.
        rounds: How often the map is measured.
        least_lit: Layers whose voxels have fewer lit ones in their layer on average, themselves
            included, are left alone: there the layer's energy decides what voxels have.
        geometry: The detector.

    Raises:
        UserError: An argument is out of range.

    References:
        Buss et al. (2024), Convolutional L2LFlows, arXiv:2405.20407, calibrate the spectrum of
        voxels after generation.
    """

    shift: Tensor
    active: Tensor

    def __init__(
        self,
        showers: Count = 30_000,
        rounds: Count = 4,
        least_lit: NotNegative = 10.0,
        *,
        geometry: Geometry,
    ) -> None:
        super().__init__(geometry=geometry)
        self.showers, self.rounds, self.least_lit = showers, rounds, least_lit
        self.cut = geometry.threshold or _NO_CUT
        self.layers = LayerMap(geometry)
        self.register_buffer("shift", torch.zeros(geometry.n_layers, _BINS + 1))
        self.register_buffer("active", torch.zeros(geometry.n_layers, dtype=torch.bool))

    def forward(self, voxels: Tensor) -> Tensor:
        values = values_at_once(voxels.device, _CACHE_VALUES)
        parts = voxels.split(max(1, values // self.geometry.n_voxels))
        return torch.cat([self._mapped(part) for part in parts])

    def _mapped(self, voxels: Tensor) -> Tensor:
        layer = self.layers.index
        lit = (voxels >= self.cut) & self.active[layer]
        known = lit.to(voxels)
        if static(voxels):
            excess = self._excess(voxels.clamp(min=self.cut), layer) * known
        else:
            where = lit.flatten().nonzero()[:, 0]  # most are dark
            bright = voxels.flatten().index_select(0, where)
            mapped = self._excess(bright, layer.index_select(0, where % len(layer)))
            excess = torch.zeros_like(voxels).view(-1).scatter_(0, where, mapped).view_as(voxels)
        before = self.layers.sum((voxels - self.cut) * known)
        scale = before / self.layers.sum(excess).clamp(min=_NOTHING)
        return choose(known, self.cut + excess * self.layers.spread(scale), voxels)

    def _excess(self, bright: Tensor, layer: Tensor) -> Tensor:
        """What lit voxels have over the cut, mapped; shapes broadcast."""
        place = self._log(bright) / _STEP
        slot = place.long() + layer * (_BINS + 1)
        low, high = (self.shift.flatten()[at] for at in (slot, slot + 1))
        mapped = bright * torch.exp(torch.lerp(low, high, place.frac())) - self.cut
        # Never quite nothing, or a layer could lose its energy.
        return torch.maximum(mapped, _LEAST * (bright - self.cut))

    @torch.no_grad()
    def fit(self, train: RowSource, generate: Generate) -> None:
        if len(train) == 0:
            raise UserError("the training split is empty: the calibration has nothing to measure")
        n = min(len(train), self.showers, max(1, _KEPT_VALUES // self.geometry.n_voxels))
        chosen = np.linspace(0, len(train) - 1, n).round().astype(np.int64)
        self.shift.zero_()
        real, drawn = self._histogram(self.shift.new_zeros(0, self.geometry.n_voxels)), []
        lit = squares = torch.zeros(self.geometry.n_layers, device=real.device)
        for rows in self._chunks(n):
            voxels, e_inc = train.rows(chosen[rows])
            real += self._histogram(voxels)
            count = self.layers.sum((voxels >= self.cut).float())
            lit, squares = lit + count.sum(0), squares + count.square().sum(0)
            drawn.append(generate(e_inc, int(rows[0])).cpu())
        self.active.copy_((lit > 0) & (squares >= self.least_lit * lit))
        found, best = self._found(drawn), self.shift.clone()
        before = least = _separation(found, real)
        for _ in range(self.rounds):
            self._improve(found, real)
            found = self._found(drawn)
            apart = _separation(found, real)
            best = torch.where((apart < least)[:, None], self.shift, best)
            least = torch.minimum(apart, least)
        self.shift.copy_(best)
        self.active.logical_and_(least < before)
        log.info(
            "calibration: voxels of %d of %d layers; mean separation of spectra %.2g, was %.2g",
            int(self.active.sum()), len(self.active), float(least.mean()), float(before.mean()),
        )  # fmt: skip

    def _improve(self, found: Tensor, real: Tensor) -> None:
        """Follow the map by that of quantiles, found onto real."""
        edges = _STEP * np.arange(_BINS + 1)
        for layer in self.active.nonzero()[:, 0].tolist():
            n = min(float(found[layer].sum()), float(real[layer].sum()))
            levels = _levels(n)
            x, y = (_quantiles(part[layer].cpu().numpy(), levels, edges) for part in (found, real))
            # The ends are single voxels: the cut is kept, the last step goes on.
            x, y = np.append(x[:-1], edges[-1]), np.append(y[:-1], edges[-1] + y[-2] - x[-2])
            x[0] = y[0] = 0.0
            now = edges + self.shift[layer].cpu().numpy()
            shift = np.interp(now, x, y) - edges
            self.shift[layer] = torch.from_numpy(shift).to(self.shift)

    def _chunks(self, n: int) -> Iterator[np.ndarray]:
        step = max(1, _CHUNK_VALUES // self.geometry.n_voxels)
        return (np.arange(start, min(start + step, n)) for start in range(0, n, step))

    def _log(self, voxels: Tensor) -> Tensor:
        """Logarithm over the cut, inside the table."""
        return torch.log(voxels.clamp(min=self.cut) / self.cut).clamp(max=_STEP * (_BINS - 1))

    def _found(self, drawn: list[Tensor]) -> Tensor:
        return torch.stack([self._histogram(self(part.to(self.shift))) for part in drawn]).sum(0)

    def _histogram(self, voxels: Tensor) -> Tensor:
        """Counts of lit voxels (L, bins), float64."""
        lit = voxels >= self.cut
        where = (self._log(voxels) / _STEP).long() + self.layers.index * _BINS
        counts = torch.bincount(where[lit], minlength=self.geometry.n_layers * _BINS)
        return counts.view(-1, _BINS).double()


def _levels(n: float) -> np.ndarray:
    """Rising numbers from 0 to 1, denser at both ends, as far as n voxels resolve them."""
    least = _VOXELS_PER_LEVEL / max(n, 1.0)
    if least > 0.5:
        return np.array([0.0, 1.0])
    step = max(1.0 / _LEVELS, least)
    inner = np.linspace(0.0, 1.0, round(1.0 / step) + 1)
    tail = step * 0.5 ** np.arange(1, int(np.log2(step / least)) + 1)
    return np.unique(np.concatenate([inner, tail, 1.0 - tail]))


def _quantiles(counts: np.ndarray, levels: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Where the cumulated histogram reaches levels in [0, 1]."""
    cumulated = np.concatenate([[0.0], counts.cumsum() / max(counts.sum(), 1.0)])
    kept = np.concatenate([[True], counts > 0])  # rising steps only
    return np.interp(levels, cumulated[kept], edges[kept])


def _separation(found: Tensor, real: Tensor) -> Tensor:
    """Of the spectra of each layer, in wider bins, (L,); 0 where there is nothing."""
    f, r = (part.unflatten(1, (-1, _WIDE)).sum(2) for part in (found, real))
    f, r = (part / part.sum(1, keepdim=True).clamp(min=1.0) for part in (f, r))
    return 0.5 * ((f - r).square() / (f + r).clamp(min=_NOTHING)).sum(1)
