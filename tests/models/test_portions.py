"""Portions of an energy: densities of their logits, and draws that follow them."""

import math

import pytest
import torch
from scipy import stats

from caloman_cli.models.heads import mixture
from caloman_cli.models.heads.portions import (
    Component,
    Components,
    components,
    logit,
    offsets,
    portion,
)

FREE = 50.0


def two_and_one(rows):
    """A narrow and a broad component, and one at an energy of 20 cuts, in double precision."""

    def column(*values):
        return torch.tensor(values, dtype=torch.float64)[:, None, None].expand(3, 1, rows)

    return Components(
        column(0.3, -0.2, 0.1), column(-1.5, 0.5, math.log(20.0)), column(-1.0, 0.0, -2.0)
    )


def constant(value, rows):
    return torch.full((1, rows), value, dtype=torch.float64)


FAMILIES = {"normal": stats.norm, "logistic": stats.logistic}


@pytest.mark.parametrize("family", FAMILIES)
def test_density_integrates_to_one_and_peaks_at_the_energy(family):
    y = torch.linspace(-40.0, 40.0, 20_001, dtype=torch.float64)
    placed = two_and_one(len(y)).placed(constant(FREE, len(y)), constant(3.0, len(y)))
    density = placed.log_prob(y[None], family)[0].exp()
    assert float(torch.trapezoid(density, y)) == pytest.approx(1.0, abs=1e-9)
    centers = placed.center[:, 0, 0].tolist()
    # 20 of 50 cuts, which three others share the rest of.
    assert centers == pytest.approx([-1.5, 0.5, math.log((1 - 0.6**3) / 0.6**3)])
    expected = sum(
        weight * FAMILIES[family].pdf(1.1, center, scale)
        for weight, center, scale in zip(*numbers(placed), strict=True)
    )
    found = placed.log_prob(constant(1.1, len(y)), family)[0, 0].exp()
    assert float(found) == pytest.approx(expected)


