"""Convolutions of a detector whose layers have one shape: circular in alpha, halved in z and r."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from caloman_cli.models.nn.mlp import ACTIVATIONS, MLP, Activation

Shape = tuple[int, int, int]
"""(L, A, R): layers, slices in alpha, rings."""
HARMONICS = 2  # highest order in alpha that the narrow end knows
_GROUPS = 8  # of channels that are normalised together, at most
_DENSE = 4  # width of what is dense, in units of the widest stage's channels


def narrowed(shape: Shape, stages: int) -> list[Shape]:
    """The shapes before and after each of so many stages: layers and rings halved, rounded up."""
    shapes = [shape]
    for _ in range(stages):
        layers, slices, rings = shapes[-1]
        shapes.append(((layers + 1) // 2, slices, (rings + 1) // 2))
    return shapes


def around(x: Tensor) -> Tensor:
    """Images (\\*, A, R) with the neighbour of the last slice before the first one, and so on."""
    return torch.cat([x[..., -1:, :], x, x[..., :1, :]], -2)


def harmonics(slices: int) -> Tensor:
    """1, cos and sin of m alpha at the slices, with mean square one, shape (H, A).

    Orders m are those up to :data:`HARMONICS` that so many slices tell apart.
    """
    alpha = 2.0 * math.pi * torch.arange(slices, dtype=torch.float64) / slices
    rows = [torch.ones_like(alpha)]
    for m in range(1, HARMONICS + 1):
        if 2 * m < slices:
            rows += [2**0.5 * torch.cos(m * alpha), 2**0.5 * torch.sin(m * alpha)]
    return torch.stack(rows).float()


def width_of(hidden: Sequence[int]) -> int:
    """Width of the dense parts beside stages of so many channels."""
    return _DENSE * max(hidden, default=16)


class _Convolution(nn.Module):
    """A convolution, what each layer and ring adds to it, norm, what it is told, activation.

    Args:
        conv: Of images that :func:`around` has padded in alpha.
        channels: That it makes.
        shape: Of what it makes.
        told: Width of what scales and shifts each channel (Perez et al. (2018), arXiv:1709.07871).
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        norm: Normalise groups of channels.
    """

    def __init__(
        self,
        conv: nn.Module,
        channels: int,
        shape: Shape,
        told: int,
        activation: Activation,
        norm: bool,
    ) -> None:
        super().__init__()
        self.conv = conv
        # Layers and rings are no translations of each other, as slices are.
        self.place = nn.Parameter(torch.zeros(channels, shape[0], 1, shape[2]))
        self.norm: nn.Module = nn.Identity()
        if norm:
            self.norm = nn.GroupNorm(math.gcd(channels, _GROUPS), channels)
        self.film = nn.Linear(told, 2 * channels) if told else None
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        h = self.norm(self.conv(around(x)) + self.place)
        if self.film is not None:
            scale, shift = self.film(told)[:, :, None, None, None].chunk(2, 1)
            h = h * (1.0 + scale) + shift
        found: Tensor = self.activation(h)
        return found


def _same(channels: int) -> nn.Conv3d:
    return nn.Conv3d(channels, channels, 3, padding=(1, 0, 1), bias=False)


def _down(inputs: int, outputs: int) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, 3, (2, 1, 2), (1, 0, 1), bias=False)


def _up(inputs: int, outputs: int, small: Shape, large: Shape) -> nn.ConvTranspose3d:
    """The transpose of :func:`_down`, which makes the larger shape, odd or even."""
    layers, rings = (b - (2 * a - 1) for a, b in zip(small[::2], large[::2], strict=True))
    # In alpha the two slices that padding adds become four, and all of them go.
    return nn.ConvTranspose3d(
        inputs, outputs, 3, (2, 1, 2), (1, 2, 1), (layers, 0, rings), bias=False
    )


class _Told(nn.Sequential):
    """What all stages are told, from numbers that are no images: (B, ``read``) -> (B, width)."""

    def __init__(self, read: int, width: int, activation: Activation) -> None:
        parts = [nn.Linear(read, width), ACTIVATIONS[activation]()] if read else []
        super().__init__(*parts)
        self.width = width if read else 0


class CylinderEncoder(nn.Module):
    r"""Images of voxels and numbers beside them, (B, n V + ``more``) -> (B, ``out_dim``).

    Each stage halves layers and rings by a 3 x 3 x 3 convolution and adds a second one to what it
    made; slices are neighbours all around and are never halved. At the narrow end the image is
    read by its harmonics of order 0, 1 and 2 in alpha, which a rotation of the shower leaves alone
    or turns by m times its angle, and a perceptron writes what is wanted.

    Args:
        shape: (L, A, R) of the detector, V = L A R.
        images: n, voxels in the order of :class:`~caloman_cli.data.geometry.Geometry`.
        more: Numbers behind them, which scale and shift the channels of all stages.
        out_dim: Width of what is written.
        hidden: Channels of the stages.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        norm: Normalise groups of channels (Wu, He (2018), arXiv:1803.08494).

    References:
        Amram, Pedro (2023), Denoising diffusion models with geometry adaptation for high fidelity
        calorimeter simulation (convolutions of a cylinder), arXiv:2308.03876.
    """

    basis: Tensor

    def __init__(
        self,
        shape: Shape,
        images: int,
        more: int,
        out_dim: int,
        hidden: Sequence[int],
        activation: Activation,
        norm: bool,
    ) -> None:
        super().__init__()
        self.shape, self.images, width = shape, images, width_of(hidden)
        self.told = _Told(more, width, activation)
        shapes, channels = narrowed(shape, len(hidden)), [images, *hidden]
        style = self.told.width, activation, norm
        self.down, self.same = nn.ModuleList(), nn.ModuleList()
        for small, a, b in zip(shapes[1:], channels[:-1], hidden, strict=True):
            self.down.append(_Convolution(_down(a, b), b, small, *style))
            self.same.append(_Convolution(_same(b), b, small, *style))
        basis = harmonics(shape[1])
        self.register_buffer("basis", basis / shape[1], persistent=False)
        layers, _, rings = shapes[-1]
        read = channels[-1] * layers * len(basis) * rings + self.told.width
        self.write = MLP(read, [width], out_dim, activation)

    def narrow(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The narrow end's harmonics (B, C, L', H, R') and what it was told (B, .)."""
        h, more = x.tensor_split([self.images * math.prod(self.shape)], 1)
        h, told = h.unflatten(1, (self.images, *self.shape)), self.told(more)
        for down, same in zip(self.down, self.same, strict=True):
            h = down(h, told)
            h = h + same(h, told)
        return self.basis @ h, told

    def forward(self, x: Tensor) -> Tensor:
        found, told = self.narrow(x)
        return self.write(torch.cat([found.flatten(1), told], 1))


