"""Fréchet and kernel physics distances are those of the official code, draw for draw."""

import numpy as np
import pytest

from caloman_cli.metrics.features import feature_matrix
from caloman_cli.metrics.frechet import FrechetPhysicsDistance
from caloman_cli.metrics.kernel import KernelPhysicsDistance
from tests.golden.test_official_metrics import INSIDE, PAIRS, Pair, features, pair, pairs

__all__ = ["pair"]  # the fixture


def pair_features(pair: Pair) -> list[np.ndarray]:
    return [feature_matrix(features(side, pair.dataset)) for side in pair.sides]


@pytest.mark.parametrize(
    "pair", pairs(slow=["g1", "g3", "g4"], inside=["g1", "g2"]), indirect=True
)  # 200 showers of dataset 2 are fewer than its features: their covariance has no root
def test_frechet_physics_distance(pair):
    expected = pair.official["fpd"]
    inside = pair.root == INSIDE
    sizes = {name: expected[name] for name in ("min_samples", "max_samples")} if inside else {}
    found = FrechetPhysicsDistance(**sizes)(*pair_features(pair))
    assert found["min_samples"] == expected["min_samples"]
    assert found["fpd"] == pytest.approx(expected["value"], abs=1e-8, rel=1e-8)
    assert found["fpd_error"] == pytest.approx(expected["error"], abs=1e-8, rel=1e-6)
    if pair.name in ("g1", "g3") and not inside:  # Geant4 against Geant4
        assert abs(found["fpd_unbiased"]) < 2 * found["fpd_sampling_error"]


@pytest.mark.parametrize("pair", pairs(slow=PAIRS), indirect=True)
def test_kernel_physics_distance(pair):
    expected = pair.official["kpd"]
    found = KernelPhysicsDistance()(*pair_features(pair))
    assert found["batch_size"] == expected["batch_size"]
    assert found["kpd"] == pytest.approx(expected["value"], abs=1e-9)
    assert found["kpd_error"] == pytest.approx(expected["error"], abs=1e-9)
