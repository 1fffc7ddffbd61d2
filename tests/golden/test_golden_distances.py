"""Fréchet and kernel physics distances are those of the official code, draw for draw."""

from pathlib import Path

import numpy as np
import pytest

from caloman_cli.metrics.features import feature_matrix
from caloman_cli.metrics.frechet import FrechetPhysicsDistance
from caloman_cli.metrics.kernel import KernelPhysicsDistance
from tests.golden.test_official_metrics import PAIRS, features, golden

pytestmark = pytest.mark.shared


def pair_features(pair: str, shared: Path) -> list[np.ndarray]:
    expected = golden()[pair]
    return [
        feature_matrix(features(shared / expected[side], expected["dataset"]))
        for side in ("reference", "generated")
    ]


@pytest.mark.parametrize(
    "pair", [pytest.param(p, marks=pytest.mark.slow if p in ("g3", "g4") else []) for p in PAIRS]
)
def test_frechet_physics_distance(pair, shared):
    expected = golden()[pair]["fpd"]
    found = FrechetPhysicsDistance()(*pair_features(pair, shared))
    assert found["min_samples"] == expected["min_samples"]
    assert found["fpd"] == pytest.approx(expected["value"], abs=1e-8, rel=1e-8)
    assert found["fpd_error"] == pytest.approx(expected["error"], abs=1e-8, rel=1e-6)
    if pair in ("g1", "g3"):  # Geant4 against Geant4
        assert abs(found["fpd_unbiased"]) < 2 * found["fpd_sampling_error"]


@pytest.mark.parametrize(
    "pair", [pytest.param(p, marks=[] if p == "g2" else pytest.mark.slow) for p in PAIRS]
)
def test_kernel_physics_distance(pair, shared):
    expected = golden()[pair]["kpd"]
    found = KernelPhysicsDistance()(*pair_features(pair, shared))
    assert found["batch_size"] == expected["batch_size"]
    assert found["kpd"] == pytest.approx(expected["value"], abs=1e-9)
    assert found["kpd_error"] == pytest.approx(expected["error"], abs=1e-9)
