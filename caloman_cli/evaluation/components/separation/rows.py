"""Rows of showers, a layer in each column, generated ones below the real ones they belong to."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from caloman_cli.data.geometry import Geometry
from caloman_cli.evaluation.components.separation.showers import (
    draw_rings,
    energy_scale,
    is_uneven,
)
from caloman_cli.evaluation.names import elided
from caloman_cli.evaluation.style import MAPPING, figure, house_style

MOST_LAYERS = 8
_CELL, _LEFT, _RIGHT, _TOP, _GAP = 1.35, 1.15, 0.9, 0.75, 0.3  # inches
_LETTER, _TITLE = 0.074, 0.1  # of words before a row and of the title [inches]
_LONGEST = 32  # letters of a name


class Side(NamedTuple):
    """One row: voxel energies (V,) [MeV], and what stands before them, a line each."""

    voxels: np.ndarray
    words: str


def shower_rows(geometry: Geometry, pairs: Sequence[tuple[Side, Side]], title: str) -> Figure:
    """Pairs of rows, each pair with one scale of colours, layer by layer in polar view.

    Args:
        geometry: The showers' geometry; of many layers, eight that are evenly spaced are drawn.
        pairs: The real side and the generated one.
        title: Of the figure.
    """
    layers = np.arange(geometry.n_layers)
    if len(layers) > MOST_LAYERS:
        layers = np.linspace(0, len(layers) - 1, MOST_LAYERS).round().astype(int)
    across, down = len(layers), 2 * len(pairs)
    words = [[_words(side) for side in pair] for pair in pairs]
    longest = max(len(line) for row in words for text in row for line in text.split("\n"))
    right = across * _CELL + _RIGHT
    left = max(_LEFT, 0.2 + _LETTER * longest, _TITLE * len(title) - right)
    width = left + right
    height = _TOP + down * _CELL + len(pairs) * _GAP
    with house_style():
        image = figure(width, height, None)
        image.suptitle(title, fontsize=12, y=1 - 0.1 / height, va="top")
        for number, pair in enumerate(pairs):
            scale = energy_scale(np.concatenate([side.voxels for side in pair]))
            for below, side in enumerate(pair):
                row = 2 * number + below
                bottom = height - _TOP - (row + 1) * _CELL - number * _GAP
                for column, index in enumerate(layers):
                    box = (
                        (left + column * _CELL) / width, bottom / height, 0.94 * _CELL / width,
                        0.94 * _CELL / height,
                    )  # fmt: skip
                    ax = image.add_axes(box, projection="polar")
                    layer = geometry.layers[index]
                    values = side.voxels[geometry.slices[index]]
                    mesh = draw_rings(ax, layer, values, scale, MAPPING)
                    if row == 0:
                        note = "\nnot to scale" if is_uneven(layer) else ""
                        ax.set_title(f"layer {layer.id}{note}", pad=4, fontsize=9)
                image.text(
                    (left - 0.1) / width, (bottom + _CELL / 2) / height, words[number][below],
                    ha="right", va="center", fontsize=8.5, linespacing=1.4,
                )  # fmt: skip
            bar = image.add_axes(
                (
                    1 - 0.8 * _RIGHT / width, (bottom + 0.15 * _CELL) / height, 0.1 / width,
                    1.6 * _CELL / height,
                )
            )  # fmt: skip
            image.colorbar(mesh, cax=bar)
            bar.set_title("MeV", fontsize=7.5, pad=3)
            bar.tick_params(labelsize=7.5)
        return image


def _words(side: Side) -> str:
    return "\n".join(elided(line, _LONGEST) for line in side.words.split("\n"))
