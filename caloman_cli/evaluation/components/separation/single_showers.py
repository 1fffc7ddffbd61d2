"""A few single showers, each generated one below the real one of its incident energy."""

import numpy as np
from matplotlib.figure import Figure

from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.components.separation.pages import energy_label
from caloman_cli.evaluation.components.separation.showers import draw_rings, energy_scale
from caloman_cli.evaluation.style import MAPPING, figure, house_style

QUANTILES = (0.15, 0.5, 0.85)  # of the reference's incident energies
MOST_LAYERS = 8
_CELL, _LEFT, _RIGHT, _TOP, _GAP = 1.35, 1.15, 0.9, 0.75, 0.3  # inches


def single_showers(
    reference: Showers, generated: Showers, labels: tuple[str, str] = ("reference", "generated")
) -> Figure:
    """Showers at three incident energies, layer by layer in polar view.

    The rows were not chosen by looks: the reference's shower at each quantile of its incident
    energies, and the generated one nearest in incident energy.

    Args:
        reference: Real showers.
        generated: Generated showers of the same geometry.
        labels: Names of both.
    """
    geometry = reference.geometry
    layers = np.arange(geometry.n_layers)
    if len(layers) > MOST_LAYERS:
        layers = np.linspace(0, len(layers) - 1, MOST_LAYERS).round().astype(int)
    pairs = _pairs(reference.energies[:, 0], generated.energies[:, 0])
    across, down = len(layers), 2 * len(pairs)
    width = _LEFT + across * _CELL + _RIGHT
    height = _TOP + down * _CELL + len(pairs) * _GAP
    with house_style():
        image = figure(width, height, None)
        image.suptitle(
            f"Single showers ({geometry.name}): voxel energies", fontsize=12, y=1 - 0.1 / height,
            va="top",
        )  # fmt: skip
        for number, rows in enumerate(pairs):
            sides = [
                np.where(voxels >= geometry.threshold, voxels, 0)[0].astype(np.float64)
                for voxels in (
                    showers.read(row, row + 1)[1]
                    for showers, row in zip((reference, generated), rows, strict=True)
                )
            ]
            scale = energy_scale(np.concatenate(sides))
            for side, voxels in enumerate(sides):
                row = 2 * number + side
                bottom = height - _TOP - (row + 1) * _CELL - number * _GAP
                for column, index in enumerate(layers):
                    box = (
                        (_LEFT + column * _CELL) / width, bottom / height, 0.94 * _CELL / width,
                        0.94 * _CELL / height,
                    )  # fmt: skip
                    ax = image.add_axes(box, projection="polar")
                    layer = geometry.layers[index]
                    mesh = draw_rings(ax, layer, voxels[geometry.slices[index]], scale, MAPPING)
                    if row == 0:
                        ax.set_title(f"layer {layer.id}", pad=4, fontsize=9)
                showers = (reference, generated)[side]
                energy = energy_label(f"{showers.energies[rows[side], 0]:.4g}")
                image.text(
                    (_LEFT - 0.1) / width, (bottom + _CELL / 2) / height,
                    f"{labels[side]}\n{energy}\nsum {energy_label(f'{voxels.sum():.4g}')}",
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


def _pairs(reference: np.ndarray, generated: np.ndarray) -> list[tuple[int, int]]:
    """Rows of both sides with like incident energies, each generated row once."""
    order = np.argsort(reference, kind="stable")
    pairs: list[tuple[int, int]] = []
    for quantile in QUANTILES:
        real = int(order[int(quantile * (len(order) - 1))])
        distances = np.abs(generated - reference[real])
        distances[[pair[1] for pair in pairs]] = np.inf
        ours = int(np.argmin(distances))
        if np.isfinite(distances[ours]) and real not in [pair[0] for pair in pairs]:
            pairs.append((real, ours))
    return pairs
