"""``density.noise``: what learns under noise, and what it draws."""

import math

import pytest
import torch

from caloman_cli.errors import UserError
from caloman_cli.models.densities import NSF
from caloman_cli.models.densities.base import Density
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise

SIGMA, ROWS = 0.5, 60_000
SPECTRUM = torch.tensor([4.0, 1.0, 0.25, 0.0, 0.0])  # of latents: two directions have no width
AXES = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0))).Q


class Fitted(Density):
    """The normal distribution that learning under the noise would end with."""

    def __init__(self, noise, **built):
        super().__init__("none", 0.0, noise, SIGMA, **built)

    def _scale(self, c):
        """Standard deviations along the axes, (B, 5)."""
        share = c[:, -1:] if self.noising == "conditional" else torch.ones(len(c), 1)
        return (SPECTRUM + (SIGMA * share).square()).sqrt()

    def _sample(self, c, noise):
        return noise.normal(5) * self._scale(c) @ AXES.T

    def _log_prob(self, u, c):
        scale = self._scale(c)
        square = (u @ AXES / scale).square() + 2 * scale.log() + math.log(2 * math.pi)
        return -0.5 * square.sum(1)


def drawn(noise):
    """Variances along the axes of what is drawn."""
    density = Fitted(noise, latents=Latents(5), c_dim=1)
    z = density.sample(torch.zeros(ROWS, 1), Noise(0, 0, ROWS))
    assert not z.requires_grad
    return (z @ AXES).var(0)


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        ("additive", SPECTRUM + SIGMA**2),
        ("tweedie", SPECTRUM.square() / (SPECTRUM + SIGMA**2)),  # of what is there, a part too
        ("conditional", SPECTRUM),
    ],
)
def test_what_is_drawn_has_the_width_that_the_noise_leaves(noise, expected):
    torch.testing.assert_close(drawn(noise), expected, rtol=0.03, atol=1e-3)


@pytest.mark.parametrize("noise", ["none", "additive", "tweedie", "conditional"])
def test_what_is_learned_has_the_noise(noise):
    density = Fitted(noise, latents=Latents(5), c_dim=1).train()
    z = torch.randn(ROWS, 5) * SPECTRUM.sqrt() @ AXES.T
    u, told, _ = density.scaled((z, torch.zeros(ROWS, 1)))
    added = (u - z).square().mean(1)
    assert told.shape == (ROWS, density.c_dim)
    if noise == "none":
        assert torch.equal(u, z)
    elif noise == "conditional":
        share = told[:, 1]
        assert 0 <= float(share.min()) < 0.01 < 0.99 < float(share.max()) < 1
        slope = (added * share.square()).sum() / share.pow(4).sum()
        assert float(slope) == pytest.approx(SIGMA**2, rel=0.03)
    else:
        assert float(added.mean()) == pytest.approx(SIGMA**2, rel=0.03)
    density.eval()
    again = [density.scaled((z, torch.zeros(ROWS, 1)))[0] for _ in range(2)]
    assert torch.equal(*again)


def test_with_taken_off_noise_log_prob_is_no_density_of_what_is_drawn():
    kinds = {
        noise: NSF(noise=noise, latents=Latents(2), c_dim=1).kind
        for noise in ("none", "additive", "tweedie", "conditional")
    }
    assert kinds == {
        "none": "exact",
        "additive": "exact",
        "tweedie": "score",
        "conditional": "exact",
    }


def test_what_cannot_have_noise_says_so():
    class Codes(Fitted):
        accepts = ("codes",)

    class Silent(Fitted):
        kind = "none"

    with pytest.raises(UserError, match=r"density\.noise=additive: codes take no noise"):
        Codes("additive", latents=Latents(2, "codes", 3), c_dim=1)
    with pytest.raises(UserError, match="density.noise=tweedie follows log_prob"):
        Silent("tweedie", latents=Latents(2), c_dim=1)


def test_noise_is_taken_off_a_few_rows_at_once(monkeypatch):
    """The slope of an ODE keeps every step of its solver: a whole batch does not fit."""
    asked = []
    log_prob = Fitted._log_prob
    monkeypatch.setattr(
        Fitted, "_log_prob", lambda self, u, c: asked.append(len(u)) or log_prob(self, u, c)
    )
    density = Fitted("tweedie", latents=Latents(5), c_dim=1)
    many = density.sample(torch.zeros(1000, 1), Noise(0, 0, 1000))
    assert max(asked) <= 100
    few = density.sample(torch.zeros(70, 1), Noise(0, 900, 70))
    torch.testing.assert_close(many[900:970], few)
    assert density.sample(torch.zeros(0, 1), Noise(0, 0, 0)).shape == (0, 5)
