r"""Fréchet distances between samples of features.

Between Gaussians with the moments of two samples,

.. math::
    d^2 = |\mu_1 - \mu_2|^2
        + \mathrm{tr}\bigl(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2}\bigr).

Its value for samples of N is too large by about a constant over N, so values at several N are
fitted by a line in 1/N, whose intercept is the distance.

References:
    Heusel et al. (2017), GANs trained by a two time-scale update rule, arXiv:1706.08500. Chong,
    Forsyth (2020), Effectively unbiased FID, arXiv:1911.07023 (extrapolation). Kansal et al.
    (2023), Evaluating generative models in high energy physics, arXiv:2211.10295 (Fréchet physics
    distance). Krause et al. (2024), CaloChallenge 2022, arXiv:2410.21611 (settings).
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge
from scipy.linalg import eigh, eigvalsh
from scipy.optimize import curve_fit
from tqdm import tqdm

from caloman_cli.config.values import Count, Several, checked
from caloman_cli.errors import UserError
from caloman_cli.metrics.samples import (
    enough,
    jackknife_errors,
    over_maxima,
    standardised,
)

OFFICIAL_MIN, OFFICIAL_MAX = 10_000, 50_000
BLOCK_ROWS = 8192
GROUPS = 10  # of the jackknife
TAIL = 1e-3  # of the reference's rows, beyond each of the quantiles that outliers are told by


@dataclass(frozen=True)
class Moments:
    """Mean (d,) and covariance (d, d) of a sample."""

    mean: np.ndarray
    covariance: np.ndarray


def moments(sample: np.ndarray, weights: np.ndarray | None = None) -> Moments:
    """Mean and unbiased covariance of rows that count ``weights`` times each.

    Args:
        sample: Shape (N, d), N >= 2.
        weights: How often each row was drawn, int64, shape (N,). None: once.
    """
    if weights is None:
        weights = np.ones(len(sample), np.int64)
    drawn, n, width = np.flatnonzero(weights), int(weights.sum()), sample.shape[1]
    centre = sample[drawn[:BLOCK_ROWS]].mean(0)  # near the mean: keeps the sums exact
    first, second = np.zeros(width), np.zeros((width, width))
    for start in range(0, len(drawn), BLOCK_ROWS):
        rows = drawn[start : start + BLOCK_ROWS]
        shifted = sample[rows] - centre
        weighted = shifted * weights[rows, None]
        first += weighted.sum(0)
        second += weighted.T @ shifted
    offset = first / n
    return Moments(centre + offset, (second - n * np.outer(offset, offset)) / (n - 1))


def frechet_distance(first: Moments, second: Moments) -> float:
    """Squared Fréchet distance of two Gaussians.

    With a root R R^T of the first covariance, the trace of the geometric mean is the sum of the
    square roots of the eigenvalues of R^T S R: two symmetric problems instead of the root of a
    product that may be complex.
    """
    values, vectors = eigh(first.covariance, check_finite=False)
    root = vectors * np.sqrt(values.clip(0))
    spectrum = eigvalsh(root.T @ second.covariance @ root, check_finite=False)
    shift = first.mean - second.mean
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    return float(shift @ shift + traces - 2 * np.sqrt(spectrum.clip(0)).sum())


def far_out(reference: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Which rows are outliers: a feature is far outside of the reference's.

    Beyond the 0.1 % and 99.9 % quantiles of the reference by more than half of what these are
    apart: 6.2 standard deviations of a normal feature. Where nearly all of the reference have
    one value, every other value is far.

    Args:
        reference: Shape (N, d).
        sample: Shape (M, d).

    Returns:
        bool, shape (M,).
    """
    low, high = np.quantile(reference, [TAIL, 1 - TAIL], axis=0)
    reach = (high - low) / 2
    return np.asarray(((sample < low - reach) | (sample > high + reach)).any(1))


