r"""Random numbers that belong to rows, not to batches or devices.

Every number is a function of (seed, row, draw, place in the draw) and of nothing else, so row i of
a sample gets the same numbers for any batch size, and one row costs one row. The function is
computed with integers of 64 bits in tensor operations: every device has the same bits, no
generator has a state, and a sample can be captured once and replayed.

A row has two keys of 64 bits, hashed of the seed and its index; its numbers are hashes of one long
counter, of which every draw gets a part of :data:`_DRAW` places. The hash is splitmix64's with the
second key added half way, so that the sequences of two rows cannot be one another shifted. Its
upper and lower 32 bits become a number each.

Uniform numbers are multiples of :math:`2^{-32}` and a half, rounded to float32: from
:math:`2^{-33}` to :math:`1 - 2^{-24}`, never 0 or 1, as fine as float32 is near 0. Normal ones are
made in pairs, :math:`\sqrt{-2 \log u}\,(\cos \varphi, \sin \varphi)` (Box, Muller): finite, up to
6.76 standard deviations. The inverse cumulative distribution costs the same but would end at 5.4
in float32, whose numbers below 1 are :math:`2^{-24}` apart. Devices may differ in the last bits of
normal numbers, as their logarithms do.

A change of the numbers is a new :data:`caloman_cli.models.two_step.SAMPLING`.

References:
    Steele, Lea, Flood (2014), Fast splittable pseudorandom number generators (splitmix64).
    Salmon, Moraes, Dror, Shaw (2011), Parallel random numbers: as easy as 1, 2, 3.
    Box, Muller (1958), A note on the generation of random normal deviates.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_LOWER = (1 << 32) - 1
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_DRAW = 1 << 40
# Smaller than 2^-32 by so little that the largest number is not rounded to 1.
_STEP, _HALF = (1 - 2.0**-24) * 2.0**-32, 2.0**-33
_CACHED = 1 << 16  # hashes at once: what stays in the cache of a core or two


def mix(*keys: int) -> int:
    """Hash integers to one seed in [0, 2^63).

    References:
        Steele, Lea, Flood (2014), Fast splittable pseudorandom number generators (splitmix64).
    """
    state = 0
    for key in keys:
        state = (state + (key & _MASK) + _GOLDEN) & _MASK
        state = ((state ^ (state >> 30)) * _FIRST) & _MASK
        state = ((state ^ (state >> 27)) * _SECOND) & _MASK
        state ^= state >> 31
    return state >> 1


class Noise:
    """The random numbers of rows [start, start + n) of one sample.

    A model draws in a fixed order and always for all rows, then selects: a draw that depends on
    the data would shift the draws after it.

    Args:
        seed: The sample's seed, an integer of up to 64 bits: seeds that differ in any of them
            give other numbers.
        start: The first row's index in the whole sample.
        n: The number of rows B, which may be 0.
        device: Where the numbers are computed; they are the same on all.
    """

    def __init__(self, seed: int, start: int, n: int, device: torch.device | str = "cpu") -> None:
        rows = torch.arange(n, device=device).add_(start).mul_(_signed(_GOLDEN))
        keys = torch.stack([rows + mix(seed, 1), rows + mix(seed, 2)])
        spare = torch.empty_like(keys)
        self._keys = _shifted(_scrambled(keys, None, spare), 32, spare)
        self._draws = 0

    @property
    def n(self) -> int:
        """The number of rows B."""
        return self._keys.shape[1]

    def part(self, start: int, stop: int) -> "Noise":
        """The random numbers of the rows [start, stop) of these, going on from here.

        What a part draws is not counted in the whole: draw from parts last.
        """
        part = Noise.__new__(Noise)
        part._keys, part._draws = self._keys[:, start:stop], self._draws
        return part

    def rows(self, index: Tensor) -> "Noise":
        """The same of some rows, int64 of shape (N,), in any order."""
        some = Noise.__new__(Noise)
        some._keys, some._draws = self._keys[:, index.to(self._keys.device)], self._draws
        return some

    def uniform(self, *shape: int, rows_last: bool = False) -> Tensor:
        r"""Uniform numbers in (0, 1), shape (B, \*shape); or the same as (\*shape, B)."""
        return self._drawn(_uniform, shape, rows_last)

    def normal(self, *shape: int, rows_last: bool = False) -> Tensor:
        r"""Standard normal numbers, shape (B, \*shape); or the same as (\*shape, B)."""
        return self._drawn(_normal, shape, rows_last)

    def _drawn(
        self, write: Callable[..., None], shape: tuple[int, ...], rows_last: bool
    ) -> Tensor:
        """A draw, computed in pieces that stay in the cache; rows and places are as in (B, S)."""
        size, n, device = math.prod(shape), self.n, self._keys.device
        half = (size + 1) // 2  # as many hashes, of a place in each half of the shape
        counter = torch.arange(half, device=device).mul_(_signed(_GOLDEN))
        counter.add_(_signed(self._draws * _DRAW * _GOLDEN))
        self._draws += 1
        drawn = torch.empty((*shape, n) if rows_last else (n, *shape), device=device)
        flat = drawn.view(size, n).T if rows_last else drawn.view(n, size)
        lines, width = (half, n) if rows_last else (n, half)
        step = max(1, _CACHED // max(1, width)) if _in_pieces(device) else max(1, lines)
        space = torch.empty(2, min(step, lines), width, dtype=torch.int64, device=device)
        space = space.mT if rows_last else space
        every, keys = slice(None), self._keys.unsqueeze(2)
        for start in range(0, lines, step):
            some = slice(start, min(start + step, lines))
            rows, places = (every, some) if rows_last else (some, every)
            length = some.stop - start
            x, spare = space[:, :, :length] if rows_last else space[:, :length]
            first, second = keys[:, rows]
            _scrambled(torch.add(first, counter[places], out=x), second, spare)
            upper = torch.bitwise_right_shift(x, 32, out=spare)
            lower = x.bitwise_xor_(upper).bitwise_and_(_LOWER)
            write(upper, lower, flat[:, :half][rows, places], flat[:, half:][rows, places])
        return drawn


def _in_pieces(device: torch.device) -> bool:
    return device.type == "cpu" and not torch.compiler.is_compiling()


def _uniform(upper: Tensor, lower: Tensor, first: Tensor, second: Tensor) -> None:
    """Two tensors of uniform numbers from 32 bits each, signed and unsigned ones."""
    first.copy_(upper.bitwise_and_(_LOWER)).mul_(_STEP).add_(_HALF)
    second.copy_(_of(lower, second)).mul_(_STEP).add_(_HALF)


def _normal(upper: Tensor, lower: Tensor, first: Tensor, second: Tensor) -> None:
    """Two tensors of normal numbers from 32 bits each, signed and unsigned ones."""
    angle = upper.float().mul_(math.pi * 2.0**-31)
    radius = lower.float().mul_(_STEP).add_(_HALF).log_().mul_(-2.0).sqrt_()
    torch.cos(angle, out=first).mul_(radius)
    torch.sin(_of(angle, second), out=second).mul_(_of(radius, second))


def _scrambled(x: Tensor, key: Tensor | None, spare: Tensor) -> Tensor:
    """splitmix64's hash up to its last step, in place."""
    _shifted(x, 30, spare)
    if key is None:
        x.mul_(_signed(_FIRST))
    else:
        torch.add(key, x, alpha=_signed(_FIRST), out=x)
    return _shifted(x, 27, spare).mul_(_signed(_SECOND))


def _shifted(x: Tensor, by: int, spare: Tensor) -> Tensor:
    """x ^ (x >> by) of unsigned integers, in place."""
    torch.bitwise_right_shift(x, by, out=spare)
    return x.bitwise_xor_(spare.bitwise_and_((1 << (64 - by)) - 1))


def _of(values: Tensor, fewer: Tensor) -> Tensor:
    """As many of the places as a second half has, which may lack one."""
    return values[:, : fewer.shape[1]]


def _signed(value: int) -> int:
    """The signed integer of 64 bits that has the same bits."""
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value
