"""Densities that say one latent after the other, against distributions that are known."""

import math

import pytest
import torch
from scipy.stats import kstest

from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import build_density
from tests.models.adversarial import fit

REAL = ["arm", "transformer"]
LARGER = {"arm": {"hidden": 64}, "transformer": {"width": 64}}


def correlated(n, width=1.0):
    """A row of a 4-d Gaussian is told by those before it up to ``width``.

    Returns:
        z (n, 4), and the entropy [nats] of each dimension.
    """
    mixing = torch.tensor(
        [[1.0, 0, 0, 0], [0.8, 0.6, 0, 0], [-0.5, 0.5, 0.7, 0], [0.3, 0.4, 0.6, 0.6]]
    )
    mixing[1, 1] *= width
    mixing[3, 3] *= width
    entropy = mixing.diagonal().log().mean() + 0.5 * math.log(2 * math.pi * math.e)
    return torch.randn(n, 4) @ mixing.T, float(entropy)


def nll(model, z, c):
    """Per dimension [nats]."""
    with torch.no_grad():
        return -float(model.log_prob(z, c).mean()) / z.shape[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("width", [1.0, 0.03])
def test_a_correlated_gaussian_has_its_entropy(name, width):
    """To 0.03 nats a dimension, also where each coordinate nearly tells the next one."""
    torch.manual_seed(0)
    model = build_density(name, 4, 0, **LARGER[name])
    z, entropy = correlated(20_000, width)
    fit(model, (z, z[:, :0]), 200, 3e-3)
    z, _ = correlated(20_000, width)
    assert nll(model, z, z[:, :0]) == pytest.approx(entropy, abs=0.03)
    with torch.no_grad():
        drawn = model.sample(z[:, :0], Noise(0, 0, len(z)))
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(z.T), rtol=0.05, atol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_latents_follow_the_condition(name):
    """E[z | c] has the slope 1, to 0.02, and z the width 0.1."""
    torch.manual_seed(0)
    c = torch.randn(20_000, 2)
    model = build_density(name, 2, 2, **LARGER[name])
    fit(model, (c + 0.1 * torch.randn_like(c), c), 200, 3e-3)
    with torch.no_grad():
        z = model.sample(c, Noise(0, 0, len(c)))
    slope = (z * c).sum(0) / c.square().sum(0)
    torch.testing.assert_close(slope, torch.ones(2), rtol=0, atol=0.02)
    assert float((z - c).std()) == pytest.approx(0.1, rel=0.05)


def bent(n):
    """Two modes that follow c, and a parabola of them.

    Returns:
        z (n, 2), c (n, 1), and the entropy of each dimension.
    """
    c = torch.randn(n, 1)
    first = c + torch.randn(n, 1).sign() + 0.2 * torch.randn(n, 1)
    second = first.square() + 0.2 * torch.randn(n, 1)
    normal = 0.5 * math.log(2 * math.pi * math.e) + math.log(0.2)
    return torch.cat([first, second], 1), c, normal + 0.5 * math.log(2)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_two_modes_and_a_parabola_are_learned(name):
    torch.manual_seed(0)
    model = build_density(name, 2, 1, **LARGER[name])
    z, c, entropy = bent(30_000)
    fit(model, (z, c), 600, 5e-3)
    z, c, _ = bent(20_000)
    assert nll(model, z, c) == pytest.approx(entropy, abs=0.03)


def made(name, z_dim, c_dim=1):
    """A density with some weights, and scales and correlations to undo."""
    torch.manual_seed(1)
    model = build_density(name, z_dim, c_dim)
    z, c = 2 + torch.randn(300, z_dim) @ torch.randn(z_dim, z_dim), torch.randn(300, c_dim)
    model.prepare(TensorRows(z + c[:, :1], c))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("z_dim", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_density_integrates_to_one(name, z_dim):
    """Of any weights."""
    model = made(name, z_dim)
    axis = torch.linspace(-20, 20, {1: 2001, 2: 401}[z_dim])
    grid = torch.cartesian_prod(*[axis] * z_dim).reshape(-1, z_dim)
    with torch.no_grad():
        density = model.log_prob(grid, torch.full((len(grid), 1), 0.3)).double().exp()
    total = float(density.sum()) * float(axis[1] - axis[0]) ** z_dim
    assert total == pytest.approx(1.0, abs=0.003)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("z_dim", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_samples_follow_log_prob(name, z_dim):
    """Where the last coordinate falls among all values that it might have had is uniform."""
    model, rows = made(name, z_dim), 200
    c = torch.randn(rows, 1)
    grid = torch.linspace(-30, 30, 601)
    with torch.no_grad():
        z = model.sample(c, Noise(4, 0, rows))
        might = z.unsqueeze(1).repeat(1, len(grid), 1)
        might[..., -1] = grid
        told = c.unsqueeze(1).expand(-1, len(grid), -1)
        density = model.log_prob(might.flatten(0, 1), told.flatten(0, 1)).view(rows, -1).exp()
    # A bin counts by the part of it that is below the value.
    below = ((z[:, -1:] - grid) / (grid[1] - grid[0]) + 0.5).clamp(0, 1)
    places = (density * below).sum(1) / density.sum(1)
    assert kstest(places.numpy(), "uniform").pvalue > 0.01


@pytest.mark.parametrize("name", REAL)
def test_a_place_sees_those_before_it_only(name):
    """And the condition, the first one this alone."""
    model = made(name, 4)
    u, c = torch.randn(5, 4, requires_grad=True), torch.randn(5, 1, requires_grad=True)
    states = model._states(u, c)
    for i in range(4):
        of_u, of_c = torch.autograd.grad(states[:, i].sum(), (u, c), retain_graph=True)
        seen = (of_u != 0).any(0)
        assert seen.tolist() == [place < i for place in range(4)]
        assert (of_c != 0).all()


@pytest.mark.parametrize(
    ("name", "components"), [*((name, 10) for name in REAL), ("arm", 1), ("arm", 2)]
)
def test_it_begins_with_least_squares(name, components):
    """Before a step is made, mean and covariance given c are those of the training rows.

    And the likelihood is nearly the normal distribution's, of as many components as there are.
    """
    torch.manual_seed(0)
    c = torch.randn(3000, 2)
    mixing = torch.randn(3, 3).tril()
    z = c @ torch.randn(2, 3) + torch.randn(3000, 3) @ mixing.T
    model = build_density(name, 3, 2, components=components)
    model.prepare(TensorRows(z, c))
    with torch.no_grad():
        drawn = model.sample(c, Noise(0, 0, 3000))
    both = (torch.cat([rows, c], 1) for rows in (z, drawn))
    torch.testing.assert_close(*(torch.corrcoef(b.T) for b in both), rtol=0, atol=0.05)
    entropy = mixing.diagonal().abs().log().mean() + 0.5 * math.log(2 * math.pi * math.e)
    assert nll(model, z, c) == pytest.approx(float(entropy), abs=0.05)


def test_a_coordinate_that_is_told_by_others_does_not_break_it():
    """Its sigma has a floor, and least squares a ridge; a condition may be a constant, too."""
    torch.manual_seed(0)
    z = torch.randn(500, 2)
    model = build_density("arm", 3, 1)
    model.prepare(TensorRows(torch.cat([z, z.sum(1, keepdim=True)], 1), torch.ones(500, 1)))
    exact = torch.cat([z, z.sum(1, keepdim=True)], 1)
    with torch.no_grad():
        log_prob = model.log_prob(exact, torch.ones(500, 1))
        drawn = model.sample(torch.ones(500, 1), Noise(0, 0, 500))
    assert torch.isfinite(log_prob).all()
    assert float((drawn[:, 2] - drawn[:, :2].sum(1)).abs().max()) < 0.05


@pytest.mark.parametrize("name", REAL)
def test_latents_are_drawn_at_the_states_of_log_prob(name):
    """A place that is one off would not be seen in a sample's shape."""
    model, c = made(name, 4), torch.randn(50, 1)
    with torch.no_grad():
        u = model._sample(c, Noise(3, 0, 50))
        states, chances = model._states(u, c), model.places.chances(Noise(3, 0, 50), c)
        again = [model.places.draw(i, states[:, i], u, c, chances) for i in range(4)]
    torch.testing.assert_close(torch.stack(again, 1), u, rtol=1e-4, atol=1e-4)
