"""Kernel distances: the unbiased estimate, whatever the blocks."""

import numpy as np
import pytest
import torch

from caloman_cli.errors import UserError
from caloman_cli.metrics.kernel import KernelDistance, KernelPhysicsDistance, kernel_sums


def normal(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def by_definition(x: np.ndarray, y: np.ndarray, degree: int) -> float:
    def kernel(a, b):
        return (a @ b.T / x.shape[1] + 1) ** degree

    def pairs(values):
        n = len(values)
        return (values.sum() - np.trace(values)) / (n * (n - 1))

    return pairs(kernel(x, x)) + pairs(kernel(y, y)) - 2 * kernel(x, y).mean()


@pytest.mark.parametrize("degree", [3, 4])
@pytest.mark.parametrize("block", [7, 64, 1000])
def test_blocks_do_not_change_the_sum(degree, block):
    x, y = normal(100, 5, 0), normal(83, 5, 1) + 0.3
    sums = kernel_sums(torch.from_numpy(x), torch.from_numpy(y), degree, block)
    assert sums.mmd == pytest.approx(by_definition(x, y, degree), rel=1e-10)


def test_equal_distributions_are_zero_within_the_error():
    values = [
        KernelDistance(200, 20)(normal(400, 10, 2 * i), normal(400, 10, 2 * i + 1))
        for i in range(4)
    ]
    pulls = [value["kd"] / value["kd_error"] for value in values]
    assert np.abs(pulls).max() < 2.5
    assert abs(np.mean(pulls)) < 1.5


def test_drawing_twice_is_a_bias_that_is_known():
    rows = [(normal(200, 8, 2 * i), normal(200, 8, 2 * i + 1)) for i in range(8)]
    values = [KernelPhysicsDistance()(*pair) for pair in rows]
    raw, mended = (np.mean([v[key] for v in values]) for key in ("kpd", "kpd_unbiased"))
    error = np.mean([v["kpd_sampling_error"] for v in values]) / np.sqrt(len(values))
    assert raw > 2 * error
    assert abs(mended) < 3 * error
    assert values[0]["batch_size"] == 200


def test_a_shift_is_seen():
    value = KernelPhysicsDistance()(normal(500, 4, 0), normal(500, 4, 1) + 0.5)
    assert value["kpd"] > 5 * value["kpd_sampling_error"]
    assert value["kpd_error"] > 0


def test_subsets_are_at_most_half_of_the_sample():
    value = KernelDistance(1000, 5)(normal(300, 3, 0), normal(900, 3, 1))
    assert value["subset_size"] == 150


def test_mistakes_are_told():
    with pytest.raises(UserError, match="batch_size=1: must be an integer, 2 or more"):
        KernelPhysicsDistance(batch_size=1)
    with pytest.raises(UserError, match="needs 100 or more"):
        KernelPhysicsDistance()(normal(99, 3, 0), normal(500, 3, 1))
