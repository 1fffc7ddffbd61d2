"""Walks on manifolds: against the circle, whose moments are Bessel functions."""

import pytest
import torch
from scipy.special import iv

from caloman_cli.models.densities.constrained_ebm import ConstrainedEBM
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.constrained import brought, constrained_mala, jacobian_of
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows

ROWS = 4000
SLOW = pytest.mark.slow


def sphere(q):
    return q.square().sum(1, keepdim=True) - 1.0


def on_the_sphere(n, dim):
    q = torch.randn(n, dim, dtype=torch.float64)
    return q / q.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("kappa", "size"),
    [(1.0, 0.3), pytest.param(2.0, 0.3, marks=SLOW), pytest.param(2.0, 0.05, marks=SLOW)],
)
def test_the_circle_has_bessels_mean(kappa, size):
    """E[cos] = I1 / I0 of E = -kappa x, whatever the step: without the rule it is below."""
    torch.manual_seed(0)
    start = on_the_sphere(ROWS, 2)
    steps = 25 if size > 0.1 else 80
    q, taken, failed = constrained_mala(
        lambda q: -kappa * q[:, 0], sphere, start, *(Noise(0, 0, ROWS), steps, size)
    )
    assert float(sphere(q).abs().max()) < 1e-10
    error = float(q[:, 0].std()) / ROWS**0.5
    assert float(q[:, 0].mean()) == pytest.approx(iv(1, kappa) / iv(0, kappa), abs=4 * error)
    assert 4 * error < 0.05
    assert float(taken.mean()) > 0.5
    assert 0 <= float(failed.mean()) < 0.3


@SLOW
def test_a_curve_in_space_has_as_much_as_its_length():
    """Two constraints; a tilted circle is covered evenly, though F is steeper on one side."""

    def tilted(q):
        plane = q[:, 2:] - 0.5 * q[:, :1]
        return torch.cat([plane * (2.0 + q[:, :1]), sphere(q)], 1)

    torch.manual_seed(0)
    start, found = brought(tilted, on_the_sphere(2000, 3))
    assert found.float().mean() > 0.95
    start = start[found][:1500]
    end = constrained_mala(
        lambda q: 0.0 * q[:, 0], tilted, start, *(Noise(1, 0, len(start)), 40, 0.2)
    )
    assert float(tilted(end.q).abs().max()) < 1e-10
    along = torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64) / 1.25**0.5
    for axis in (along, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)):
        cosine = end.q @ axis
        assert float(cosine.mean()) == pytest.approx(0.0, abs=0.08)
        assert float(cosine.square().mean()) == pytest.approx(0.5, abs=0.05)


def test_a_row_does_not_see_the_others_and_floats_will_do():
    def energy(q):
        return q[:, 0]

    torch.manual_seed(0)
    start = on_the_sphere(30, 3).float()
    whole = constrained_mala(energy, sphere, start, Noise(3, 0, 30), 10, 0.1)
    part = constrained_mala(energy, sphere, start[20:], Noise(3, 20, 10), 10, 0.1)
    torch.testing.assert_close(part.q, whole.q[20:])
    assert float(whole.taken.mean()) > 0.5
    assert float(sphere(whole.q).abs().max()) < 2e-5


def test_steps_that_leave_the_manifold_are_counted():
    """From a circle of radius 1 a step of 5 along its tangent has no way back."""
    start = on_the_sphere(500, 2)
    q, taken, failed = constrained_mala(
        lambda q: 0.0 * q[:, 0], sphere, start, *(Noise(0, 0, 500), 4, 12.5)
    )
    assert float(failed.mean()) > 0.6
    assert float((taken + failed).max()) <= 1.0
    assert float(sphere(q).abs().max()) < 1e-10


def test_the_jacobian_is_that_of_each_row():
    q = torch.randn(5, 3)
    value, jacobian = jacobian_of(sphere, q)
    torch.testing.assert_close(jacobian, 2 * q.unsqueeze(1))
    torch.testing.assert_close(value, sphere(q))


def test_chains_that_do_not_find_the_manifold_begin_at_their_rows():
    """Newton's method for an arcus tangens runs away from where it is flat, to 1e20 and more."""
    torch.manual_seed(0)
    z, c = torch.randn(64, 2), torch.zeros(64, 1)
    latents = Latents(2, constraint=lambda z, c: torch.atan(20.0 * (z[:, :1] - 3.0)))
    density = ConstrainedEBM([8], chains=64, latents=latents, c_dim=1)
    density.prepare(TensorRows(z, c))
    assert float(density.chains.y.abs().max()) < 10.0
    density.loss((z, c)).backward()
    assert all(torch.isfinite(p.grad).all() for p in density.parameters())
