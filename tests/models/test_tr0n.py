"""An unconditional density that answers conditions."""

from functools import partial

import pytest
import torch

from caloman_cli.errors import UserError
from caloman_cli.models.densities import (
    NSF,
    TR0N,
    FlowMap,
    FlowMatching,
    StandardNormal,
    Unconditional,
)
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


def finished(z: torch.Tensor, part) -> Unconditional:
    density = Unconditional(part, latents=Latents(z.shape[1]), c_dim=1)
    density.prepare(TensorRows(z, torch.zeros(len(z), 1)))
    return density.eval()


def flow(**built):
    return NSF(1, 8, 1, 8, scaler="none", **built)


def test_the_density_of_a_run_is_taken_over_and_stays_as_it_is():
    torch.manual_seed(0)
    z, c = torch.randn(300, 3) * torch.tensor([1.0, 5.0, 0.0]), torch.randn(300, 1)
    theirs = finished(z, flow)  # one dimension is constant
    density = TR0N(flow, run="there", hidden=(8,), width=8, latents=Latents(3), c_dim=1)
    with pytest.raises(UserError, match=r"density\.run=there has not been taken over"):
        density.prepare(TensorRows(z, c))
    density.take_over(theirs)
    density.prepare(TensorRows(2 * z, c))  # neither scaling nor density follow
    learned = density.player_parameters("model")
    optimizer = torch.optim.Adam(learned, 1e-2)
    density.loss((z, c)).backward()
    optimizer.step()
    for name, value in theirs.state_dict().items():
        assert torch.equal(density.state_dict()[name], value), name
    assert not {*density.part.parameters()} & {*learned}
    again = TR0N(flow, run="gone", hidden=(8,), width=8, latents=Latents(3), c_dim=1)
    again.load_state_dict(density.state_dict())
    at = z[:20], c[:20]
    assert torch.equal(again.eval().log_prob(*at), density.eval().log_prob(*at))


@pytest.mark.slow
def test_a_run_taken_over_answers_as_the_linear_posterior():
    """z ~ N(m, s) by itself, c = w.z + tau noise: learned, mean and width of w.z given c."""
    torch.manual_seed(0)
    width = torch.tensor([1.0, 2.0, 0.5, 1.0])
    z = 1.0 + width * torch.randn(20_000, 4)
    c = (z @ W)[:, None] + TAU * torch.randn(len(z), 1)
    density = TR0N(StandardNormal, "there", (), 64, 1, steps=200, latents=Latents(4), c_dim=1)
    density.take_over(finished(z, StandardNormal))
    density.prepare(TensorRows(z, c))
    optimizer = torch.optim.Adam(density.player_parameters("model"), 1e-2)
    for _ in range(800):
        rows = torch.randint(len(z), (512,))
        optimizer.zero_grad()
        density.loss((z[rows], c[rows])).backward()
        optimizer.step()
    told = 4.0
    drawn = density.eval().sample(torch.full((ROWS, 1), told), Noise(0, 0, ROWS)) @ W
    square, mean = float((W * width).square().sum()), float(W.sum())
    expected = mean + (told - mean) * square / (TAU**2 + square)
    assert float(drawn.mean()) == pytest.approx(expected, abs=0.03)
    deviation = TAU * (square / (TAU**2 + square)) ** 0.5
    assert float(drawn.std()) == pytest.approx(deviation, rel=0.1)


def test_without_a_condition_nothing_depends_on_it():
    z, c = torch.randn(50, 2), torch.randn(50, 1)
    density = finished(z, flow)
    assert torch.equal(density.log_prob(z, c), density.log_prob(z, -c))
    drawn = [density.sample(told, Noise(0, 0, 50)) for told in (c, -c)]
    assert torch.equal(*drawn)


def test_walks_on_the_log_prob_of_an_ode_are_of_a_few_rows_at_once(monkeypatch):
    """Every step of the solver is kept for a slope; a row walks as it does in any company."""
    torch.manual_seed(0)
    part = partial(FlowMatching, hidden=8, steps=2)
    density = TR0N(part, hidden=(), steps=2, latents=Latents(3), c_dim=1).eval()
    asked = []
    log_prob = FlowMatching.log_prob
    monkeypatch.setattr(
        FlowMatching, "log_prob", lambda self, z, c: asked.append(len(z)) or log_prob(self, z, c)
    )
    many = density.sample(torch.ones(200, 1), Noise(0, 0, 200))
    assert 0 < max(asked) <= 100
    few = density.sample(torch.ones(20, 1), Noise(0, 150, 20))
    torch.testing.assert_close(many[150:170], few)
    assert density.sample(torch.ones(0, 1), Noise(0, 0, 0)).shape == (0, 3)
