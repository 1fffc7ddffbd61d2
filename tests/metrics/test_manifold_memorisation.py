"""A point that a model made up is told from one that the data repeat."""

import numpy as np
import pytest
import torch

from caloman_cli.errors import UserError
from caloman_cli.metrics.lid import LocalDimension, flipd, time_of
from caloman_cli.metrics.manifold_memorisation import (
    DimensionTest,
    Pair,
    flags,
    nearby_dimensions,
)
from tests.metrics.lid import Gaussians, gaussian, plane
from tests.metrics.test_lid import points, trained

DIM = 20
PLANE = plane(2, DIM)


def with_atom(place, weight):
    """A normal plane in 20 dimensions and one point that has a weight of its own."""
    means = torch.stack([torch.zeros(DIM).double(), place])
    variances = torch.stack([PLANE, torch.zeros(DIM).double()])
    return Gaussians([1 - weight, weight], means, variances)


ATOM = torch.eye(DIM)[0].double()


def rows(u):
    return u, u.new_zeros(len(u), 0)


@pytest.mark.parametrize(("sigma", "expected"), [(0.02, 0.004), (0.05, 0.027), (0.1, 0.10)])
def test_the_dimension_of_an_atom(sigma, expected):
    u = points(PLANE, 500)
    u = u[(u - ATOM).norm(dim=1) > 6 * sigma]
    model, c = with_atom(ATOM, 0.1), u[:, :0]
    t = torch.full((len(u),), sigma).double()
    assert float(flipd(model, ATOM[None], t[:1], c[:1])) == pytest.approx(expected, rel=0.1)
    assert float(flipd(model, u, t, c).mean()) == pytest.approx(2, abs=0.005)


@pytest.fixture(scope="module")
def sets():
    """Training, held-out and generated points of a plane."""
    train, held, made = (points(PLANE, n, seed) for seed, n in enumerate((4000, 1000, 900)))
    return train, held, made


@pytest.mark.parametrize("noise", [None, 0.02, 0.05, 0.1])
def test_a_point_that_the_model_made_up_is_overfitted(sets, noise):
    train, held, made = sets
    made = torch.cat([made[(made - ATOM).norm(dim=1) > 0.5], ATOM.expand(100, DIM)])
    judged = DimensionTest(noise=noise)(with_atom(ATOM, 0.1), train, rows(held), rows(made))
    expected = np.zeros(len(made), bool)
    expected[-100:] = True
    np.testing.assert_array_equal(judged.flags.overfitted, expected)
    assert not judged.flags.duplicated.any()
    assert np.median(judged.held.model) == pytest.approx(2, abs=0.02)
    assert np.median(judged.generated.data) == pytest.approx(2, abs=0.2)


def test_points_that_the_data_repeat_are_duplicated_and_not_overfitted(sets):
    """500 of the training points are exactly 0, and the model knows it."""
    train, held, made = sets
    nothing = torch.zeros(DIM).double()
    train = torch.cat([train, nothing.expand(500, DIM)])
    made = torch.cat([made[made.norm(dim=1) > 0.5], nothing.expand(100, DIM)])
    model = with_atom(nothing, 500 / 4500)
    judged = DimensionTest()(model, train, rows(held), rows(made))
    expected = np.zeros(len(made), bool)
    expected[-100:] = True
    np.testing.assert_array_equal(judged.flags.duplicated, expected)
    assert not judged.flags.overfitted.any()
    assert judged.generated.model[-100:].max() < 0.1
    assert (judged.generated.data[-100:] == 0).all()


def test_held_out_points_are_hardly_flagged(sets):
    train, held, made = sets
    judged = DimensionTest(margin=0.999)(gaussian(PLANE), train, rows(held), rows(made))
    for both in (judged.held_flags, judged.flags):
        for column in both:
            assert column.mean() == pytest.approx(0.01, abs=0.012)
    strict = DimensionTest()(gaussian(PLANE), train, rows(held), rows(made))
    assert strict.held_flags.overfitted.mean() <= judged.held_flags.overfitted.mean()
    assert strict.flags.overfitted.sum() + strict.flags.duplicated.sum() <= 2


def test_dimensions_nearby_do_not_mind_a_few_copies():
    train = points(PLANE, 2000).numpy()
    query = train[:50] + 1e-9
    (before,) = nearby_dimensions(train, 20, query)
    copied = np.concatenate([train, train[:4], train[:4]])
    (after,) = nearby_dimensions(copied, 20, query)
    np.testing.assert_allclose(after, before, rtol=0.15)
    (many,) = nearby_dimensions(
        np.concatenate([train, np.tile(train[:1], (30, 1))]), 20, train[:1]
    )
    assert many == [0]


def test_flags_by_hand():
    limits = DimensionTest(quantile=0.25).limits(
        Pair(np.array([1.0, 2.0, 2.0, 9.0]), np.array([4.0, 4.0, 4.0, 4.0]))
    )
    assert limits == (2.0, 4.0, 0.5, 2.0)  # margins: half of 1, half of 4
    found = flags(
        Pair(np.array([0.9, -3.0, 0.4, 2.0, 0.0]), np.array([4.0, 4.0, 2.0, 2.0, 0.0])), limits
    )
    np.testing.assert_array_equal(found.overfitted, [True, True, True, False, False])
    np.testing.assert_array_equal(found.duplicated, [False, False, True, True, True])


def test_each_half_of_held_out_points_is_judged_by_the_other():
    model = np.tile([1.0, 0.2], 50)  # every second point has a fifth of the others' dimension
    found = DimensionTest()._crossed(Pair(model, np.ones(100)))
    np.testing.assert_array_equal(found.overfitted, np.tile([False, True], 50))
    assert not found.duplicated.any()


def test_the_time_of_a_noise():
    assert time_of(gaussian(PLANE, "flow"), 0.25, PLANE) == pytest.approx(0.2, rel=2e-3)
    assert time_of(gaussian(PLANE), 1e-9, PLANE) == pytest.approx(1e-4)


def test_what_cannot_be_judged(sets):
    train, held, made = sets
    model = gaussian(PLANE)
    with pytest.raises(UserError, match="99 training showers: this needs 100 or more"):
        DimensionTest()(model, train[:99], rows(held), rows(made))
    with pytest.raises(UserError, match="nothing to compare with, try another noise"):
        DimensionTest(noise=0.1)(model, 0 * train, rows(0 * held), rows(made))
    with pytest.raises(UserError, match="are the training showers'"):
        DimensionTest()(model, train, rows(train[:200]), rows(made))


@pytest.mark.slow
def test_a_network_that_knows_five_points_has_no_dimension_there():
    """As many steps on 20,000 points leave it the two of the plane."""
    u = points(plane(2, 3), 20_000).float()
    few, many = trained(u[:5], 1000), trained(u, 1000)
    known, nothing = u[:5], u.new_zeros(5, 0)
    for t in (0.06, 0.1, 0.15):
        assert LocalDimension().flipd(few, known, nothing, t).mean() < 0.5
        assert LocalDimension().flipd(many, known, nothing, t).mean() == pytest.approx(2, abs=0.2)
