"""Features and separation powers are those of the official evaluation code."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from caloman_cli.data.showers import Showers
from caloman_cli.metrics.features import Features, feature_matrix, high_level_features
from caloman_cli.metrics.separation import SeparationPower
from tests.conftest import ROOT, load_geometry

pytestmark = pytest.mark.shared
PAIRS = ["g1", "g2", "g3", "g4"]
DATASETS = {"1-photons": "ds1_photons", "2": "ds2"}
NAMES = {
    "E layer": "E_layer",
    "EC Eta layer": "EC_eta",
    "EC Phi layer": "EC_phi",
    "EC r layer": "EC_r",
    "Width Eta layer": "width_eta",
    "Width Phi layer": "width_phi",
    "Width r layer": "width_r",
    "Sparsity layer": "sparsity",
    "Etot / Einc at E =": "E_ratio_at",
}


@cache
def golden() -> dict:
    return json.loads((ROOT.parent / "shared/golden/official_metrics.json").read_text())


@cache
def showers(path: Path, dataset: str) -> Showers:
    return Showers.from_files([path], load_geometry(DATASETS[dataset]))


@cache
def features(path: Path, dataset: str) -> Features:
    return high_level_features(showers(path, dataset))


def our_name(official: str) -> str:
    if official in ("Etot / Einc", "Voxel distribution"):
        return {"Etot / Einc": "E_ratio", "Voxel distribution": "voxel"}[official]
    kind, number = official.rsplit(" ", 1)
    return f"{NAMES[kind]}/{float(number):.0f}"


@pytest.mark.parametrize("pair", PAIRS)
def test_features(pair, shared):
    expected = golden()[pair]
    found = features(shared / expected["generated"], expected["dataset"])
    assert set(found.values) == set(expected["features_generated"])
    for name, values in expected["features_generated"].items():
        # A width under 1e-6 mm is what rounding leaves of two equal numbers of order 1e3.
        noise = 1e-6 if name.startswith("width") else 1e-12
        assert found[name][:5] == pytest.approx(values["first5"], rel=1e-9, abs=noise), name
        noise = noise / 100
        assert np.mean(found[name]) == pytest.approx(values["mean"], rel=1e-9, abs=noise), name
        assert np.std(found[name]) == pytest.approx(values["std"], rel=1e-9, abs=noise), name


@pytest.mark.parametrize("pair", PAIRS)
def test_feature_matrix_has_the_official_width(pair, shared):
    expected = golden()[pair]
    matrix = feature_matrix(features(shared / expected["reference"], expected["dataset"]))
    assert list(matrix.shape) == expected["high_feature_shape"]
    assert np.isfinite(matrix).all()


@pytest.mark.parametrize("pair", PAIRS)
def test_separation_powers(pair, shared):
    expected = golden()[pair]
    dataset = expected["dataset"]
    sides = [shared / expected[side] for side in ("reference", "generated")]
    histograms = SeparationPower().histograms(
        *(showers(side, dataset) for side in sides),
        reference_features=features(sides[0], dataset),
        generated_features=features(sides[1], dataset),
    )
    found = {histogram.name: histogram for histogram in histograms}
    official = {our_name(name): value for name, value in expected["separation"].items()}
    assert set(found) == set(official)
    for name, value in official.items():
        if value is None:
            assert found[name].separation is None, name
            assert "in range" in found[name].note
        else:
            assert found[name].separation == pytest.approx(value, rel=1e-9), name
