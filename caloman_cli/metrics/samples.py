"""Samples of features: the checks, scales and errors that all distances between them share."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from caloman_cli.errors import UserError

Statistic = Callable[..., Mapping[str, float]]


def enough(at_least: int, **samples: np.ndarray) -> list[np.ndarray]:
    """Samples as float64 arrays of shape (N, d), after a look at what they hold.

    Args:
        at_least: The smallest number of rows that the metric can work with.
        samples: By the name that an error shall call them.

    Raises:
        UserError: A sample is too small, is not a table of finite numbers or has other columns
            than the first.
    """
    arrays: list[np.ndarray] = []
    for name, sample in samples.items():
        array = np.asarray(sample, dtype=np.float64)
        if array.ndim != 2:
            raise UserError(f"{name} features have shape {array.shape}, must be (N, d)")
        if arrays and array.shape[1] != arrays[0].shape[1]:
            raise UserError(
                f"{name} showers have {array.shape[1]} features and the others "
                f"{arrays[0].shape[1]}: give files of one dataset"
            )
        if len(array) < at_least:
            raise UserError(f"{len(array)} {name} showers: this metric needs {at_least} or more")
        if not np.isfinite(array).all():
            rows = np.flatnonzero(~np.isfinite(array).all(1))
            raise UserError(
                f"{len(rows)} {name} showers have features that are not finite, the first is "
                f"number {rows[0]}: check the file with 'caloman data check'"
            )
        arrays.append(array)
    return arrays


def over_maxima(reference: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Divide each feature by the largest absolute value it has in the reference.

    A feature that is zero throughout the reference stays as it is.
    """
    largest = np.abs(reference).max(0)
    largest[largest == 0] = 1
    return [sample / largest for sample in (reference, *others)]


def standardised(reference: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Shift and scale features so that the reference's have mean 0 and standard deviation 1.

    A feature that is constant in the reference is only shifted.
    """
    mean, spread = reference.mean(0), reference.std(0)
    spread[spread <= 1e-12 * np.abs(mean)] = 1
    spread[spread == 0] = 1
    return [(sample - mean) / spread for sample in (reference, *others)]


def share_error(share: float, n: int) -> float:
    """Error of a share of n; of none or all, what one more would make."""
    return float(max(np.sqrt(share * (1 - share) / n), 1 / n))


def batch_errors(
    statistic: Statistic, samples: Sequence[np.ndarray], batches: int, seed: int
) -> dict[str, float]:
    """Standard errors from disjoint parts of the samples.

    Every sample is cut at random into ``batches`` parts; the statistic of part b of all samples
    is one of ``batches`` independent values, whose standard deviation over sqrt(batches) is the
    error of their mean and, for a statistic whose spread falls like 1 / sqrt(N), that of the
    whole. Neighbour statistics change slowly with N, so their parts' mean is another number but
    their spread serves.

    Args:
        statistic: Of as many arrays as there are samples.
        samples: Arrays with rows to be distributed.
        batches: Number of parts.
        seed: Of the distribution of rows.

    Returns:
        Errors by the names of the statistic's values; empty for fewer than two batches.
    """
    if batches < 2:
        return {}
    rng = np.random.default_rng(seed)
    parts = [np.array_split(rng.permutation(len(sample)), batches) for sample in samples]
    found = [
        statistic(*(sample[np.sort(part[b])] for sample, part in zip(samples, parts, strict=True)))
        for b in range(batches)
    ]
    return {
        name: float(np.std([values[name] for values in found], ddof=1) / np.sqrt(batches))
        for name in found[0]
    }


def jackknife_errors(
    statistic: Statistic, samples: Sequence[np.ndarray], groups: int, seed: int
) -> dict[str, float]:
    """Standard errors from leaving out one of ``groups`` random parts of all samples at a time.

    For statistics that are smooth in the samples' moments: keeps their size, and with it their
    bias, nearly as they are.

    Args:
        statistic: Of as many arrays as there are samples.
        samples: Arrays with rows to be left out.
        groups: Number of parts, 2 or more.
        seed: Of the parts.
    """
    rng = np.random.default_rng(seed)
    group = [rng.permutation(len(sample)) % groups for sample in samples]
    found = [
        statistic(*(sample[part != b] for sample, part in zip(samples, group, strict=True)))
        for b in range(groups)
    ]
    return {
        name: float(np.std([values[name] for values in found]) * np.sqrt(groups - 1))
        for name in found[0]
    }
