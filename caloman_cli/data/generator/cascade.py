"""What a simulated shower is before it is cut into voxels."""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammainc


@dataclass(frozen=True)
class Source:
    r"""Energy spots that share one lateral profile, in each layer of each shower.

    The lateral profile is a mixture of
    :math:`f_R(r)\,dr = 2 r R^2 / (r^2 + R^2)^2\,dr` around the axis.

    Args:
        energy: Visible energy [MeV], shape (B, L).
        spots: Number of energy spots, shape (B, L).
        spot_shape: Shape of the gamma distribution of one spot's energy.
        radii: Radius R of each component [mm], shape (C, B, L).
        weights: Weight of each component, shape (C, B, L), summing to one over C.
    """

    energy: np.ndarray
    spots: np.ndarray
    spot_shape: float
    radii: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Cascade:
    """A batch of showers: energy spots around an axis and a track along it.

    Args:
        sources: The kinds of spots.
        axis: Where the axis crosses each layer [mm], shape (B, L, 2).
        track: Energy left by a single track, in the voxel on the axis [MeV], shape (B, L), or
            None.
    """

    sources: tuple[Source, ...]
    axis: np.ndarray
    track: np.ndarray | None


def gamma_shares(
    alpha: np.ndarray, beta: np.ndarray, start: np.ndarray | float, windows: np.ndarray
) -> np.ndarray:
    r"""Share of a gamma-shaped longitudinal profile that falls in each layer.

    :math:`P(\alpha, \beta t_\mathrm{out}) - P(\alpha, \beta t_\mathrm{in})` with the regularised
    incomplete gamma function P and t counted from the shower's start.

    Args:
        alpha: Shape, broadcasts with (B, 1).
        beta: Inverse length, broadcasts with (B, 1).
        start: Depth of the start, broadcasts with (B, 1).
        windows: Depth at which each layer begins and ends, shape (L, 2).

    Returns:
        Shares in [0, 1], shape (B, L).
    """
    # Layers share borders: the costly function is evaluated once for each of them.
    borders, position = np.unique(windows, return_inverse=True)
    position = position.reshape(windows.shape)
    integral = gammainc(alpha, beta * np.maximum(borders - start, 0))
    return integral[:, position[:, 1]] - integral[:, position[:, 0]]


def depth_in_shower(start: np.ndarray | float, windows: np.ndarray) -> np.ndarray:
    """Middle of the part of each layer behind the start (B, 1), from the start: shape (B, L)."""
    return 0.5 * np.maximum(windows - np.asarray(start)[..., None], 0).sum(-1)
