"""The energy-based density: its walks, its chains, and what it learns."""

import math

import pytest
import torch
from torch import nn

from caloman_cli.models.densities import EBM
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.models.adversarial import fit
from tests.training.conftest import make_trainer
from tests.training.models import trained_with_a_cut

__all__ = ["make_trainer"]

EDGES = torch.linspace(-3.0, 3.0, 41)


class Known(nn.Module):
    """An energy of one latent that nobody has to learn."""

    def __init__(self, energy):
        super().__init__()
        self.energy = energy

    def forward(self, seen):
        return self.energy(seen[:, :1])


def shares(z: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Of each bin."""
    where = torch.bucketize(z, EDGES)
    weights = torch.ones_like(z) if weights is None else weights
    found = torch.zeros(len(EDGES) + 1).index_add(0, where, weights)
    return found / found.sum()


def variation(density: EBM, n: int = 10_000) -> float:
    """Total variation between a histogram of samples and exp(log_prob) / Z."""
    grid = torch.linspace(-3, 3, 6001)[:, None]
    with torch.no_grad():
        told = density.log_prob(grid, grid[:, :0]).exp()
    z = density.sample(torch.zeros(n, 0), Noise(0, 0, n))
    return float((shares(z[:, 0]) - shares(grid[:, 0], told)).abs().sum()) / 2


def known(energy, **settings) -> EBM:
    torch.manual_seed(0)
    density = EBM((1,), **settings, scaler="none", latents=Latents(1), c_dim=0)
    density.network = Known(energy)
    density.chains.y.uniform_(-1.3, 1.3)
    return density.eval()


def test_samples_of_a_double_well_are_distributed_as_the_energy_says():
    """By Metropolis' rule, whatever the step."""
    density = known(lambda y: 2 * (y.square() - 1).square() + 0.3 * y, steps=200)
    for size in (0.05, 0.1):
        density.chains.log_size.fill_(math.log(size))
        assert variation(density) < 0.05


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_the_temperature_is_that_of_what_is_drawn(temperature):
    """Of f = y^2 the variance is 1 / (2 / T + 1 / s^2): descent would end in a point."""
    density = known(lambda y: y.square(), temperature=temperature, base=1.5, steps=40)
    z = density.sample(torch.zeros(10_000, 0), Noise(0, 0, 10_000))
    expected = 1 / (2 / temperature + 1 / 1.5**2)
    assert float(z.var()) == pytest.approx(expected, rel=0.05)


def rows(n: int, width: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """z | c ~ N(c, width^2)."""
    c = torch.randn(n, 2)
    return c + width * torch.randn(n, 2), c


def small(**settings) -> EBM:
    torch.manual_seed(0)
    sizes = {"hidden": (64, 64), "chains": 1024, "walk": 10, **settings}
    return EBM(**sizes, latents=Latents(2), c_dim=2)


@pytest.mark.parametrize("restart", [0.0, 0.999])
def test_negatives_have_the_conditions_of_their_chains(restart, monkeypatch):
    """Not those of the batch, but where chains begin anew."""
    density, (z, c) = small(chains=64, restart=restart), rows(500)
    density.prepare(TensorRows(z, c))
    chains, own = density.chains.y.clone(), density.chains.c.clone()
    seen = []

    def walk(y, c, noise, size):
        seen.append((y, c))
        return y + 1.0, torch.ones(len(y))

    monkeypatch.setattr(density, "_walk", walk)
    batch = rows(16)
    density.train().loss(batch)
    ((y, told),) = seen
    moved = (density.chains.y != chains).any(1)
    assert int(moved.sum()) == 16
    torch.testing.assert_close(density.chains.y[moved].sum(), (y + 1.0).sum())
    if restart:
        assert (told == batch[1]).all(1).float().mean() > 0.8
        assert (y.std(0) > 1.2).all()
    else:
        assert torch.equal(density.chains.c, own)
        for row, condition in zip(y, told, strict=True):
            assert torch.equal(own[(chains == row).all(1)][0], condition)
    loss = density.eval().loss(batch)
    assert torch.isfinite(loss)
    assert int((density.chains.y != chains).any(1).sum()) == 16  # validation leaves them


def test_samples_begin_at_chains_with_near_conditions():
    density, (z, c) = small(steps=0), rows(500)
    density.prepare(TensorRows(z, c))
    density.eval()
    fresh = small(steps=0, chains=1024).eval()
    fresh.load_state_dict(density.state_dict())
    drawn, again = (each.sample(c, Noise(0, 0, 500)) for each in (density, fresh))
    assert torch.equal(drawn, again)
    apart = (drawn - c).norm(dim=1)
    assert float(apart.median()) < 0.35
    density.chains.y.zero_()
    assert not torch.equal(density.sample(c, Noise(0, 0, 500)), drawn)


def test_a_killed_training_ends_as_a_whole_one(make_trainer):
    """Chains and their steps' size go on where they were."""
    data = TensorRows(*rows(60))
    trained_with_a_cut(make_trainer, lambda: small(chains=64, walk=2, hidden=(8,)), data, 4)


@pytest.mark.slow
def test_a_double_well_is_learned():
    """Samples are as the energy says to 0.05 in total variation, and as the data are to 0.08."""
    torch.manual_seed(0)
    grid = torch.linspace(-3, 3, 6001)
    weights = torch.exp(-2 * (grid.square() - 1).square() - 0.3 * grid)
    z = grid[torch.multinomial(weights, 20_000, True)][:, None]
    density = EBM((64, 64), chains=1024, walk=10, latents=Latents(1), c_dim=0)
    fit(density, (z, z[:, :0]), 400, 3e-3)
    assert variation(density) < 0.05
    drawn = density.sample(torch.zeros(10_000, 0), Noise(1, 0, 10_000))[:, 0]
    assert float((shares(drawn) - shares(grid, weights)).abs().sum()) / 2 < 0.08


@pytest.mark.slow
def test_latents_follow_the_condition():
    """z | c ~ N(c, 0.1^2): the slope of E[z | c] is 1 within 0.02."""
    density = small()
    fit(density, rows(20_000), 400, 3e-3)
    c = torch.randn(5000, 2)
    z = density.sample(c, Noise(1, 0, len(c)))
    slope = (z * c).sum(0) / c.square().sum(0)
    torch.testing.assert_close(slope, torch.ones(2), rtol=0, atol=0.02)
    torch.testing.assert_close((z - c).std(0), torch.full((2,), 0.1), rtol=0.08, atol=0)
