"""Every error that a table shows is the spread of other samples of the same size."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.components.intrinsic_dimension import _error, _two_nn_error
from caloman_cli.evaluation.components.memorisation import scores
from caloman_cli.metrics.classifier import multiclass
from caloman_cli.metrics.classifier.multiclass import MulticlassTest
from caloman_cli.metrics.classifier.scores import evaluate
from caloman_cli.metrics.correlation import CorrelationTest
from caloman_cli.metrics.features import Features
from caloman_cli.metrics.histograms import Histogram
from caloman_cli.metrics.intrinsic_dimension import DimensionTable
from caloman_cli.metrics.kernel import KernelDistance, KernelPhysicsDistance
from caloman_cli.metrics.ledger import Inputs, explained
from caloman_cli.metrics.memorisation import CopyTest
from caloman_cli.metrics.observables import Observable
from caloman_cli.metrics.samples import batch_errors, jackknife_errors
from caloman_cli.metrics.separation import separation_error


def told_and_seen(
    once: Callable[[np.random.Generator], tuple[float, float]], times: int
) -> tuple[float, float]:
    """The mean error and the spread of the values over samples drawn anew."""
    rng = np.random.default_rng(0)
    values, errors = np.array([once(rng) for _ in range(times)]).T
    return float(np.mean(errors)), float(np.std(values, ddof=1))


@pytest.mark.parametrize("method", [jackknife_errors, batch_errors])
def test_errors_from_parts_are_those_of_a_mean(method):
    """Of a mean they are known: sigma / sqrt(N)."""

    def statistic(sample: np.ndarray) -> dict[str, float]:
        return {"mean": float(sample.mean())}

    rng = np.random.default_rng(0)
    found = [
        method(statistic, [3 * rng.standard_normal(400)], 10, seed)["mean"] for seed in range(100)
    ]
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(3 / math.sqrt(400), rel=0.1)


@pytest.mark.slow
def test_error_of_what_latents_explain():
    """Half of the variance, from conditions that say nothing and latents that say half."""

    def once(rng: np.random.Generator) -> tuple[float, float, float, float]:
        c, z, noise = rng.standard_normal((3, 600, 1))
        y = Observable("y", "y", z + noise, np.ones((600, 1), bool))
        inputs = [Inputs(c), Inputs(np.concatenate([c, z], 1))]
        found = explained(inputs, [y], int(rng.integers(100)))["y"]
        assert found is not None
        return found.values[1], found.errors[1], found.gains[1], found.gain_errors[1]

    rng = np.random.default_rng(0)
    values, errors, gains, gain_errors = np.array([once(rng) for _ in range(40)]).T
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.35)
    assert gain_errors.mean() == pytest.approx(gains.std(ddof=1), rel=0.35)


def test_error_of_the_jsd():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 4000)) + np.array([[1.0], [0.0]])  # calibrated on many
    test, real = 1 / (1 + np.exp(-x.ravel())), np.repeat([True, False], 4000)

    def once(rng: np.random.Generator) -> tuple[float, float]:
        x = rng.standard_normal((2, 100)) + np.array([[1.0], [0.0]])
        val = 1 / (1 + np.exp(-x.ravel()))
        found, _ = evaluate(test, real, val, np.repeat([True, False], 100))
        return found["jsd"], found["jsd_error"]

    told, seen = told_and_seen(once, 150)
    assert told == pytest.approx(seen, rel=0.25)


def test_error_of_a_log_posterior(tiny_geometry, monkeypatch):
    """From the number of real showers; the network is the same, its answers are drawn."""
    rng = np.random.default_rng(2)
    sides = {
        name: Showers.from_arrays(np.ones(100), np.ones((100, 12), np.float32), tiny_geometry)
        for name in ("one", "other")
    }

    def drawn(model: nn.Module, source: object, index: np.ndarray, size: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal([0.5, 0], 1, (len(index), 2)))

    monkeypatch.setattr(multiclass, "fit", lambda *_: None)
    monkeypatch.setattr(multiclass, "logits", drawn)
    test = MulticlassTest("low", units=2, epochs=1)

    def once(_: np.random.Generator) -> tuple[float, float]:
        found = test(sides["one"], sides)["log_posterior"]["other"]
        return found["mean"], found["error"]

    told, seen = told_and_seen(once, 100)
    assert told == pytest.approx(seen, rel=0.25)


def layers(geometry: Geometry, n: int, mixing: float, rng: np.random.Generator) -> Features:
    """Layer energies with a coefficient of ``mixing`` between any two."""
    common = rng.standard_normal(n)
    values = {
        f"E_layer/{layer.id}": 100
        + math.sqrt(mixing) * common
        + math.sqrt(1 - mixing) * rng.standard_normal(n)
        for layer in geometry.layers
    }
    return Features(geometry, 0.1, np.full(n, 1e3), values, 1.0)


def test_error_of_the_correlations(tiny_geometry):
    test = CorrelationTest(30)

    def once(rng: np.random.Generator) -> tuple[float, float]:
        found = test(*(layers(tiny_geometry, 200, mixing, rng) for mixing in (0.7, 0.1)))
        return found["correlation_rms"], found["correlation_rms_error"]

    told, seen = told_and_seen(once, 100)
    assert told == pytest.approx(seen, rel=0.25)


def test_floor_of_the_correlations(tiny_geometry):
    """What two samples of one distribution give, in the mean."""
    rng, test = np.random.default_rng(0), CorrelationTest(30)
    found = [test(*(layers(tiny_geometry, 200, 0.5, rng) for _ in range(2))) for _ in range(100)]
    for kind in ("rms", "max"):
        value, floor = (
            np.mean([one[f"correlation_{kind}{tail}"] for one in found]) for tail in ("", "_floor")
        )
        assert value == pytest.approx(floor, rel=0.15)


@pytest.mark.parametrize(("batch", "lowest", "highest"), [(None, 0.7, 2.0), (50, 0.7, 1.6)])
def test_error_of_the_kernel_physics_distance(batch, lowest, highest):
    """Batches as large as the sample are a bootstrap of it: of like samples it is too wide."""
    test = KernelPhysicsDistance(batch)

    def once(rng: np.random.Generator) -> tuple[float, float]:
        found = test(rng.normal(size=(150, 3)), rng.normal(size=(150, 3)) + 0.3)
        return found["kpd"], found["kpd_sampling_error"]

    told, seen = told_and_seen(once, 40)
    assert lowest < told / seen < highest


def test_error_of_the_kernel_distance():
    test = KernelDistance(100, 20)

    def once(rng: np.random.Generator) -> tuple[float, float]:
        found = test(rng.normal(size=(300, 3)), rng.normal(size=(300, 3)) + 0.1)
        return found["kd"], found["kd_error"]

    told, seen = told_and_seen(once, 60)
    assert 0.7 < told / seen < 1.6


@pytest.mark.parametrize("k", [10, 20])
def test_error_of_the_intrinsic_dimension(k):
    table = DimensionTable([k], False, 1000, 0)

    def once(rng: np.random.Generator) -> tuple[float, float]:
        (row,) = table(rng.normal(size=(200, 3)))
        return row.mackay, _error(row)

    told, seen = told_and_seen(once, 50)
    assert told == pytest.approx(seen, rel=0.35)


def test_errors_of_two_neighbours_and_of_local_components():
    table, rng = DimensionTable([3], False, 1000, 0, pca_k=30), np.random.default_rng(0)
    scales = 0.75 ** np.arange(8)
    rows = [table(rng.normal(size=(200, 8)) * scales)[0] for _ in range(30)]
    told = np.mean([(_two_nn_error(row), row.local_pca_error) for row in rows], 0)
    seen = np.std([(row.two_nn, row.local_pca) for row in rows], 0, ddof=1)
    np.testing.assert_allclose(told, seen, rtol=0.4)


def test_errors_of_copies_are_binomial():
    rng, n = np.random.default_rng(0), 400
    found = {
        "copies": 0.2, "copies_reference": 0.0, "near_copies": 0.01, "near_copies_error": 0.1,
        "near_copies_reference": 0.01, "authentic": 60.0, "authentic_error": 2.0,
        "authentic_reference": 60.0, "ct": 0.0, "ct_error": 1.0,
    }  # fmt: skip
    copies, _, authentic, _ = scores(found, 0.0, 1.0, n, n)
    assert copies.spread == pytest.approx(np.std(rng.binomial(n, 0.2, 5000) / n), rel=0.05)
    assert copies.truth_spread == 1 / n  # none seen: one shower more would make this
    assert authentic.truth_spread == pytest.approx(
        100 * np.std(rng.binomial(n, 0.6, 5000) / n), rel=0.05
    )


def test_error_of_near_copies(monkeypatch):
    monkeypatch.setattr(CopyTest, "data_copying", lambda *_: (0.0, 1.0))
    monkeypatch.setattr(CopyTest, "_authentic_error", lambda *_: 1.0)

    def once(rng: np.random.Generator) -> tuple[float, float]:
        held, sample, train = (rng.normal(size=(400, 3)) for _ in range(3))
        found = CopyTest(k=20)(held, sample, train)
        return found["near_copies"], found["near_copies_error"]

    told, seen = told_and_seen(once, 20)
    assert 0.6 < told / seen < 1.6


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_error_of_a_separation_power(shift):
    edges = np.linspace(-3, 3, 21)

    def once(rng: np.random.Generator) -> tuple[float, float]:
        sides = rng.standard_normal(500), rng.standard_normal(400) + shift
        counts = [np.pad(np.histogram(side, edges)[0], 1) for side in sides]
        histogram = Histogram("EC_eta/1", edges, *counts)
        return histogram.separation, separation_error(histogram)

    told, seen = told_and_seen(once, 200)
    assert told == pytest.approx(seen, rel=0.25)
