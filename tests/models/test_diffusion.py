"""A diffusion whose noise is known draws what it should, by the ODE and by DDIM."""

import math

import pytest
import torch

from caloman_cli.errors import UserError
from caloman_cli.models.densities.diffusion import Diffusion
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise

WIDTHS = torch.tensor([1.5, 1.0, 0.3]).double()


def exact(**settings) -> Diffusion:
    """Knows the noise in latents N(c, WIDTHS^2)."""
    sizes = {"scaler": "none", "latents": Latents(3), "c_dim": 3}
    density = Diffusion(hidden=8, n_blocks=1, **settings, **sizes)

    def difference(x, share, c):
        s = share[:, None]
        variance = (1 - s) ** 2 + (WIDTHS * s) ** 2
        return c + (WIDTHS**2 * s - (1 - s)) / variance * (x - s * c)

    density.__dict__["network"] = difference
    del density._modules["network"]
    return density.eval()


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["heun", "midpoint"])
def test_the_exact_noise_gives_exact_samples_and_densities(solver):
    """To 1e-3, and a quarter of the error for twice the steps."""
    c = torch.zeros(40, 3).double()
    noise = Noise(0, 0, 40).normal(3).double()
    latents = WIDTHS * torch.randn(40, 3, generator=torch.Generator().manual_seed(1)).double()
    expected = torch.distributions.Normal(c, WIDTHS).log_prob(latents).sum(1)
    drawn, told = [], []
    for steps in (50, 100, 200):
        density = exact(steps=steps, solver=solver, beta_max=30.0)
        a, sigma = math.cos(density.farthest), math.sin(density.farthest)
        ends = WIDTHS * noise / torch.sqrt((a * WIDTHS) ** 2 + sigma**2)
        with torch.no_grad():
            drawn.append(float((density.sample(c, Noise(0, 0, 40)) - ends).abs().max()))
            told.append(float((density.log_prob(latents, c) - expected).abs().max()))
    for error in (drawn, told):
        assert error[2] < 1e-3
        assert error[0] / error[1] == pytest.approx(4, abs=1)
        assert error[1] / error[2] == pytest.approx(4, abs=1)


@pytest.mark.slow
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_draws_the_same_widths_with_any_noise_on_the_way(eta):
    n = 20_000
    c = torch.linspace(-1, 1, n)[:, None].expand(-1, 3).double()
    density = exact(steps=400, solver="ddim", eta=eta)
    with torch.no_grad():
        z = density.sample(c, Noise(0, 0, n)) - c
    assert z.mean(0).abs().max() < 0.03
    assert (z.std(0) / WIDTHS - 1).abs().max() < 0.02
    # What was noise at first tells where it ends, or does not.
    kept = torch.corrcoef(torch.stack([z[:, 1], Noise(0, 0, n).normal(3).double()[:, 1]]))[0, 1]
    assert {0.0: kept > 0.99, 0.5: 0.1 < kept < 0.9, 1.0: kept.abs() < 0.05}[eta]


def test_a_network_that_adds_nothing_knows_the_noise_of_normal_latents():
    """So its loss there is the least there is: the mean of a^2 over times, for each dimension."""
    sizes = {"scaler": "none", "latents": Latents(3), "c_dim": 1}
    density = Diffusion(hidden=8, n_blocks=1, **sizes).double()
    torch.nn.init.zeros_(density.network.last.weight)
    torch.nn.init.zeros_(density.network.last.bias)
    u, c = torch.randn(10_000, 3).double(), torch.zeros(10_000, 1).double()
    t = torch.linspace(0, 1, 1001).double()
    least = 3 * torch.trapezoid(density.signal(t).square(), t)
    with torch.no_grad():
        torch.testing.assert_close(density.scores((u, c))["loss"], least, rtol=0.02, atol=0)
        torch.testing.assert_close(
            density.path(u[:100], c[:100], 50)[:, -1], u[:100], rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize(
    ("settings", "kind"),
    [({}, "estimate"), ({"solver": "ddim"}, "estimate"),
     ({"solver": "ddim", "eta": 0.3}, "score")],
)  # fmt: skip
def test_what_its_log_prob_is(settings, kind):
    assert exact(**settings).kind == kind


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eta": 0.5}, "eta=0.5 is of density.solver=ddim, not of heun"),
        ({"eta": 1.5, "solver": "ddim"}, "eta=1.5: must be"),
        ({"beta_max": 2.0}, "leave 59% of the signal"),
        ({"beta_min": 30.0}, "betas rise"),
        ({"solver": "rk4"}, "must be heun, midpoint, euler"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(UserError, match=message) as refused:
        exact(**settings)
    assert "\n" not in str(refused.value)
