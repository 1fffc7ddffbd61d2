"""Langevin walks with Metropolis' rule."""

import math

import pytest
import torch

from caloman_cli.models.nn.langevin import mala
from caloman_cli.models.noise import Noise

ROWS = 20_000


@pytest.mark.parametrize("size", [0.1, 1.1])
def test_a_gaussian_has_its_width_whatever_the_step(size):
    """At hL = 1.1 steps without the rule leave 0.443 instead of 0.3."""
    sigma = 0.3
    u, taken = mala(
        lambda u: 0.5 * (u / sigma).square().sum(1),
        torch.zeros(ROWS, 1),
        *(Noise(0, 0, ROWS), 100, size * sigma**2),
    )
    assert float(u.std()) == pytest.approx(sigma, rel=0.02)
    assert float(u.mean()) == pytest.approx(0.0, abs=4 * sigma / math.sqrt(ROWS))
    assert 0.5 < float(taken.mean()) < 1.0


def test_a_row_does_not_see_the_others():
    def energy(u):
        return 0.25 * (u.square().sum(1) - 1).square()

    whole, _ = mala(energy, torch.ones(9, 2), Noise(3, 0, 9), 20, 0.1)
    part, _ = mala(energy, torch.ones(4, 2), Noise(3, 5, 4), 20, 0.1)
    assert torch.equal(whole[5:], part)


def test_where_there_is_no_energy_no_walk_goes():
    def energy(u):
        return torch.where(u > 0, u, torch.nan).sum(1)

    u, taken = mala(energy, torch.ones(5000, 1), Noise(0, 0, 5000), 200, 0.5)
    assert (u > 0).all()
    assert (taken < 1).any()
    assert float(u.mean()) == pytest.approx(1.0, abs=0.06)