class CylinderDecoder(nn.Module):
    """The mirror of :class:`CylinderEncoder`: (B, ``read``) -> (B, n V + ``more``).

    A perceptron writes the harmonics of the narrow end; each stage adds a convolution to what it
    was given, and the transpose of the encoder's makes exactly the shape that was halved there.

    Args:
        shape: (L, A, R) of the detector.
        images: n that are written.
        more: Numbers behind them, which a perceptron writes.
        read: Numbers that are read, which scale and shift the channels of all stages, too.
        hidden: Channels of the encoder's stages.
        activation: See :data:`caloman_cli.models.nn.mlp.ACTIVATIONS`.
        norm: Normalise groups of channels.
    """

    basis: Tensor

    def __init__(
        self,
        shape: Shape,
        images: int,
        more: int,
        read: int,
        hidden: Sequence[int],
        activation: Activation,
        norm: bool,
    ) -> None:
        super().__init__()
        width, shapes = width_of(hidden), narrowed(shape, len(hidden))
        self.told = _Told(read, width, activation)
        basis, channels = harmonics(shape[1]), [images, *hidden]
        self.register_buffer("basis", basis.T.clone(), persistent=False)
        layers, _, rings = shapes[-1]
        self.narrow_shape = channels[-1], layers, len(basis), rings
        self.write = MLP(read, [width], math.prod(self.narrow_shape), activation)
        self.more = MLP(read, [width], more, activation) if more else None
        self.same, self.up = nn.ModuleList(), nn.ModuleList()
        style = self.told.width, activation, norm
        for i in range(len(hidden), 0, -1):
            a, b, small, large = channels[i], channels[i - 1], shapes[i], shapes[i - 1]
            self.same.append(_Convolution(_same(a), a, small, *style))
            own = style if i > 1 else (0, activation, False)
            self.up.append(_Convolution(_up(a, b, small, large), b, large, *own))
        if hidden:
            self.up[-1].activation = nn.Identity()  # what is written is not bounded

    def widened(self, found: Tensor, told: Tensor) -> Tensor:
        """Images (B, n, L, A, R) of harmonics (B, C, L', H, R')."""
        h = self.basis @ found
        for same, up in zip(self.same, self.up, strict=True):
            h = h + same(h, told)
            h = up(h, told)
        return h

    def forward(self, z: Tensor) -> Tensor:
        found = self.write(z).unflatten(1, self.narrow_shape)
        images = self.widened(found, self.told(z)).flatten(1)
        return images if self.more is None else torch.cat([images, self.more(z)], 1)
