"""Layer by layer: mixtures on the ratios of layer energies, with empty layers explicit."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from caloman_cli.config.values import Count, Natural, checked
from caloman_cli.data.geometry import Geometry
from caloman_cli.models.energies.base import EnergyModel
from caloman_cli.models.energies.energy_table import EnergyTable
from caloman_cli.models.energies.filled_layers import FilledLayers
from caloman_cli.models.energies.layer_networks import LayerNetworks, Steps
from caloman_cli.models.energies.ratios import to_ratios
from caloman_cli.models.energies.shares import HIGHEST, NARROWEST, Shares
from caloman_cli.models.energies.tails import bend, bent
from caloman_cli.models.energies.training_layers import CHUNK, Order, faintest_first, measure
from caloman_cli.models.energies.truncated_logistic import (
    LogisticMixture,
    draw,
    log_prob,
    pick,
)
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import RowSource, iterate

_LOG_SCALE = (-6.0, 2.0)  # of a component
_START = 1.2  # components begin between -1.2 and 1.2 standard deviations
_FEW_MEV = 1e-3  # a floor where the training split has none
_NO_THRESHOLD = 40.0  # log(1 + exp(y)) of such a y is y in double precision
_FAR = 8.0  # standard deviations beyond which the networks see no difference


@checked
class AutoregressiveEnergy(EnergyModel):
    r"""p(layers | E_inc) = p(which layers are empty | E_inc) x p(energies of the others | ...).

    The empty layers come first, bit by bit. The others are CaloFlow's ratios in turn, see
    :func:`caloman_cli.models.energies.ratios.to_ratios`: E_tot, then what each layer takes of
    what is left. The logit of each is a mixture of logistic distributions, whose parameters a
    small
    network for this layer computes from the incident energy, the empty layers and all before it.

    A mixture jumps between populations where a flow draws a bridge: a pion that has not yet
    interacted leaves some MeV in a layer, one that has, a thousand times as much. Some components
    are therefore placed at **energies in MeV**, not at ratios: what a single particle leaves that
    crosses a layer is the same at every incident energy, and so is the edge it makes.

    Every component is truncated to what is possible: a non-empty layer has at least the smallest
    energy of a non-empty training layer, and leaves as much to each that follows. ``log_prob`` is
    exact for every pattern of empty layers; a ratio beyond
    its interval, of a layer below the floor, counts as one at its end.

    Args:
        components: Components of a mixture placed at ratios.
        fixed_components: Components placed at energies in MeV; may be 0.
        hidden: Width of the two hidden layers of a layer's network.
        frequencies: Sines and cosines of log E_inc that the networks see beside log E_inc.
        mask_hidden: Width of the hidden layers of a network of an empty layer.
        order: In which order layers take their shares of what is left: as they lie in the
            ``detector``, or from the faintest of the training split on, the ``brightest_last``.
            The detector's is right where a layer depends on what happened before it; many faint
            layers at the end of a long detector want to come first.
        geometry: The detector.

    Raises:
        UserError: An argument is not one of these.

    References:
        Krause, Shih (2021), CaloFlow, arXiv:2106.05285 (the ratios).
        Salimans et al. (2017), PixelCNN++ (mixtures of logistics), arXiv:1701.05517.
        Tancik et al. (2020), Fourier features, arXiv:2006.10739.
    """

    floor: Tensor
    order: Tensor
    log_mean: Tensor
    log_std: Tensor

    def __init__(
        self,
        components: Count = 8,
        fixed_components: Natural = 4,
        hidden: Count = 64,
        frequencies: Natural = 4,
        mask_hidden: Count = 32,
        order: Order = "detector",
        *,
        geometry: Geometry,
    ) -> None:
        super().__init__()
        size = geometry.n_layers
        self.size, self.max_response, self.sorts = size, geometry.max_response, order != "detector"
        self.components, self.frequencies = components, frequencies
        context = 1 + 2 * frequencies
        self.filled_layers = FilledLayers(size, context, mask_hidden)
        self.table = EnergyTable(size)
        n = components + fixed_components
        self.networks = LayerNetworks(size, context + size, 2, hidden, 3 * n)
        start = torch.zeros(3, n)
        for part in (slice(components), slice(components, n)):
            start[1, part] = torch.linspace(-_START, _START, start[1, part].numel())
            # Logistic scales that let neighbouring components overlap.
            start[2, part] = -1.0
        self.networks.start_at(start.flatten())
        self.register_buffer("floor", torch.tensor(_FEW_MEV, dtype=torch.float64))
        self.register_buffer("order", torch.arange(size))
        self.register_buffer("log_mean", torch.zeros(size))
        self.register_buffer("log_std", torch.ones(size))

    def prepare(self, train: RowSource) -> None:
        """Measure scales and the smallest layer energy on rows (layers (L,), e_inc (1,)) MeV."""
        if self.sorts:
            self.order.copy_(faintest_first(train))
        seen = measure(train, self.max_response)
        self.filled_layers.start_at(seen.filled, len(train))
        self.floor.fill_(seen.floor or _FEW_MEV)
        self.table.place(seen.e_inc)
        batches, logs = [], []
        for layers, e_inc in iterate(train, CHUNK):
            ordered = layers[:, self.order].double()
            ratios = to_ratios(ordered, e_inc, self.max_response)
            batches.append((ratios.y, ratios.valid, e_inc))
            logs.append(torch.where(ratios.valid, _given(ordered).log(), torch.nan))
        self.table.standardize(batches)
        every = torch.cat(logs)
        mean = every.nanmean(0).nan_to_num(0.0)
        std = (every - mean).square().nanmean(0).sqrt().nan_to_num(1.0)
        self.log_mean.copy_(mean)
        self.log_std.copy_(torch.where(std > 1e-3, std, 1.0))

    def log_prob(self, layers: Tensor, e_inc: Tensor) -> Tensor:
        """Probability of the empty layers times density of the others, per MeV^(non-empty)."""
        feature, bits = self._feature(e_inc), (layers > 0).float()
        ordered = layers[:, self.order].double().clamp(min=0.0)
        filled = ordered > 0
        ratios = to_ratios(ordered, e_inc, self.max_response)
        valid, table = ratios.valid, self.table.at(e_inc)
        left = ordered.flip(1).cumsum(1).flip(1)
        rest = torch.cat([self.max_response * e_inc.double(), left[:, :-1]], 1)
        rest = torch.where(valid, rest, 1.0).log()
        seen = torch.cat([feature, bits[:, self.order]], 1)
        scaled = self._scaled(ratios.y, valid, table)
        known = torch.cat([scaled, self._standardised(_given(ordered).log(), valid)], 1)
        raw = self.networks(seen, known, self._told(rest, valid))
        mixture = self._mixture(raw, rest, table, slice(None))
        low, high = self._limits(rest, _count(filled))
        low, high = torch.where(valid, low, -1.0), torch.where(valid, high, 1.0)
        density = log_prob(mixture, ratios.y.float(), low.float(), high.float())
        density = torch.where(valid, density, 0.0).sum(1)
        volume = torch.where(valid[:, 0], ratios.log_volume, 0.0)
        return (self.filled_layers.log_prob(bits, feature) + density - volume).to(feature.dtype)

    @torch.no_grad()
    def sample(self, e_inc: Tensor, noise: Noise) -> Tensor:
        feature = self._feature(e_inc)
        uniform = noise.uniform(3, self.size, rows_last=True)
        bits = self.filled_layers.sample(feature, uniform[0].t())
        ordered = bits[:, self.order]
        steps = Steps(self.networks, torch.cat([feature, ordered], 1), -1.0 / self.table.width)
        layers = self._walk(steps, ordered.t() > 0, e_inc, uniform[1:])
        return torch.zeros_like(bits).index_copy_(1, self.order, layers.t().to(bits.dtype))

    def _walk(self, steps: Steps, filled: Tensor, e_inc: Tensor, uniform: Tensor) -> Tensor:
        """Energies (L, B) MeV of the layers in their order, coordinate by coordinate.

        Logs of energies are counted downwards from the table's center: ``below``. All that does
        not depend on what is drawn is computed before, for all coordinates at once.
        """
        table, shares = self.table, Shares(filled, self.floor.log() - self.table.center)
        last, bias = self._outputs()
        far = ((table.center - self.log_mean) / self.log_std).double().split(1)
        per_std = (-1.0 / self.log_std).double().split(1)
        columns = torch.cat(table.at(e_inc), 1).t()
        columns = columns.to(torch.float64, memory_format=torch.contiguous_format)
        mean, scale = columns.chunk(2)
        means, scales = mean.split(1), scale.split(1)
        inverse, offsets = scale.reciprocal().split(1), (-mean / scale).split(1)
        component, place = (numbers.split(1) for numbers in (uniform[0], uniform[1].double()))
        below = table.center - (self.max_response * e_inc.t().double()).log()
        ends = below.new_tensor([-_FAR, _FAR]).unbind()  # as tensors, so that float32 takes them
        taken = []
        for k in range(self.size):
            steps.own.copy_(below)
            inner, shift = steps(k)
            weight, center, spread = torch.addmm(bias[k], last[k], inner).chunk(3)
            which = pick(weight, component[k])
            at_ratio = which < self.components
            unit = torch.where(at_ratio, scales[k], 1.0)
            origin = torch.where(at_ratio, torch.addcmul(means[k], scales[k], shift), below)
            center = torch.addcmul(origin, unit, center.gather(0, which))
            width = unit * spread.gather(0, which).clamp(*_LOG_SCALE).exp()
            y = draw(center, width, place[k], *shares.limits(k, below))
            kept = shares.kept[k]
            passed = torch.addcmul(below, F.softplus(y, threshold=_NO_THRESHOLD), kept)
            given = torch.addcmul(passed, y, kept, value=-1)
            if k < self.size - 1:
                bent(torch.addcmul(offsets[k], y, inverse[k]), out=steps.lines[2 * k])
                logs = torch.addcmul(far[k], given, per_std[k])
                torch.clamp(logs, *ends, out=steps.lines[2 * k + 1])
                steps.groups[k].mul_(kept)
            if k == 0:
                below = given
                continue
            # The last of the non-empty layers has no coordinate: it takes what is left.
            taken.append(given)
            below = passed
        energies = (table.center - torch.cat([*taken, below])).exp()
        return torch.where(filled, energies.clamp(min=self.floor), 0.0)

    def _outputs(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Weights (3K, H) and biases (3K, 1) of the networks' last layers, where components at
        energies have their centers in logs, counted from the table's center."""
        both = torch.cat([self.networks.last, self.networks.last_bias], 1).mT
        n = both.shape[1] // 3
        fixed = both.narrow(1, n + self.components, n - self.components)
        fixed.mul_(self.log_std[:, None, None])
        fixed.select(2, -1).add_((self.log_mean - self.table.center).unsqueeze(1))
        weight, bias = both.split([both.shape[2] - 1, 1], 2)
        return weight.unbind(), bias.unbind()

    def _feature(self, e_inc: Tensor) -> Tensor:
        """The standardised log energy, its sines and cosines, shape (B, 1 + 2F)."""
        t = self.table.feature(e_inc)
        angle = t * torch.arange(1, self.frequencies + 1, device=t.device) * (math.pi / 4)
        return torch.cat([t, angle.sin(), angle.cos()], 1)

    def _scaled(self, y: Tensor, valid: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
        scaled, _ = bend((y.float() - table[0]) / table[1])
        return torch.where(valid, scaled, 0.0)

    def _standardised(self, logs: Tensor, valid: Tensor, k: int | slice = slice(None)) -> Tensor:
        far = ((logs.float() - self.log_mean[k]) / self.log_std[k]).clamp(-_FAR, _FAR)
        return torch.where(valid, far, 0.0)

    def _told(self, rest: Tensor, valid: Tensor) -> Tensor:
        """What a network sees of the energy that its coordinate shares out."""
        return torch.where(valid, (rest - self.table.center) / self.table.width, 0.0).float()

    def _mixture(
        self,
        raw: tuple[Tensor, Tensor],
        rest: Tensor,
        table: tuple[Tensor, Tensor],
        k: int | slice,
    ) -> LogisticMixture:
        """Outputs (\\*, 3K) and shifts (\\*,) -> parameters of the coordinates' logits."""
        weight, center, spread = raw[0].chunk(3, -1)
        mean, scale = (value.unsqueeze(-1) for value in table)
        spread, ratio = spread.clamp(*_LOG_SCALE), slice(self.components)
        fixed = slice(self.components, None)
        # Where a layer takes little of what is left, the logit is log E_layer - log rest.
        energy = (
            self.log_mean[k].unsqueeze(-1) + self.log_std[k].unsqueeze(-1) * center[..., fixed]
        )
        centers = (
            mean + scale * (center[..., ratio] + raw[1].unsqueeze(-1)),
            energy - rest.float().unsqueeze(-1),
        )
        spreads = scale.log() + spread[..., ratio], spread[..., fixed]
        return LogisticMixture(weight, torch.cat(centers, -1), torch.cat(spreads, -1))

    def _limits(self, rest: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """Lowest and highest coordinates that leave every non-empty layer its floor.

        Args:
            rest: log of what is shared out [MeV], shape (B, L).
            count: Non-empty layers that share it, the same shape.
        """
        floor = self.floor.log()
        every = count.clamp(min=1).log() + floor - rest
        low, one = _logit(every), _logit(floor - rest)
        behind = -_logit((count - 1).clamp(min=1).log() + floor - rest)
        highest = torch.full_like(low, HIGHEST)
        low = torch.cat([low[:, :1], one[:, 1:]], 1)
        high = torch.cat([highest[:, :1], behind[:, 1:]], 1)
        return low, torch.maximum(high, low + NARROWEST)


def _given(ordered: Tensor) -> Tensor:
    """What each coordinate gives [MeV], (B, L): E_tot, then every layer but the last."""
    total = ordered.sum(1, keepdim=True)
    return torch.cat([total, ordered[:, :-1]], 1).clamp(min=1e-30)


def _count(filled: Tensor) -> Tensor:
    """Non-empty layers among which each coordinate shares out, float64, shape (B, L)."""
    left = filled.flip(1).cumsum(1).flip(1).double()
    return torch.cat([left[:, :1], left[:, :-1]], 1)


def _logit(log_share: Tensor) -> Tensor:
    """logit(x) of log x < 0."""
    return log_share - torch.log(-torch.expm1(log_share.clamp(max=-1e-9)))
