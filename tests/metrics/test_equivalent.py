"""Equivalent showers: normal features and replays whose worth is known, and real ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.evaluation.comparison import Comparison
from caloman_cli.evaluation.components import EquivalentOfShowers
from caloman_cli.evaluation.truth import truth_pair
from caloman_cli.metrics.equivalent import ALL, EquivalentShowers, Table, table
from caloman_cli.metrics.features import high_level_features
from caloman_cli.metrics.strata import energy_strata


def one_energy(values: np.ndarray) -> Table:
    return Table(np.full(len(values), 1e3), {"response": values})


def worth_of_a_shift(shift: float) -> float:
    """Of a normal feature, from the definition: 1.81 / shift² for a small one."""

    def pooled(t: float) -> float:
        return (norm.pdf(t) + norm.pdf(t - shift)) / 2

    knows = quad(lambda t: norm.cdf(t) * norm.sf(t) * pooled(t), -9, 9)[0]
    bias = quad(lambda t: (norm.cdf(t) - norm.cdf(t - shift)) ** 2 * pooled(t), -9, 9)[0]
    return knows / bias


def replayed(known: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    return known[rng.integers(len(known), size=n)]


@pytest.mark.parametrize("shift", [0.1, 0.5])
def test_a_shifted_normal_is_worth_what_its_shift_says(shift):
    """1 % more energy where showers scatter by 10 % is a shift of 0.1: 181 showers."""
    rng = np.random.default_rng(0)
    found = EquivalentShowers()(
        one_energy(rng.normal(1, 0.1, (20_000, 4))),
        one_energy((1 + 0.1 * shift) * rng.normal(1, 0.1 / (1 + 0.1 * shift), (20_000, 4))),
    )[ALL]
    expected = worth_of_a_shift(shift)
    assert expected == pytest.approx(1.81 / shift**2, rel=0.05 + shift**2 / 5)
    assert found.seen
    assert found.showers == pytest.approx(expected, abs=3 * found.spread)
    assert found.spread < 0.2 * expected


def test_real_showers_are_worth_more_than_can_be_told():
    rng, found = np.random.default_rng(1), []
    for _ in range(60):
        sides = [one_energy(rng.normal(size=(1000, 5))) for _ in range(2)]
        found.append(EquivalentShowers()(*sides)[ALL])
    assert sum(one.seen for one in found) <= 5
    assert all(one.showers > 100 and one.spread is None for one in found if not one.seen)
    biases = np.array([one.bias for one in found])  # below zero as often as above
    assert abs(biases.mean()) < 3 * biases.std(ddof=1) / np.sqrt(len(biases))
    assert 0.75 < np.mean([one.error for one in found]) / biases.std(ddof=1) < 1.25


def test_a_limit_is_below_the_truth_nearly_always():
    """Where a bias is about as large as its error, and all of it in one direction."""
    rng, shift, n = np.random.default_rng(2), 0.12, 1000
    found = [
        EquivalentShowers()(
            one_energy(rng.normal(size=(n, 1))), one_energy(rng.normal(shift, 1, (n, 1)))
        )[ALL]
        for _ in range(60)
    ]
    limits, truth = [one for one in found if not one.seen], worth_of_a_shift(shift)
    assert len(limits) > 20
    assert sum(one.showers > truth for one in limits) <= 0.12 * len(found)


@pytest.mark.parametrize("known", [200, 1000])
def test_a_model_that_replays_is_worth_what_it_replays(known):
    """Of 40 features; one would be further off by the chance of the showers that are known."""
    rng = np.random.default_rng(7)
    train = rng.normal(size=(known, 40))
    found = EquivalentShowers(thresholds=50)(
        one_energy(rng.normal(size=(8000, 40))), one_energy(replayed(train, 8000, rng))
    )[ALL]
    assert found.showers == pytest.approx(known, rel=0.4)


def test_how_often_a_layer_is_dark_counts_as_it_is():
    """One jump: the errors are those of a share, p (1 - p) / N."""
    rng, p, q = np.random.default_rng(3), 0.6, 0.54
    sides = [one_energy((rng.random((30_000, 1)) > dark).astype(float)) for dark in (p, q)]
    found = EquivalentShowers()(*sides)[ALL]
    assert found.showers == pytest.approx(p * (1 - p) / (p - q) ** 2, abs=3 * found.spread)
    assert found.spread < 0.25 * found.showers


def at_levels(energies: np.ndarray, shift: float, rng: np.random.Generator) -> Table:
    """Levels far apart, a normal scatter at each."""
    values = 100 * energies + rng.normal(shift, 1, len(energies))
    return Table(energies, {"layers": values[:, None]})


def test_showers_are_counted_at_their_incident_energies():
    """That energies differ is no error: four levels need four times as many showers."""
    rng, shift = np.random.default_rng(4), 0.25
    energies = rng.choice([1.0, 2.0, 3.0, 4.0], 20_000)
    found = EquivalentShowers()(
        at_levels(energies, 0, rng), at_levels(rng.permutation(energies), shift, rng)
    )[ALL]
    assert found.showers == pytest.approx(4 * worth_of_a_shift(shift), abs=3 * found.spread)
    assert found.spread < 0.25 * found.showers


@pytest.mark.parametrize("few", [0.1, 0.25])
def test_other_shares_of_energies_are_no_bias(few):
    rng = np.random.default_rng(5)
    energies = rng.choice([1.0, 2.0, 3.0], 6000)
    others = rng.choice([1.0, 2.0, 3.0], 6000, p=[few, few, 1 - 2 * few])
    found = EquivalentShowers()(at_levels(energies, 0, rng), at_levels(others, 0, rng))[ALL]
    assert not found.seen
    assert found.showers > 300


def test_a_continuous_spectrum_has_strata():
    rng = np.random.default_rng(6)
    sides = [at_levels(rng.uniform(1, 2, 5000), 0, rng) for _ in range(2)]
    strata = energy_strata(sides[0].energies)
    assert len(strata.shares) == 20
    np.testing.assert_allclose(strata.shares, 0.05)
    assert not EquivalentShowers()(*sides)[ALL].seen


def test_any_showers_that_were_drawn_in_a_row_have_the_shares():
    rng = np.random.default_rng(7)
    strata = energy_strata(np.repeat([1.0, 2.0, 4.0], [500, 300, 200]))
    energies = rng.permutation(np.repeat([1.0, 2.0, 4.0], [300, 300, 300]))
    rows = strata.drawn(energies, rng)
    assert len(rows) == 600  # 300 of the most frequent
    assert len(set(rows)) == len(rows)
    for part in (rows[:100], rows[200:300], rows[500:]):
        counts = [np.sum(energies[part] == level) for level in (1.0, 2.0, 4.0)]
        np.testing.assert_allclose(counts, [50, 30, 20], atol=2)


def test_every_feature_is_in_a_group(tiny_geometry):
    rng = np.random.default_rng(8)
    voxels = 0.1 + rng.random((300, tiny_geometry.n_voxels), np.float32) * 9
    showers = Showers.from_arrays(np.full(300, 1e3), voxels, tiny_geometry)
    found = table(high_level_features(showers))
    widths = {group: values.shape[1] for group, values in found.groups.items()}
    assert widths == {"response": 1, "layers": 3, "centres": 5, "widths": 5, "sparsity": 3}
    np.testing.assert_allclose(found.groups["response"][:, 0], voxels.sum(1) / 1e3, rtol=1e-5)
    worth = EquivalentShowers()(found, found)  # itself: no bias, and no error
    assert worth[ALL].bias < 0


def test_bands_have_their_own_showers_to_learn_from(tiny_geometry, tmp_path: Path):
    """1 % more energy at the higher of two energies only, from a quarter of the training file."""
    rng = np.random.default_rng(10)

    def showers(energies: np.ndarray, scale: float) -> Showers:
        whole = 0.1 * energies * rng.normal(1, 0.05, len(energies))
        whole[energies > 3e3] *= scale
        voxels = np.repeat(whole[:, None], tiny_geometry.n_voxels, 1) / tiny_geometry.n_voxels
        return Showers.from_arrays(energies, voxels.astype(np.float32), tiny_geometry)

    energies = rng.permutation(np.repeat([2e3, 4e3], 1500))
    real, made = showers(energies, 1.0), showers(energies, 1.02)
    known = showers(np.repeat([2e3, 4e3], [600, 200]), 1.0)
    comparison = Comparison(
        tiny_geometry, torch.device("cpu"), 1, tmp_path, tmp_path, "x",
        open_reference=lambda: real, open_generated=lambda: made, open_train=lambda: known,
        open_truth=truth_pair, open_model=lambda: pytest.fail("no model is needed"),
        count_train=lambda: 400,
    )  # fmt: skip
    section = EquivalentOfShowers(plot=False)(comparison)
    scores = {score.key: score for score in section.scores}
    low, high = scores["equivalent_band_1"], scores["equivalent_band_2"]
    assert "2 GeV" in low.quantity
    assert "no bias is seen" in low.note
    assert high.generated == pytest.approx(worth_of_a_shift(0.4), rel=0.5)
    assert high.spread < high.generated
    assert "no bias is seen" not in high.note
    assert high.truth > 3 * high.generated
    assert [band["training showers"] for band in section.details["bands"]] == [300, 100]
    assert scores["equivalent_over_train"].generated == scores["equivalent_all"].generated / 400
    assert comparison.figures == []


def test_mistakes_are_told():
    rng = np.random.default_rng(9)
    some, few = (one_energy(rng.normal(size=(n, 2))) for n in (500, 150))
    with pytest.raises(UserError, match="150 generated showers: this metric needs 200"):
        EquivalentShowers()(some, few)
    two = Table(np.repeat([1e3, 2e3], 250), some.groups)
    with pytest.raises(UserError, match=r"not one of 500 showers has .* between 1414 and inf MeV"):
        EquivalentShowers()(two, some)
