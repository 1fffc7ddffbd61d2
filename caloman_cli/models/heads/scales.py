"""Layers halved again and again, from whole ones to single voxels, all of them side by side."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from caloman_cli.data.geometry import Geometry

Patch = tuple[int, int, int, int]
"""Slices from, to, rings from, to."""


class Step(NamedTuple):
    """Patches of one layer, by their number.

    Args:
        there: Those that are there before it.
        now: Those that it halves; the halves are numbered behind all that were there, first ones
            first. None, where layers of other shapes are busy.
    """

    there: list[int]
    now: list[int]


class Tree(NamedTuple):
    """The patches of layers of one shape that are halved alike.

    Args:
        layers: The positions of these layers, G.
        patches: The N patches of one of them, whole layer first.
        steps: One for each of the detector's.
    """

    layers: list[int]
    patches: list[Patch]
    steps: list[Step]

    def kinds(self, step: int) -> Tensor:
        """Numbers of what a step halves, the same for patches that differ by their angle."""
        shapes = [(end - start, *rings) for start, end, *rings in self.halved(step)]
        kinds = {shape: kind for kind, shape in enumerate(dict.fromkeys(shapes))}
        return torch.tensor([kinds[shape] for shape in shapes])

    def halved(self, step: int) -> list[Patch]:
        """What a step halves."""
        return [self.patches[i] for i in self.steps[step].now]


class Scales(nn.Module):
    """All patches of all layers, in the order in which they are made, and the steps that do.

    A patch is halved along its longer side, along alpha if both are alike; paired ones all along
    the same one, and two neighbours each make the patches of the scale before: what is left over
    at the end stands alone, and patches look alike at every angle.

    After the layers come, step by step, first halves and then second ones, of one tree after the
    other: of a tree patch by patch, and of a patch layer by layer.

    Args:
        geometry: The detector.
        phases: Steps of each scale; patches next to each other are halved in different ones.
        sight: Layers before and behind that each one sees; where there are any, those of
            neighbouring layers are halved in different steps, too.
        paired: Whether a scale's patches are those of a grid.

    Attributes:
        trees: One for each shape of layers and of those that these see, or two.
        around: Of each layer, those that it may see from the first to the last, and whether they
            exist: where a detector ends, the layer as far on the other side stands for one.
        n_patches: N.
        n_halved: How many patches each step halves.
        back: Where voxels stand, int64 (V,).
        of_layer: The layer of each patch, int64 (N,).
    """

    back: Tensor
    of_layer: Tensor

    def __init__(
        self, geometry: Geometry, phases: int, sight: int = 0, paired: bool = False
    ) -> None:
        super().__init__()
        self.layers = geometry.layers
        self.around = [list(_around(i, sight, len(self.layers))) for i in range(len(self.layers))]
        alike: dict[tuple[Any, ...], list[int]] = {}
        for number in range(len(self.layers)):
            first = number % 2 if sight else 0
            shapes = (self._shape(i) for i in (number, *(near for near, _ in self.around[number])))
            alike.setdefault((first, *shapes), []).append(number)
        self.trees = _aligned(
            [
                (own, *_scales(shape, phases, first, paired))
                for (first, shape, *_), own in alike.items()
            ],
            phases,
        )
        self.n_patches = geometry.n_layers
        self.n_halved: list[int] = []
        self._made: list[slice] = []
        # Where the patches of a tree stand, (N, G).
        self.places = [torch.tensor(tree.layers).unsqueeze(0) for tree in self.trees]
        for step in range(len(self.trees[0].steps)):
            self._add_step(step)
        back = torch.empty(geometry.n_voxels, dtype=torch.long)
        of_layer = torch.empty(self.n_patches, dtype=torch.long)
        for tree, places in zip(self.trees, self.places, strict=True):
            of_layer[places] = torch.tensor(tree.layers)
            for patch, stand in zip(tree.patches, places, strict=True):
                if _size(patch) == 1:
                    inside = patch[0] * geometry.layers[tree.layers[0]].n_r + patch[2]
                    back[[geometry.slices[i].start + inside for i in tree.layers]] = stand
        self.register_buffer("back", back, persistent=False)
        self.register_buffer("of_layer", of_layer, persistent=False)

    def _shape(self, number: int) -> tuple[int, int]:
        return self.layers[number].n_alpha, self.layers[number].n_r

    def _add_step(self, step: int) -> None:
        """Find who is halved, and give the halves their places."""
        halved = [
            places[tree.steps[step].now]
            for tree, places in zip(self.trees, self.places, strict=True)
        ]
        whole = torch.cat([part.flatten() for part in halved])
        self.register_buffer(f"halved_{step}", whole, persistent=False)
        start, count = self.n_patches, len(whole)
        self.n_halved.append(count)
        self._made.append(slice(start, start + 2 * count))
        self.n_patches = start + 2 * count
        for i, part in enumerate(halved):
            new = torch.arange(start, start + part.numel()).view_as(part)
            self.places[i] = torch.cat([self.places[i], new, new + count])
            start += part.numel()

    def halved(self, step: int) -> Tensor:
        """Where the patches stand that a step halves, int64 (H,)."""
        found: Tensor = getattr(self, f"halved_{step}")
        return found

    def made(self, step: int) -> slice:
        """Where the halves stand, first ones first."""
        return self._made[step]

    def energies(self, voxels: Tensor) -> Tensor:
        """Of all patches, (B, V) -> (N, B)."""
        whole = voxels.new_zeros(self.n_patches, len(voxels))
        whole = whole.index_copy(0, self.back, voxels.mT)
        for step in reversed(range(len(self.n_halved))):
            first, second = whole[self.made(step)].chunk(2)
            whole = whole.index_copy(0, self.halved(step), first + second)
        return whole

    def halves(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """First and second halves that all steps make, of patches (N, B), (H, B) each."""
        pairs = [patches[made].chunk(2) for made in self._made]
        firsts, seconds = [patches[:0]], [patches[:0]]
        return (
            torch.cat(firsts + [first for first, _ in pairs]),
            torch.cat(seconds + [second for _, second in pairs]),
        )


def _around(number: int, sight: int, layers: int) -> Iterator[tuple[int, bool]]:
    """Layers up to ``sight`` before and behind one, and whether they exist."""
    for d in range(-sight, sight + 1):
        if d and 0 <= number + d < layers:
            yield number + d, True
        elif d and 0 <= number - d < layers:
            yield number - d, False


def _aligned(
    trees: list[tuple[list[int], list[Patch], list[list[Step]]]], phases: int
) -> list[Tree]:
    """Trees of as many steps each, none of which finds all of them idle."""
    most = max(len(scales) for _, _, scales in trees)
    steps: list[list[Step]] = []
    for _, patches, scales in trees:
        voxels = [i for i, patch in enumerate(patches) if _size(patch) == 1]
        idle = [Step(voxels, [])] * phases
        steps.append([step for scale in scales for step in scale] + idle * (most - len(scales)))
    busy = [i for i in range(most * phases) if any(own[i].now for own in steps)]
    return [
        Tree(layers, patches, [own[i] for i in busy])
        for (layers, patches, _), own in zip(trees, steps, strict=True)
    ]


def _scales(
    shape: tuple[int, int], phases: int, first: int, paired: bool
) -> tuple[list[Patch], list[list[Step]]]:
    """Patches of a layer of so many slices and rings, and the steps of each scale."""
    slices, rings = shape
    patches: list[Patch] = [(0, slices, 0, rings)]
    there: list[int] = [0]
    scales: list[list[Step]] = []
    grid = [_power(slices), _power(rings)]
    while any(_size(patches[i]) > 1 for i in there):
        if paired:
            halves = _of_grid({i: patches[i] for i in there}, grid)
        else:
            halves = {i: _halves(patches[i]) for i in there if _size(patches[i]) > 1}
        scale = []
        for now in _in_phases({i: patches[i] for i in halves}, phases, first):
            scale.append(Step(there, now))
            start = len(patches)
            patches += [half for side in (0, 1) for half in (halves[i][side] for i in now)]
            there = [*range(start, len(patches)), *(i for i in there if i not in now)]
        scales.append(scale)
    return patches, scales


def _power(n: int) -> int:
    """Of two, the smallest that is not below n."""
    return 1 << (n - 1).bit_length()


def _of_grid(patches: dict[int, Patch], grid: list[int]) -> dict[int, tuple[Patch, Patch]]:
    """Halves of those patches that are larger than a grid's cells, once its longer side is halved.

    ``grid`` has the cells' slices and rings, and is changed.
    """
    rings = grid[1] >= grid[0]
    grid[rings] //= 2
    found = {}
    for number, (a, b, r, s) in patches.items():
        if not rings and b - a > grid[0]:
            found[number] = (a, a + grid[0], r, s), (a + grid[0], b, r, s)
        elif rings and s - r > grid[1]:
            found[number] = (a, b, r, r + grid[1]), (a, b, r + grid[1], s)
    return found


def _in_phases(patches: dict[int, Patch], phases: int, first: int) -> list[list[int]]:
    """Neighbours apart from each other, as on a chessboard of so many colours."""
    slices = sorted({patch[0] for patch in patches.values()})
    rings = sorted({patch[2] for patch in patches.values()})
    found: list[list[int]] = [[] for _ in range(phases)]
    for number, patch in patches.items():
        found[(slices.index(patch[0]) + rings.index(patch[2]) + first) % phases].append(number)
    return found


def _size(patch: Patch) -> int:
    return (patch[1] - patch[0]) * (patch[3] - patch[2])


def _halves(patch: Patch) -> tuple[Patch, Patch]:
    a, b, r, s = patch
    if b - a >= s - r:
        middle = (a + b) // 2
        return (a, middle, r, s), (middle, b, r, s)
    middle = (r + s) // 2
    return (a, b, r, middle), (a, b, middle, s)
