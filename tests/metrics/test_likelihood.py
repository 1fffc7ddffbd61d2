"""The mean of log p over real showers: its parts, its error, what cannot be said."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.components import Likelihood
from caloman_cli.models.likelihood import Likelihood as Found
from tests.contracts.groups import showers

N = 80


class Known:
    """log p of layers is minus the log of the incident energy; voxels weigh by draw and row."""

    kind, measure = "bound", "per MeV of every marble"

    def __init__(self, draws=None, spoilt=()):
        self.draws, self.spoilt, self.seeds = draws, spoilt, []

    def likelihood(self, voxels, e_inc, draws, seed):
        self.seeds.append(seed)
        rows = voxels.sum(1, keepdim=True).double()
        k = torch.arange(self.draws or draws, dtype=torch.float64)
        weights = -1e-3 * rows + torch.sin(k)
        layers = -e_inc[:, 0].double().log()
        for row in self.spoilt:
            layers[row] = torch.inf
        return Found(layers, weights)


def evaluated(model, geometry, **settings):
    voxels, e_inc = showers(geometry)
    drawn = {}
    comparison = SimpleNamespace(
        model=model,
        reference=Showers.from_arrays(e_inc.numpy(), voxels.numpy(), geometry),
        device=torch.device("cpu"),
        seed=5,
        reference_label="reference",
        model_label="model",
        draw=lambda stem, image, caption: drawn.update({stem: caption}),
    )
    section = Likelihood(**settings)(comparison)
    return {score.key: score for score in section.scores}, section, drawn, voxels, e_inc


def test_means_and_errors_of_the_parts(tiny_geometry):
    model = Known()
    scores, section, drawn, voxels, e_inc = evaluated(model, tiny_geometry, draws=32)
    layers = -e_inc[:, 0].double().log()
    lifted = torch.sin(torch.arange(32, dtype=torch.float64))
    of_voxels = -1e-3 * voxels.sum(1).double() + torch.logsumexp(lifted, 0) - math.log(32)
    for key, expected in {
        "log_prob": layers + of_voxels,
        "log_prob_layers": layers,
        "log_prob_voxels": of_voxels,
        "log_prob_per_voxel": (layers + of_voxels) / (voxels > 0).sum(1),
    }.items():
        assert scores[key].generated == pytest.approx(float(expected.mean()), rel=1e-6)
        error = float(expected.std()) / N**0.5
        assert scores[key].spread == pytest.approx(error, rel=1e-5)
        assert scores[key].goal == "higher"
    before = torch.stack([torch.logsumexp(lifted[16 * i : 16 * i + 16], 0) for i in (0, 1)])
    rise = torch.logsumexp(lifted, 0) - math.log(32) - (before - math.log(16)).mean()
    assert scores["log_prob_rise"].generated == pytest.approx(float(rise), rel=1e-6)
    assert "from 16 to 32 draws" in scores["log_prob_rise"].quantity
    assert scores["log_weight_spread"].generated == pytest.approx(
        float(lifted.std(correction=0)), rel=1e-6
    )
    assert [row["draws"] for row in section.details["draws"]] == [1, 4, 16, 32]
    assert section.details["showers"] == pytest.approx((layers + of_voxels).tolist(), abs=1e-4)
    expected = {"measure": "per MeV of every marble", "draws": 32, "showers": N}
    assert section.conditions == expected
    assert scores["log_prob"].note == section.details["kind"] == "bound"
    assert (
        "log p with 32 draws is a lower bound, in nats; per MeV of every marble"
        in section.notes[0]
    )
    assert "how the bound rises" in drawn["likelihood"]
    assert len(set(model.seeds)) == len(model.seeds) == 3  # blocks of showers


def test_showers_are_spread_and_energies_have_their_means(tiny_geometry):
    _, section, _, voxels, e_inc = evaluated(Known(), tiny_geometry, draws=2, max_showers=40)
    assert section.conditions["showers"] == 40
    rows = section.details["by incident energy"]
    assert sum(row["showers"] for row in rows) == 40
    assert len(rows) == 6
    energies = [row["incident energy"] for row in rows]
    assert energies == sorted(energies)
    assert np.log10(energies[-1] / energies[0]) > 1


def test_without_draws_there_is_nothing_that_rises(tiny_geometry):
    model = Known(draws=1)
    model.kind = "exact"
    scores, section, drawn, *_ = evaluated(model, tiny_geometry)
    assert {*scores} == {"log_prob", "log_prob_layers", "log_prob_voxels", "log_prob_per_voxel"}
    assert section.conditions["draws"] == 1
    assert "log p is exact, in nats;" in section.notes[0]
    assert "draws" not in drawn["likelihood"]


def test_infinite_ones_are_left_out_and_counted(tiny_geometry):
    scores, section, *_ = evaluated(Known(spoilt=(0, 3)), tiny_geometry, draws=2)
    assert math.isfinite(scores["log_prob"].generated)
    assert "for 6 showers" in section.notes[0]
    assert [i for i, p in enumerate(section.details["showers"]) if p is None] == [
        0,
        3,
        32,
        35,
        64,
        67,
    ]
    with pytest.raises(UserError, match="infinite for all 80 showers"):
        evaluated(Known(spoilt=(slice(None),)), tiny_geometry, draws=2)


def test_nan_and_wrong_settings_are_said_in_one_line(tiny_geometry):
    def broken(*_):
        raise FloatingPointError("log_prob is NaN for 3 of 64 showers")

    model = Known()
    model.likelihood = broken
    with pytest.raises(UserError, match="NaN for 3 of 64"):
        evaluated(model, tiny_geometry)
    with pytest.raises(UserError, match="draws=0"):
        Likelihood(draws=0)
