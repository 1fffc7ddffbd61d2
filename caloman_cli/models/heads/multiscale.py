"""Sampled voxels, scale by scale: every layer is halved again and again, many patches at once."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from caloman_cli.config.values import Count, Natural, Positive, Several, checked
from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError
from caloman_cli.models.heads.counted import CountedHalving
from caloman_cli.models.heads.halving import Halving, PlacedHalving, n_raw
from caloman_cli.models.heads.halving_network import HalvingNetwork
from caloman_cli.models.heads.harmonics import Harmonics
from caloman_cli.models.heads.scales import Scales
from caloman_cli.models.heads.shares import LogShares, ShareHead
from caloman_cli.models.heads.sight import Sight
from caloman_cli.models.heads.told import FAR, LEAST, TOLD, put, standards, tell, told, written
from caloman_cli.models.nn.logistic import SMALLEST
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.conditions import Conditions

_NOTHING = 1e-12


class Halved(NamedTuple):
    """Where halvings begin.

    Args:
        state: Of each layer in turn, (B, L S).
        energies: Of the layers, over the cut, (B, L).
        moments: Harmonics, (B, .), that the decoder has told the state of.
    """

    state: Tensor
    energies: Tensor
    moments: Tensor


class Constants(NamedTuple):
    """What a step of H halvings finds that does not depend on what was drawn.

    Args:
        of_layer: The layers of the halves, int64 (2 H,).
        scale, shift: Which standardise the logarithms of their shares, (2 H, 1).
        at: What the halvings have to know.
        random: Two uniform numbers and a logistic one for each halving, (3, H, B), or None.
    """

    of_layer: Tensor
    scale: Tensor
    shift: Tensor
    at: Any
    random: Tensor | None


@checked
class Multiscale(ShareHead[Halved]):
    r"""A patch's energy goes to its first half, to its second one, or to both.

    From whole layers to single voxels all patches of a scale are halved in a few steps: patches
    next to each other in different ones, those of all layers at once. What is drawn in a step is
    independent given the decoder's output for the layer and the energies of all patches of it
    (and of ``sight`` layers before and behind) that steps before have drawn. What
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
        sight: Layers before and behind whose patches a layer sees; every other one is then a step
            ahead.
        most: Patches of a layer that are seen at once: where there are more, the larger ones that
            they come from stand for them.
        reach: How many of its own widths to both sides along alpha a patch looks closely, beyond
            those that touch it: what is halved in one step is drawn independently, and voxels that
            one particle lights lie farther apart than the next one.
        paired: Whether all patches of a scale are those of a grid, and share networks of what is
            next to them where that looks the same. Otherwise every patch is halved in the middle,
            and those of a size share networks.
        energies: Whether networks that look at what is next to a patch are told energies, too, and
            not only shares of the layer's: how many voxels a few cuts of energy light follows
            from these.
        harmonics: How many harmonics in alpha of each layer latents hold, beside what the encoder
            learns: 1 for which way it leans, 2 for how it is drawn out, too; for encoders that
            hold moments.
        centres: Whether they hold the layers' centres beside the harmonics.
        rank: Of more layers than these, so many combinations of each harmonic and of centres.
        blur: Noise with which latents know all of these, in units of how they vary: a layer of one
            lit voxel leans in one of few directions, which no smooth density learns.
        gain: Of what networks that look at what is next to a patch say: these begin with nothing,
            and an optimiser's step moves them so much further. For trainings of few steps.
        counted: Whether halvings begin with what was counted of showers to learn from: how often
            halves are lit and how they share, by the energy of a patch, for each kind of patch.
            Networks then say how others differ from these.
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
        most: Count = 256,
        reach: Natural = 0,
        paired: bool = False,
        energies: bool = False,
        harmonics: Natural = 0,
        centres: bool = False,
        rank: Count = 4,
        blur: Positive = 0.1,
        gain: Positive = 1.0,
        counted: bool = False,
        *,
        geometry: Geometry,
        conditions: Conditions,
    ) -> None:
        super().__init__(components, geometry=geometry, conditions=conditions)
        self.paired = paired
        self.scales, self.n_told = Scales(geometry, phases, sight, paired), TOLD + energies
        self.levels = LogShares(self.scales.n_patches)  # log of a patch's share of its layer
        networks = list(self._networks(state, most, reach, hidden, local, gain))
        self.halving: Halving[Any]
        if counted:
            kinds = [network.kinds for step in networks for network in step]
            layers = [network.layers for step in networks for network in step]
            self.halving = CountedHalving(self.scales.n_halved, components, kinds, layers)
        else:
            self.halving = PlacedHalving(self.scales.n_halved, components)
        self.networks = nn.ModuleList(nn.ModuleList(step) for step in networks)
        self.harmonics = Harmonics(geometry, harmonics, rank, centres)
        self.moment_dim, self.moment_sigma = self.harmonics.dim, blur
        self.layer_width = state
        self.out_dim = state * geometry.n_layers + self.moment_dim
        steps = [sum(network.footprint for network in step) for step in networks]
        known = (1 + self.n_told) * self.scales.n_patches + 3 * sum(self.scales.n_halved)
        self.footprint = known + 2 * self.out_dim + max(steps, default=0)
        self.feature_dim = self.x_dim + 2 * sum(self.scales.n_halved)

    def _networks(
        self, state: int, most: int, reach: int, hidden: int, local: int, gain: float
    ) -> Iterator[list[HalvingNetwork]]:
        """Of each step, one for each tree that it halves."""
        seen = Sight(self.scales, state, most, self.n_told, reach)
        raw = n_raw(self.components)
        for step in range(len(self.scales.n_halved)):
            yield [
                HalvingNetwork(
                    seen.all_of(number, step),
                    seen.next_to(number, step),
                    seen.kinds(number, step) if self.paired else tree.kinds(step),
                    hidden,
                    local,
                    raw,
                    gain,
                )
                for number, tree in enumerate(self.scales.trees)
                if tree.steps[step].now
            ]

    def _energies(self, c: Tensor) -> Tensor:
        """The layers' energies over the cut (B, L)."""
        return self.conditions.layer_energies(c) / self.cut

    def halves(self, x: Tensor, energies: Tensor) -> tuple[Tensor, Tensor]:
        """All first and second halves, (H, B) each, of shares (B, V) and layers (B, L)."""
        return self.scales.halves(self.scales.energies(x * self.layers.spread(energies)))

    def _measure(self, x: Tensor, c: Tensor) -> None:
        shares = self.scales.energies(x).mT
        self.levels.add(torch.log(shares.clamp(min=LEAST)), shares > 0)
        energies = self._energies(c)
        self.halving.measure(*self.halves(x, energies))
        self.harmonics.add(x, energies)

    def _measured(self) -> None:
        self.levels.finish()
        self.halving.measured()
        self.harmonics.finish()

    def features(self, x: Tensor) -> Tensor:
        """Which voxels are lit, how patches are halved, and which halves are alone."""
        first, second = self.scales.halves(self.scales.energies(x))
        portions = self.halving.standardised(first, second).clamp(-FAR, FAR)
        alone = (first > 0).to(x) - (second > 0).to(x)
        return torch.cat([(x > 0).to(x), portions.mT, alone.mT], 1)

    def moments(self, x: Tensor, c: Tensor) -> Tensor:
        """Harmonics of the layers, which decoders are told."""
        return self.harmonics.moments(x, self._energies(c))

    def params(self, raw: Tensor, c: Tensor) -> Halved:
        state, moments = raw.tensor_split([self.out_dim - self.moment_dim], 1)
        return Halved(state, self._energies(c), moments)

    def from_mean(self, mean: Tensor, sigma: Tensor) -> Halved:
        raise UserError("a multiscale head has no plain mean")

    def log_prob(self, params: Halved, x: Tensor) -> Tensor:
        return self._log_prob(params, x, *self.halves(x, params.energies))

    def log_density(self, params: Halved, x: Tensor) -> Tensor:
        r"""``log_prob`` times :math:`|dy / dx|` of the logits y of portions.

        Of a layer, the first halves' energies are as many as there are free voxels, and sums of
        them: their volume is that of voxels.
        """
        halves = self.halves(x, params.energies)
        found = self._log_prob(params, x, *halves) + self._free_numbers(x, params.energies)
        return found + self.halving.log_slope(*halves)

    def _log_prob(self, params: Halved, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        if not self.networks:
            return x.new_zeros(len(x))
        return self.halving.log_prob(torch.cat(self.said(params, x), 1), first, second)

    def said(self, params: Halved, x: Tensor) -> list[Tensor]:
        """What the networks say of each step, (P, H, B), where all before it is that of x."""
        table = self._table(params, x)
        return [self._raw(table, step) for step in range(len(self.networks))]

    def _table(self, params: Halved, x: Tensor) -> Tensor:
        """All that is known of shares, whose rows :class:`Sight` names."""
        nothing = x.new_zeros(1, len(x))
        shares = self.scales.energies(x)
        energies = shares * params.energies.mT.index_select(0, self.scales.of_layer)
        known = told(shares, energies, *standards(self.levels), self.n_told)
        return torch.cat([row for one in known for row in (one, nothing)] + [params.state.mT])

    def sample(self, params: Halved, noise: Noise) -> Tensor:
        return self._made(params, noise)

    def mean(self, params: Halved) -> Tensor:
        """Patches halved by the probabilities of being lit and the components' mean centre."""
        return self._made(params, None)

    def _made(self, params: Halved, noise: Noise | None) -> Tensor:
        write = written if noise is None else put
        energies, state = params.energies.mT, params.state.mT
        n, rows, layers = self.scales.n_patches, energies.shape[1], slice(0, len(energies))
        patches = write(energies.new_zeros(n, rows), layers, energies)
        table = torch.cat([energies.new_zeros(self.n_told * (n + 1), rows), state])
        scale, shift = (of_all[layers] for of_all in standards(self.levels))
        known = told(energies.sign(), energies, scale, shift, self.n_told)
        table = tell(table, layers, known, n, write)
        inverse = 1.0 / energies.clamp(min=_NOTHING)
        for step, constants in enumerate(self._constants(noise)):
            energy = patches.index_select(0, self.scales.halved(step))
            raw = self._raw(table, step)
            if constants.random is None:
                halves = self.halving.mean(raw, energy, constants.at)
            else:
                halves = self.halving.draw(raw, energy, constants.random, constants.at)
            made = self.scales.made(step)
            patches = write(patches, made, halves)
            shares = halves * inverse.index_select(0, constants.of_layer)
            known = told(shares, halves, constants.scale, constants.shift, self.n_told)
            table = tell(table, made, known, n, write)
        voxels = patches.index_select(0, self.scales.back).mT
        return self._normalised(voxels / self.layers.spread(params.energies).clamp(min=_NOTHING))

    def _constants(self, noise: Noise | None) -> Iterator[Constants]:
        """Of each step, all split at once."""
        halved = self.scales.n_halved
        made = [len(self.scales.of_layer) - 2 * sum(halved), *(2 * count for count in halved)]
        fields = [part.split(made)[1:] for part in (self.scales.of_layer, *standards(self.levels))]
        random: Iterable[Tensor | None] = [None] * len(halved)
        if noise is not None:
            whole = noise.uniform(3, sum(halved), rows_last=True)
            whole[2].logit_(SMALLEST)
            random = whole.split(halved, 1)
        return map(Constants, *fields, self.halving.steps(), random)

    def _raw(self, table: Tensor, step: int) -> Tensor:
        """What the networks say of a step, (P, H, B), of a table of what is known before it."""
        own = cast(nn.ModuleList, self.networks[step])
        said = [network(table) for network in own]
        return said[0] if len(said) == 1 else torch.cat(said, 1)
