"""Manifolds that are where a function is zero, and energies on them."""

import math

import pytest
import torch
from scipy.special import iv
from torch import nn

from caloman_cli.errors import UserError
from caloman_cli.models.densities import ConstrainedEBM
from caloman_cli.models.encoders import Implicit
from caloman_cli.models.heads.gaussian import Gaussian
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import flat
from tests.models.adversarial import fit


def build(x_dim=2, latent_dim=1, **settings) -> Implicit:
    torch.manual_seed(0)
    sizes = {"x_dim": x_dim, "c_dim": 1, "head": Gaussian(**flat(x_dim))}
    return Implicit(latent_dim, **settings, **sizes)


def circle(z, c):
    return z.square().sum(1, keepdim=True) - 1.0


class Along(nn.Module):
    """An energy -kappa x that nobody has to learn."""

    def __init__(self, kappa: float) -> None:
        super().__init__()
        self.kappa = kappa

    def forward(self, seen):
        return -self.kappa * seen[:, :1]


@pytest.mark.parametrize("kappa", [1.0, pytest.param(2.0, marks=pytest.mark.slow)])
def test_samples_on_a_circle_have_bessels_mean(kappa):
    """E[cos] = I1 / I0 within 0.02, and F is zero."""
    torch.manual_seed(0)
    latents = Latents(2, constraint=circle)
    density = ConstrainedEBM((1,), base=1e3, steps=25, latents=latents, c_dim=0).eval()
    density.network = Along(kappa)
    angle = 2 * math.pi * torch.rand(len(density.chains.y))
    density.chains.fill(torch.stack([angle.cos(), angle.sin()], 1), density.chains.c)
    density.chains.log_size.fill_(math.log(0.3))
    z = density.sample(torch.zeros(6000, 0), Noise(0, 0, 6000))
    assert float(circle(z, z).abs().max()) < 1e-4
    assert float(z[:, 0].mean()) == pytest.approx(iv(1, kappa) / iv(0, kappa), abs=0.02)


def test_chains_begin_on_the_manifold_and_lengths_count():
    torch.manual_seed(0)
    z = torch.randn(2000, 2) * torch.tensor([1.0, 0.2])
    z = 3.0 * z / z.norm(dim=1, keepdim=True) + 0.05 * torch.randn(2000, 2)
    latents = Latents(2, constraint=lambda z, c: circle(z / 3.0, c))
    density = ConstrainedEBM((8,), latents=latents, c_dim=1)
    density.prepare(TensorRows(z, torch.zeros(2000, 1)))
    chains = density._outer(density.chains.y, density.chains.c)
    torch.testing.assert_close(chains.norm(dim=1), torch.full((1024,), 3.0), rtol=0, atol=1e-3)
    factor = density.factor
    assert float(factor[0, 0]) == pytest.approx(float(z.var(0).mean().sqrt()), rel=1e-3)
    torch.testing.assert_close(factor, factor[0, 0] * torch.eye(2))
    before = density.chains.y.clone()
    density.train().loss((z[:64], torch.zeros(64, 1)))
    moved = density._outer(density.chains.y, density.chains.c)
    assert not torch.equal(before, density.chains.y)
    torch.testing.assert_close(moved.norm(dim=1), torch.full((1024,), 3.0), rtol=0, atol=1e-3)
    scores = density.eval().scores((z, torch.zeros(2000, 1)))
    assert 0 <= float(scores["failed"]) < 0.5
    assert torch.isfinite(scores["loss"])


def test_a_shower_is_brought_to_the_nearest_point():
    """Of a sphere in units of the voxels; the error is the squared distance."""
    model = build(3, 2, conditional=False)

    class Sphere(nn.Module):
        def forward(self, y):
            return y[:, :3].norm(dim=1, keepdim=True) - 2.0  # behind them are squares

    model.function = Sphere()
    x, c = 1.0 + 0.5 * torch.randn(200, 3), torch.zeros(200, 1)
    model.place.fill_(1.0)
    model.unit.fill_(0.25)
    z = model.encode(x, c)
    torch.testing.assert_close((z - 1.0).norm(dim=1), torch.full((200,), 0.5))
    error = model.reconstruction_error(x, c)
    torch.testing.assert_close(error, ((x - 1.0).norm(dim=1) - 0.5).square(), rtol=1e-3, atol=1e-5)
    constraint = model.latents.constraint
    assert float(constraint(z, c).abs().max()) < 1e-5
    far = model.place + torch.tensor([[2.5, 0.0, 0.0]])
    torch.testing.assert_close(constraint(far, c[:1]), torch.tensor([[2.0]]))  # the distance
    with torch.inference_mode():
        assert torch.equal(model.encode(x.clone(), c.clone()), z)


def test_what_does_not_fit_says_so():
    with pytest.raises(UserError, match="encoder=implicit .* 65 voxels .*at most 64; use"):
        build(65)
    with pytest.raises(UserError, match=r"encoder\.latent_dim=2: .* give 1 or fewer"):
        build(2, 2)
    with pytest.raises(UserError, match="encoder=VAE has none: use encoder=implicit"):
        ConstrainedEBM(latents=Latents(3, encoder="VAE"), c_dim=1)


def two_circles(n: int) -> torch.Tensor:
    """Of radius 0.5, around -1.2 and 1.2."""
    angle = 2 * math.pi * torch.rand(n)
    side = torch.where(torch.rand(n) < 0.4, -1.2, 1.2)
    return torch.stack([0.5 * angle.cos() + side, 0.5 * angle.sin()], 1)


def off_both(z: torch.Tensor) -> torch.Tensor:
    """Distances to the nearer circle."""
    middle = torch.tensor([[-1.2, 0.0], [1.2, 0.0]])
    return (torch.cdist(z, middle) - 0.5).abs().amin(1)


@pytest.mark.slow
def test_two_circles_apart_are_learned():
    """Less than 1 % of samples are off both, and each has its share: no image of a line would."""
    torch.manual_seed(0)
    x, c = two_circles(10_000), torch.zeros(10_000, 1)
    model = build(function_hidden=(64, 64), chains=512, walk=2, conditional=False)
    fit(model, (x, c), 500, 5e-3)
    density = ConstrainedEBM((32,), chains=512, walk=3, steps=20, latents=model.latents, c_dim=1)
    with torch.no_grad():
        rows = model.encode(x, c), c
    fit(density, rows, 60, 3e-3, batch=128)
    z = density.sample(c[:2000], Noise(0, 0, 2000))
    assert float((off_both(z) > 0.1).float().mean()) < 0.01
    assert float((z[:, 0] < 0).float().mean()) == pytest.approx(0.4, abs=0.08)
