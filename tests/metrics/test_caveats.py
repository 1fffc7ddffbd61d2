"""Which settings of a metric keep its scores from standing among the published ones."""

import numpy as np
import pytest
import torch

from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.comparison import Comparison
from caloman_cli.evaluation.components import (
    Classifier,
    PhysicsDistances,
    PrecisionRecall,
    Separation,
)
from caloman_cli.metrics.classifier.training import EPOCHS
from caloman_cli.metrics.protocol import find_protocol

N = 120
OFFICIAL = {
    Classifier: {"modes": ["high"], "preset": "official"},
    PhysicsDistances: {},
    PrecisionRecall: {"corrected": False, "batches": 2},
    Separation: {"plots": "none"},
}


@pytest.fixture
def caveats(tiny_geometry, tmp_path, monkeypatch):
    """What keeps scores of 120 showers from their places; sizes and one epoch count as official.

    What a network is has to be judged here, not how well it learns.
    """
    monkeypatch.setitem(EPOCHS, "official", 1)
    for module, name in (("distances", "OFFICIAL_MIN"), ("distances", "OFFICIAL_BATCH")):
        monkeypatch.setattr(f"caloman_cli.evaluation.components.{module}.{name}", N // 2)
    rng = np.random.default_rng(0)

    def showers():
        voxels = rng.exponential(50, (N, tiny_geometry.n_voxels)).astype(np.float32)
        return Showers.from_arrays(np.full((N, 1), 2e3), voxels, tiny_geometry)

    sides = showers(), showers()

    def found(kind, protocol="final", **settings):
        if kind is PhysicsDistances:
            settings = {"fpd_min_samples": N // 2, "kpd_batch_size": N // 2, **settings}
        comparison = Comparison(
            tiny_geometry, torch.device("cpu"), 1, tmp_path, tmp_path, "x",
            find_protocol(protocol), open_reference=lambda: sides[0],
            open_generated=lambda: sides[1], open_truth=lambda *_: None,
            open_train=showers, open_model=showers,
        )  # fmt: skip
        return kind(**OFFICIAL[kind] | settings)(comparison).caveats

    return found


@pytest.mark.parametrize("kind", OFFICIAL)
def test_official_settings_have_no_caveat(caveats, kind):
    assert caveats(kind) == {}


@pytest.mark.parametrize(
    ("kind", "settings", "quantities", "said"),
    [
        (Classifier, {"batch_size": 50}, ["AUC high"], "batches of 50, not 1,000"),
        (Classifier, {"learning_rate": 1e-3}, ["AUC high"], "learning rate 0.001"),
        (Classifier, {"units": 8}, ["AUC high"], "8 units"),
        (Classifier, {"preset": "small", "epochs": 1}, ["AUC high"], "preset small"),
        (Classifier, {"threshold": 5.0}, ["AUC high"], "not the official classifier"),
        (Classifier, {"protocol": "legacy2022"}, ["AUC high"], "protocol legacy2022"),
        (PrecisionRecall, {"k": 4}, ["precision", "recall", "density", "coverage"],
         "4 neighbours, not 5"),
        (PrecisionRecall, {"max_showers": N - 1}, ["precision", "recall", "density", "coverage"],
         f"at most {N - 1} showers, not all"),
        (PrecisionRecall, {"threshold": 5.0}, ["precision", "recall", "density", "coverage"],
         "readout cut 5 MeV"),
        (PhysicsDistances, {"threshold": 5.0}, ["FPD", "KPD"], "another readout cut"),
        (PhysicsDistances, {"protocol": "legacy2022"}, ["FPD", "KPD"], "another readout cut"),
        (PhysicsDistances, {"fpd_min_samples": 50}, ["FPD"], "sizes from 50 showers"),
        (PhysicsDistances, {"kpd_batch_size": 40}, ["KPD"], "batches of 40 showers"),
        (PhysicsDistances, {"kpd_batches": 4}, ["KPD"], "4 batches, not 10"),
        (Separation, {"threshold": 5.0}, ["S E_ratio", "S voxel"], "another readout cut"),
        (Separation, {"protocol": "legacy2022"}, ["S EC_r", "S sparsity"], "another readout cut"),
    ],
)  # fmt: skip
def test_other_settings_do(caveats, kind, settings, quantities, said):
    found = caveats(kind, **settings)
    assert set(quantities) <= set(found)
    if kind is not Separation:
        assert set(quantities) == set(found)
    assert all(said in found[quantity] for quantity in quantities), found