@checked
class FrechetPhysicsDistance:
    """Fréchet physics distance (FPD) with the challenge's settings.

    Features are divided by their largest absolute value in the reference. For each of
    ``n_sizes`` sizes, regular in 1/size, both samples are drawn ``n_draws`` times with
    replacement. Published tables show the value times 1000.

    Drawing from N rows with replacement cannot undo that there are only N of them: the official
    value keeps a bias of about slope / N, which is reported beside it.

    Args:
        min_samples: Smallest size. None: 10,000 as in the challenge where both samples have that
            many, else a fifth of the smaller sample and at least 1,000.
        max_samples: Largest size.
        n_sizes: Number of sizes.
        n_draws: Draws of each size.
        seed: Of the draws; 42 gives the official code's.
    """

    def __init__(
        self,
        min_samples: Several | None = None,
        max_samples: int = OFFICIAL_MAX,
        n_sizes: Annotated[int, Ge(3)] = 10,
        n_draws: Several = 20,
        seed: int = 42,
    ) -> None:
        if min_samples is not None and min_samples >= max_samples:
            raise UserError(
                f"FPD min_samples is {min_samples}, must be less than max_samples={max_samples}"
            )
        self.min_samples, self.max_samples = min_samples, max_samples
        self.n_sizes, self.n_draws, self.seed = n_sizes, n_draws, seed

    def __call__(self, reference: np.ndarray, generated: np.ndarray) -> dict[str, float]:
        """Distance of two samples of features.

        Args:
            reference: Real features, shape (N, d).
            generated: Features to judge, shape (M, d).

        Returns:
            ``fpd`` and ``fpd_error``, the official intercept and error of the fit;
            ``fpd_sampling_error``, the spread that other samples of these sizes would show;
            ``fpd_bias``, how much of the value the finite samples explain; ``fpd_unbiased``, the
            difference; ``min_samples``.

        Raises:
            UserError: A sample has fewer than 100 rows, or the two have other columns.
        """
        samples = over_maxima(*enough(100, reference=reference, generated=generated))
        return self._extrapolated(samples, self._sizes(min(map(len, samples))))

    def trimmed(self, reference: np.ndarray, generated: np.ndarray) -> dict[str, float]:
        """The same without the rows that are :func:`far_out`, in the same units and sizes.

        Args:
            reference: Real features, shape (N, d).
            generated: Features to judge, shape (M, d).

        Returns:
            As a call; and ``left_out`` and ``left_out_reference``, shares of either sample.

        Raises:
            UserError: As a call, or of a sample fewer than 100 rows are left.
        """
        samples = over_maxima(*enough(100, reference=reference, generated=generated))
        sizes = self._sizes(min(map(len, samples)))
        far = [far_out(samples[0], sample) for sample in samples]
        kept = [sample[~out] for sample, out in zip(samples, far, strict=True)]
        for name, rows in zip(("reference", "generated"), kept, strict=True):
            if len(rows) < 100:
                raise UserError(
                    f"trimmed FPD leaves {len(rows)} {name} showers: nearly all are far outside "
                    "of the reference's features"
                )
        return {
            **self._extrapolated(kept, sizes),
            "left_out": float(far[1].mean()),
            "left_out_reference": float(far[0].mean()),
        }

    def _extrapolated(self, samples: list[np.ndarray], sizes: np.ndarray) -> dict[str, float]:
        """The official fit for scaled samples, see a call."""
        rng = np.random.default_rng(self.seed)
        values = np.empty((len(sizes), self.n_draws))
        progress = tqdm(total=values.size, desc="FPD", leave=False, disable=None)
        for row, size in enumerate(sizes):
            for draw in range(self.n_draws):
                drawn = [
                    moments(sample, np.bincount(rng.choice(len(sample), size=size)))
                    for sample in samples
                ]
                values[row, draw] = frechet_distance(*drawn)
                progress.update()
        progress.close()
        (intercept, slope), covariance = curve_fit(
            _line, 1 / sizes, values.mean(1), bounds=([0, 0], [np.inf, np.inf])
        )
        bias = slope * np.mean([1 / len(sample) for sample in samples])
        spread = np.sqrt(np.mean(values.var(1, ddof=1) * sizes))
        return {
            "fpd": float(intercept),
            "fpd_error": float(np.sqrt(covariance[0, 0])),
            "fpd_sampling_error": float(spread / np.sqrt(min(map(len, samples)))),
            "fpd_bias": float(bias),
            "fpd_unbiased": float(intercept - bias),
            "min_samples": float(sizes[0]),
        }

    def _sizes(self, n: int) -> np.ndarray:
        """Sizes, int32, regular in their inverse."""
        smallest = self.min_samples
        if smallest is None:
            smallest = OFFICIAL_MIN if n >= OFFICIAL_MIN else max(1000, n // 5)
        inverse = np.linspace(1 / smallest, 1 / self.max_samples, self.n_sizes)
        return (1 / inverse).astype(np.int32)


@checked
class FrechetDistance:
    """Fréchet distance of all rows, and its extrapolation to infinite samples.

    Args:
        n_sizes: Sizes of random subsets of the generated sample, from a tenth of it (5,000 at
            most) to the whole.
        n_draws: Subsets of each size.
        standardise: Whether to scale features by the reference's standard deviations.
        seed: Of the subsets.
    """

    def __init__(
        self,
        n_sizes: Annotated[int, Ge(3)] = 15,
        n_draws: Count = 1,
        standardise: bool = True,
        seed: int = 0,
    ) -> None:
        self.n_sizes, self.n_draws = n_sizes, n_draws
        self.standardise, self.seed = standardise, seed

    def __call__(self, reference: np.ndarray, generated: np.ndarray) -> dict[str, float]:
        """``fd`` of the whole samples and its extrapolation ``fd_inf``, with ``..._error``.

        The reference enters whole, so ``fd_inf`` keeps the reference's half of the bias. Errors
        are a jackknife's over a tenth of both samples at a time, and the fit's in ``fd_inf``.

        Raises:
            UserError: A sample has fewer than 100 rows, or the two have other columns.
        """
        samples = enough(100, reference=reference, generated=generated)
        if self.standardise:
            samples = standardised(*samples)
        real, sample = moments(samples[0]), samples[1]
        n = len(sample)
        rng = np.random.default_rng(self.seed)
        sizes = np.linspace(min(5000, max(n // 10, 2)), n, self.n_sizes).astype(np.int64)
        sizes = np.repeat(sizes, self.n_draws)
        values = [
            frechet_distance(real, moments(sample[rng.choice(n, size, replace=False)]))
            for size in tqdm(sizes, "FD", leave=False, disable=None)
        ]
        # Deviations from the line grow with the inverse size, as does the spread of a value.
        (_, intercept), covariance = np.polyfit(1 / sizes, values, 1, w=np.sqrt(sizes), cov=True)
        error = jackknife_errors(
            lambda ours, theirs: {"fd": frechet_distance(moments(ours), moments(theirs))},
            samples,
            GROUPS,
            self.seed,
        )["fd"]
        return {
            "fd": frechet_distance(real, moments(sample)),
            "fd_error": error,
            "fd_inf": float(intercept),
            "fd_inf_error": float(np.sqrt(covariance[1, 1] + error**2)),
        }


def _line(x: np.ndarray, intercept: float, slope: float) -> np.ndarray:
    return intercept + slope * x
