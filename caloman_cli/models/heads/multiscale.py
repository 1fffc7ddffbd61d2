"""Sampled voxels, scale by scale: every layer is halved again and again, many patches at once."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.config.values import Count, Natural, Several, checked
from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError
from caloman_cli.models.heads.halving import Halving, HalvingNetwork, n_raw
from caloman_cli.models.heads.harmonics import Harmonics
from caloman_cli.models.heads.scales import Scales, near
from caloman_cli.models.heads.shares import LogShares, ShareHead
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.conditions import Conditions

_LEAST = 1e-5  # of a layer's energy, that networks are told
_NOTHING = 1e-12
_FAR = 5.0  # standard deviations that they are told


class Halved(NamedTuple):
    """Where halvings begin.

    Args:
        state: Of each layer, (B, L, S).
        energies: Of the layers, over the cut, (B, L).
        moments: Harmonics, (B, .), that the decoder has told the state of.
    """

    state: Tensor
    energies: Tensor
    moments: Tensor


@checked
class Multiscale(ShareHead[Halved]):
    r"""A patch's energy goes to its first half, to its second one, or to both.

    From whole layers to single voxels all patches of a scale are halved in a few steps: patches
    next to each other in different ones, those of all layers at once. What is drawn in a step is
    independent given the decoder's output for the layer and the energies of all patches of it
    (and of ``sight`` layers of its shape before and behind) that steps before have drawn. What
    layers have in common beyond that, latents have to say.

    Of a patch of energy e (in units of the readout cut) that both halves are lit of, the first
    takes :math:`1 + r (e - 2)`, where the logit of r has a mixture of logistic distributions, one
    of them at an energy, see :mod:`caloman_cli.models.heads.portions`. All that can be drawn is
    possible, layers have their energies, and none of them stays dark. ``log_prob`` is per unit of
    these logits.

    Args:
        state: Width of what the decoder says of each layer.
        hidden: Width of the perceptron of each step that reads all of a layer.
        local: Width of those that read what is next to a patch.
        components: K of each mixture, 2 or more: one is centred at an energy.
        phases: Steps of each scale.
        sight: Layers of the same shape before and behind whose patches a layer sees.
        harmonics: How many harmonics in alpha of each layer latents hold, beside what the encoder
            learns: 1 for which way it leans, 2 for how it is drawn out, too; for encoders that
            hold moments, and few layers.
        geometry: The detector.
        conditions: Tells the layers' energies.

    Raises:
        UserError: An argument is out of range.

    References:
        Lavine (1992), Some aspects of Polya tree distributions for statistical modelling, Annals
        of Statistics 20, 1222.
        Reed et al. (2017), Parallel multiscale autoregressive density estimation,
        arXiv:1703.03664.
    """

    kind = "exact"

    def __init__(
        self,
        state: Count = 48,
        hidden: Count = 128,
        local: Count = 16,
        components: Several = 3,
        phases: Count = 2,
        sight: Natural = 0,
        harmonics: Natural = 0,
        *,
        geometry: Geometry,
        conditions: Conditions,
    ) -> None:
        super().__init__(components, geometry=geometry, conditions=conditions)
        self.sight = sight
        self.scales = Scales(geometry, phases)
        self.levels = LogShares(1, self.scales.n_patches)  # log of a patch's share of its layer
        self.steps = [Halving(n, components) for n in self.scales.n_halved]
        self.halvings = nn.ModuleList(self.steps)
        self.networks = nn.ModuleDict()
        for step in range(len(self.steps)):
            for number, there in self.scales.there(step):
                seen = (2 * self._sight(number) + 1) * there.shape[1]
                close = near(self.scales.trees[number], step)
                network = HalvingNetwork(state, seen, hidden, local, close, n_raw(components))
                self.networks[f"{step}_{number}"] = network
        self.harmonics = Harmonics(geometry, harmonics)
        self.moment_dim = self.harmonics.dim
        self.out_dim = state * geometry.n_layers + self.moment_dim
        self.footprint = 12 * self.x_dim + 2 * self.out_dim
        self.feature_dim = self.x_dim + 2 * sum(self.scales.n_halved)

    def _sight(self, number: int) -> int:
        """Layers that a layer of a tree sees on either side."""
        return min(self.sight, len(self.scales.trees[number].layers) - 1)

    def _energies(self, c: Tensor) -> Tensor:
        """The layers' energies over the cut (B, L)."""
        return self.conditions.layer_energies(c) / self.cut

    def _patches(self, x: Tensor, energies: Tensor) -> Tensor:
        """Energies of all patches, of shares (B, V) and layers (B, L): (B, N)."""
        return self.scales.energies(x * self.layers.spread(energies))

    def _measure(self, x: Tensor, c: Tensor) -> None:
        shares = self.scales.energies(x)
        level = torch.log(shares.clamp(min=_LEAST)).unsqueeze(1)
        self.levels.add(level, (shares > 0).unsqueeze(1))
        patches = self._patches(x, self._energies(c))
        for step, halving in enumerate(self.steps):
            halving.measure(*self.scales.halves(patches, step))

    def _measured(self) -> None:
        self.levels.finish()
        for halving in self.steps:
            halving.measured()

    def features(self, x: Tensor) -> Tensor:
        """Which voxels are lit, how patches are halved, and which halves are alone."""
        patches, found = self.scales.energies(x), [(x > 0).to(x)]
        for step, halving in enumerate(self.steps):
            first, second = self.scales.halves(patches, step)
            found.append(halving.standardised(first, second).clamp(-_FAR, _FAR))
            found.append((first > 0).to(x) - (second > 0).to(x))
        return torch.cat(found, 1)

    def moments(self, x: Tensor, c: Tensor) -> Tensor:
        """Harmonics of the layers, which decoders are told."""
        return self.harmonics.moments(x, self._energies(c))

    def params(self, raw: Tensor, c: Tensor) -> Halved:
        state, moments = raw.tensor_split([self.out_dim - self.moment_dim], 1)
        state = state.unflatten(1, (self.geometry.n_layers, -1))
        return Halved(state, self._energies(c), moments)

    def from_mean(self, mean: Tensor, sigma: Tensor) -> Halved:
        raise UserError("a multiscale head has no plain mean")

    def log_prob(self, params: Halved, x: Tensor) -> Tensor:
        patches = self._patches(x, params.energies)
        told = self._told(self.scales.energies(x), slice(0, self.scales.n_patches))
        total = x.new_zeros(len(x))
        for step, halving in enumerate(self.steps):
            raw = self._raw(params.state, told, step)
            total = total + halving.log_prob(raw, *self.scales.halves(patches, step))
        return total

    def log_density(self, params: Halved, x: Tensor) -> Tensor:
        r"""``log_prob`` times :math:`|dy / dx|` of the logits y of portions.

        Of a layer, the first halves' energies are as many as there are free voxels, and sums of
        them: their volume is that of voxels.
        """
        patches = self._patches(x, params.energies)
        total = self.log_prob(params, x) + self._free_numbers(x, params.energies)
        for step, halving in enumerate(self.steps):
            total = total + halving.log_slope(*self.scales.halves(patches, step))
        return total

    def sample(self, params: Halved, noise: Noise) -> Tensor:
        return self._made(params, noise)

    def mean(self, params: Halved) -> Tensor:
        """Patches halved by the probabilities of being lit and the components' mean centre."""
        return self._made(params, None)

    def _made(self, params: Halved, noise: Noise | None) -> Tensor:
        whole = slice(0, self.geometry.n_layers)
        inverse = 1.0 / params.energies.clamp(min=_NOTHING)
        patches, told = [params.energies], [self._told(params.energies.sign(), whole)]
        for step, halving in enumerate(self.steps):
            there = torch.cat(patches, 1), torch.cat(told, 2)
            energy = there[0].index_select(1, self.scales.halved(step))
            raw = self._raw(params.state, there[1], step)
            if noise is None:
                halves = halving.mean(raw, energy)
            else:
                halves = halving.draw(raw, energy, noise.uniform(3, energy.shape[1]))
            own = self.scales.of_layer[self.scales.made(step)]
            new = self._told(halves * inverse.index_select(1, own), self.scales.made(step))
            patches, told = [there[0], halves], [there[1], new]
        voxels = torch.cat(patches, 1).index_select(1, self.scales.back)
        return self._normalised(voxels / self.layers.spread(params.energies).clamp(min=_NOTHING))

    def _told(self, shares: Tensor, own: slice) -> Tensor:
        """Which patches are lit, and with which share of their layer, (B, N) -> (B, 2, N)."""
        lit = (shares > 0).to(shares)
        bright = torch.log(shares.clamp(min=_LEAST)) - self.levels.mean[0, own]
        bright = (bright / self.levels.std[0, own]).clamp(-_FAR, _FAR)
        return torch.stack([lit, bright * lit], 1)

    def _raw(self, state: Tensor, told: Tensor, step: int) -> Tensor:
        """What the networks say of a step, (B, P, H), of what they are told of patches before."""
        found = []
        for number, places in self.scales.there(step):
            layers, sight = self.scales.trees[number].layers, self._sight(number)
            own = told.index_select(2, places.flatten()).unflatten(2, places.shape)
            around = own[:, 0, :, :0]
            if sight:
                padded = F.pad(own.transpose(1, 2).flatten(2), (0, 0, sight, sight))
                shifts = [d for d in range(2 * sight + 1) if d != sight]
                around = torch.cat([padded[:, d : d + len(layers)] for d in shifts], 2)
            network = self.networks[f"{step}_{number}"]
            found.append(network(state[:, layers], own, around))
        return torch.cat(found, 2)
