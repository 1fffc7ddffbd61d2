"""The multiclass log-posterior on cases with a known answer."""

import math

import numpy as np
import pytest
from scipy.integrate import trapezoid

from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.metrics.classifier.multiclass import MulticlassTest
from tests.conftest import load_geometry
from tests.metrics.test_classifier import SMALL, gaussian

pytestmark = pytest.mark.usefixtures("one_thread")


def test_log_posteriors_of_gaussians_are_the_known_ones(tiny_geometry):
    shifts = {"near": 0.3, "far": 1.0, "other side": -1.0}
    submissions = {
        name: gaussian(tiny_geometry, 2000, number, shift)
        for number, (name, shift) in enumerate(shifts.items())
    }
    found = MulticlassTest("low", **SMALL)(gaussian(tiny_geometry, 2000, 9), submissions)
    x = np.linspace(-6, 6, 2001)
    real = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    logs = np.stack([-((x - shift) ** 2) / 2 for shift in shifts.values()])
    logs -= np.logaddexp.reduce(logs, axis=0)
    expected = trapezoid(logs * real, x, axis=1)
    means = [found["log_posterior"][name]["mean"] for name in shifts]
    np.testing.assert_allclose(means, expected, atol=0.12)
    assert max(shifts, key=lambda name: found["log_posterior"][name]["mean"]) == "near"
    assert found["uniform"] == pytest.approx(-math.log(3))
    assert sum(found["chosen"].values()) == pytest.approx(1)
    np.testing.assert_allclose(np.sum(found["confusion"], 1), 1)
    posteriors = np.exp(logs) @ (real * np.gradient(x))
    np.testing.assert_allclose(found["posteriors"][0], posteriors, atol=0.05)
    np.testing.assert_allclose(np.sum(found["posteriors"], 1), 1, rtol=1e-5)
    assert np.argmax(found["posteriors"][2]) == 1  # of the showers of "far"


def test_equal_generators_get_the_even_guess(tiny_geometry):
    submissions = {str(seed): gaussian(tiny_geometry, 1000, seed) for seed in range(4)}
    found = MulticlassTest("high", repeats=2, **{**SMALL, "epochs": 3})(
        gaussian(tiny_geometry, 2000, 9), submissions
    )
    assert found["classes"] == ["0", "1", "2", "3"]
    for name in submissions:
        score = found["log_posterior"][name]
        assert score["mean"] == pytest.approx(-math.log(4), abs=0.1)
        assert score["std"] > 0
        assert score["error"] > 0
        assert found["own"][name]["mean"] == pytest.approx(-math.log(4), abs=0.1)
    assert found["accuracy"] == pytest.approx(0.25, abs=0.05)


def test_real_showers_of_one_generator_are_recognised(tiny_geometry):
    """500 showers suffice; files of different lengths are cut; the seed fixes everything."""
    submissions = {
        "same": gaussian(tiny_geometry, 500, 1),
        "unlike": gaussian(tiny_geometry, 700, 2, shift=8.0),
    }
    reference = gaussian(tiny_geometry, 300, 3)
    test = MulticlassTest("low", seed=2, **SMALL)
    found = test(reference, submissions)
    assert found == test(reference, submissions)
    assert found["log_posterior"]["same"]["mean"] > math.log(0.9)
    assert found["log_posterior"]["unlike"]["mean"] < found["uniform"]
    assert found["chosen"]["same"] == 1
    assert found["own"]["unlike"]["mean"] > math.log(0.9)
    assert (found["n_train"], found["n_test"], found["n_val"]) == (600, 200, 200)
    assert found["n_reference"] == 300
    assert "500 showers per submission" in found["warning"]


def test_mistakes_are_named(tiny_geometry):
    first, second = gaussian(tiny_geometry, 150, 1), gaussian(tiny_geometry, 99, 2)
    with pytest.raises(UserError, match=r"two or more submissions, got 1.*generated=\["):
        MulticlassTest()(first, {"one": first})
    with pytest.raises(UserError, match="150 one, 99 two: generate more"):
        MulticlassTest()(first, {"one": first, "two": second})
    other = load_geometry("ds1_photons")
    foreign = Showers.from_arrays(np.full(150, 1e3), np.zeros((150, 368), np.float32), other)
    with pytest.raises(UserError, match="files of one dataset, got voxels: 12 one, 368 two"):
        MulticlassTest()(first, {"one": first, "two": foreign})
    with pytest.raises(UserError, match="reference has 368 voxels and one has 12"):
        MulticlassTest()(foreign, {"one": first, "two": first})
    with pytest.raises(UserError, match="mode=lo"):
        MulticlassTest("lo")
