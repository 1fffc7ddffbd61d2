"""The hurdle and the truncated logistic mixture against closed forms and quadrature."""

import math

import pytest
import torch
from scipy import stats

from caloman_cli.models.heads import mixture
from caloman_cli.models.heads.mixture import Mixture
from caloman_cli.models.heads.shares import LogShares
from caloman_cli.models.noise import Noise

EDGES = [-math.inf, -4.0, -0.3, 0.8, 3.0]


def two_components(n=1, lit=0.7, scales=(0.3, 0.6)):
    """A mixture of a narrow and a broad component, for n voxels, in double precision."""

    def column(a, b):
        return torch.tensor([[a], [b]], dtype=torch.float64).expand(2, n)

    logit = torch.full((n,), math.log(lit / (1 - lit)), dtype=torch.float64)
    return Mixture(logit, column(0.2, -0.5), column(-0.8, 0.9), column(*map(math.log, scales)))


def distribution(m, edge):
    """P(y' <= y | lit) in closed form, as a function of a numpy array."""
    weight = torch.softmax(m.weight[:, 0], 0).numpy()
    parts = [
        stats.logistic(float(center), math.exp(float(log_scale)))
        for center, log_scale in zip(m.center[:, 0], m.log_scale[:, 0], strict=True)
    ]
    return lambda y: sum(
        w * (1 - part.sf(y) / part.sf(edge)) for w, part in zip(weight, parts, strict=True)
    )


@pytest.mark.parametrize("edge", EDGES)
def test_lit_density_integrates_to_the_probability_of_being_lit(edge):
    n = 100_001
    y = torch.linspace(max(edge, -30.0), 30.0, n, dtype=torch.float64)
    m = two_components(n)
    density = mixture.log_prob(m, y, torch.ones_like(y), torch.full_like(y, edge)).exp()
    assert float(torch.trapezoid(density, y)) == pytest.approx(0.7, abs=1e-6)
    dark = mixture.log_prob(m, 0 * y, torch.zeros_like(y), torch.full_like(y, edge))
    torch.testing.assert_close(dark, torch.full_like(y, math.log(0.3)))


@pytest.mark.parametrize("edge", [-math.inf, -1.0, 0.5])
def test_one_component_in_closed_form(edge):
    y = torch.linspace(0.6, 4.0, 7, dtype=torch.float64)
    one = torch.ones(1, 7, dtype=torch.float64)
    m = Mixture(one[0], 5.0 * one, 0.4 * one, math.log(0.7) * one)
    logistic = stats.logistic(0.4, 0.7)
    expected = logistic.logpdf(y) - logistic.logsf(edge) + math.log(torch.sigmoid(one[0, 0]))
    found = mixture.log_prob(m, y, torch.ones_like(y), torch.full_like(y, edge))
    torch.testing.assert_close(found, torch.as_tensor(expected))


@pytest.mark.parametrize("edge", EDGES)
def test_draws_follow_the_distribution_and_never_fall_below_the_edge(edge):
    m = two_components()
    lit, y = mixture.draw(m, Noise(1, 0, 40_000).uniform(2, 1).double(), torch.tensor([edge]))
    assert float(lit.double().mean()) == pytest.approx(0.7, abs=0.01)
    assert float(y.min()) >= edge
    assert stats.kstest(y[lit].numpy(), distribution(m, edge)).pvalue > 0.01


def test_an_edge_far_above_every_component_leaves_an_exponential_tail():
    """So are voxels that a network calls faint in a layer with little energy."""
    m = two_components(scales=(0.05, 0.05))
    uniform, edge = Noise(1, 0, 40_000).uniform(2, 1), torch.tensor([20.0])
    lit, y = mixture.draw(Mixture(*(part.float() for part in m)), uniform, edge)
    assert torch.isfinite(y).all()
    assert float((y - edge)[lit].mean()) == pytest.approx(0.05, rel=0.03)


@pytest.mark.parametrize("extreme", [-1e4, 1e4])
def test_extreme_parameters_stay_finite(extreme):
    raw = torch.full((3, mixture.n_parameters(2), 4), extreme, requires_grad=True)
    edge = torch.full((3, 4), -2.0)
    m = mixture.mixture(raw)
    assert all(torch.isfinite(part).all() for part in m)
    for lit in (0.0, 1.0):
        y = torch.full((3, 4), 0.3)
        value = mixture.log_prob(m, y, torch.full((3, 4), lit), edge)
        assert torch.isfinite(value).all()
    (gradient,) = torch.autograd.grad(value.sum(), raw)
    assert torch.isfinite(gradient).all()
    assert torch.isfinite(mixture.draw(m, Noise(0, 0, 3).uniform(2, 4), edge)[1]).all()


def test_components_start_apart():
    center = mixture.mixture(torch.zeros(1, mixture.n_parameters(3), 2)).center
    assert center[0, :, 0].tolist() == [-1.0, 0.0, 1.0]
    assert mixture.mixture(torch.zeros(1, mixture.n_parameters(1), 2)).center.tolist() == [
        [[0.0, 0.0]]
    ]


def test_log_shares_of_places_with_and_without_light():
    """Much light speaks for itself; none leans on the neighbours; parts add up."""
    value = torch.randn(20_000, 3) * torch.tensor([0.5, 2.0, 1.0]) - torch.tensor([4.0, 5.0, 9.0])
    lit = torch.ones_like(value).bool()
    lit[:, 2] = False
    shares = LogShares(3)
    for a, b in zip(value.split(3_000), lit.split(3_000), strict=True):
        shares.add(a, b)
    shares.finish()
    torch.testing.assert_close(shares.mean[:2], value[:, :2].mean(0), rtol=0, atol=0.01)
    torch.testing.assert_close(shares.std[:2], value[:, :2].std(0), rtol=0.01, atol=0)
    neighbours = value[:, :2].flatten()
    torch.testing.assert_close(shares.mean[2], neighbours.mean(), rtol=0, atol=0.01)
    torch.testing.assert_close(shares.std[2], neighbours.std(), rtol=0.01, atol=0)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_parts_scaled_to_a_sum_are_as_wide_as_they_were(n):
    """Drawn apart and scaled to the sum one, the logarithms keep their standard deviation."""
    scale, rows = 0.05, 20_000
    nothing = torch.zeros(n, dtype=torch.float64)
    m = Mixture(nothing, nothing[None], nothing[None], nothing[None] + math.log(scale))
    noise = Noise(2, 0, rows).uniform(2, n).double()
    y = mixture.value(m.widened(torch.full((n,), float(n))), noise[:, 0], noise[:, 1])
    parts = torch.log_softmax(y, 1) + math.log(n)
    assert float(parts.std()) == pytest.approx(scale * math.pi / math.sqrt(3), rel=0.02)
