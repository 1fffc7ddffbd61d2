"""Layers halved again and again, from whole ones to single voxels, all of them side by side."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from caloman_cli.data.geometry import Geometry

Patch = tuple[int, int, int, int]
"""Slices from, to, rings from, to."""


class Tree(NamedTuple):
    """The patches of layers of one shape.

    Args:
        layers: The positions of these layers, G.
        rings: In r.
        patches: The N patches of one of them, whole layer first.
        steps: For each step, the patches that are there before it and those that it halves, by
            their number; the halves are numbered behind all that were there, first ones first.
    """

    layers: list[int]
    rings: int
    patches: list[Patch]
    steps: list[tuple[list[int], list[int]]]


class Scales(nn.Module):
    """All patches of all layers, in the order in which they are made, and the steps that do.

    A patch is halved along its longer side, along alpha if both are alike. After the layers come,
    step by step, first halves and then second ones, of layers of one shape after the other.

    Args:
        geometry: The detector.
        phases: Steps of each scale; patches next to each other are halved in different ones.

    Attributes:
        trees: One for each shape of layers.
        n_patches: N.
        n_halved: How many patches each step halves.
        back: Where voxels stand, int64 (V,).
        of_layer: The layer of each patch, int64 (N,).
    """

    back: Tensor
    order: Tensor
    of_layer: Tensor

    def __init__(self, geometry: Geometry, phases: int) -> None:
        super().__init__()
        shapes: dict[tuple[int, int], list[int]] = {}
        for number, layer in enumerate(geometry.layers):
            shapes.setdefault((layer.n_alpha, layer.n_r), []).append(number)
        self.trees = [_tree(layers, *shape, phases) for shape, layers in shapes.items()]
        self.n_patches = geometry.n_layers
        self.n_halved: list[int] = []
        self._made: list[slice] = []
        # Where the patches of a tree stand, of each of its layers.
        stand = [torch.tensor(tree.layers).unsqueeze(1) for tree in self.trees]
        for step in range(max(len(tree.steps) for tree in self.trees)):
            self._add_step(step, stand)
        back = torch.empty(geometry.n_voxels, dtype=torch.long)
        of_layer = torch.empty(self.n_patches, dtype=torch.long)
        for number, (tree, places) in enumerate(zip(self.trees, stand, strict=True)):
            held = [_held(patch, tree.rings) for patch in tree.patches]
            members = torch.zeros(len(held[0]), len(held))
            for patch, voxels in enumerate(held):
                members[voxels, patch] = 1.0
            own = [torch.arange(geometry.n_voxels)[geometry.slices[i]] for i in tree.layers]
            single = [patch for patch, voxels in enumerate(held) if len(voxels) == 1]
            order = torch.tensor([held[patch][0] for patch in single])
            back[torch.stack(own)[:, order]] = places[:, single]
            of_layer[places] = torch.tensor(tree.layers).unsqueeze(1)
            for name, value in (
                ("members", members),
                ("voxels", torch.cat(own)),
            ):
                self.register_buffer(f"{name}_{number}", value, persistent=False)
        order = torch.cat([places.flatten() for places in stand]).argsort()
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", back, persistent=False)
        self.register_buffer("of_layer", of_layer, persistent=False)

    def _add_step(self, step: int, stand: list[Tensor]) -> None:
        """Find who is there and halved, and give the halves their places."""
        working = [i for i, tree in enumerate(self.trees) if step < len(tree.steps)]
        halved = []
        for i in working:
            there, now = self.trees[i].steps[step]
            self.register_buffer(f"there_{step}_{i}", stand[i][:, there], persistent=False)
            halved.append(stand[i][:, now])
        self.register_buffer(
            f"halved_{step}", torch.cat([part.flatten() for part in halved]), persistent=False
        )
        start, count = self.n_patches, sum(part.numel() for part in halved)
        self.n_halved.append(count)
        self._made.append(slice(start, start + 2 * count))
        self.n_patches = start + 2 * count
        for i, part in zip(working, halved, strict=True):
            new = torch.arange(start, start + part.numel()).view_as(part)
            stand[i] = torch.cat([stand[i], new, new + count], 1)
            start += part.numel()

    def there(self, step: int) -> list[tuple[int, Tensor]]:
        """The numbers of the trees that a step halves, and where their patches stand (G, N)."""
        return [
            (number, getattr(self, f"there_{step}_{number}"))
            for number, tree in enumerate(self.trees)
            if step < len(tree.steps)
        ]

    def halved(self, step: int) -> Tensor:
        """Where the patches stand that a step halves, int64 (H,)."""
        found: Tensor = getattr(self, f"halved_{step}")
        return found

    def made(self, step: int) -> slice:
        """Where the halves stand, first ones first."""
        return self._made[step]

    def halves(self, values: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """What values (\\*, N) say of the halves that a step makes, (\\*, H) each."""
        first, second = values[..., self._made[step]].chunk(2, -1)
        return first, second

    def energies(self, voxels: Tensor) -> Tensor:
        """Of all patches, (B, V) -> (B, N)."""
        found = []
        for number, tree in enumerate(self.trees):
            own = voxels[:, getattr(self, f"voxels_{number}")].unflatten(1, (len(tree.layers), -1))
            # Sums as a product: what is zero stays so exactly.
            found.append((own @ getattr(self, f"members_{number}")).flatten(1))
        return torch.cat(found, 1).index_select(1, self.order)


NEAR = 8
"""Patches next to one that its halving looks at closely."""


def near(tree: Tree, step: int) -> Tensor:
    """Which of the patches that are there lie next to those that a step halves.

    Returns:
        int64 (H, 1 + NEAR), positions among those that are there: a patch itself and those that
        touch it, corners last; N, that is none of them, where there are fewer.
    """
    there, now = tree.steps[step]
    slices = tree.patches[0][1]
    found = []
    for patch in now:
        lengths = [_contact(tree.patches[patch], tree.patches[i], slices) for i in there]
        own = there.index(patch)
        order = sorted(range(len(there)), key=lambda i: (i != own, -lengths[i]))
        touching = [i for i in order if i == own or lengths[i] > 0][: 1 + NEAR]
        found.append(touching + [len(there)] * (1 + NEAR - len(touching)))
    return torch.tensor(found)


def _contact(first: Patch, second: Patch, slices: int) -> float:
    """The length of the edge that two patches have in common in voxels, half a one for a corner.

    Alpha is a circle.
    """
    a, b, r, s = first
    rings = min(s, second[3]) - max(r, second[2])
    best = 0.0
    for turn in (-slices, 0, slices):
        arc = min(b, second[1] + turn) - max(a, second[0] + turn)
        if min(arc, rings) == 0 <= max(arc, rings):
            best = max(best, max(arc, rings, 0.5))
    return best


def _tree(layers: list[int], slices: int, rings: int, phases: int) -> Tree:
    patches: list[Patch] = [(0, slices, 0, rings)]
    there: list[int] = [0]
    steps: list[tuple[list[int], list[int]]] = []
    while large := {i: patches[i] for i in there if _size(patches[i]) > 1}:
        for now in _in_phases(large, phases):
            steps.append((there, now))
            pairs = [_halves(patches[i]) for i in now]
            start = len(patches)
            patches += [first for first, _ in pairs] + [second for _, second in pairs]
            there = [*range(start, len(patches)), *(i for i in there if i not in now)]
    return Tree(layers, rings, patches, steps)


def _in_phases(patches: dict[int, Patch], phases: int) -> list[list[int]]:
    """Neighbours apart from each other, as on a chessboard of so many colours."""
    slices = sorted({patch[0] for patch in patches.values()})
    rings = sorted({patch[2] for patch in patches.values()})
    found: list[list[int]] = [[] for _ in range(phases)]
    for number, patch in patches.items():
        found[(slices.index(patch[0]) + rings.index(patch[2])) % phases].append(number)
    return [phase for phase in found if phase]


def _held(patch: Patch, rings: int) -> list[int]:
    """Voxels of a layer in a patch."""
    a, b, r, s = patch
    return [alpha * rings + ring for alpha in range(a, b) for ring in range(r, s)]


def _size(patch: Patch) -> int:
    return (patch[1] - patch[0]) * (patch[3] - patch[2])


def _halves(patch: Patch) -> tuple[Patch, Patch]:
    a, b, r, s = patch
    if b - a >= s - r:
        middle = (a + b) // 2
        return (a, middle, r, s), (middle, b, r, s)
    middle = (r + s) // 2
    return (a, b, r, middle), (a, b, middle, s)
