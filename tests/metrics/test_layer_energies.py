"""Layer energies: known for shares made by hand, at the floor for equal samples."""

from pathlib import Path

import numpy as np
import pytest
import torch

from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.comparison import Comparison
from caloman_cli.evaluation.components import LayerEnergies
from caloman_cli.evaluation.truth import truth_pair
from caloman_cli.metrics.features import Features, high_level_features
from caloman_cli.metrics.layer_energies import KINDS, LayerDifference, LayerEnergyTest, shares
from caloman_cli.metrics.protocol import FINAL

N_LAYERS = 4
GEOMETRY = Geometry.from_dict(
    {
        "name": "stack",
        "particle": "electron",
        "threshold": 1e-3,
        "max_response": 2.0,
        "layers": [{"id": 0, "repeat": N_LAYERS, "r_edges": [0, 5], "n_alpha": 1}],
    }
)
SHARES = np.array([0.1, 0.3, 0.4, 0.1])


def layers(n: int, seed: int, empty: float = 0.0) -> np.ndarray:
    """Energies at 100 to 10,000 MeV whose shares fluctuate by 10 % around ``SHARES``.

    Each layer but the first is empty in a fraction ``empty`` of the showers, independently.
    """
    rng = np.random.default_rng(seed)
    fluctuation = rng.gamma(100, 1 / 100, (n, N_LAYERS))
    fluctuation[:, 1:][rng.random((n, N_LAYERS - 1)) < empty] = 0
    return incident(n) * SHARES * fluctuation


def incident(n: int) -> np.ndarray:
    return np.geomspace(1e2, 1e4, n)[:, None]


def features(energies: np.ndarray, e_inc: np.ndarray | None = None) -> Features:
    values = {f"E_layer/{number}": column for number, column in enumerate(energies.T)}
    e_inc = incident(len(energies)) if e_inc is None else e_inc
    return Features(GEOMETRY, 0.0, e_inc[:, 0], values, 0.0)


def compare(real: np.ndarray, made: np.ndarray, resamplings: int = 20) -> LayerDifference:
    return LayerEnergyTest(resamplings)(features(real), features(made))


def seen(found: LayerDifference) -> set[str]:
    """What is far above its floor."""
    return {k for k in KINDS if found.values[k] > 4 * found.values[f"{k}_floor"]}


def test_a_sample_differs_in_nothing_from_itself():
    real = layers(500, 1, 0.1)
    found = compare(real, real)
    assert [found.values[kind] for kind in KINDS] == [0] * 5
    assert not found.distances.any()


def test_equal_samples_are_at_the_floor():
    found = [
        compare(layers(300, 2 * i, 0.1), layers(600, 2 * i + 1, 0.1)).values for i in range(40)
    ]
    for kind in KINDS:
        value, floor = (
            np.mean([one[f"{kind}{tail}"] for one in found]) for tail in ("", "_floor")
        )
        assert value == pytest.approx(floor, rel=0.15), kind


def test_a_layer_that_takes_five_per_cent_more_is_found_by_as_much():
    real = layers(4000, 1)
    more = real.copy()
    more[:, 2] *= 1.05
    found = compare(real, more)
    # E_inc drops out: 5 % of the mean share, over the standard deviation of both together.
    x = shares(features(real))[:, 2]
    sigma = np.sqrt(x.var() * (1 + 1.05**2) / 2 + (0.05 * x.mean()) ** 2 / 4)
    assert found.distances == pytest.approx([0, 0, 0.05 * x.mean() / sigma, 0], abs=1e-9)
    assert found.values["max"] == pytest.approx(found.distances[2])
    assert found.values["mean"] == pytest.approx(found.distances[2] / N_LAYERS)
    assert found.values["max"] == pytest.approx(0.05 / 0.1, rel=0.06)  # shares vary by 10 %
    other = layers(4000, 2)
    other[:, 2] *= 1.05
    again = compare(real, other)
    assert seen(again) == {"mean", "max"}
    assert again.distances.argmax() == 2
    assert again.values["max"] == pytest.approx(found.values["max"], rel=0.1)


def test_a_layer_emptied_in_a_tenth_of_showers_is_a_total_variation_of_a_tenth():
    real = layers(1000, 1)
    fewer = real.copy()
    fewer[::10, 3] = 0
    found = compare(real, fewer)
    assert found.values["patterns"] == pytest.approx(0.1)
    assert found.values["empty"] == pytest.approx(0.1)
    assert {"patterns", "empty"} <= seen(found)


