"""Scaling and pruning of latents, and what is particular to each density."""

import math

import pytest
import torch

from caloman_cli.errors import UserError
from caloman_cli.models.densities.flow import MAF, NSF
from caloman_cli.models.densities.flow_matching import FlowMatching
from caloman_cli.models.densities.standard_normal import StandardNormal
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.scaler import Scaler
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows


def latents(n: int = 4000) -> torch.Tensor:
    """Three correlated latents far from zero, then a nearly dead and a constant one."""
    z = torch.randn(n, 3) @ torch.tensor([[1.0, 0.5, 0.0], [0.0, 2.0, 0.3], [0.0, 0.0, 5.0]])
    return torch.cat([z + 3, 0.25 + 1e-3 * torch.randn(n, 1), torch.full((n, 1), 0.7)], 1)


@pytest.mark.parametrize("kind", ["standardize", "whiten", "max_abs", "none"])
@pytest.mark.parametrize("prune", [0.0, 1e-4])
def test_scaling_is_undone_and_has_its_determinant(kind, prune):
    scaler, z = Scaler(kind, prune, 5), latents()
    scaler.fit(TensorRows(z))
    assert scaler.n_active == (3 if prune else 4)
    u, log_det = scaler(z)
    assert u.shape == (len(z), scaler.n_active)
    back = scaler.inverse(u, Noise(0, 0, len(z)))
    kept = scaler.active
    torch.testing.assert_close(back[:, kept], z[:, kept], rtol=1e-5, atol=1e-5)
    if not prune:
        jacobian = torch.autograd.functional.jacobian(lambda y: scaler(y[None])[0][0], z[0])
        torch.testing.assert_close(
            torch.linalg.slogdet(jacobian[:, kept])[1], log_det[0], rtol=0, atol=1e-3
        )


def test_what_each_scaling_promises():
    z = latents()
    scaled = {}
    for kind in ("standardize", "whiten", "max_abs", "none"):
        scaler = Scaler(kind, 1e-4, 5)
        scaler.fit(TensorRows(z))
        scaled[kind] = scaler(z)[0]
    torch.testing.assert_close(scaled["standardize"].mean(0), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(scaled["standardize"].var(0), torch.ones(3), rtol=0, atol=1e-3)
    torch.testing.assert_close(scaled["whiten"].T.cov(), torch.eye(3), rtol=0, atol=1e-3)
    # Closest to the axes: each whitened latent still follows its own.
    assert (
        torch.corrcoef(torch.cat([scaled["whiten"], z[:, :3]], 1).T)[:3, 3:].diag() > 0.8
    ).all()
    torch.testing.assert_close(scaled["max_abs"].abs().amax(0), torch.ones(3))
    torch.testing.assert_close(scaled["none"], z[:, :3])


def test_inactive_latents_come_back_as_they_were_in_training():
    torch.manual_seed(0)
    density, z = NSF(n_layers=1, prune=1e-4, latents=Latents(5), c_dim=1), latents()
    c = torch.zeros(len(z), 1)
    density.prepare(TensorRows(z, c))
    assert density.flow.dim == 3
    with torch.no_grad():
        drawn = density.sample(c, Noise(0, 0, len(z)))
    assert drawn.shape == z.shape
    assert drawn[:, 3].mean() == pytest.approx(0.25, abs=1e-4)
    assert drawn[:, 3].std() == pytest.approx(1e-3, rel=0.05)
    torch.testing.assert_close(drawn[:, 4], z[:, 4])
    assert torch.corrcoef(drawn[:, 2:4].T)[0, 1].abs() < 0.06


def test_pruned_dimensions_count_as_normals():
    scaler, z = Scaler("none", 1e-4, 5), latents()
    scaler.fit(TensorRows(z))
    _, log_density = scaler(z)
    normal = torch.distributions.Normal(z[:, 3].mean(), z[:, 3].std())
    torch.testing.assert_close(log_density, normal.log_prob(z[:, 3]), rtol=0, atol=0.02)


def test_a_pruned_density_loads_into_a_fresh_one():
    z = latents(500)
    c = torch.randn(500, 2)
    for make in (NSF, MAF, FlowMatching):
        density = make(prune=1e-4, latents=Latents(5), c_dim=2)
        density.prepare(TensorRows(z, c))
        fresh = make(prune=1e-4, latents=Latents(5), c_dim=2)
        fresh.load_state_dict(density.state_dict())
        for model in (density.eval(), fresh.eval()):
            assert sum(p.numel() for p in model.parameters()) > 0
        with torch.no_grad():
            drawn = [model.sample(c, Noise(0, 0, 500)) for model in (density, fresh)]
        assert drawn[0].equal(drawn[1])


def test_a_collapsed_encoder_is_named():
    with pytest.raises(UserError, match="all 3 latent dimensions are constant"):
        NSF(latents=Latents(3), c_dim=1).prepare(TensorRows(torch.ones(10, 3), torch.ones(10, 1)))


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (NSF, {"scaler": "minmax"}, "must be standardize, whiten"),
        (NSF, {"prune": 1.0}, "prune=1.0"),
        (FlowMatching, {"solver": "rk4"}, "must be heun, midpoint"),
        (FlowMatching, {"steps": 0}, "steps=0"),
    ],
)
def test_settings_out_of_range(make, settings, message):
    with pytest.raises(UserError, match=message):
        make(**settings, latents=Latents(2), c_dim=1)


