r"""Showers in one orientation of many: the way there, and random ones back.

Of all turns g about the axis that map voxels on voxels, with and without mirroring, that one is
taken which makes :math:`\sum_k E_k \cos\alpha_k` of the whole shower largest: its dipole comes as
near to :math:`\alpha = 0`, where the first slice begins, as slices allow. Of the two mirror images
that are left it is the one with the larger :math:`\sum_k E_k \sin 2\alpha_k`, the one that is
drawn out to positive angles. The sums run over layers with slices, k over these.

A model :math:`p_c` of such showers whose draws are turned at random is exactly invariant,
:math:`p(x) = \frac{1}{|G|} \sum_g p_c(g x)`: it need not learn that all orientations are alike.

References:
    Kaba et al. (2023), Equivariance with learned canonicalization functions, arXiv:2211.06489.
"""

import math

import torch
from torch import Tensor, nn

from caloman_cli.data.geometry import Geometry
from caloman_cli.models.noise import Noise, mix
from caloman_cli.models.turns import Turns

_EXACT = 53  # bits of a float64: sums of integers up to there do not depend on their order
_WEIGHT = 20  # bits of what a slice counts
_LOT = 10  # and of a ring, where lots are drawn
_LOTS = 2  # two equal voxels are taken for each other once in 2^20 pairs of places
_NOTHING = 1e-30  # [MeV]


class Orientation(nn.Module):
    """The canonical orientation of showers (B, V), and how likely each other one is.

    A shower and all that it can be turned to have the same, to the last bit: energies count as
    integers, in units of the brightest voxel, since sums of these have no order. What cosine and
    sine leave undecided, such as two equal voxels face to face, fixed random weights of rings and
    slices decide.

    Args:
        geometry: The detector.
    """

    waves: Tensor
    rings: Tensor
    moves: Tensor

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.turns = turns = Turns(geometry)
        self.numbers = sorted({layer.n_alpha for layer, _ in turns.layers})
        self.bits = _EXACT - _WEIGHT - geometry.n_voxels.bit_length()
        every = torch.arange(turns.count)
        waves = [torch.zeros(3 + _LOTS, turns.count, 0, dtype=torch.int64)]
        for n in self.numbers:
            weights = _weights(n)[:, None].expand(-1, turns.count, -1)
            source = turns.source(n, every).expand_as(weights)
            # What slice j counts in a shower that will be turned: what its new place does.
            waves.append(torch.zeros_like(source).scatter(2, source, weights))
        rings = [
            [_lot(lot, place, ring) for place, (layer, _) in enumerate(turns.layers)
             for ring in range(layer.n_r)]
            for lot in range(_LOTS)
        ]  # fmt: skip
        moves = [
            (turns.source(layer.n_alpha, every) != torch.arange(layer.n_alpha)).any(1)
            for layer in geometry.layers
        ]
        self.register_buffer("waves", torch.cat(waves, 2), persistent=False)
        self.register_buffer("rings", torch.tensor(rings, dtype=torch.int64), False)
        self.register_buffer("moves", torch.stack(moves, 1), persistent=False)

    def of(self, voxels: Tensor) -> Tensor:
        """Which turn brings each shower to its canonical orientation, int64 (B,).

        Args:
            voxels: [MeV], shape (B, V), not negative.
        """
        energies, *lots = self._sums(voxels)
        possible = torch.ones(len(voxels), self.turns.count, dtype=torch.bool).to(voxels.device)
        for sums, wave in zip([energies] * 3 + lots, self.waves, strict=True):
            found = torch.where(possible, sums @ wave.double().T, -math.inf)
            possible &= found == found.amax(1, keepdim=True)
        return possible.long().argmax(1)  # all that are left give the same shower

    def drawn(self, noise: Noise) -> Tensor:
        """A random turn for each row of the noise, all as likely, int64 (B,)."""
        return (noise.uniform(1)[:, 0].double() * self.turns.count).long()

    def log_share(self, lit: Tensor) -> Tensor:
        """Log of the share of turns that move no lit layer (B, L), shape (B,), float64."""
        moved = lit.double() @ self.moves.double().T > 0
        return (~moved).double().mean(1).log()

    def _sums(self, voxels: Tensor) -> Tensor:
        """Whole numbers of each slice, over all layers that have as many: (1 + lots, B, N).

        Energies; and the same with weights of rings, compressed so that faint voxels count.
        """
        shape = (1 + _LOTS, len(voxels), sum(self.numbers))
        sums = torch.zeros(shape, dtype=torch.float64, device=voxels.device)
        brightest, ring = voxels.amax(1, keepdim=True).double().clamp(min=_NOTHING), 0
        for layer, part in self.turns.layers:
            n = layer.n_alpha
            start = sum(self.numbers[: self.numbers.index(n)])
            share = (voxels[:, part].double() / brightest).unflatten(1, (n, layer.n_r))
            sums[0, :, start : start + n] += (share * 2**self.bits).round().sum(2)
            faint = (share.sqrt().sqrt() * 2**self.bits).round()
            weights = self.rings[:, ring : ring + layer.n_r].double()
            sums[1:, :, start : start + n] += (faint @ weights.T).movedim(2, 0)
            ring += layer.n_r
        return sums


def _weights(n: int) -> Tensor:
    """What the n slices of a layer count, int64 (4, n): one after the other decides."""
    angle = (torch.arange(n, dtype=torch.float64) + 0.5) * (math.tau / n)
    leaning, drawn_out, across = angle.cos(), (2 * angle).sin(), angle.sin()
    waves = torch.stack([
        leaning + leaning.flip(0),  # mirror images count alike to the last bit
        drawn_out - drawn_out.flip(0),
        across - across.flip(0),
    ])  # fmt: skip
    lots = [[_lot(lot, -n, place) for place in range(n)] for lot in range(_LOTS)]
    return torch.cat([(waves * 2 ** (_WEIGHT - 1)).round().long(), torch.tensor(lots)])


def _lot(*place: int) -> int:
    return 1 + mix(*place) % (2**_LOT - 1)
