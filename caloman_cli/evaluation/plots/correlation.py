"""Pearson matrices of layer energies side by side, and their difference."""

import numpy as np
from matplotlib.figure import Figure

from caloman_cli.evaluation.style import DIVERGING, colour_map, figure, house_style
from caloman_cli.metrics.correlation import CorrelationMatrix

_TICKS = 9  # layers that are named along an axis
_NUMBERS = 8  # layers up to which coefficients are written into their cells


def correlation_matrices(
    reference: CorrelationMatrix, generated: CorrelationMatrix, labels: tuple[str, str]
) -> Figure:
    """Reference, generated, generated minus reference; rows from below.

    Args:
        reference: Of real showers.
        generated: Of the showers to judge.
        labels: Their names.
    """
    difference = generated.values - reference.values
    known = np.abs(difference[np.isfinite(difference)])
    largest = max(float(known.max(initial=0.0)), 1e-3)
    panels = (
        (labels[0], reference.values, 1.0),
        (labels[1], generated.values, 1.0),
        ("difference", difference, largest),
    )
    with house_style():
        image = figure(11.4, 3.9, "constrained")
        image.suptitle("Correlation of layer energies", fontsize=12)
        for ax, (title, values, reach) in zip(image.subplots(1, 3), panels, strict=True):
            mesh = ax.imshow(
                values, origin="lower", cmap=colour_map(DIVERGING), vmin=-reach, vmax=reach
            )
            ax.set_title(title)
            ticks = np.unique(np.linspace(0, len(values) - 1, min(len(values), _TICKS)).round())
            names = [reference.layers[int(tick)] for tick in ticks]
            ax.set_xticks(ticks, labels=names)
            ax.set_yticks(ticks, labels=names)
            ax.tick_params(length=0)
            ax.set_xlabel("layer")
            bar = image.colorbar(mesh, ax=ax, fraction=0.046, pad=0.02)
            bar.ax.tick_params(labelsize=7.5)
            if len(values) <= _NUMBERS:
                for (row, column), value in np.ndenumerate(values):
                    ax.text(
                        column, row, "–" if np.isnan(value) else f"{value:.2f}", ha="center",
                        va="center", fontsize=7.5,
                        color="white" if abs(value) > 0.7 * reach else "0.1",
                    )  # fmt: skip
        return image
