"""Sampled voxels of many equal layers: one network walks through the detector."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError
from caloman_cli.heads import history, mixture
from caloman_cli.heads.hurdle_mixture import ShareHead
from caloman_cli.heads.log_shares import LogShares
from caloman_cli.noise import Noise
from caloman_cli.preprocess.conditions import Conditions

_NOTHING = 1e-12
_ATTEMPTS = 4  # at drawing a half that leaves something to the other
_LEAST = 1e-4  # of a layer's energy that the network is told is left
_TOLERANCE = 1.0 - 1e-3  # what is left of a layer must reach the cut, up to rounding
_TWO = 2.0 * _TOLERANCE  # what both halves need
_NEIGHBOURS = (-1, 0, 1, 2)  # even slices seen from an odd one, which lies between 0 and 1

Decide = Callable[[mixture.Block, Tensor, Tensor, Tensor, int, int], tuple[Tensor, Tensor, Tensor]]
"""(parameters, edge, room (B,), must it end? (B,), layer, half) -> how much a voxel is lit and y,
both (B, A / 2, R), and whether the half uses up the layer, boolean (B,)."""


class Cylinder(ShareHead):
    r"""Layer after layer, every other slice in alpha and then those between, with shared weights.

    One perceptron makes the hurdle mixtures (:mod:`caloman_cli.heads.mixture`) of the R voxels of
    a slice in alpha. It sees the slices around it, circularly, in the two layers before and in
    the sum of all layers before; for the odd slices also the even ones of the same layer; the
    layer's features that the decoder makes of z and c; and what is left of the layer's energy.
    The same weights serve all slices and all layers, so the head is equivariant under rotations
    by two slices (by one on average over training, see ``encoder.augment``) and its size does not
    grow with the detector. A voxel's share is taken of what the layer has left when its half
    begins; the first half may use it up, with a probability of its own, and the second does, so
    that layers sum to one.

    ``features`` are the energies and the lit fractions of rings, which rotations do not change.

    Args:
        layer_features: Features per layer that the decoder makes.
        embedding: Learned numbers per layer and half.
        hidden: Width of the perceptron.
        components: K of the mixture, 2 or more: one is centred at an energy.
        geometry: The detector; all layers alike, with an even number of slices, four or more.
        conditions: Tells the layers' energies.

    Raises:
        UserError: An argument is out of range, or the layers differ in shape.
    """

    def __init__(
        self,
        layer_features: int = 48,
        embedding: int = 16,
        hidden: int = 128,
        components: int = 3,
        *,
        geometry: Geometry,
        conditions: Conditions,
    ) -> None:
        super().__init__(components, geometry=geometry, conditions=conditions)
        if components < 2:
            raise UserError(f"head.components={components} must be 2 or more in a walk, e.g. 3")
        if min(layer_features, embedding, hidden) < 1:
            raise UserError(
                f"head.layer_features={layer_features}, head.embedding={embedding}, "
                f"head.hidden={hidden} must be 1 or more"
            )
        shape = geometry.image_shape
        if shape is None or shape[1] % 2 or shape[1] < 4:
            raise UserError(
                f"head=cylinder needs layers of one shape with an even number of slices in alpha, "
                f"4 or more, which {geometry.name} does not have: use head=autoregressive"
            )
        self.shape = n_layers, _, rings = shape
        self.layer_features = layer_features
        self.out_dim = n_layers * layer_features
        self.feature_dim = 2 * n_layers * rings
        self.footprint = 4 * self.x_dim
        self.shares = LogShares(n_layers, 2, rings)  # log(voxel / left)
        self.levels = LogShares(n_layers, 2, rings)  # log(voxel / cut)
        self.embedding = nn.Parameter(0.3 * torch.randn(n_layers, 2, embedding))
        self.context = nn.Linear(layer_features + embedding + 5 * rings + 2, hidden)
        seen = rings * (history.WIDTH + 2 * len(_NEIGHBOURS))
        self.first = nn.Linear(seen, hidden, bias=False)
        self.norm = nn.LayerNorm(hidden)
        self.second = nn.Linear(hidden, hidden)
        self.pooled = nn.Linear(hidden, hidden, bias=False)
        self.last = nn.Linear(hidden, rings * (self.n_parameters + 1))
        self.end = nn.Linear(hidden, 1)

    def _measure(self, x: Tensor, c: Tensor) -> None:
        halves = x.unflatten(1, self.shape).unflatten(2, (-1, 2))
        left = halves.sum((2, 4)).flip(2).cumsum(2).flip(2)[:, :, None, :, None]
        level = torch.log(halves.clamp(min=_NOTHING))
        cuts = torch.log((self.conditions.layer_energies(c) / self.cut).clamp(min=_NOTHING))
        for measured, value in (
            (self.shares, level - torch.log(left.clamp(min=_NOTHING))),
            (self.levels, level + cuts[:, :, None, None, None]),
        ):
            # Slices of one parity are alike: they join the rows.
            measured.add(*(p.transpose(1, 2).flatten(0, 1) for p in (value, halves > 0)))

    def _measured(self) -> None:
        self.shares.finish()
        self.levels.finish()

    def features(self, x: Tensor) -> Tensor:
        """The log-share of each ring and its lit fraction, (B, 2 L R)."""
        image = x.unflatten(1, self.shape)
        energy = torch.log(image.sum(2) + _LEAST) / 4.0 + 1.0
        return torch.cat([energy.flatten(1), (image > 0).to(x).mean(2).flatten(1)], 1)

    def params(self, raw: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        """Features of layers (B, L, .) and the layers' energies over the cut (B, L)."""
        features = raw.unflatten(1, (self.shape[0], self.layer_features))
        return features, self.conditions.layer_energies(c) / self.cut

    def from_mean(self, mean: Tensor, sigma: Tensor) -> tuple[Tensor, ...]:
        raise UserError("an autoregressive head has no plain mean")

    def log_prob(self, params: tuple[Tensor, ...], x: Tensor) -> Tensor:
        features, energies = params
        image = x.unflatten(1, self.shape)
        voxels = image * energies[:, :, None, None]
        energy, lit = history.told(voxels)
        past = history.of_all(voxels)
        seen, summary = past.windows(), past.summary()
        result = x.new_zeros(len(x))
        for half in (0, 1):
            part = image[:, :, half::2]
            left = image.sum((2, 3)) if half == 0 else part.sum((2, 3))
            budget = left * energies
            row, layer = torch.nonzero(budget >= _TOLERANCE, as_tuple=True)
            at = row, layer
            now = (energy[:, :, 0::2][at], lit[:, :, 0::2][at]) if half else None
            mean, std = self.shares.mean[layer, half], self.shares.std[layer, half]
            edge = (((-torch.log(budget[at]))[:, None] - mean) / std)[:, None]
            block = self._block(
                seen[:, :, half::2][at], now, features[at], summary[at], left[at], budget[at],
                self.embedding[layer, half], self._fixed(edge, layer, half),
            )  # fmt: skip
            bits = (part[at] > 0).to(x)
            y = (_log_of(part[at], left[at]) - mean[:, None]) / std[:, None] * bits
            n_lit = bits.sum((1, 2))
            ends = torch.ones_like(n_lit)
            if half == 0:
                ends = (image[:, :, 1::2].sum((2, 3))[at] <= 0).to(x)
            free = bits * ~((ends > 0) & (n_lit == 1))[:, None, None]
            m = block.given(ends[:, None])
            total = mixture.log_prob(m, y, bits, edge, free).sum((1, 2))
            if half == 0:
                ending = -F.binary_cross_entropy_with_logits(block.end, ends, reduction="none")
                total = total + torch.where((n_lit > 0) & (budget[at] >= _TWO), ending, 0.0)
            result = result.index_add(0, row, total)
        return result

    def sample(self, params: tuple[Tensor, ...], noise: Noise) -> Tensor:
        uniform = noise.uniform(3, self.x_dim).unflatten(2, self.shape).transpose(1, 3)
        ending = noise.uniform(self.shape[0])
        logits = []

        def decide(
            block: mixture.Block, edge: Tensor, room: Tensor, must: Tensor, layer: int, half: int
        ) -> tuple[Tensor, Tensor, Tensor]:
            logits.append(block.voxels.lit)
            ends = must | (ending[:, layer] < torch.sigmoid(block.end))
            m = block.given(ends.to(edge)[:, None])
            numbers = uniform[:, half::2, layer]
            lit, y = mixture.draw(m, numbers[:, :, :2], edge)
            mean, std = self.shares.mean[layer, half], self.shares.std[layer, half]
            for attempt in range(_ATTEMPTS):
                # Voxels that are drawn apart may take more together than there is: once more.
                share = torch.exp((y * std + mean).clamp(max=0.0)) * lit
                over = torch.nonzero(~ends & (share.sum((1, 2)) > room))[:, 0]
                if not len(over):
                    break
                again = mixture.redrawn(numbers[over], attempt)
                part = mixture.Mixture(*(values[over] for values in m))
                y = y.index_copy(0, over, mixture.draw(part, again, edge[over])[1])
            return lit.to(y), y, ends

        x = self._walk(params, decide)
        if bool(((self.layers.sum(x) <= 0) & (params[1] > 0)).any()):
            halves = torch.stack(logits, 1).unflatten(1, (-1, 2))  # (B, L, 2, A / 2, R)
            brightest = self.layers.brightest(halves.transpose(2, 3).flatten(1))
            x = self._rescued(x, brightest, params[1])
        return self._normalised(x)

    def mean(self, params: tuple[Tensor, ...]) -> Tensor:
        """Each voxel lit by its probability, at the mean of y, given the same of those before."""

        def decide(
            block: mixture.Block, edge: Tensor, room: Tensor, must: Tensor, layer: int, half: int
        ) -> tuple[Tensor, Tensor, Tensor]:
            return *mixture.typical(block.given(must.to(edge)[:, None])), must

        return self._normalised(self._walk(params, decide))

    def _walk(self, params: tuple[Tensor, ...], decide: Decide) -> Tensor:
        """Shares (B, V), layer after layer."""
        features, energies = params
        n_layers, slices, rings = self.shape
        nothing = features.new_zeros(len(features), slices, rings)
        past, total = history.History(*[nothing] * len(history.History._fields)), nothing
        layers = []
        for layer in range(n_layers):
            seen, summary = past.windows(), past.summary()
            left = torch.ones_like(energies[:, layer])
            halves: list[Tensor] = []
            for half in (0, 1):
                budget = left * energies[:, layer]
                now = history.told(halves[0] * energies[:, layer, None, None]) if half else None
                mean, std = self.shares.mean[layer, half], self.shares.std[layer, half]
                edge = (-torch.log(budget.clamp(min=0.5))[:, None, None] - mean) / std
                block = self._block(
                    seen[:, half::2], now, features[:, layer], summary, left, budget,
                    self.embedding[layer, half].expand(len(features), -1),
                    self._fixed(edge, layer, half),
                )  # fmt: skip
                must = torch.ones_like(left, dtype=torch.bool) if half else budget < _TWO
                room = 1.0 - 1.0 / budget.clamp(min=1.0)  # what comes later needs the cut at least
                lit, y, ends = decide(block, edge, room, must, layer, half)
                lit = lit * (budget >= _TOLERANCE)[:, None, None]
                share = torch.exp((y * std + mean).clamp(max=0.0)) * lit * left[:, None, None]
                drawn = share.sum((1, 2))
                most = torch.where(ends, left, left * room)
                goal = torch.where(ends, most, torch.minimum(drawn, most))
                halves.append(share * (goal / drawn.clamp(min=_NOTHING))[:, None, None])
                left = torch.where(drawn > 0, left - goal, left)
            image = torch.stack(halves, 2).flatten(1, 2)
            image = image / image.sum((1, 2), keepdim=True).clamp(min=_NOTHING)
            voxels = image * energies[:, layer, None, None]
            total = total + voxels
            past = past.after(voxels, total)
            layers.append(image)
        return torch.stack(layers, 1).flatten(1)

    def _fixed(self, edge: Tensor, layer: Tensor | int, half: int) -> tuple[Tensor, Tensor]:
        """Where the component lies that is centred at an energy, and its width, in units of y.

        Args:
            edge: The cut in these units, (N, 1, R).
            layer: Of each row, (N,), or of all.
            half: Even slices or odd.
        """
        std = self.shares.std[layer, half].unsqueeze(-2)
        level, spread = (
            part[layer, half].unsqueeze(-2) for part in (self.levels.mean, self.levels.std)
        )
        return edge + level / std, spread / std

    def _block(
        self,
        seen: Tensor,
        now: tuple[Tensor, Tensor] | None,
        features: Tensor,
        summary: Tensor,
        left: Tensor,
        budget: Tensor,
        embedding: Tensor,
        fixed: tuple[Tensor, Tensor],
    ) -> mixture.Block:
        """The parameters of half a layer: windows (N, A / 2, .) -> (N, A / 2, K, R)."""
        rings = self.shape[2]
        if now is None:
            around = seen.new_zeros(*seen.shape[:2], 2 * rings * len(_NEIGHBOURS))
            mean = seen.new_zeros(len(seen), 2 * rings)
        else:
            around = torch.cat([part.roll(-k, 1) for part in now for k in _NEIGHBOURS], 2)
            mean = torch.cat([part.mean(1) for part in now], 1)
        told = [torch.log(left.clamp(min=_LEAST)) / 2.0, torch.log(budget.clamp(min=0.5)) / 6.0]
        context = torch.cat([features, embedding, summary, mean, torch.stack(told, 1)], 1)
        h = self.first(torch.cat([seen, around], 2)) + self.context(context)[:, None]
        h = F.silu(self.norm(h))
        h = F.silu(self.second(h) + self.pooled(h.mean(1, keepdim=True)))
        raw = self.last(h).unflatten(2, (self.n_parameters + 1, rings))
        end = self.end(h.mean(1))[:, 0]
        return mixture.Block(mixture.mixture(raw[:, :, :-1], fixed), end, raw[:, :, -1])


def _log_of(share: Tensor, left: Tensor) -> Tensor:
    """log(share / left): (N, A, R) of (N,)."""
    logs = torch.log(share.clamp(min=_NOTHING)), torch.log(left.clamp(min=_NOTHING))
    return logs[0] - logs[1][:, None, None]