def test_latents_that_are_not_finite_stop_the_sampling():
    density = FlowMatching(hidden=8, n_blocks=1, latents=Latents(2), c_dim=1)
    with torch.no_grad():
        density.velocity.last.bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="density=flow_matching drew 4 of 4"):
        density.sample(torch.zeros(4, 1), Noise(0, 0, 4))


def test_the_prior_ignores_training_and_condition():
    density = StandardNormal(latents=Latents(3), c_dim=1)
    density.prepare(TensorRows(7 + 5 * torch.randn(100, 3), torch.zeros(100, 1)))
    z = density.sample(torch.randn(20_000, 1), Noise(0, 0, 20_000))
    assert z.mean().item() == pytest.approx(0, abs=0.02)
    assert z.std().item() == pytest.approx(1, abs=0.02)
    at_zero = density.log_prob(torch.zeros(1, 3), torch.zeros(1, 1)).item()
    assert at_zero == pytest.approx(-1.5 * math.log(2 * math.pi))


class _Linear(torch.nn.Module):
    """v = x A^T: its flow and density are known."""

    def __init__(self, matrix: torch.Tensor) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, x, t, c):
        return x @ self.matrix.T


@pytest.mark.parametrize("solver", ["heun", "midpoint", "euler"])
def test_flow_matching_solves_a_linear_field(solver):
    steps = 1000 if solver == "euler" else 20
    density = FlowMatching(steps=steps, solver=solver, scaler="none", latents=Latents(2), c_dim=1)
    matrix = torch.tensor([[0.5, -1.0], [1.0, 0.3]])
    density.velocity = _Linear(matrix)
    c = torch.zeros(5, 1)
    flow = torch.linalg.matrix_exp(matrix)
    with torch.no_grad():
        z = density.sample(c, Noise(0, 0, 5))
        torch.testing.assert_close(z, Noise(0, 0, 5).normal(2) @ flow.T, rtol=0, atol=1e-2)
        exact = torch.distributions.MultivariateNormal(torch.zeros(2), flow @ flow.T)
        torch.testing.assert_close(density.log_prob(z, c), exact.log_prob(z), rtol=0, atol=1e-2)


def test_hutchinson_probes_estimate_the_trace_without_randomness():
    torch.manual_seed(0)
    density = FlowMatching(steps=4, scaler="none", probes=64, latents=Latents(80), c_dim=1)
    noise = torch.randn(80, 80) * 0.01
    density.velocity = _Linear(torch.eye(80) * 0.2 + noise)
    z, c = torch.zeros(3, 80), torch.zeros(3, 1)
    first, second = density.log_prob(z, c), density.log_prob(z, c)
    assert first.equal(second)
    exact = -40 * math.log(2 * math.pi) - density.velocity.matrix.trace().item()
    torch.testing.assert_close(first, torch.full((3,), exact), rtol=0, atol=0.6)


def test_time_steps_of_flow_matching_cover_every_row():
    """A mean over times that a batch shares would be a much noisier loss."""
    density = FlowMatching(hidden=8, n_blocks=1, latents=Latents(2), c_dim=1)
    seen = []
    density.velocity.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    density.loss((torch.randn(100, 2), torch.zeros(100, 1)))
    density.scores((torch.randn(100, 2), torch.zeros(100, 1)))
    for t in seen:
        counts = torch.histc(t, 10, 0, 1)
        assert (counts >= len(t) / 10 - 2).all()


def test_a_network_that_adds_nothing_leaves_standard_normal_data():
    """All that is learned is what normal data leave, and the loss there is 1 / s^2 at each t."""
    density = FlowMatching(
        hidden=8, n_blocks=1, scaler="none", latents=Latents(3), c_dim=1
    ).double()
    torch.nn.init.zeros_(density.velocity.last.weight)
    torch.nn.init.zeros_(density.velocity.last.bias)
    x, c = torch.randn(5, 3).double(), torch.zeros(5, 1).double()
    with torch.no_grad():
        torch.testing.assert_close(density.path(x, c, 200)[:, -1], x, rtol=1e-3, atol=1e-3)
        x1, x0 = torch.randn(2, 200_000, 3).double()
        t = torch.full((len(x1),), 0.3).double()
        rest = x1 - x0 - density.velocity(torch.lerp(x0, x1, t[:, None]), t, t[:, None])
    assert rest.square().mean().item() == pytest.approx(1 / (0.3**2 + 0.7**2), rel=0.01)


def test_a_masked_flow_draws_finite_latents_with_steep_networks():
    """One coordinate that is far out must not drive all that follow from it to infinity."""
    torch.manual_seed(0)
    flow = MAF(latents=Latents(30), c_dim=0)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        z = flow.sample(torch.zeros(500, 0), Noise(0, 0, 500))
    assert torch.isfinite(z).all()
