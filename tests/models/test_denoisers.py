"""Densities that predict noise know the scores of noisy latents."""

import pytest
import torch

from caloman_cli.models.densities.diffusion import Diffusion
from caloman_cli.models.densities.flow_matching import FlowMatching
from caloman_cli.models.latents import Latents
from caloman_cli.models.nn.forward_mode import jvp

MIXING = torch.tensor([[1.5, 0.0, 0.0], [0.4, 0.3, 0.0], [-0.2, 0.1, 0.05]]).double()
OFFSET = torch.tensor([0.5, -1.0, 0.0]).double()


class Gaussian:
    """Latents N(c + OFFSET, MIXING MIXING^T) under noise, u_t = a u_0 + s epsilon."""

    def residual(self, u, a, s, c):
        """C^-1 (u - m) for the mean m and the covariance C of noisy latents."""
        m = a[:, None] * (c + OFFSET)
        eye = torch.eye(3).double()
        cov = a[:, None, None] ** 2 * (MIXING @ MIXING.T) + s[:, None, None] ** 2 * eye
        return torch.linalg.solve(cov, u - m)

    def noise(self, u, a, s, c):
        """E[epsilon | u]."""
        return s[:, None] * self.residual(u, a, s, c)

    def latent(self, u, a, s, c):
        """E[u_0 | u]."""
        return c + OFFSET + a[:, None] * self.residual(u, a, s, c) @ (MIXING @ MIXING.T)


def knowing(density, network: str):
    """A density whose network is the exact velocity on straight paths."""
    exact = Gaussian()

    def velocity(x, t, c):
        return exact.latent(x, t, 1 - t, c) - exact.noise(x, t, 1 - t, c)

    density.__dict__[network] = velocity
    del density._modules[network]
    return density


def flow_matching() -> FlowMatching:
    return knowing(FlowMatching(**SMALL), "velocity")


def diffusion() -> Diffusion:
    return knowing(Diffusion(**SMALL), "network")


SMALL = {"hidden": 8, "n_blocks": 1, "scaler": "none", "latents": Latents(3), "c_dim": 3}
KNOWN = [flow_matching, diffusion]


def rows(n: int = 50):
    """Noisy latents from far away, times of all sizes and conditions."""
    generator = torch.Generator().manual_seed(0)
    u, c = torch.randn(2, n, 3, generator=generator).double()
    return 2 * u, torch.logspace(-3, 0, n).double(), c


@pytest.mark.parametrize("make", KNOWN)
def test_the_score_of_a_gaussian(make):
    """From the exact velocity to the gradient of the noisy latents' log-density, to 1e-6."""
    density, (u, t, c) = make(), rows()
    a, s = density.signal(t), density.sigma(t)
    expected = -Gaussian().residual(u, a, s, c)
    assert ((density.score(u, t, c) - expected).norm(dim=1) / expected.norm(dim=1)).max() < 1e-6


@pytest.mark.parametrize("make", KNOWN)
def test_time_runs_from_data_to_noise(make):
    density, t = make(), torch.linspace(0, 1, 100).double()
    a, s = density.signal(t), density.sigma(t)
    assert a[0] == 1
    assert s[0] == 0
    assert s[-1] > 100 * a[-1]
    assert (a.diff() < 0).all()
    assert (s.diff() > 0).all()


@pytest.mark.parametrize("make", KNOWN)
def test_noise_predictions_have_derivatives(make):
    """The trace of the Jacobian, by forward and by reverse differentiation, is the Gaussian's."""
    density, (u, t, c) = make(), rows(5)
    axes = torch.eye(3).double()

    def epsilon(u):
        return density.epsilon(u, t, c)

    forward = sum(jvp(epsilon, (u,), (axis.expand_as(u),))[1] @ axis for axis in axes)
    pull = torch.func.vjp(epsilon, u)[1]
    reverse = sum(pull(axis.expand_as(u))[0] @ axis for axis in axes)
    a, s = density.signal(t), density.sigma(t)
    ratio = torch.linalg.eigvalsh(MIXING @ MIXING.T) * a[:, None] ** 2 / s[:, None] ** 2
    trace = (1 / (ratio + 1)).sum(1) / s
    torch.testing.assert_close(forward, trace, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(reverse, trace, rtol=1e-6, atol=1e-9)
