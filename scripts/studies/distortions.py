"""Showers with one known mistake each, to see which metric notices it.

Every function takes N showers and returns N new ones in memory, energies in MeV, voxels float32.
What a mistake leaves alone stands in its docstring: a metric that looks only there cannot see it.
"""

from collections.abc import Collection, Iterator

import numpy as np

from caloman_cli.data.geometry import Layer
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError

DISCRETE = 50  # incident energies; more are a continuous spectrum
GROUP = 20  # showers of neighbouring incident energies that count as one energy


def scale_energy(showers: Showers, factor: float) -> Showers:
    """Multiply every voxel: a wrong calibration. Shapes and empty voxels stay."""
    return _with(showers, factor * _voxels(showers))


def kill_layer(showers: Showers, layer: int) -> Showers:
    """Make the layer with this id silent. The other layers stay.

    Raises:
        UserError: There is no such layer.
    """
    voxels = _voxels(showers)
    _, part = _find(showers, layer)
    voxels[:, part] = 0
    return _with(showers, voxels)


def blur_rings(showers: Showers, share: float) -> Showers:
    """Give a share of each voxel's energy to the next rings, half inwards and half outwards.

    What would leave a layer at its rim or centre stays in its voxel, so layer energies and the
    sharing between slices stay.
    """
    voxels = _voxels(showers)
    for layer, part in _layers(showers):
        rings = voxels[:, part].reshape(-1, layer.n_alpha, layer.n_r)
        moved = share / 2 * rings
        blurred = rings.copy()
        blurred[..., :-1] += moved[..., 1:] - moved[..., :-1]
        blurred[..., 1:] += moved[..., :-1] - moved[..., 1:]
        voxels[:, part] = blurred.reshape(len(voxels), -1)
    return _with(showers, voxels)


def drop_faint(showers: Showers, share: float, below: float, seed: int) -> Showers:
    """Empty a random share of the voxels that are fainter than ``below`` [MeV].

    The other voxels of a layer are scaled up to its energy; a layer that would lose all keeps all,
    so layer energies stay.
    """
    voxels = _voxels(showers)
    rng = np.random.default_rng(seed)
    for _, part in _layers(showers):
        block = voxels[:, part]
        lost = (block < below) & (rng.random(block.shape) < share)
        kept = np.where(lost, 0, block)
        before, after = block.sum(1, keepdims=True), kept.sum(1, keepdims=True)
        scaled = kept * np.divide(before, after, out=np.ones_like(after), where=after > 0)
        voxels[:, part] = np.where(after > 0, scaled, block)
    return _with(showers, voxels)


def shuffle_incident(showers: Showers, seed: int) -> Showers:
    """Give each shower the incident energy of another one. Voxels stay."""
    order = np.random.default_rng(seed).permutation(len(showers))
    return _with(showers, _voxels(showers), showers.energies[order])


def replay(
    showers: Showers, train: Showers, share: float, seed: int, jitter: float = 0.0
) -> Showers:
    """Put training showers, with their incident energies, in the place of a share of the showers.

    Args:
        showers: N showers.
        train: At least share x N showers of the same geometry.
        share: Of the showers to replace, in places drawn at random.
        seed: Of places and training showers.
        jitter: Relative standard deviation of a Gaussian factor on each replayed voxel.

    Raises:
        UserError: There are too few training showers.
    """
    rng, n = np.random.default_rng(seed), round(share * len(showers))
    if n > len(train):
        raise UserError(f"{n} training showers to replay, but there are {len(train)}")
    places = rng.choice(len(showers), n, replace=False)
    chosen = rng.choice(len(train), n, replace=False)
    voxels, energies = _voxels(showers), showers.energies.copy()
    factors = 1 + jitter * rng.standard_normal((n, voxels.shape[1]))
    voxels[places] = _voxels(train)[chosen] * np.maximum(factors, 0)
    energies[places] = train.energies[chosen]
    return _with(showers, voxels, energies)


def rotate(showers: Showers, slices: int, layers: Collection[int] | None = None) -> Showers:
    """Turn showers about the axis by whole slices. Energies and everything radial stay.

    Args:
        showers: N showers.
        slices: How many slices further.
        layers: Ids of the layers to turn. None: all, so that layers stay in line with each other.

    Raises:
        UserError: There is no such layer.
    """
    voxels = _voxels(showers)
    chosen = _layers(showers) if layers is None else [_find(showers, i) for i in layers]
    for layer, part in chosen:
        rings = voxels[:, part].reshape(-1, layer.n_alpha, layer.n_r)
        voxels[:, part] = np.roll(rings, slices, axis=1).reshape(len(voxels), -1)
    return _with(showers, voxels)


def mix_layers(showers: Showers, seed: int) -> Showers:
    """Compose showers of the layers of different showers with the same incident energy.

    Every distribution within one layer stays, at each incident energy; what layers know of each
    other goes.
    """
    voxels, rng = _voxels(showers), np.random.default_rng(seed)
    for rows in _same_energy(showers.energies[:, 0], rng):
        for _, part in _layers(showers):
            voxels[rows, part] = voxels[rng.permutation(rows), part]
    return _with(showers, voxels)


def shrink_fluctuations(showers: Showers, share: float, seed: int) -> Showers:
    """Move each layer's shape by a share of the way to the mean shape at its incident energy.

    Shapes are shares of a layer's energy: layer energies and mean shapes of layers that are
    never empty stay, fluctuations shrink and empty voxels fill.
    """
    voxels, rng = _voxels(showers), np.random.default_rng(seed)
    for rows in _same_energy(showers.energies[:, 0], rng):
        for _, part in _layers(showers):
            block = voxels[rows, part]
            energy = block.sum(1, keepdims=True)
            shape = np.divide(block, energy, out=np.zeros_like(block), where=energy > 0)
            mean = shape[energy[:, 0] > 0].mean(0) if (energy > 0).any() else 0.0
            voxels[rows, part] = energy * ((1 - share) * shape + share * mean)
    return _with(showers, voxels)


def _voxels(showers: Showers) -> np.ndarray:
    """A copy in float64 [MeV], shape (N, V)."""
    return showers.read(0, len(showers))[1].astype(np.float64)


def _with(showers: Showers, voxels: np.ndarray, energies: np.ndarray | None = None) -> Showers:
    """Showers of the same geometry from new voxels and, where given, new incident energies."""
    new = showers.energies if energies is None else energies
    return Showers.from_arrays(new, voxels.astype(np.float32), showers.geometry, showers.name)


def _layers(showers: Showers) -> list[tuple[Layer, slice]]:
    return list(zip(showers.geometry.layers, showers.geometry.slices, strict=True))


def _find(showers: Showers, identity: int) -> tuple[Layer, slice]:
    for layer, part in _layers(showers):
        if layer.id == identity:
            return layer, part
    ids = ", ".join(str(layer.id) for layer in showers.geometry.layers)
    raise UserError(f"layer {identity} is not in {showers.geometry.name}: it has {ids}")


def _same_energy(energies: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Row numbers of showers with one incident energy, or of neighbours in a continuous one."""
    values, which = np.unique(energies, return_inverse=True)
    if len(values) <= DISCRETE:
        for number in range(len(values)):
            yield np.flatnonzero(which == number)
        return
    order = np.lexsort((rng.random(len(energies)), energies))
    yield from np.array_split(order, max(1, len(order) // GROUP))
