"""The network of a walk through a cylinder: what it says of half a layer."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caloman_cli.models.heads import history, mixture, portions
from caloman_cli.models.heads.portions import LEAST, Components, Scale
from caloman_cli.models.heads.shares import LogShares

_LEAST = 1e-4  # of a layer's energy that the network is told is left
_LITTLE = 0.05  # cuts of excess that it is told is free
_FAR = 3.0  # standard deviations of a total that a division is told
_NEIGHBOURS = (-1, 0, 1, 2)  # even slices seen from an odd one, which lies between 0 and 1
_BALANCES = 3
_FOLLOWS = 0.5  # how much a half starts to follow the balance of the layer before

Layers = Tensor | int
"""The layer of each row, (N,), or of all."""


class Half(NamedTuple):
    """What the network says of half a layer, before it is known what is lit.

    Args:
        voxels: Raw parameters, (N, A / 2, P, R).
        whole: Hidden units of the half, (N, hidden).
        balance: Log ratios of even to odd slices in what was drawn before, (N, 3).
    """

    voxels: Tensor
    whole: Tensor
    balance: Tensor

    @property
    def lit(self) -> Tensor:
        """Logits of voxels' probabilities, (N, A / 2, R)."""
        return self.voxels[:, :, 0]


class HalfNetwork(nn.Module):
    """One perceptron for all halves of all layers, equivariant in the slices.

    Energies are in units of the readout cut. N rows, A slices, R rings.

    Args:
        shape: (L, A, R) of the detector.
        layer_features: Features per layer that the decoder makes.
        embedding: Learned numbers per layer and half.
        hidden: Width.
        components: K of the mixtures.
        told: Numbers that each slice is told beside what it sees.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        layer_features: int,
        embedding: int,
        hidden: int,
        components: int,
        told: int,
    ) -> None:
        super().__init__()
        n_layers, _, rings = shape
        self.n_rings, self.n_components = rings, components
        self.parts = LogShares(n_layers, 2, rings)  # log(excess / its mean over the ring's lit)
        self.of_rings = LogShares(n_layers, 2, rings)  # log(that mean / the same of the half)
        self.levels = LogShares(n_layers, 2, rings)  # log of a voxel's excess
        self.totals = LogShares(n_layers, 1)  # logit of the first half's portion
        self.total_levels = LogShares(n_layers, 1)  # log of its excess, per lit voxel
        self.embedding = nn.Parameter(0.3 * torch.randn(n_layers, 2, embedding))
        self.context = nn.Linear(layer_features + embedding + 5 * rings + 2, hidden)
        seen = rings * (history.WIDTH + 2 * len(_NEIGHBOURS)) + told
        self.first = nn.Linear(seen, hidden, bias=False)
        self.norm = nn.LayerNorm(hidden)
        self.second = nn.Linear(hidden, hidden)
        self.pooled = nn.Linear(hidden, hidden, bias=False)
        self.last = nn.Linear(hidden, rings * mixture.n_parameters(components))
        self.rings_hear = nn.Linear(hidden + 3 * rings + 3, hidden)
        # A ring with a lit voxel has energy: the bit among its parameters has no say.
        self.says_rings = nn.Linear(hidden, rings * (mixture.n_parameters(components) + 2))
        self.hears = nn.Linear(hidden + rings + 2 + _BALANCES, hidden)
        self.says_total = nn.Linear(hidden, 1 + 3 * components + _BALANCES)

    def measure(self, halves: Tensor) -> None:
        """Take rows: energies (N, L, A / 2, 2, R)."""
        taken, lit = halves.sum((2, 4)), halves > 0  # (N, L, 2)
        n_lit = lit.sum((2, 4))
        log_n = torch.log(n_lit.clamp(min=1))
        mean = _log_excess(taken - n_lit) - log_n
        level = _log_excess(halves - 1.0)
        n_ring, in_ring = lit.sum(2), halves.sum(2)  # (N, L, 2, R)
        ring = _log_excess(in_ring - n_ring) - torch.log(n_ring.clamp(min=1))
        several = (n_ring > 0).sum(3, keepdim=True) > 1
        self.of_rings.add(ring - mean[..., None], (n_ring > 0) & several)
        for measured, value, known in (
            (self.parts, level - ring[:, :, None], lit & (n_ring > 1)[:, :, None]),
            (self.levels, level, lit),
        ):
            # Slices of one half are alike: they join the rows.
            measured.add(*(p.transpose(1, 2).flatten(0, 1) for p in (value, known)))
        some = (n_lit > 0).all(2, keepdim=True)
        rest = taken[:, :, 1:] - 1.0
        self.totals.add(portions.logit(taken[:, :, :1] - n_lit[:, :, :1], rest), some)
        self.total_levels.add(mean[:, :, :1], some)

    def measured(self) -> None:
        """Set the statistics from what was taken."""
        for module in self.children():
            if isinstance(module, LogShares):
                module.finish()

    def forward(
        self,
        seen: Tensor,
        now: tuple[Tensor, Tensor] | None,
        features: Tensor,
        past: tuple[Tensor, Tensor],
        left: Tensor,
        budget: Tensor,
        layer: Layers,
        half: int,
    ) -> Half:
        """What is said of half a layer.

        Args:
            seen: Windows around the half's slices in layers before, and what
                slices are told, (N, A / 2, .).
            now: Energies and bits of the first half as :func:`history.told` tells them.
            features: Of the layer, (N, F).
            past: Summary and balance of the history, (N, .).
            left: Share of the layer's energy that is left, (N,).
            budget: The same as an energy.
            layer: Which layer.
            half: 0 or 1.
        """
        if now is None:
            around = seen.new_zeros(*seen.shape[:2], 2 * self.n_rings * len(_NEIGHBOURS))
            mean = seen.new_zeros(len(seen), 2 * self.n_rings)
        else:
            around = torch.cat([part.roll(-k, 1) for part in now for k in _NEIGHBOURS], 2)
            mean = torch.cat([part.mean(1) for part in now], 1)
        summary, balance = past
        told = [torch.log(left.clamp(min=_LEAST)) / 2.0, torch.log(budget.clamp(min=0.5)) / 6.0]
        embedding = self.embedding[layer, half].expand(len(seen), -1)
        context = torch.cat([features, embedding, summary, mean, torch.stack(told, 1)], 1)
        h = self.first(torch.cat([seen, around], 2)) + self.context(context)[:, None]
        h = F.silu(self.norm(h))
        h = F.silu(self.second(h) + self.pooled(h.mean(1, keepdim=True)))
        return Half(self.last(h).unflatten(2, (-1, self.n_rings)), h.mean(1), balance)

    def total(
        self, says: Half, lit: Tensor, free: Tensor, layer: Layers
    ) -> tuple[Tensor, Components]:
        """Of a first half with these voxels lit: whether it uses up the layer, and what it takes.

        Args:
            says: Of the half.
            lit: How much each voxel is lit, (N, A / 2, R).
            free: The layer's excess when each of them and one of the other half has its cut, (N,).
            layer: Which layer.

        Returns:
            Logit of the end, (N,), and components of the portion of what is free, S = 1, B = N.
        """
        log_n = torch.log(lit.sum((1, 2)).clamp(min=1.0))
        numbers = torch.stack([log_n, torch.log(free.clamp(min=_LITTLE)) / 3.0], 1)
        heard = torch.cat([says.whole, lit.mean(1), numbers, says.balance], 1)
        raw = self.says_total(F.silu(self.hears(heard)))
        end, raw, follows = raw.split([1, 3 * self.n_components, _BALANCES], 1)
        follows = (follows * says.balance).sum(1) + _FOLLOWS * says.balance[:, 0]
        mean, std = (part[layer].view(1, -1) for part in (self.totals.mean, self.totals.std))
        level, spread = (
            part[layer].view(1, -1) for part in (self.total_levels.mean, self.total_levels.std)
        )
        at = portions.offsets(self.n_components, mean + follows, std, level + log_n, spread)
        return end[:, 0], portions.components(raw.T[:, None], at)

    def division(self, first: Tensor, layer: Layers, half: int) -> Tensor:
        """How rings divide a first half (N, A / 2, R), standardised (N, R); 0 for itself."""
        lit = first > 0
        n_ring = lit.sum(1)
        several = ((n_ring > 0).sum(1, keepdim=True) > 1) & (n_ring > 0) & (half > 0)
        in_ring, n_lit = first.sum(1) - n_ring, n_ring.sum(1, keepdim=True)
        mean = in_ring.sum(1, keepdim=True).clamp(min=LEAST) / n_lit.clamp(min=1)
        log = torch.log(in_ring.clamp(min=LEAST) / n_ring.clamp(min=1) / mean)
        of_rings = self.of_rings
        return torch.where(several, (log - of_rings.mean[layer, 0]) / of_rings.std[layer, 0], 0.0)

    def rings(
        self,
        says: Half,
        lit: Tensor,
        excess: Tensor,
        y: Tensor,
        ends: Tensor,
        before: Tensor,
        layer: Layers,
        half: int,
    ) -> tuple[mixture.Mixture, Scale]:
        """How rings divide the half's excess, as logarithms of what they get.

        Args:
            says: Of the half.
            lit: How much each voxel is lit, (N, A / 2, R).
            excess: Of the half over the cuts of its lit voxels, (N,).
            y: The half's portion, where it does not use up what is left, (N,).
            ends: Whether it does, (N,).
            before: How the first half was divided, standardised (N, R); zero for itself.
            layer: Which layer.
            half: 0 or 1.

        Returns:
            The mixture of standardised logarithms, (N, K, R), and their scale, (N, R).
        """
        n_ring = lit.sum(1)
        n_lit = n_ring.sum(1, keepdim=True)
        log_excess = _log_excess(excess)[:, None]
        log_n, log_ring = torch.log(n_lit.clamp(min=1.0)), torch.log(n_ring.clamp(min=1.0))
        far = (y - self.totals.mean[layer].squeeze(-1)) / self.totals.std[layer].squeeze(-1)
        far = torch.where(ends, 0.0, far.clamp(-_FAR, _FAR))[:, None]
        heard = [says.whole, log_ring, lit.mean(1), before, log_n, log_excess / 3.0, far]
        raw = self.says_rings(F.silu(self.rings_hear(torch.cat(heard, 1))))
        raw, follows, shift = raw.unflatten(1, (-1, self.n_rings)).tensor_split((-2, -1), 1)
        mean, std, level, spread = self._stats(self.of_rings, layer, half)
        mean = mean + log_excess - log_n + log_ring
        fixed = (level + log_ring - mean) / std, spread / std
        shift = (follows + _FOLLOWS) * before[:, None] + shift * ends[:, None, None]
        m = mixture.mixture(raw, fixed)
        return m._replace(center=m.center + shift), (mean, std)

    def slices(
        self, says: Half, lit: Tensor, excess: Tensor, layer: Layers, half: int
    ) -> tuple[mixture.Mixture, Scale]:
        """How lit voxels divide the excess of their rings, as logarithms of what they get.

        Args:
            says: Of the half.
            lit: How much each voxel is lit, (N, A / 2, R).
            excess: Of the rings over the cuts of their lit voxels, (N, R).
            layer: Which layer.
            half: 0 or 1.

        Returns:
            The mixture of standardised logarithms, (N, A / 2, K, R), and their scale, (N, 1, R).
        """
        mean, std, level, spread = (
            part.unsqueeze(-2) for part in self._stats(self.parts, layer, half)
        )
        log_mean = _log_excess(excess) - torch.log(lit.sum(1).clamp(min=1.0))
        mean = mean + log_mean[:, None]
        fixed = (level - mean) / std, spread / std
        return mixture.mixture(says.voxels, fixed), (mean, std)

    def _stats(self, shares: LogShares, layer: Layers, half: int) -> tuple[Tensor, ...]:
        """Mean and width of logarithms and of voxels' log-excesses, (R,) or (N, R)."""
        return tuple(
            part[layer, half]
            for part in (shares.mean, shares.std, self.levels.mean, self.levels.std)
        )


def _log_excess(excess: Tensor) -> Tensor:
    return torch.log(excess.clamp(min=LEAST))
