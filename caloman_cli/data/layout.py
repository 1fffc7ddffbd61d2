"""How a detector's voxels are laid out, for people: a table, and its layers of one shape."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.errors import counted

_EDGES = 12  # of a ring that a cell of the table lists, before it says how they go on


@dataclass(frozen=True)
class Shape:
    """Layers that have the same rings and slices.

    Args:
        layer: One of them.
        positions: Where they stand in the file, from 0, rising.
        name: Their numbers in words: ``layer 12``, ``layers 0 ... 44``, ``layers 0, 2, 3``.
    """

    layer: Layer
    positions: tuple[int, ...]
    name: str


def shapes(geometry: Geometry) -> list[Shape]:
    """The shapes of a detector's layers, in the order in which they first occur."""
    found: dict[tuple, list[int]] = {}
    for position, layer in enumerate(geometry.layers):
        found.setdefault((layer.r_edges, layer.n_alpha), []).append(position)
    return [
        Shape(
            geometry.layers[positions[0]],
            tuple(positions),
            _named([geometry.layers[position].id for position in positions]),
        )
        for positions in found.values()
    ]


def table(geometry: Geometry) -> str:
    """Layers, rings [mm], slices and places in the file, a line for layers alike in a row."""
    rows = []
    for start, stop in _runs(geometry.layers):
        layer = geometry.layers[start]
        first, last = geometry.slices[start].start, geometry.slices[stop - 1].stop - 1
        rows.append(
            (
                _numbers([one.id for one in geometry.layers[start:stop]]),
                layer.n_r,
                layer.n_alpha,
                layer.n_voxels,
                f"{first} ... {last}" if last > first else str(first),
                _edges(layer),
            )
        )
    heads = (
        "layer",
        "rings",
        "slices",
        "voxels of each",
        "place in a shower",
        "edges of rings [mm]",
    )
    aligned = ("left", "right", "right", "right", "left", "left")
    return tabulate(rows, heads, "simple", disable_numparse=True, colalign=aligned)


def counts(geometry: Geometry) -> str:
    """``ds2, electron: 45 layers, 6480 voxels``."""
    layers, voxels = (
        counted(n, what)
        for n, what in ((geometry.n_layers, "layer"), (geometry.n_voxels, "voxel"))
    )
    return f"{geometry.name}, {geometry.particle}: {layers}, {voxels}"


def summary(geometry: Geometry) -> str:
    """Counts, the order of the voxels, and where energy is counted."""
    ends = [layer.r_edges[-1] for layer in geometry.layers]
    widest = f"{min(ends):g}" if min(ends) == max(ends) else f"{min(ends):g} to {max(ends):g}"
    return "\n".join(
        [
            counts(geometry),
            "order: layer by layer as listed, in a layer slice by slice from alpha = -pi, in a "
            "slice ring by ring from the axis:",
            "       place in a shower = first of the layer + rings * slice + ring, all from 0",
            f"energy is counted in the rings listed, out to {widest} mm from the axis; elsewhere "
            "it is lost",
        ]
    )


def _runs(layers: Sequence[Layer]) -> list[tuple[int, int]]:
    """(start, stop) of layers in a row that have one shape and numbers that follow each other."""
    starts = [
        position
        for position, layer in enumerate(layers)
        if position == 0
        or (layer.r_edges, layer.n_alpha)
        != (layers[position - 1].r_edges, layers[position - 1].n_alpha)
        or layer.id != layers[position - 1].id + 1
    ]
    return list(zip(starts, [*starts[1:], len(layers)], strict=True))


def _numbers(numbers: list[int]) -> str:
    """``12``, ``0 ... 44`` where they follow each other, else ``0, 2, 3``."""
    if len(numbers) > 2 and (np.diff(numbers) == 1).all():
        return f"{numbers[0]} ... {numbers[-1]}"
    return ", ".join(map(str, numbers))


def _named(numbers: list[int]) -> str:
    return f"layer{'s' if len(numbers) > 1 else ''} {_numbers(numbers)}"


def _edges(layer: Layer) -> str:
    edges = [f"{edge:g}" for edge in layer.r_edges]
    if len(edges) > _EDGES:
        edges = [*edges[: _EDGES - 2], "...", edges[-1]]
    return ", ".join(edges)
