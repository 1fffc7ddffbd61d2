r"""Metrics of deep generative models on features of choice, and all of them at once.

Vendi score: with the eigenvalues of the cosine similarities over n, the effective number of
different samples :math:`\exp(-\sum_i \lambda_i \ln \lambda_i)`.

Sliced Wasserstein distance, approximated by the first two moments,
:math:`(|\Delta\mu|^2 / d + (\sqrt{m_1} - \sqrt{m_2})^2)^{1/2}` with
:math:`m = E|x - \mu|^2 / d`.

Feature likelihood score: a mixture of Gaussians around the generated points, whose widths are
fitted to half of the training sample, gives held-out points a likelihood; with that of a mixture
around the other half as base, :math:`100 \exp(-2 (\mathrm{NLL} - \mathrm{NLL}_0) / d)`. About 100
for an ideal model, lower for worse ones. Overfit Gaussians: the share of those that give training
points a higher density than held-out ones, less 50 %: about 0, and up to 50 for copies.

References:
    Stein et al. (2023), Exposing flaws of generative model evaluation metrics and their unfair
    treatment of diffusion models, arXiv:2306.04675. Friedman, Dieng (2022), The Vendi score,
    arXiv:2210.02410. Nadjahi et al. (2021), Fast approximation of the sliced-Wasserstein distance
    using concentration of random projections, arXiv:2106.15427. Jiralerspong et al. (2023),
    Feature likelihood score, arXiv:2302.04440.
"""

import math
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from scipy.linalg import eigvalsh
from torch import Tensor

from caloman_cli.config.values import Count, Natural, Several, checked
from caloman_cli.metrics.frechet import FrechetDistance
from caloman_cli.metrics.kernel import KernelDistance
from caloman_cli.metrics.precision_recall import NeighbourTest
from caloman_cli.metrics.samples import (
    batch_errors,
    enough,
    jackknife_errors,
    standardised,
)

STEPS, DROP_AT, RATE = 100, 50, 0.5  # the published fit of the widths
WIDEST = 20.0, -100.0  # bounds of the logarithms of squared widths


def vendi_score(sample: np.ndarray) -> float:
    """Effective number of different rows of (n, d): 1 for equal, n for orthogonal ones."""
    lengths = np.linalg.norm(sample, axis=1, keepdims=True)
    unit = sample / np.where(lengths == 0, 1, lengths)
    gram = unit.T @ unit if len(unit) > unit.shape[1] else unit @ unit.T
    shares = eigvalsh(gram / len(unit))
    shares = shares[shares > 0]
    return float(np.exp(-np.sum(shares * np.log(shares))))


def sliced_wasserstein(first: np.ndarray, second: np.ndarray) -> float:
    """Approximate sliced Wasserstein-2 distance of (N, d) and (M, d)."""
    shift = first.mean(0) - second.mean(0)
    spreads = [math.sqrt(sample.var(0).mean()) for sample in (first, second)]
    return math.sqrt(np.mean(shift**2) + (spreads[0] - spreads[1]) ** 2)


