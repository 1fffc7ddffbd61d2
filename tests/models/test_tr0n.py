"""An unconditional density that answers conditions."""

import pytest
import torch

from caloman_cli.errors import UserError
from caloman_cli.models.densities import NSF, TR0N, FlowMap, StandardNormal
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows

W = torch.tensor([1.2, -0.5, 2.0, 0.7])
TAU, ROWS = 0.3, 4000


def linear(**settings) -> TR0N:
    """z ~ N(0, 1) and p(c | z) = N(w.z, tau), with a translator that knows nothing."""
    torch.manual_seed(0)
    density = TR0N(StandardNormal, hidden=(), **settings, latents=Latents(4), c_dim=1)
    with torch.no_grad():
        density.regressor[0].weight.copy_(W[None])
        density.regressor[0].bias.zero_()
        density.variance.fill_(TAU**2)
    return density.eval()


def test_walks_end_in_the_posterior_of_a_linear_model():
    """Mean c w^2 / (tau^2 + w^2), deviation tau w / sqrt(tau^2 + w^2) of w.z."""
    density, c = linear(steps=400), torch.full((ROWS, 1), 2.0)
    z = density.sample(c, Noise(0, 0, ROWS))
    said, square = z @ W, float(W.square().sum())
    total = TAU**2 + square
    assert float(said.mean()) == pytest.approx(2 * square / total, abs=0.02)
    assert float(said.std()) == pytest.approx(TAU * (square / total) ** 0.5, rel=0.05)
    beside = torch.tensor([W[1], -W[0], 0.0, 0.0]) / W[:2].norm()  # no condition says of it
    assert float((z @ beside).std()) == pytest.approx(1.0, rel=0.05)


def test_log_prob_is_that_of_both_parts():
    density = linear()
    z, c = torch.randn(50, 4), torch.randn(50, 1)
    normal = torch.distributions.Normal
    expected = normal(0.0, 1.0).log_prob(z).sum(1) + normal(z @ W, TAU).log_prob(c[:, 0])
    torch.testing.assert_close(density.log_prob(z, c), expected)
    assert density.kind == "score"


@pytest.mark.slow
def test_it_learns_to_answer():
    """The slope of E[z | c] is 1 to 0.02 and c is met, as a conditional density would."""
    torch.manual_seed(0)
    c = torch.randn(20_000, 2)
    z = torch.cat([c + 0.3 * torch.randn_like(c), torch.randn(len(c), 1)], 1)

    def part(**built):
        return NSF(2, 32, 1, 8, scaler="none", **built)

    density = TR0N(part, hidden=(64,), width=64, latents=Latents(3), c_dim=2)
    density.prepare(TensorRows(z, c))
    optimizer = torch.optim.Adam(density.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, 600)
    for _ in range(600):
        rows = torch.randint(len(z), (512,))
        optimizer.zero_grad()
        density.loss((z[rows], c[rows])).backward()
        optimizer.step()
        schedule.step()
    density.eval()
    drawn = density.sample(c[:ROWS], Noise(1, 0, ROWS))
    slope = (drawn[:, :2] * c[:ROWS]).sum(0) / c[:ROWS].square().sum(0)
    torch.testing.assert_close(slope, torch.ones(2), rtol=0, atol=0.03)
    spread = (drawn[:, :2] - c[:ROWS]).std(0)
    torch.testing.assert_close(spread, torch.full((2,), 0.3), rtol=0.08, atol=0)


def test_a_part_without_log_prob_is_refused():
    def part(**built):
        return FlowMap(lambda **_: torch.nn.Identity(), **built)

    with pytest.raises(UserError, match=r"density=tr0n walks down log_prob"):
        TR0N(part, latents=Latents(2), c_dim=1)
