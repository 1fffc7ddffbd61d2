r"""Random numbers that belong to rows, not to batches.

Row i of a sample gets the same numbers whatever the batch size: rows are grouped into fixed blocks
of :data:`BLOCK` rows, and each (seed, draw, block) has a generator of its own. A batch takes the
slices of the blocks it covers.

A change of the numbers is a new :data:`caloman_cli.models.two_step.SAMPLING`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK = 256
_DRAW_BITS = 12  # of the 32 that tell a sample's streams apart, the others count blocks
_MASK = (1 << 64) - 1
_MASK_32 = (1 << 32) - 1


def mix(*keys: int) -> int:
    """Hash integers to one seed in [0, 2^63).

    References:
        Steele, Lea, Flood (2014), Fast splittable pseudorandom number generators (splitmix64).
    """
    state = 0
    for key in keys:
        state = (state + (key & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def stream(seed: int, draw: int, block: int) -> int:
    """The seed in [0, 2^63) of a stream of numbers.

    torch's generator on the CPU takes the low 32 bits of its seed only. Hashed to these, two of
    the many streams of one sample would sometimes be the same one. So the seed, all 64 bits of
    it, chooses a permutation of 32-bit numbers, and (draw, block) is the number permuted: up to
    4096 draws of 2^20 blocks (268 million rows) cannot collide. Beyond, they may, by chance.

    References:
        Appleby (2011), MurmurHash3, whose last step is the permutation.
    """
    low = (draw & (1 << _DRAW_BITS) - 1) | (block << _DRAW_BITS) & _MASK_32
    key = mix(seed, draw >> _DRAW_BITS, block >> 32 - _DRAW_BITS)
    permuted = _permuted((_permuted(low ^ key & _MASK_32) + (key >> 31)) & _MASK_32)
    return mix(key) >> 32 << 32 | permuted


def _permuted(value: int) -> int:
    """A one-to-one map of 32-bit numbers that leaves no order in them."""
    value = (value ^ (value >> 16)) * 0x85EBCA6B & _MASK_32
    value = (value ^ (value >> 13)) * 0xC2B2AE35 & _MASK_32
    return value ^ (value >> 16)


class Noise:
    """The random numbers of rows [start, start + n) of one sample.

    A model draws in a fixed order and always for all rows, then selects: a draw that depends on
    the data would shift the draws after it.

    Args:
        seed: The sample's seed, an integer of up to 64 bits: seeds that differ in any of them
            give other numbers.
        start: The first row's index in the whole sample.
        n: The number of rows B.
        device: Where the numbers are drawn. CPU and CUDA give different numbers for one seed.
    """

    def __init__(self, seed: int, start: int, n: int, device: torch.device | str = "cpu") -> None:
        self.seed, self.start, self.n = seed, start, n
        self.device = torch.device(device)
        self._draw = 0
        self._generator = torch.Generator(self.device)

    def part(self, start: int, stop: int) -> "Noise":
        """The random numbers of the rows [start, stop) of these, going on from here.

        What a part draws is not counted in the whole: draw from parts last.
        """
        part = Noise(self.seed, self.start + start, stop - start, self.device)
        part._draw = self._draw
        return part

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, shape (B, \\*shape)."""
        return self._rows(torch.randn, shape)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), shape (B, \\*shape)."""
        return self._rows(torch.rand, shape)

    def _rows(self, draw: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        first, last = self.start // BLOCK, (self.start + self.n - 1) // BLOCK if self.n else -1
        parts = [] if self.n else [torch.empty(0, *shape, device=self.device)]
        for block in range(first, last + 1):
            self._generator.manual_seed(stream(self.seed, self._draw, block))
            rows = draw(BLOCK, *shape, generator=self._generator, device=self.device)
            lower = max(self.start - block * BLOCK, 0)
            upper = min(self.start + self.n - block * BLOCK, BLOCK)
            parts.append(rows[lower:upper])
        self._draw += 1
        return parts[0] if len(parts) == 1 else torch.cat(parts)
