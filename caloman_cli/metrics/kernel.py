r"""Kernel distances between samples of features: squared maximum mean discrepancies.

With a polynomial kernel :math:`k(x, y) = (x \cdot y / d + 1)^p`, the unbiased estimate from m
and n rows is

.. math::
    \frac{\sum_{i \ne j} k(x_i, x_j)}{m (m - 1)} + \frac{\sum_{i \ne j} k(y_i, y_j)}{n (n - 1)}
    - \frac{2}{m n} \sum_{ij} k(x_i, y_j);

it is zero in the mean for equal distributions, so it may be negative. Kernel matrices are summed
block by block and never held.

References:
    Gretton et al. (2012), A kernel two-sample test, JMLR 13. Bińkowski et al. (2018),
    Demystifying MMD GANs, arXiv:1801.01401 (kernel distance). Kansal et al. (2023), Evaluating
    generative models in high energy physics, arXiv:2211.10295 (kernel physics distance).
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import iqr
from torch import Tensor
from tqdm import tqdm

from caloman_cli.config.values import Several, checked
from caloman_cli.metrics.samples import enough, over_maxima, standardised

OFFICIAL_BATCH = 10_000
BLOCK = 2048
CENTRAL = 16.275, 83.725  # percentiles of the official error


@dataclass(frozen=True)
class KernelSums:
    """Means of the kernel over pairs of rows.

    Args:
        within: Means over the pairs of different rows of the first and of the second sample.
        diagonal: Means over the pairs of a row with itself.
        between: Mean over the pairs of both samples.
    """

    within: tuple[float, float]
    diagonal: tuple[float, float]
    between: float

    @property
    def mmd(self) -> float:
        """Unbiased squared maximum mean discrepancy."""
        return sum(self.within) - 2 * self.between

    def drawn_bias(self, n: int, m: int) -> float:
        """By how much drawing from n and m rows with replacement raises it, in the mean.

        Two draws are the same row with probability 1/n, and then the kernel is a diagonal one.
        """
        gaps = [one - other for one, other in zip(self.diagonal, self.within, strict=True)]
        # Here "within" holds that share of diagonal pairs, which shrinks the gap by 1 - 1/n.
        return gaps[0] / (n - 1) + gaps[1] / (m - 1)


def kernel_sums(first: Tensor, second: Tensor, degree: int, block: int = BLOCK) -> KernelSums:
    """Mean kernels of two samples, float64, shapes (m, d) and (n, d)."""
    within, diagonal = [], []
    for sample in (first, second):
        total, n = 0.0, len(sample)
        for start in range(0, n, block):
            rows = sample[start : start + block]
            total += float(_kernel(rows, rows, degree).sum())
            for other in range(start + block, n, block):
                total += 2 * float(_kernel(rows, sample[other : other + block], degree).sum())
        trace = float(((sample * sample).sum(1) / sample.shape[1] + 1).pow(degree).sum())
        within.append((total - trace) / (n * (n - 1)))
        diagonal.append(trace / n)
    between = sum(
        float(_kernel(rows, columns, degree).sum())
        for rows in first.split(block)
        for columns in second.split(block)
    )
    mean = between / (len(first) * len(second))
    return KernelSums((within[0], within[1]), (diagonal[0], diagonal[1]), mean)


@checked
class KernelPhysicsDistance:
    """Kernel physics distance (KPD) with the challenge's settings: degree 4, median of batches.

    Features are divided by their largest absolute value in the reference; each batch is drawn
    from both samples with replacement. Published tables show the value times 1000.

    Args:
        batch_size: Rows of a batch. None: 10,000 as in the challenge, or the smaller sample.
        n_batches: Number of batches.
        seed: Of the draws; 42 gives the official code's.
        device: Where kernels are computed, in float64.
    """

    def __init__(
        self,
        batch_size: Several | None = None,
        n_batches: Several = 10,
        seed: int = 42,
        device: torch.device | str = "cpu",
    ) -> None:
        self.batch_size, self.n_batches, self.seed = batch_size, n_batches, seed
        self.device = torch.device(device)

    def __call__(self, reference: np.ndarray, generated: np.ndarray) -> dict[str, float]:
        """Distance of two samples of features.

        Args:
            reference: Real features, shape (N, d).
            generated: Features to judge, shape (M, d).

        Returns:
            ``kpd`` and ``kpd_error``, the official median and half of the central 67 % of the
            batches; ``kpd_sampling_error``, the spread that other samples of these sizes would
            show; ``kpd_bias``, what drawing with replacement adds; ``kpd_unbiased``, the mean of
            the batches without it; ``batch_size``.

        Raises:
            UserError: A sample has fewer than 100 rows, or the two have other columns.
        """
        samples = over_maxima(*enough(100, reference=reference, generated=generated))
        n = min(len(sample) for sample in samples)
        size = self.batch_size or min(OFFICIAL_BATCH, n)
        values, biases = [], []
        for batch in tqdm(range(self.n_batches), "KPD", leave=False, disable=None):
            rng = np.random.default_rng(self.seed + 1000 * batch)
            drawn = [sample[rng.choice(len(sample), size=size)] for sample in samples]
            real, sample = (torch.from_numpy(rows).to(self.device) for rows in drawn)
            sums = kernel_sums(real, sample, 4)
            values.append(sums.mmd)
            biases.append(sums.drawn_bias(*map(len, samples)))
        bias, spread = float(np.mean(biases)), float(np.std(values, ddof=1))
        # Batches of few rows average out; those as large as the sample are a bootstrap of it.
        return {
            "kpd": float(np.median(values)),
            "kpd_error": float(iqr(values, rng=CENTRAL) / 2),
            "kpd_sampling_error": spread * float(np.sqrt(size / n)),
            "kpd_bias": bias,
            "kpd_unbiased": float(np.mean(values)) - bias,
            "batch_size": float(size),
        }


@checked
class KernelDistance:
    """Kernel distance (KD): mean of subsets drawn without replacement, kernel of degree 3.

    Args:
        subset_size: Rows of a subset; at most half of the smaller sample is taken.
        n_subsets: Number of subsets.
        standardise: Whether to scale features by the reference's standard deviations.
        seed: Of the subsets.
        device: Where kernels are computed, in float64.
    """

    def __init__(
        self,
        subset_size: Several = 1000,
        n_subsets: Several = 100,
        standardise: bool = True,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.subset_size, self.n_subsets = subset_size, n_subsets
        self.standardise, self.seed = standardise, seed
        self.device = torch.device(device)

    def __call__(self, reference: np.ndarray, generated: np.ndarray) -> dict[str, float]:
        """``kd``, its error ``kd_error`` and the ``subset_size`` that was used.

        Subsets overlap where there are many of them: the error is the larger one of the mean of
        independent subsets and of the spread scaled to the whole sample, which subsets without
        replacement show the less of the larger they are.

        Raises:
            UserError: A sample has fewer than 100 rows, or the two have other columns.
        """
        samples = enough(100, reference=reference, generated=generated)
        if self.standardise:
            samples = standardised(*samples)
        n = min(len(sample) for sample in samples)
        size = min(self.subset_size, n // 2)
        rng = np.random.default_rng(self.seed)
        values = []
        for _ in tqdm(range(self.n_subsets), "KD", leave=False, disable=None):
            drawn = [sample[rng.choice(len(sample), size, replace=False)] for sample in samples]
            real, sample = (torch.from_numpy(rows).to(self.device) for rows in drawn)
            values.append(kernel_sums(real, sample, 3).mmd)
        share = max(1 / self.n_subsets, size / (n - size))
        return {
            "kd": float(np.mean(values)),
            "kd_error": float(np.std(values, ddof=1) * np.sqrt(share)),
            "subset_size": float(size),
        }


def _kernel(first: Tensor, second: Tensor, degree: int) -> Tensor:
    """Polynomial kernel of all pairs, shape (m, n), in one buffer."""
    values = first @ second.T
    values.div_(first.shape[1]).add_(1)
    if degree == 4:  # two squares: ten times faster than a general power
        return values.square_().square_()
    return values.pow_(degree)