def numbers(placed):
    """Weights, centres and scales of the first row."""
    weight = torch.softmax(placed.weight[:, 0, 0], 0)
    return (
        part.tolist() for part in (weight, placed.center[:, 0, 0], placed.log_scale[:, 0, 0].exp())
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("free", [2.0, 50.0, 1e6])
def test_draws_follow_the_density(family, free):
    n = 40_000
    m, others = two_and_one(n), constant(2.0, n)
    one = m.chosen(torch.rand(1, n, dtype=torch.float64))
    standard = torch.from_numpy(FAMILIES[family].rvs(size=(1, n), random_state=1))
    y = one.draw(standard, constant(free, n), others)
    placed = m.placed(constant(free, n), others)
    cdf = sum(
        weight * FAMILIES[family].cdf(y[0].numpy(), center, scale)
        for weight, center, scale in zip(*numbers(placed), strict=True)
    )
    assert stats.kstest(cdf, "uniform").pvalue > 1e-4


def test_odds_are_those_of_a_draw():
    n, rows = 500, torch.Generator().manual_seed(3)
    center, noise, shift = torch.randn(3, 4, n, generator=rows, dtype=torch.float64)
    one = Component(2.0 * center, torch.full_like(center, 0.7), (center > 0.5).double())
    others = torch.arange(1.0, 5.0).double()[:, None].expand(-1, n)
    free = torch.exp(3.0 * torch.randn(4, n, generator=rows, dtype=torch.float64))
    expected = one.draw(noise, free, others, shift).exp()
    found = [
        draw.odds(*at)
        for *at, draw in zip(free, shift, one.draws(noise, others).unstacked(), strict=True)
    ]
    torch.testing.assert_close(torch.stack(found), expected)


@pytest.mark.parametrize("others", [1, 2, 7])
def test_equal_parts_are_standard_logistic(others):
    """What the first of m + 1 takes of a whole that is divided uniformly."""
    parts = torch.from_numpy(stats.dirichlet.rvs([1.0] * (others + 1), 20_000, random_state=1))
    y = logit(parts[:, 0] * 1e6, parts[:, 1:].sum(1) * 1e6, float(others))
    assert stats.kstest(y.numpy(), "logistic").pvalue > 1e-3


@pytest.mark.parametrize("others", [1.0, 3.0])
@pytest.mark.parametrize("mine", [1e-2, 1.0, 1e6])
@pytest.mark.parametrize("rest", [1e-2, 5.0, 1e6])
def test_a_portion_and_its_logit_are_inverse_in_single_precision(others, mine, rest):
    part, left = portion(logit(torch.tensor(mine), torch.tensor(rest), others), others)
    assert float(part) == pytest.approx(mine / (mine + rest), rel=2e-4)
    assert float(left) == pytest.approx(rest / (mine + rest), rel=2e-4)


def test_an_energy_larger_than_all_there_is_is_nearly_all():
    one = Component(constant(math.log(20.0), 1), constant(1.0, 1), constant(1.0, 1))
    part, _ = portion(one.draw(constant(0.0, 1), constant(5.0, 1)))
    assert 0.9 < float(part) < 1.0


@pytest.mark.parametrize("k", [2, 3, 5])
def test_raw_zeros_start_where_the_data_lie(k):
    mean, std, level, spread = (torch.tensor([[value]]) for value in (0.5, 2.0, 3.0, 0.25))
    at = offsets(k, mean, std, level, spread)
    made = components(torch.zeros(3 * k, 1, 4), at)
    assert made.center[:-1].mean().item() == pytest.approx(0.5)
    assert len(made.center[:-1, 0, 0].unique()) == k - 1
    torch.testing.assert_close(made.center[-1], torch.full((1, 4), 3.0))
    widths = (made.log_scale - made.log_scale[0])[-1].exp()
    torch.testing.assert_close(widths, torch.full((1, 4), 0.125))
    moved = components(torch.zeros(3 * k, 1, 4), at.moved(torch.full((1, 4), 7.0)))
    torch.testing.assert_close(moved.center[:-1], made.center[:-1] + 7.0)
    torch.testing.assert_close(moved.center[-1], made.center[-1])


@pytest.mark.parametrize("n", [1, 4, 25])
def test_a_sum_of_n_alike_is_larger_and_narrower(n):
    """In the logarithm: shifted by log n, and its widths divided by the root of n."""
    one = offsets(3, *(torch.tensor([[value]]) for value in (0.5, 2.0, 3.0, 0.25)))
    raw = torch.randn(9, 1, 4)
    log_n = torch.full((1, 4), math.log(n))
    made, alone = components(raw, one.of_several(log_n)), components(raw, one)
    torch.testing.assert_close(made.log_scale, alone.log_scale - 0.5 * math.log(n))
    expected = one.shift + math.log(n) + (alone.center - one.shift) / math.sqrt(n)
    torch.testing.assert_close(made.center, expected)


def test_an_excess_has_a_resolution():
    nothing = torch.zeros(1)
    assert float(logit(nothing, nothing + 1.0)) == pytest.approx(math.log(1e-3), rel=1e-3)


def test_a_mixture_of_shares_may_have_a_component_at_an_energy():
    """In units of y its place and width are given; the others stay where they were."""
    raw = torch.randn(6, 10, 4)  # 3 components
    place, width = torch.full((1, 4), 2.5), torch.full((1, 4), 0.1)
    plain, fixed = mixture.mixture(raw), mixture.mixture(raw, (place, width))
    torch.testing.assert_close(fixed.center[:, 2], 2.5 + 0.1 * raw[:, 6])
    torch.testing.assert_close(fixed.log_scale[:, :2], plain.log_scale[:, :2])
    torch.testing.assert_close(
        fixed.log_scale[:, 2] - plain.log_scale[:, 2], width.log() + 0 * raw[:, 6]
    )
    torch.testing.assert_close(fixed.weight, plain.weight)
