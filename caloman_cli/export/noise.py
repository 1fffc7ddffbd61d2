r"""The random numbers of a shower as an exporter sees them: given, counted, or made of a seed.

A model draws in a fixed order and always for all rows, so what a shower takes is a list of draws.
:class:`Counted` learns it in one run, :class:`Given` hands out slices of two tensors by it, and
:class:`Seeded` computes the numbers of :class:`~caloman_cli.models.noise.Noise` inside the graph,
bit for bit up to logarithms and sines, where seed and first row are tensors and no operation is in
place.
"""

import math

import torch
from torch import Tensor

from caloman_cli.models import noise
from caloman_cli.models.noise import Noise

_LOWER = (1 << 32) - 1
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_DRAW = 1 << 40


class Untraceable(Exception):
    """A model draws in a way that no graph can repeat."""


class Counted(Noise):
    """Draws as another noise does, and counts how many numbers a row takes.

    Args:
        source: What draws.

    Attributes:
        uniforms: Uniform numbers of a row so far.
        normals: Normal ones.
    """

    def __init__(self, source: Noise) -> None:
        self.source, self.uniforms, self.normals = source, 0, 0

    @property
    def n(self) -> int:
        return self.source.n

    def part(self, start: int, stop: int) -> "Counted":
        return self  # of few rows there is one part

    def rows(self, index: Tensor) -> Noise:
        raise Untraceable("it draws for some of the rows only")

    def uniform(self, *shape: int, rows_last: bool = False) -> Tensor:
        self.uniforms += math.prod(shape)
        return self.source.uniform(*shape, rows_last=rows_last)

    def normal(self, *shape: int, rows_last: bool = False) -> Tensor:
        self.normals += math.prod(shape)
        return self.source.normal(*shape, rows_last=rows_last)


class Given(Noise):
    """Hands out given numbers, draw by draw.

    Args:
        uniform: Numbers in (0, 1), shape (B, U), or None where a shower takes none.
        normal: Standard normal numbers, shape (B, N), or None.
    """

    def __init__(self, uniform: Tensor | None, normal: Tensor | None) -> None:
        self._left = {"uniform": uniform, "normal": normal}
        self._first = uniform if uniform is not None else normal

    @property
    def n(self) -> int:
        assert self._first is not None, "a shower without noise needs none"
        return self._first.shape[0]

    def part(self, start: int, stop: int) -> "Given":
        uniform, normal = (
            None if left is None else left[start:stop] for left in self._left.values()
        )
        return Given(uniform, normal)

    def rows(self, index: Tensor) -> Noise:
        raise Untraceable("it draws for some of the rows only")

    def uniform(self, *shape: int, rows_last: bool = False) -> Tensor:
        return self._next("uniform", shape, rows_last)

    def normal(self, *shape: int, rows_last: bool = False) -> Tensor:
        return self._next("normal", shape, rows_last)

    def _next(self, kind: str, shape: tuple[int, ...], rows_last: bool) -> Tensor:
        left = self._left[kind]
        assert left is not None, f"no {kind} numbers were given"
        size = math.prod(shape)
        self._left[kind] = left[:, size:]
        return _shaped(left[:, :size], shape, rows_last)


class Seeded(Noise):
    """The numbers of ``Noise(seed, first, n)`` for tensors seed and first.

    Args:
        seed: int64, shape (1,).
        first: Index of the first row in the whole sample, int64, shape (1,).
        n: The number of rows B.
    """

    def __init__(self, seed: Tensor, first: Tensor, n: int) -> None:
        rows = (torch.arange(n, device=seed.device) + first) * _signed(_GOLDEN)
        keys = torch.stack([rows + _mixed(seed, stream) for stream in (1, 2)])
        self._keys = _folded(_scrambled(keys, None), 32)
        self._draws = 0

    def part(self, start: int, stop: int) -> "Seeded":
        part = Seeded.__new__(Seeded)
        part._keys, part._draws = self._keys[:, start:stop], self._draws
        return part

    def rows(self, index: Tensor) -> Noise:
        raise Untraceable("it draws for some of the rows only")

    def uniform(self, *shape: int, rows_last: bool = False) -> Tensor:
        upper, lower, size = self._bits(shape)
        numbers = [x.float() * noise._STEP + noise._HALF for x in (upper & _LOWER, lower)]
        return _shaped(torch.cat(numbers, 1)[:, :size], shape, rows_last)

    def normal(self, *shape: int, rows_last: bool = False) -> Tensor:
        upper, lower, size = self._bits(shape)
        angle = upper.float() * (math.pi * 2.0**-31)
        radius = ((lower.float() * noise._STEP + noise._HALF).log() * -2.0).sqrt()
        numbers = torch.cat([angle.cos() * radius, angle.sin() * radius], 1)
        return _shaped(numbers[:, :size], shape, rows_last)

    def _bits(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor, int]:
        """Signed and unsigned integers of 32 bits, (B, half) each, and how many are wanted."""
        size = math.prod(shape)
        counter = torch.arange((size + 1) // 2, device=self._keys.device) * _signed(_GOLDEN)
        counter = counter + _signed(self._draws * _DRAW * _GOLDEN)
        self._draws += 1
        first, second = self._keys.unsqueeze(2)
        x = _scrambled(first + counter, second)
        upper = x >> 32
        return upper, (x ^ upper) & _LOWER, size


def seed_of(numbers: Tensor) -> Tensor:
    """A seed int64 (1,) of four uniform numbers (1, 4) in [0, 1): 16 bits of each."""
    bits = (numbers.clamp(0.0, 1.0 - 2.0**-17) * 2.0**16).long()[0]
    # One by one: ONNX Runtime rounds a sum of integers as float64 does.
    seed = bits[0:1]
    for i in (1, 2, 3):
        seed = seed + bits[i : i + 1] * _signed(1 << 16 * i)
    return seed


def _shaped(numbers: Tensor, shape: tuple[int, ...], rows_last: bool) -> Tensor:
    if rows_last:
        return numbers.t().reshape(*shape, numbers.shape[0])
    return numbers.reshape(numbers.shape[0], *shape)


def _mixed(seed: Tensor, stream: int) -> Tensor:
    """:func:`caloman_cli.models.noise.mix` of a seed and a number, int64 (1,)."""
    state = torch.zeros_like(seed)
    for key in (seed, stream):
        state = _scrambled(state + key + _signed(_GOLDEN), None)
        state = _folded(state, 31)
    return _unsigned_shift(state, 1)


def _scrambled(x: Tensor, key: Tensor | None) -> Tensor:
    """splitmix64's hash up to its last step."""
    x = _folded(x, 30) * _signed(_FIRST)
    x = x if key is None else key + x
    return _folded(x, 27) * _signed(_SECOND)


def _folded(x: Tensor, by: int) -> Tensor:
    return x ^ _unsigned_shift(x, by)


def _unsigned_shift(x: Tensor, by: int) -> Tensor:
    return (x >> by) & ((1 << (64 - by)) - 1)


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