@checked
class FeatureLikelihood:
    """Feature likelihood score and the share of overfit Gaussians.

    Args:
        max_samples: Largest number of points of each kind, drawn at random: memory grows with
            its square.
        batches: Disjoint parts of these that give the errors.
        seed: Of the draws.
        device: Where the widths are fitted.
    """

    def __init__(
        self,
        max_samples: Annotated[int, Ge(50)] = 4000,
        batches: Natural = 5,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.max_samples, self.batches, self.seed = max_samples, batches, seed
        self.device = torch.device(device)

    def __call__(
        self, reference: np.ndarray, generated: np.ndarray, train: np.ndarray
    ) -> dict[str, float | None]:
        """Score a generated sample by what it says of held-out points.

        Args:
            reference: Held-out real features, shape (T, d).
            generated: Features to judge, shape (M, d).
            train: What the model was trained on, shape (N, d).

        Returns:
            ``fls`` and ``overfit`` [%], each with ``..._error``; ``fls_samples``, the number of
            points of each kind.

        Raises:
            UserError: A sample has fewer than 100 rows, or the columns differ.
        """
        held, sample, known = enough(100, reference=reference, generated=generated, train=train)
        rng = np.random.default_rng(self.seed)
        drawn = [rng.permutation(side) for side in standardised(known, held, sample)]
        n = min(self.max_samples, len(known) // 2, len(held), len(sample))
        parts = [drawn[0][:n], drawn[0][n : 2 * n], drawn[1][:n], drawn[2][:n]]
        batches = min(self.batches, n // 50)
        errors = batch_errors(self._score, parts, batches, self.seed)
        found: dict[str, float | None] = {"fls_samples": float(n)}
        for name, value in self._score(*parts).items():
            found |= {name: value, f"{name}_error": errors[name] if errors else None}
        return found

    def _score(
        self, fit: np.ndarray, base: np.ndarray, held: np.ndarray, sample: np.ndarray
    ) -> dict[str, float]:
        """Both scores of equally many training, other training, held-out and generated points."""
        a, b, c, d = (torch.from_numpy(x).to(self.device) for x in (fit, base, held, sample))
        widths = fitted_widths(a, d)
        losses = -likelihoods(c, d, widths).logsumexp(1)
        base_losses = -likelihoods(c, b, fitted_widths(a, b)).logsumexp(1)
        gap = 2 / a.shape[1] * float((losses - base_losses).mean())
        ours, theirs = (likelihoods(x, d, widths).logsumexp(0) for x in (a, c))
        return {
            "fls": 100 * math.exp(-gap),
            "overfit": 100 * float((ours > theirs).double().mean()) - 50,
        }


@checked
class QualityTest:
    """Fréchet and kernel distances, neighbours, Vendi scores, sliced Wasserstein distance.

    Args:
        k: Neighbours of precision, recall, density and coverage.
        n_subsets: Subsets of the kernel distance.
        batches: Disjoint parts that give errors where a metric has no better one.
        seed: Of everything random.
        device: Where pairs are computed.
    """

    def __init__(
        self,
        k: Count = 5,
        n_subsets: Several = 100,
        batches: Several = 10,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.batches, self.seed = batches, seed
        self.frechet = FrechetDistance(seed=seed)
        self.kernel = KernelDistance(n_subsets=n_subsets, seed=seed, device=device)
        self.neighbours = NeighbourTest(k, batches, seed, device)

    def __call__(self, reference: np.ndarray, generated: np.ndarray) -> dict[str, float | None]:
        """Every value with its ``..._error``, by the names of the single metrics.

        ``vendi`` is the generated sample's, ``vendi_reference`` the real one's; ``sw`` is the
        sliced Wasserstein distance.

        Args:
            reference: Held-out real features, shape (N, d).
            generated: Features to judge, shape (M, d).

        Raises:
            UserError: A sample has fewer than 100 rows, or the columns differ.
        """
        found: dict[str, float | None] = {}
        found |= self.frechet(reference, generated)
        found |= self.kernel(reference, generated)
        scaled = standardised(*enough(100, reference=reference, generated=generated))
        found |= self.neighbours(*scaled)
        found |= _moment_metrics(*scaled)
        errors = jackknife_errors(_moment_metrics, scaled, self.batches, self.seed)
        found |= {f"{name}_error": error for name, error in errors.items()}
        return found


def _moment_metrics(reference: np.ndarray, generated: np.ndarray) -> dict[str, float]:
    return {
        "vendi": vendi_score(generated),
        "vendi_reference": vendi_score(reference),
        "sw": sliced_wasserstein(reference, generated),
    }


def likelihoods(points: Tensor, centres: Tensor, widths: Tensor) -> Tensor:
    """Logarithms of the shares of a Gaussian mixture's density, without 2 pi; shape (n, m).

    Args:
        points: Shape (n, d).
        centres: Shape (m, d).
        widths: Logarithms of squared widths, shape (m,).
    """
    squares = torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist").square()
    return (
        -squares / 2 * torch.exp(-widths) - points.shape[1] / 2 * widths - math.log(len(centres))
    )


def fitted_widths(points: Tensor, centres: Tensor) -> Tensor:
    """Logarithms of squared widths that raise the likelihood of points, shape (m,).

    A hundred steps of Adam with the gradient in closed form.
    """
    squares = torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist").square()
    squares, half = squares.float().div_(2), points.shape[1] / 2
    widths = torch.zeros(len(centres), device=points.device, requires_grad=True)
    optimizer = torch.optim.Adam([widths], lr=RATE)
    for step in range(STEPS):
        if step == DROP_AT:
            optimizer.param_groups[0]["lr"] = RATE / 10
        with torch.no_grad():
            scaled = squares * torch.exp(-widths)
            shares = torch.softmax(-scaled - half * widths, 1)
            widths.grad = (shares * (half - scaled)).mean(0)
        optimizer.step()
        with torch.no_grad():
            widths.clamp_(WIDEST[1], WIDEST[0])
    return widths.detach().double()
