"""Copies of training showers are seen, independent showers are not taken for copies."""

import numpy as np
import pytest

from caloman_cli.errors import UserError
from caloman_cli.evaluation.components.memorisation import nearest_figure
from caloman_cli.metrics.memorisation import CopyTest


def normal(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


# Shares that equal distributions give; one point's neighbours are not independent of another's.
@pytest.mark.parametrize(("d", "authentic"), [(1, 35), (2, 40), (3, 40), (10, 62), (35, 78)])
def test_equal_distributions(d, authentic):
    held, generated, train = (normal(1000, d, 10 * d + i) for i in range(3))
    found = CopyTest()(held, generated, train)
    assert abs(found["ct"]) < 2
    assert found["authentic"] == pytest.approx(authentic, abs=8)
    assert found["authentic"] == pytest.approx(
        found["authentic_reference"], abs=5 * found["authentic_error"]
    )
    assert found["copies"] == found["copies_reference"] == 0
    assert found["near_copies"] == pytest.approx(0.01, abs=4 * found["near_copies_error"])
    assert found["near_copies_reference"] == pytest.approx(0.01, abs=1e-3)  # by construction


@pytest.mark.parametrize("d", [10, 35])
def test_jittered_copies(d):
    train, held = normal(1000, d, 0), normal(1000, d, 1)
    found = CopyTest()(held, train[::-1] + 0.05 * normal(1000, d, 2), train)
    assert found["authentic"] == 0
    assert found["ct"] < -20
    assert found["near_copies"] == 1
    assert found["copies"] == 0


def test_one_per_cent_of_copies_among_others():
    train, held, generated = (normal(1000, 10, i) for i in range(3))
    generated[:10] = train[:10]
    found = CopyTest()(held, generated, train)
    assert found["copies"] == pytest.approx(0.01)
    honest = CopyTest()(held, normal(1000, 10, 2), train)
    assert found["near_copies"] == pytest.approx(honest["near_copies"] + 0.01, abs=0.002)


def test_copies_are_seen_in_the_picture():
    train, held, generated = (normal(1000, 3, i) for i in range(3))
    generated[:100] = train[:100]
    found, nearby = CopyTest().examine(held, generated, train)
    assert (nearby.generated == 0).mean() == found["copies"] == 0.1
    assert (nearby.generated_ratios < nearby.limit).mean() == found["near_copies"]
    image = nearest_figure(nearby, ("beam", "model"), 50)
    labels = [text.get_text() for text in image.legends[0].get_texts()]
    assert labels == ["beam, held out", "model"]
    for ax in image.axes:
        real, ours = (patch.get_data().values for patch in ax.patches[1:])
        assert ours[0] >= 0.1 > real[0]
        assert 0.98 < real.sum() <= 1
        assert 0.98 < ours.sum() <= 1


def test_showers_that_are_off_lie_further_from_the_training_sample():
    train, held = normal(800, 5, 0), normal(800, 5, 1)
    assert CopyTest()(held, 3 * normal(800, 5, 2), train)["ct"] > 5


def test_many_features_are_projected_first():
    train, held, generated = (normal(400, 80, i) for i in range(3))
    assert abs(CopyTest()(held, generated, train)["ct"]) < 2.5


def test_empty_showers_in_one_place_are_no_near_copies():
    held, generated, train = (normal(500, 4, i) for i in range(3))
    for sample in (held, generated, train):
        sample[:100] = 7.0
    found = CopyTest()(held, generated, train)
    assert found["copies"] == found["copies_reference"] == 0.2
    assert found["near_copies"] < 0.05


def test_units_do_not_matter():
    held, generated, train = (normal(300, 3, i) for i in range(3))
    scale = np.array([1e3, 1e-4, 1.0])
    found = CopyTest()(held * scale, generated * scale, train * scale)
    expected = CopyTest()(held, generated, train)
    for name in ("authentic", "near_copies", "ct"):
        assert found[name] == pytest.approx(expected[name], rel=1e-6)


def test_mistakes_are_told():
    train, generated = normal(300, 3, 0), normal(300, 3, 1)
    with pytest.raises(UserError, match="100 % of the reference showers are in the training file"):
        CopyTest()(train, generated, train)
    with pytest.raises(UserError, match="60 train showers: this metric needs 100"):
        CopyTest()(generated, generated, train[:60])
    with pytest.raises(UserError, match="quantile=2"):
        CopyTest(quantile=2)
