r"""Random numbers that belong to rows, not to batches.

Row i of a sample gets the same numbers whatever the batch size: rows are grouped into fixed blocks
of :data:`BLOCK` rows, and each (seed, draw, block) has a generator of its own. A batch takes the
slices of the blocks it covers.
"""

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK = 256
_MASK = (1 << 64) - 1


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


class Noise:
    """The random numbers of rows [start, start + n) of one sample.

    A model draws in a fixed order and always for all rows, then selects: a draw that depends on
    the data would shift the draws after it.

    Args:
        seed: The sample's seed.
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
        first, last = self.start // BLOCK, (self.start + self.n - 1) // BLOCK
        parts = []
        for block in range(first, last + 1):
            self._generator.manual_seed(mix(self.seed, self._draw, block))
            rows = draw(BLOCK, *shape, generator=self._generator, device=self.device)
            lower = max(self.start - block * BLOCK, 0)
            upper = min(self.start + self.n - block * BLOCK, BLOCK)
            parts.append(rows[lower:upper])
        self._draw += 1
        return parts[0] if len(parts) == 1 else torch.cat(parts)
