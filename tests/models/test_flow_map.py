"""The student of a flow does what its teacher's ODE does."""

from functools import partial

import pytest
import torch
from torch import nn

from caloman_cli.config.targets import Place, constructor
from caloman_cli.errors import UserError
from caloman_cli.models.densities.flow_map import FlowMap
from caloman_cli.models.densities.flow_matching import FlowMatching
from caloman_cli.models.densities.ode import ODE
from caloman_cli.models.densities.velocity import Velocity, VelocityNet
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows

VELOCITY = Place("caloman_cli.models.densities", f"{Velocity.__module__}:Velocity")
WIDTH = 0.3
CENTRE, SCALE = 5.0, 2.0  # of the latents before scaling


def net(hidden=8, **sizes):
    return partial(VelocityNet, hidden, n_blocks=1, **sizes)


class GaussianVelocity(nn.Module):
    """The exact velocity from N(0, 1) to N(c, WIDTH^2): its ODE ends at c + WIDTH x0."""

    def forward(self, x, t, c):
        t = t[:, None]
        variance = (1 - t) ** 2 + (WIDTH * t) ** 2
        return c + (WIDTH**2 * t - (1 - t)) / variance * (x - t * c)


@pytest.fixture
def teacher():
    flow = FlowMatching(hidden=8, n_blocks=1, steps=48, latents=Latents(2), c_dim=2)
    flow.velocity = GaussianVelocity()
    flow.prepare(TensorRows(CENTRE + SCALE * torch.tensor([[-1.0, -1.0], [1.0, 1.0]])))
    return flow.eval()


@torch.enable_grad()
def trained(student, teacher, steps=400):
    c = torch.randn(4000, 2)
    states = teacher.path(torch.randn(4000, 2), c, 48, student.steps)
    optimizer = torch.optim.Adam(student.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, steps)
    for _ in range(steps):
        rows = torch.randint(0, len(c), (256,))
        optimizer.zero_grad()
        student.loss((states[rows], c[rows])).backward()
        optimizer.step()
        schedule.step()
    return student.eval()


def test_the_path_of_a_known_flow(teacher):
    x, c = torch.randn(100, 2), torch.randn(100, 2)
    states = teacher.path(x, c, 48, 4)
    assert states.shape == (100, 5, 2)
    torch.testing.assert_close(states[:, 0], x)
    half = ((0.5**2 + (WIDTH * 0.5) ** 2) ** 0.5) * x + 0.5 * c
    torch.testing.assert_close(states[:, 2], half, rtol=0, atol=5e-3)
    torch.testing.assert_close(states[:, 4], c + WIDTH * x, rtol=0, atol=5e-3)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_student_reproduces_the_map_of_its_teacher(teacher, steps):
    student = FlowMap(net(32, n_frequencies=2), steps=steps, latents=Latents(2), c_dim=2)
    student.learn_from(teacher)
    trained(student, teacher)
    c = torch.randn(1000, 2)
    with torch.no_grad():
        mine, theirs = (density.sample(c, Noise(4, 0, 1000)) for density in (student, teacher))
    error = (mine - theirs).square().mean().sqrt() / SCALE
    assert error < 0.03  # of a standard deviation; the identity would be wrong by 1.2
    x0 = Noise(4, 0, 1000).normal(2)
    exact = CENTRE + SCALE * (c + WIDTH * x0)
    assert (mine - exact).square().mean().sqrt() / SCALE < 0.03


def test_one_evaluation_per_step(teacher):
    for steps in (1, 3):
        student = FlowMap(net(), steps=steps, latents=Latents(2), c_dim=2)
        calls = []
        student.velocity.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        student.sample(torch.zeros(5, 2), Noise(0, 0, 5))
        assert len(calls) == steps


def test_with_the_teachers_size_it_begins_as_the_teachers_euler_solver():
    options = {"steps": 2, "scaler": "whiten", "prune": 1e-3, "latents": Latents(3), "c_dim": 2}
    teacher = FlowMatching(hidden=8, n_blocks=1, solver="euler", **options)
    z = torch.randn(500, 3) * torch.tensor([1.0, 4.0, 1e-3])
    teacher.prepare(TensorRows(z))
    student = FlowMap(constructor(teacher.student(), VELOCITY, "student"), **options)
    student.learn_from(teacher)
    student.prepare(TensorRows(torch.randn(10, 3, 2)))
    c = torch.randn(20, 2)
    torch.testing.assert_close(
        student.sample(c, Noise(1, 0, 20)), teacher.sample(c, Noise(1, 0, 20))
    )


def test_every_interval_is_learned_and_validation_is_the_path_on_its_own():
    student = FlowMap(net(), steps=3, latents=Latents(1), c_dim=0)
    seen = set()

    def velocity(x, t, c):
        seen.update(t.mul(3).round().int().tolist())
        return torch.full_like(x, 3.0)  # each jump is one to the right

    student.__dict__["velocity"] = velocity
    del student._modules["velocity"]
    states = torch.tensor([0.0, 1.0, 2.0, 5.0]).reshape(1, 4, 1).repeat(6, 1, 1)
    c = torch.zeros(6, 0)
    assert student.loss((states, c)).item() == pytest.approx((0 + 0 + 4) / 3)
    assert seen == {0, 1, 2}
    scores = student.scores((states, c))
    assert scores["loss"].item() == pytest.approx(4.0)
    assert scores["jump"].item() == pytest.approx(4 / 3)


def test_it_has_no_density_and_says_so():
    student = FlowMap(net(), latents=Latents(2), c_dim=1)
    assert student.kind == "none"
    with pytest.raises(UserError, match="no log_prob"):
        student.log_prob(torch.zeros(3, 2), torch.zeros(3, 1))


@pytest.mark.parametrize("key", ["hidden", "n_blocks", "n_frequencies"])
def test_sizes_below_one_are_refused(key):
    with pytest.raises(UserError, match=f"{key}=0"):
        VelocityNet(**{key: 0}, dim=2, c_dim=1)


def test_a_student_takes_a_step():
    with pytest.raises(UserError, match="steps=0: must be an integer, 1 or more"):
        FlowMap(net(), steps=0, latents=Latents(2), c_dim=1)


class Rotation(ODE):
    """No network at all: each pair of noise is turned by the condition."""

    def velocity(self, x, t, c):
        return c[:, :1] * torch.stack([-x[:, 1], x[:, 0]], 1)


def test_any_ode_draws_has_a_density_and_teaches():
    teacher = Rotation(steps=50, scaler="none", latents=Latents(2), c_dim=1).eval()
    c = torch.linspace(-2, 2, 200)[:, None]
    x0, z = Noise(3, 0, 200).normal(2), teacher.sample(c, Noise(3, 0, 200))
    turned = torch.stack(
        [c.cos()[:, 0] * x0[:, 0] - c.sin()[:, 0] * x0[:, 1],
         c.sin()[:, 0] * x0[:, 0] + c.cos()[:, 0] * x0[:, 1]], 1,
    )  # fmt: skip
    torch.testing.assert_close(z, turned, rtol=0, atol=2e-3)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(teacher.log_prob(z, c), normal, rtol=0, atol=1e-2)
    made = constructor({**teacher.student(), "hidden": 32}, VELOCITY, "student")
    student = FlowMap(made, scaler="none", latents=Latents(2), c_dim=1)
    student.learn_from(teacher)
    states, c = teacher.path(torch.randn(2000, 2), torch.rand(2000, 1), 20), torch.rand(2000, 1)
    assert states.shape == (2000, 2, 2)
    assert student.loss((states, c)).isfinite()
