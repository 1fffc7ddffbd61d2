"""A mean flow's averages are those of its paths."""

import pytest
import torch

from caloman_cli.models.densities.mean_flow import MeanFlow
from caloman_cli.models.densities.velocity import AverageVelocityNet
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from caloman_cli.training.ema import MovingAverage
from tests.models import two_modes

WIDTH = 0.3


class Exact(torch.nn.Module):
    """Averages on paths from N(0, 1) to N(c, WIDTH^2): x_r = r c + s_r / s_t (x_t - t c)."""

    def forward(self, x, t, c):
        t = t[:, None]
        return c + (WIDTH**2 * t - (1 - t)) / self.variance(t) * (x - t * c)

    def average(self, x, t, r, c):
        t, r = t[:, None], r[:, None]
        ends = self.variance(r).sqrt() / self.variance(t).sqrt()
        return c + (ends - 1) / (r - t) * (x - t * c)

    def variance(self, t):
        return (1 - t) ** 2 + (WIDTH * t) ** 2


def knowing() -> MeanFlow:
    density = MeanFlow(hidden=8, n_blocks=1, scaler="none", latents=Latents(2), c_dim=2)
    density.velocity = Exact()
    return density.eval()


def times(n: int):
    first, second = torch.rand(2, n, generator=torch.Generator().manual_seed(0)).double()
    return torch.minimum(first, second), torch.maximum(first, second)


def test_exact_averages_leave_nothing_to_learn():
    """What they say of the velocity is the velocity."""
    density, (t, r) = knowing(), times(200)
    x, c = torch.randn(2, 200, 2).double()
    found = density.implied(x, t, r, c)
    torch.testing.assert_close(found, density.velocity(x, t, c), rtol=0, atol=1e-10)


def test_what_it_draws_is_its_averages_jumps():
    density = knowing()
    c = torch.randn(300, 2)
    drawn = [density.sample(c, Noise(1, 0, 300))]
    density.jumps = 4
    drawn.append(density.sample(c, Noise(1, 0, 300)))
    for found in drawn:  # exact averages: one jump is as good as four
        torch.testing.assert_close(found, c + WIDTH * Noise(1, 0, 300).normal(2))


def test_half_of_the_rows_learn_the_velocity_and_half_an_average():
    density = knowing()
    seen = []
    exact = density.velocity.average
    density.velocity.average = lambda x, t, r, c: seen.append((t, r)) or exact(x, t, r, c)
    at_once = []
    density.velocity.register_forward_pre_hook(lambda _, args: at_once.append(args[1]))
    density.loss((torch.randn(100, 2), torch.zeros(100, 2)))
    assert [len(t) for t in at_once] == [50, 50]  # the second: along which averages change
    ((t, r),) = seen
    assert len(t) == 50
    assert (r > t).all()


def test_a_network_that_adds_nothing_leads_normal_data_to_themselves():
    net = AverageVelocityNet(8, 1, 2, dim=2, c_dim=0)  # so it begins
    (t, r), x, c = times(50), torch.randn(50, 2).double(), torch.zeros(50, 0).double()
    net.double()
    s = [((1 - time) ** 2 + time**2).sqrt()[:, None] for time in (t, r)]
    reached = x + (r - t)[:, None] * net.average(x, t, r, c)
    torch.testing.assert_close(reached, x * s[1] / s[0])
    torch.testing.assert_close(net(x, t, c), net.average(x, t, t, c))


@torch.enable_grad()
def learned(z: torch.Tensor, c: torch.Tensor, steps: int, rate: float) -> MeanFlow:
    """With averaged weights, as a training leaves them."""
    torch.manual_seed(0)
    sizes = {"latents": Latents(z.shape[1]), "c_dim": c.shape[1]}
    density = MeanFlow(hidden=64, n_blocks=2, n_frequencies=2, ode_steps=24, **sizes)
    density.prepare(TensorRows(z, c))
    average = MovingAverage(list(density.parameters()), 0.998)
    optimizer = torch.optim.Adam(density.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    for _ in range(steps):
        rows = torch.randint(0, len(z), (256,))
        optimizer.zero_grad()
        density.loss((z[rows], c[rows])).backward()
        torch.nn.utils.clip_grad_norm_(density.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        average.update()
    with torch.no_grad():
        for weight, mean in zip(density.parameters(), average.average, strict=True):
            weight.copy_(mean)
    return density.eval()


@pytest.mark.slow
def test_moments_of_a_learned_gaussian():
    torch.manual_seed(1)
    mixing, n = torch.tensor([[1.0, 0.0], [1.6, 1.2]]), 20_000
    c = torch.zeros(n, 0)
    density = learned(3 + torch.randn(n, 2) @ mixing.T, c, 1200, 2e-3)
    with torch.no_grad():
        z = density.sample(c, Noise(1, 0, n))
    torch.testing.assert_close(z.mean(0), torch.full((2,), 3.0), rtol=0, atol=0.1)
    torch.testing.assert_close(z.T.cov(), mixing @ mixing.T, rtol=0.1, atol=0.05)


@pytest.mark.slow
def test_the_condition_moves_what_is_drawn_in_one_step():
    """z | c ~ N(c, 0.1^2 R): the slope of its mean, and the density that the ODE has."""
    torch.manual_seed(1)
    c, mixing = torch.randn(20_000, 2), 0.1 * torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    z = c + torch.randn(20_000, 2) @ mixing.T
    density = learned(z, c, 2400, 3e-3)
    normal = torch.distributions.MultivariateNormal(torch.zeros(2), scale_tril=mixing)
    with torch.no_grad():
        drawn = density.sample(c, Noise(1, 0, len(c)))
        excess = (normal.log_prob(z - c) - density.log_prob(z, c))[:1000].mean() / 2
    slope = (drawn * c).sum(0) / c.square().sum(0)
    torch.testing.assert_close(slope, torch.ones(2), rtol=0, atol=0.02)
    assert abs(excess) < 0.03


@pytest.mark.slow
def test_two_modes_in_one_step():
    """W1, which a normal of their moments has .36 of, and the exact velocity, by one step of Euler
    1.00, by four .15.
    """
    torch.manual_seed(1)
    z = two_modes.draw(20_000)
    density = learned(z, torch.zeros(len(z), 0), 2600, 5e-4)
    for jumps, most in ((1, 0.15), (4, 0.12)):
        density.jumps = jumps
        with torch.no_grad():
            drawn = density.sample(torch.zeros(len(z), 0), Noise(1, 0, len(z)))
        assert two_modes.wasserstein(drawn, two_modes.draw(len(z))) < most
