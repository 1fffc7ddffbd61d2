"""Densities that are trained follow the condition and have the likelihood that they should."""

from functools import cache

import pytest
import torch

from caloman_cli.models.densities.base import Density
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import build_density as build

SIGMA, MIXING = 0.1, torch.tensor([[1.0, 0.0], [0.6, 0.8]])
# Networks small enough to train in seconds; steps, and learning rate.
SMALL = {
    "nsf": ({"n_layers": 2, "hidden": 32, "n_bins": 8, "n_blocks": 1}, 200, 1e-2),
    "maf": ({"n_layers": 3, "hidden": 64, "n_blocks": 2}, 200, 1e-2),
    "flow_matching": ({"hidden": 64, "n_blocks": 2, "steps": 12}, 400, 5e-3),
    "diffusion": ({"hidden": 64, "n_blocks": 2, "steps": 40}, 3000, 5e-3),
}
SLOW = {"maf", "diffusion"}
# Those that train for long are held to more: error of the slope, and nats a dimension.
LIMITS = {"diffusion": (0.02, 0.03)}
USUAL = (0.05, 0.05)
TRAINED = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in SMALL]


def conditional_rows(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """z | c ~ N(c, 0.1^2 R) with correlation 0.6."""
    c = torch.randn(n, 2)
    return c + SIGMA * torch.randn(n, 2) @ MIXING.T, c


@cache
@torch.enable_grad()
def trained(name: str) -> Density:
    torch.manual_seed(0)
    settings, steps, rate = SMALL[name]
    density = build(name, 2, 2, **settings)
    z, c = conditional_rows(20_000)
    density.prepare(TensorRows(z, c))
    optimizer = torch.optim.Adam(density.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    for _ in range(steps):
        rows = torch.randint(0, len(z), (256,))
        optimizer.zero_grad()
        density.loss((z[rows], c[rows])).backward()
        torch.nn.utils.clip_grad_norm_(density.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    return density.eval()


@pytest.mark.parametrize("name", TRAINED)
def test_the_condition_moves_the_latents(name):
    _, c = conditional_rows(2000)
    with torch.no_grad():
        z = trained(name).sample(c, Noise(1, 0, len(c)))
    slope = (z * c).sum(0) / c.square().sum(0)
    torch.testing.assert_close(slope, torch.ones(2), rtol=0, atol=LIMITS.get(name, USUAL)[0])
    correlation = torch.corrcoef((z - c).T)[0, 1]
    assert correlation == pytest.approx(0.6, abs=0.15)


@pytest.mark.parametrize("name", TRAINED)
def test_negative_log_likelihood_of_a_gaussian(name):
    z, c = conditional_rows(1000)
    normal = torch.distributions.MultivariateNormal(torch.zeros(2), scale_tril=SIGMA * MIXING)
    with torch.no_grad():
        excess = (normal.log_prob(z - c) - trained(name).log_prob(z, c)).mean() / 2
    assert abs(excess) < LIMITS.get(name, USUAL)[1]
