"""Sampled voxels of many equal layers: one network walks through the detector."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from caloman_cli.config.values import Count, Several, checked
from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError
from caloman_cli.models.checks import somewhere
from caloman_cli.models.heads import history, mixture
from caloman_cli.models.heads.direction import Direction
from caloman_cli.models.heads.half_network import Half, HalfNetwork
from caloman_cli.models.heads.lit import (
    TOLERANCE,
    affordable,
    cross_entropy,
    log_any,
    must_end,
    some_lit,
)
from caloman_cli.models.heads.portions import log_slope, logit, portion, shared, standardised
from caloman_cli.models.heads.scaled import log_parts
from caloman_cli.models.heads.shares import ShareHead
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.conditions import Conditions

_NOTHING = 1e-12
_LEAST = 1e-4  # of a layer's energy that an encoder is told is in a ring

Take = Callable[[Half, Tensor, Tensor, int, int], tuple[Tensor, Tensor]]
"""(what is said of half a layer, how the first half was divided (B, R), what the layer has left
(B,), layer, half) -> the voxels' energies (B, A / 2, R) and what then is left, (B,); all over the
cut."""


class Layers(NamedTuple):
    """What a walk is told.

    Args:
        features: What the decoder says of each layer, (B, L, .).
        energies: Of the layers, over the cut, (B, L).
        moments: Which way the shower leans, (B, .), with ``direction``.
    """

    features: Tensor
    energies: Tensor
    moments: Tensor


@checked
class Cylinder(ShareHead[Layers]):
    r"""Layer after layer, every other slice in alpha and then those between, with shared weights.

    One perceptron (:mod:`caloman_cli.models.heads.half_network`) speaks of the R voxels of a
    slice in alpha. It sees the slices around it, circularly, in the two layers before and in the
    sum of all
    layers before; for the odd slices also the even ones of the same layer; the layer's features
    that the decoder makes of z and c; and what is left of the layer's energy. The same weights
    serve all slices and all layers, so the head is equivariant under rotations by two slices (by
    one on average over training, see ``encoder.augment``) and its size does not grow with the
    detector. It says of half a layer, one after the other,

    1. which voxels are lit: each for itself, of the second half at least one;
    2. whether the first half uses up the layer, and if not, which energy it takes: a portion of
       what is free when every lit voxel has the readout cut, see
       :mod:`caloman_cli.models.heads.portions`. The second half takes what is left;
    3. how its rings divide the half's excess over the cut, and the voxels of a ring the ring's:
       logarithms of what they get are drawn from mixtures of logistics, then scaled to it.

    So nothing that is drawn is impossible, and how much halves and rings differ has distributions
    of its own, which voxels drawn apart would blur. ``log_prob`` is that of the logarithms before
    they are scaled, a density in one number too many for each half and ring; ``log_density``
    integrates over that.

    ``features`` are the energies and the lit fractions of rings, which rotations do not change.

    Args:
        layer_features: Features per layer that the decoder makes.
        embedding: Learned numbers per layer and half.
        hidden: Width of the perceptron.
        components: K of the mixtures, 2 or more: one is centred at an energy.
        direction: Let latents hold which way the whole shower leans, its dipole in alpha, and tell
            every slice; for encoders that hold moments.
        geometry: The detector; all layers alike, with an even number of slices, four or more.
        conditions: Tells the layers' energies.

    Raises:
        UserError: An argument is out of range, or the layers differ in shape.
    """

    kind = "estimate"  # of integrals

    def __init__(
        self,
        layer_features: Count = 48,
        embedding: Count = 16,
        hidden: Count = 128,
        components: Several = 3,
        direction: bool = False,
        *,
        geometry: Geometry,
        conditions: Conditions,
    ) -> None:
        super().__init__(components, geometry=geometry, conditions=conditions)
        shape = geometry.image_shape
        if shape is None or not self.serves(geometry):
            name = "cylinder_direction" if direction else "cylinder"
            raise UserError(
                f"head={name} needs layers of one shape with an even number of slices in alpha, "
                f"4 or more, which {geometry.name} does not have: use head=autoregressive"
            )
        self.shape = n_layers, _, rings = shape
        self.layer_features = layer_features
        self.direction = Direction(shape[1]) if direction else None
        self.moment_dim = 0 if self.direction is None else self.direction.dim
        self.out_dim = n_layers * layer_features + self.moment_dim
        self.feature_dim = 2 * n_layers * rings
        self.footprint = 10 * self.x_dim
        self.network = HalfNetwork(
            shape, layer_features, embedding, hidden, components, told=self.moment_dim
        )

    @staticmethod
    def serves(geometry: Geometry) -> bool:
        """Whether the layers are of one shape, with an even number of slices, four or more."""
        shape = geometry.image_shape
        return shape is not None and shape[1] >= 4 and shape[1] % 2 == 0

    def _measure(self, x: Tensor, c: Tensor) -> None:
        voxels = self._voxels(x, self._energies(c))
        self.network.measure(voxels.unflatten(2, (-1, 2)))
        if self.direction is not None:
            self.direction.measure(voxels.sum((1, 3)))

    def _measured(self) -> None:
        self.network.measured()
        if self.direction is not None:
            self.direction.measured()

    def _energies(self, c: Tensor) -> Tensor:
        """The layers' energies over the cut (B, L)."""
        return self.conditions.layer_energies(c) / self.cut

    def _voxels(self, x: Tensor, energies: Tensor) -> Tensor:
        """Energies over the cut (B, L, A, R) of shares."""
        return x.unflatten(1, self.shape) * energies[:, :, None, None]

    def moments(self, x: Tensor, c: Tensor) -> Tensor:
        """Which way the whole shower leans, with ``direction``."""
        if self.direction is None:
            return super().moments(x, c)
        return self.direction.moments(self._voxels(x, self._energies(c)).sum((1, 3)))

    def _told(self, moments: Tensor) -> Tensor:
        """What slices are told, (B, A, .)."""
        if self.direction is None:
            return moments[:, None].expand(-1, self.shape[1], -1)
        return self.direction.told(moments)

    def features(self, x: Tensor) -> Tensor:
        """The log-share of each ring and its lit fraction, (B, 2 L R)."""
        image = x.unflatten(1, self.shape)
        energy = torch.log(image.sum(2) + _LEAST) / 4.0 + 1.0
        return torch.cat([energy.flatten(1), (image > 0).to(x).mean(2).flatten(1)], 1)

    def params(self, raw: Tensor, c: Tensor) -> Layers:
        raw, moments = raw.tensor_split([self.out_dim - self.moment_dim], 1)
        features = raw.unflatten(1, (self.shape[0], self.layer_features))
        return Layers(features, self._energies(c), moments)

    def from_mean(self, mean: Tensor, sigma: Tensor) -> Layers:
        raise UserError("an autoregressive head has no plain mean")

    def log_prob(self, params: Layers, x: Tensor) -> Tensor:
        return self._log_prob(params, x)

    def log_density(self, params: Layers, x: Tensor) -> Tensor:
        """Of the shares: the sums before parts are scaled are integrated over."""
        return self._log_prob(params, x, drawn=True) + self._free_numbers(x, params.energies)

    def _log_prob(self, params: Layers, x: Tensor, drawn: bool = False) -> Tensor:
        """Of logarithms before they are scaled; as ``drawn``, of energies over the cut."""
        features, energies, moments = params
        voxels, told = self._voxels(x, energies), self._told(moments)
        energy, lit = history.told(voxels)
        past = history.of_all(voxels)
        seen, summary, balance = past.windows(), past.summary(), past.balance()
        halves = voxels.unflatten(2, (-1, 2)).sum((2, 4))  # (B, L, 2)
        result = x.new_zeros(len(x))
        for half in (0, 1):
            budget = halves[:, :, half:].sum(2)
            row, layer = at = torch.nonzero(budget >= 1.0 - TOLERANCE, as_tuple=True)
            left = budget[at] / energies[at]
            now = (energy[:, :, 0::2][at], lit[:, :, 0::2][at]) if half else None
            here = torch.cat([seen[:, :, half::2][at], told[:, half::2][row]], 2)
            says = self.network(
                here, now, features[at], (summary[at], balance[at]), left, budget[at], layer, half
            )
            own, bits = voxels[:, :, half::2][at], lit[:, :, half::2][at]
            taken, n_lit = halves[:, :, half][at], bits.sum((1, 2))
            after = halves[:, :, 1][at] * (half == 0)
            ends = after <= 0
            total = -cross_entropy(says.lit, bits).sum((1, 2))
            y = logit(taken - n_lit, after - 1.0)
            if half == 0:
                free = budget[at] - n_lit - 1.0
                end, portions = self.network.total(says, bits, free, layer)
                choice = (n_lit > 0) & ~must_end(budget[at], n_lit)
                total = total - torch.where(choice, cross_entropy(end, ends.to(x)), 0.0)
                share = portions.placed(free[None]).log_prob(y[None], "normal")[0]
                if drawn:
                    share = share + log_slope(taken - n_lit, after - 1.0)
                total = total + torch.where((n_lit > 0) & ~ends, share, 0.0)
            else:
                total = total - log_any(says.lit)
            before = self.network.division(voxels[:, :, 0::2][at], layer, half)
            excess, n_ring = taken - n_lit, bits.sum(1)
            m, scale = self.network.rings(says, bits, excess, y, ends, before, layer, half)
            in_ring = own.sum(1) - n_ring
            several = ((n_ring > 0).sum(1, keepdim=True) > 1) & (n_ring > 0)
            if drawn:
                total = total + log_parts(m, in_ring, scale, several)
            else:
                density = mixture.log_density(m, standardised(in_ring, scale, several))
                total = total + torch.where(several, density, 0.0).sum(1)
            m, scale = self.network.slices(says, bits, in_ring, layer, half)
            several = (bits > 0) & (n_ring > 1)[:, None]
            if drawn:
                turned = mixture.Mixture(*(field.transpose(1, -1) for field in m))
                parts, mean, std, lit_ones = (
                    field.expand_as(own).transpose(1, 2) for field in (own - 1.0, *scale, several)
                )
                total = total + log_parts(turned, parts, (mean, std), lit_ones).sum(1)
            else:
                density = mixture.log_density(m, standardised(own - 1.0, scale, several))
                total = total + torch.where(several, density, 0.0).sum((1, 2))
            result = result.index_add(0, row, total)
        return result

    def sample(self, params: Layers, noise: Noise) -> Tensor:
        uniform = noise.uniform(4, self.x_dim).unflatten(2, self.shape).transpose(1, 3)
        of_halves = noise.uniform(self.shape[0], 2)
        of_rings = noise.uniform(self.shape[0], 2, 2, self.shape[2])  # of halves: choice, place
        normal = noise.normal(self.shape[0])
        logits = []

        def take(
            says: Half, before: Tensor, budget: Tensor, layer: int, half: int
        ) -> tuple[Tensor, Tensor]:
            logits.append(says.lit)
            of_bit, of_first, choice, place = uniform[:, half::2, layer].unbind(2)
            lit = of_bit < torch.sigmoid(says.lit)
            possible = budget >= 1.0 - TOLERANCE
            if half:
                dark = torch.nonzero(possible & ~lit.any(2).any(1))[:, 0]
                lit = lit.index_copy(0, dark, some_lit(says.lit[dark], of_first[dark]))
            lit = affordable(lit & possible[:, None, None], says.lit, budget).to(budget)
            n_lit = lit.sum((1, 2))
            y = free = torch.zeros_like(budget)
            ends = torch.ones_like(possible)
            if half == 0:
                free = budget - n_lit - 1.0
                end, portions = self.network.total(says, lit, free, layer)
                ends = must_end(budget, n_lit) | (of_halves[:, layer, 0] < torch.sigmoid(end))
                one = portions.chosen(of_halves[None, :, layer, 1])
                y = one.draw(normal[None, :, layer], free[None])[0]
            part, stays = portion(y)
            taken = torch.where(ends, budget, n_lit + part * free) * (n_lit > 0)
            left = torch.where(n_lit > 0, (1.0 + stays * free) * ~ends, budget)
            excess = taken - n_lit
            m, scale = self.network.rings(says, lit, excess, y, ends, before, layer, half)
            n_ring = lit.sum(1)
            n_rings = (n_ring > 0).sum(1, keepdim=True)
            y = mixture.value(m.widened(n_rings), *of_rings[:, layer, half].unbind(1))
            in_ring = shared(n_ring > 0, excess[:, None], y, scale)
            m, scale = self.network.slices(says, lit, in_ring, layer, half)
            y = mixture.value(m.widened(n_ring[:, None]), choice, place)
            return lit + shared(lit > 0, in_ring[:, None], y, scale), left

        x = self._walk(params, take)
        if somewhere((self.layers.sum(x) <= 0) & (params.energies > 0)):
            halves = torch.stack(logits, 1).unflatten(1, (-1, 2))  # (B, L, 2, A / 2, R)
            brightest = self.layers.brightest(halves.transpose(2, 3).flatten(1))
            x = self._rescued(x, brightest, params.energies)
        return self._normalised(x)

    def mean(self, params: Layers) -> Tensor:
        """Each voxel lit by its probability, portions at the mean centre, given those before."""

        def take(
            says: Half, before: Tensor, budget: Tensor, layer: int, half: int
        ) -> tuple[Tensor, Tensor]:
            possible = budget >= 1.0 - TOLERANCE
            lit = torch.sigmoid(says.lit) * possible[:, None, None]
            n_lit = lit.sum((1, 2))
            lit = lit * (budget / n_lit.clamp(min=_NOTHING)).clamp(max=1.0)[:, None, None]
            n_lit = lit.sum((1, 2))
            taken, y, ends = budget * possible, torch.zeros_like(budget), torch.ones_like(possible)
            if half == 0:
                free = budget - n_lit - 1.0
                ends = must_end(budget, n_lit)
                portions = self.network.total(says, lit, free, layer)[1]
                y = portions.placed(free[None]).center_of_mass()[0]
                taken = torch.where(ends, taken, n_lit + portion(y)[0] * free)
            excess = taken - n_lit
            m, scale = self.network.rings(says, lit, excess, y, ends, before, layer, half)
            part = lit.sum(1)
            in_ring = shared(part, excess[:, None], mixture.typical(m)[1], scale)
            m, scale = self.network.slices(says, lit, in_ring, layer, half)
            parts = shared(lit, in_ring[:, None], mixture.typical(m)[1], scale)
            return lit + parts, budget - taken

        return self._normalised(self._walk(params, take))

    def _walk(self, params: Layers, take: Take) -> Tensor:
        """Shares (B, V), layer after layer."""
        features, energies, moments = params
        n_layers, slices, rings = self.shape
        of_slices = self._told(moments)
        nothing = features.new_zeros(len(features), slices, rings)
        past, total = history.History(*[nothing] * len(history.History._fields)), nothing
        layers = []
        for layer in range(n_layers):
            seen, told = past.windows(), (past.summary(), past.balance())
            left = energies[:, layer]
            whole = left.clamp(min=_NOTHING)
            halves: list[Tensor] = []
            for half in (0, 1):
                now = history.told(halves[0]) if half else None
                here = torch.cat([seen[:, half::2], of_slices[:, half::2]], 2)
                says = self.network(
                    here, now, features[:, layer], told, left / whole, left, layer, half
                )
                before = self.network.division(halves[0] if half else nothing, layer, half)
                drawn, left = take(says, before, left, layer, half)
                halves.append(drawn)
            voxels = torch.stack(halves, 2).flatten(1, 2)
            total = total + voxels
            past = past.after(voxels, total)
            layers.append(voxels / whole[:, None, None])
        return torch.stack(layers, 1).flatten(1)
