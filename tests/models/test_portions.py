"""Portions of an energy: densities of their logits, and draws that follow them."""

import math

import pytest
import torch
from scipy import stats

from caloman_cli.heads import mixture
from caloman_cli.heads.portions import Component, Components, components, log_excess

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


def test_density_integrates_to_one_and_peaks_at_the_energy():
    y = torch.linspace(-12.0, 12.0, 20_001, dtype=torch.float64)
    placed = two_and_one(len(y)).placed(constant(FREE, len(y)), constant(0.7, len(y)))
    density = placed.log_prob(y[None])[0].exp()
    assert float(torch.trapezoid(density, y)) == pytest.approx(1.0, abs=1e-9)
    centers = placed.center[:, 0, 0].tolist()
    # An offset moves portions, not energies.
    assert centers == pytest.approx([-0.8, 1.2, math.log(0.4 / 0.6)])
    weights = torch.softmax(placed.weight[:, 0, 0], 0)
    scales = placed.log_scale[:, 0, 0].exp()
    expected = sum(
        float(w) * stats.norm.pdf(1.1, c, float(s))
        for w, c, s in zip(weights, centers, scales, strict=True)
    )
    found = placed.log_prob(constant(1.1, len(y)))[0, 0].exp()
    assert float(found) == pytest.approx(expected)


@pytest.mark.parametrize("free", [2.0, 50.0, 1e6])
def test_draws_follow_the_density(free):
    n = 40_000
    m = two_and_one(n)
    one = m.chosen(torch.rand(1, n, dtype=torch.float64))
    y = one.draw(torch.randn(1, n, dtype=torch.float64), constant(free, n), constant(0.7, n))
    placed = m.placed(constant(free, n), constant(0.7, n))
    weights = torch.softmax(placed.weight[:, 0, 0], 0).tolist()
    parts = [
        stats.norm(float(c), math.exp(float(s)))
        for c, s in zip(placed.center[:, 0, 0], placed.log_scale[:, 0, 0], strict=True)
    ]
    cdf = sum(w * part.cdf(y[0].numpy()) for w, part in zip(weights, parts, strict=True))
    assert stats.kstest(cdf, "uniform").pvalue > 1e-4


def test_an_energy_larger_than_all_there_is_is_nearly_all():
    one = Component(
        constant(math.log(20.0), 1), constant(1.0, 1), torch.ones(1, 1, dtype=torch.bool)
    )
    y = one.draw(constant(0.0, 1), constant(5.0, 1))
    assert 0.9 < float(torch.sigmoid(y)) < 1.0


@pytest.mark.parametrize("k", [2, 3, 5])
def test_raw_zeros_start_where_the_data_lie(k):
    mean, std, level, spread = (torch.tensor([[value]]) for value in (0.5, 2.0, 3.0, 0.25))
    made = components(torch.zeros(3 * k, 1, 4), mean, std, level, spread)
    assert made.center[:-1].mean().item() == pytest.approx(0.5)
    assert len(made.center[:-1, 0, 0].unique()) == k - 1
    torch.testing.assert_close(made.center[-1], torch.full((1, 4), 3.0))
    widths = (made.log_scale - made.log_scale[0])[-1].exp()
    torch.testing.assert_close(widths, torch.full((1, 4), 0.125))


def test_excess_has_a_resolution():
    assert log_excess(torch.tensor([0.0, -1.0])).tolist() == pytest.approx([math.log(1e-3)] * 2)


def test_a_mixture_of_shares_may_have_a_component_at_an_energy():
    """In units of y its place and width are given; the others stay where they were."""
    raw = torch.randn(6, 10, 4)  # 3 components
    place, width = torch.full((1, 4), 2.5), torch.full((1, 4), 0.1)
    plain, fixed = mixture.mixture(raw[:, :, :]), mixture.mixture(raw, (place, width))
    torch.testing.assert_close(fixed.center[:, 2], 2.5 + 0.1 * raw[:, 6])
    torch.testing.assert_close(fixed.log_scale[:, :2], plain.log_scale[:, :2])
    torch.testing.assert_close(
        fixed.log_scale[:, 2] - plain.log_scale[:, 2], width.log() + 0 * raw[:, 6]
    )
    torch.testing.assert_close(fixed.weight, plain.weight)
