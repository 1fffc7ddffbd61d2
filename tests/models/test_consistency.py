"""Students that go to the end of their teacher's path from anywhere on it."""

import math
from functools import cache, partial

import pytest
import torch

from caloman_cli.errors import UserError
from caloman_cli.models.densities.consistency import Consistency
from caloman_cli.models.densities.diffusion import Diffusion
from caloman_cli.models.densities.flow_matching import FlowMatching
from caloman_cli.models.densities.ode import ODE
from caloman_cli.models.densities.velocity import VelocityNet
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise
from tests.models import two_modes

WIDTH = 0.5
NETWORK = {"flow_matching": "velocity", "diffusion": "network"}
MAKES = {"flow_matching": FlowMatching, "diffusion": Diffusion}


def knowing(name: str, velocity, **settings) -> ODE:
    """A teacher of one dimension whose network is the exact velocity on straight paths."""
    sizes = {"hidden": 8, "n_blocks": 1, "scaler": "none", "latents": Latents(1), "c_dim": 1}
    teacher = MAKES[name](**sizes, **settings).eval()
    teacher.__dict__[NETWORK[name]] = velocity
    del teacher._modules[NETWORK[name]]
    if name == "diffusion":
        teacher.weights = dict
    return teacher


def to_normal(x, t, c):
    """To N(c, WIDTH^2)."""
    t = t[:, None]
    variance = (1 - t) ** 2 + (WIDTH * t) ** 2
    return c + (WIDTH**2 * t - (1 - t)) / variance * (x - t * c)


class Ends(torch.nn.Module):
    """What is left of the way, over 1 - t, on paths to N(c, WIDTH^2)."""

    def forward(self, x, t, c):
        t = t[:, None]
        scale = torch.sqrt((1 - t) ** 2 + (WIDTH * t) ** 2)
        return (c + WIDTH / scale * (x - t * c) - x) / (1 - t).clamp(min=1e-6)


def student_of(teacher: ODE, net=None, **settings) -> Consistency:
    net = partial(VelocityNet, 64, 2, 2) if net is None else net
    student = Consistency(net, **settings, scaler="none", latents=Latents(1), c_dim=1)
    student.learn_from(teacher)
    return student


@pytest.mark.parametrize("name", MAKES)
@pytest.mark.parametrize("target", ["cd", "direct"])
def test_the_exact_map_of_a_gaussian_leaves_nothing_to_learn(name, target):
    """f(z, t) = z s0 / sqrt(s0^2 + t^2), with z = u / a and t = sigma / a."""
    teacher = knowing(name, to_normal)
    student = student_of(teacher, lambda **_: Ends(), target=target)
    noise, c = torch.randn(200, 1), torch.zeros(200, 1)
    states = teacher.path(noise, c, 360, 18)
    for level in range(18):
        share = float(student.share[level])
        z = states[:, level] / (share * student.scale[level]) if share else None
        if z is not None:
            t = (1 - share) / share
            expected = z * WIDTH / math.sqrt(WIDTH**2 + t**2)
            found = student._end(states[:, level], torch.full((200,), level), c)
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    c = torch.randn(200, 1)
    batch = teacher.path(noise, c, 360, 18), c
    assert student.loss(batch) < 1e-4
    assert student.scores(batch)["ode_error"] < 1e-4
    apart = batch[0] + 0.1 * torch.arange(19)[:, None], c  # no path
    assert student.loss(apart) > 1e-2


@pytest.mark.parametrize("name", MAKES)
def test_latents_are_left_as_they_are_whatever_the_network(name):
    student, u = student_of(knowing(name, to_normal)), torch.randn(50, 1)
    last = torch.full((50,), 18)
    torch.testing.assert_close(student._end(u, last, torch.zeros(50, 1)), u)
    assert student.share.diff().min() > 0


def test_with_the_teachers_weights_it_begins_as_the_mean_of_latents():
    for make in MAKES.values():
        sizes = {"n_blocks": 1, "scaler": "none", "latents": Latents(1), "c_dim": 1}
        teacher = make(hidden=8, **sizes)
        student = student_of(teacher, partial(VelocityNet, 8, 1))
        u, c = torch.randn(20, 1), torch.randn(20, 1)
        level = torch.full((20,), 9)
        t = teacher.time(torch.full((20,), 0.5))
        a, sigma = teacher.signal(t)[:, None], teacher.sigma(t)[:, None]
        mean = (u - sigma * teacher.epsilon(u, t, c)) / a
        torch.testing.assert_close(student._end(u, level, c), mean, rtol=1e-4, atol=1e-4)


@cache
@torch.enable_grad()
def learned(name: str, target: str):
    """A student of the exact velocity to two normals, and paths that it has not seen."""
    torch.manual_seed(0)
    teacher = knowing(name, two_modes.velocity)
    c = torch.zeros(4000, 1)
    states = teacher.path(torch.randn(4000, 1), c, 54, 18)
    student = student_of(teacher, target=target).train()
    optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, 2500)
    for _ in range(2500):
        rows = torch.randint(0, len(c), (256,))
        optimizer.zero_grad()
        student.loss((states[rows], c[rows])).backward()
        optimizer.step()
        schedule.step()
    student.learned()
    unseen = teacher.path(torch.randn(4000, 1), c, 54, 18), c
    return student.eval(), unseen


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKES)
def test_two_modes_are_learned_and_direct_targets_lie_nearer_to_the_ode(name):
    errors = {}
    for target in ("cd", "direct"):
        student, unseen = learned(name, target)
        c = unseen[1]
        with torch.no_grad():
            errors[target] = float(student.ode_error(unseen))
            for steps, limit in ((1, 0.06), (3, 0.1)):
                student.steps = steps
                drawn = student.sample(c, Noise(1, 0, len(c)))
                assert two_modes.wasserstein(drawn, two_modes.draw(len(c))) < limit
    assert errors["direct"] < errors["cd"] < 0.05


def test_a_slow_copy_follows_and_is_forgotten():
    student = student_of(knowing("flow_matching", to_normal), decay=0.75).train()
    batch = torch.randn(8, 19, 1), torch.zeros(8, 1)
    before = student.copied.last.weight.clone()
    with torch.no_grad():
        student.velocity.last.weight.add_(1.0)
    student.eval().loss(batch)
    assert student.copied.last.weight.equal(before)
    student.train().loss(batch).backward()
    torch.testing.assert_close(student.copied.last.weight, before + 0.25)
    assert student.copied.last.weight.grad is None
    student.learned()
    assert not any(name.startswith("copied") for name in student.state_dict())


def test_more_steps_than_levels_are_refused():
    with pytest.raises(UserError, match="steps=5 is more than levels=4"):
        student_of(knowing("flow_matching", to_normal), steps=5, levels=4)
    with pytest.raises(UserError, match="target=lcm: must be cd, direct"):
        student_of(knowing("flow_matching", to_normal), target="lcm")
