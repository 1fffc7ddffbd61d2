r"""What the geometry of a latent model says of its samples, and of how hard its latents are.

A model that draws latents from p_Z and decodes them is no further from the data than

.. math:: W_1(P^*, G_\# p_Z) \le E|x - G(g(x))| + \mathrm{Lip}(G)\, W_1(g_\# P^*, p_Z):

each shower is taken to its reconstruction, and latents are taken to latents.

References:
    Loaiza-Ganem et al. (2024), Deep generative models through the lens of the manifold
    hypothesis: a survey and new connections, arXiv:2404.02954.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import norm

from caloman_cli.errors import UserError

_SLICES = 64
_SMOOTHED = 0.3  # noise that a slice's Fisher information is taken under, of its own width


def wasserstein(x: np.ndarray, y: np.ndarray) -> float:
    """Wasserstein-1 distance of two clouds of equally many points: the best pairing, exactly.

    Of samples it is too large on average, by about the distance of neighbours.

    Args:
        x: Shape (N, D).
        y: Shape (N, D).

    Raises:
        UserError: They are not equally many, or none.
    """
    if x.shape != y.shape or not len(x):
        raise UserError(f"{x.shape} and {y.shape}: give two clouds of equally many points")
    costs = cdist(x.astype(np.float64), y.astype(np.float64))
    return float(costs[linear_sum_assignment(costs)].mean())


class Course(NamedTuple):
    r"""How :math:`E|\nabla \log p_\sigma|^2` falls with the noise.

    Args:
        slope: Of its logarithm against that of the noise: -2 where directions have no width.
        directions: :math:`\sigma^2 E|s|^2` at the smallest noise: how many directions have none.
    """

    slope: float
    directions: float


def score_course(noise: np.ndarray, squares: np.ndarray) -> Course:
    """The course of squared score norms (K,) at noises (K,), both positive."""
    slope = np.polyfit(np.log(noise), np.log(squares), 1)[0]
    least = int(np.argmin(noise))
    return Course(float(slope), float(noise[least] ** 2 * squares[least]))


class Diffusability(NamedTuple):
    """How hard latents are for a second step; all of them 0 or 1 for a standard normal.

    Args:
        directions: Effective number of directions over D: (sum of variances)^2 over the sum of
            their squares, 1 where all are alike.
        narrowest: Smallest over largest width of a principal direction, 1 where all are alike.
        gaussianity: Mean over slices of the 2-Wasserstein distance to a normal, in units of the
            slice's width, as real samples of this number of normal numbers would not have it.
        roughness: Mean over slices of the Fisher information, under a little noise, over that of
            a normal of the same variance, less 1. No distribution has less than the normal, so it
            is at least 0 but for the statistics: it is what a score has to do beyond a linear one.
    """

    directions: float
    narrowest: float
    gaussianity: float
    roughness: float


def diffusability(z: np.ndarray, seed: int = 0) -> Diffusability:
    """Of latents alone, before any density is learned.

    Constant latents are left out. Slices are directions of whitened latents, drawn evenly.

    Args:
        z: Latents, shape (N, D), N of some hundreds at least.
        seed: Of the slices.

    Raises:
        UserError: Fewer than 3 points, or nothing varies.
    """
    if len(z) < 3:
        raise UserError(f"{len(z)} latents say nothing about a distribution: give some hundreds")
    z = z[:, z.std(0) > 1e-6 * max(float(z.std(0).max()), 1e-300)].astype(np.float64)
    if not z.shape[1]:
        raise UserError("no latent varies, there is nothing to learn")
    z = z - z.mean(0)
    widths, axes = np.linalg.eigh(np.atleast_2d(np.cov(z.T)))
    widths = np.clip(widths, 1e-12 * widths[-1], None)
    white = z @ axes / np.sqrt(widths)
    slices = np.random.default_rng(seed).normal(size=(z.shape[1], _SLICES))
    along = white @ (slices / np.linalg.norm(slices, axis=0))
    normal = norm.ppf((np.arange(len(z)) + 0.5) / len(z))
    apart = np.sqrt(np.square(np.sort(along, 0) - normal[:, None]).mean(0))
    return Diffusability(
        float(widths.sum() ** 2 / np.square(widths).sum() / len(widths)),
        float(np.sqrt(widths[0] / widths[-1])),
        float(apart.mean()),
        float(np.mean([_roughness(values) for values in along.T])),
    )


def _roughness(values: np.ndarray) -> float:
    """Fisher information of values (N,) under noise, over that of a normal one, less 1.

    On a grid that is fine beside the noise: the density of noisy values is a sum of normals, its
    information an integral.
    """
    width = values.std()
    if not width:
        return 0.0
    step = 0.25 * _SMOOTHED
    places = np.round((values - values.mean()) / width / step).astype(int)
    counts = np.bincount(places - places.min()) / len(values)
    reach = np.arange(-24, 25) * step  # to six widths of the noise
    kernel = norm.pdf(reach / _SMOOTHED) / _SMOOTHED
    density = np.convolve(counts, kernel)
    slope = np.convolve(counts, -reach / _SMOOTHED**2 * kernel)
    information = float((slope**2 / np.maximum(density, 1e-300)).sum() * step)
    return information * (1 + _SMOOTHED**2) - 1.0