def test_patterns_know_what_single_layers_do_not():
    """Two layers empty in half of the showers: always together, or independently."""
    together, apart = layers(1000, 1), layers(1000, 1)
    together[::2, 2:] = 0
    apart[::2, 2] = 0
    apart[np.arange(1000) % 4 < 2, 3] = 0
    found = compare(together, apart)
    assert found.values["empty"] == pytest.approx(0)
    assert found.values["patterns"] == pytest.approx(0.5)


def test_shares_that_vary_together_are_seen_by_their_correlation_alone():
    real, made = layers(4000, 1), layers(4000, 2)
    x = made[:, 1] / (incident(4000)[:, 0] * SHARES[1])
    made[:, 2] = x * incident(4000)[:, 0] * SHARES[2]
    found = compare(real, made)
    assert seen(found) == {"correlation"}
    assert found.values["correlation"] == pytest.approx(1, abs=0.05)


def test_its_errors_are_the_spread_of_other_samples():
    found = []
    for seed in range(40):
        made = layers(300, 2 * seed + 1, 0.3)
        made[:, 2] *= 1.1
        found.append(compare(layers(300, 2 * seed, 0.1), made).values)
    for kind in ("mean", "max", "patterns", "empty"):
        spread = np.std([one[kind] for one in found], ddof=1)
        assert np.mean([one[f"{kind}_error"] for one in found]) == pytest.approx(spread, rel=0.35)


def test_layers_that_are_always_empty_count_for_nothing():
    real, made = layers(300, 1), layers(300, 2)
    whole = compare(real, made)
    real[:, 3] = made[:, 3] = 0
    found = compare(real, made)
    assert found.distances[:3] == pytest.approx(whole.distances[:3])
    assert found.distances[3] == found.floors[3] == 0
    assert found.values["mean"] == pytest.approx(found.distances[:3].mean())
    real[:, 1:] = made[:, 1:] = 0
    assert compare(real, made).values["correlation"] is None
    real[:, 0] = made[:, 0] = incident(300)[:, 0]
    same = compare(real, made).values
    assert same["mean"] is same["max"] is same["mean_floor"] is None
    assert same["patterns"] == 0


def test_a_layer_that_only_generated_showers_light_is_as_far_as_can_be():
    real, made = layers(1000, 1), layers(1000, 2)
    real[:, 3] = 0
    found = compare(real, made)
    assert found.values["patterns"] == found.values["empty"] == 1
    # Two narrow peaks are two standard deviations of both together apart.
    assert found.values["max"] == found.distances[3] == pytest.approx(2, rel=0.02)
    assert found.values["correlation"] < 3 * found.values["correlation_floor"]  # of the others


def test_few_showers_and_other_layers_are_refused():
    with pytest.raises(
        UserError, match="99 showers: layer energies are compared from 100 or more"
    ):
        compare(layers(200, 1), layers(99, 1))
    with pytest.raises(UserError, match="4 layers in the reference, 3 in the generated"):
        compare(layers(200, 1), layers(200, 1)[:, :3])


def test_the_scores_stand_beside_the_truth(tmp_path: Path):
    more = layers(2000, 2)
    more[:, 2] *= 1.05
    real, made = (
        Showers.from_arrays(incident(2000), energies.astype(np.float32), GEOMETRY)
        for energies in (layers(2000, 1), more)
    )
    comparison = Comparison(
        GEOMETRY, torch.device("cpu"), 1, tmp_path, tmp_path, "x", FINAL,
        open_reference=lambda: real, open_generated=lambda: made, open_truth=truth_pair,
        open_train=lambda: real, open_model=lambda: pytest.fail("no model is needed"),
    )  # fmt: skip
    section = LayerEnergies(20)(comparison)
    scores = {score.key: score for score in section.scores}
    assert list(scores) == [f"layer_energies_{kind}" for kind in KINDS]
    largest = scores["layer_energies_max"]
    expected = LayerEnergyTest(20, 1)(high_level_features(real), high_level_features(made))
    assert largest.generated == pytest.approx(expected.values["max"])
    assert largest.truth < 3 * largest.truth_floor
    assert largest.truth_floor > largest.floor  # of halves
    assert largest.note == "truth: halves of the reference"
    assert "Furthest: layer 2" in section.notes[0]
    off = shares(high_level_features(made)).mean(0) / shares(high_level_features(real)).mean(0) - 1
    assert off[2] == pytest.approx(0.05, abs=0.01)
    assert f"E_layer / E_inc is {100 * off[2]:+.2g} % off" in section.notes[0]
    assert [drawn.path.name for drawn in comparison.figures] == ["layer_energies.png"]
