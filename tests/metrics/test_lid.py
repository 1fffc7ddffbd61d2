"""Local dimensions are those of the densities that they are asked of."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from caloman_cli.errors import UserError
from caloman_cli.evaluation.components.lid import LID, Reading, _note, _scores
from caloman_cli.evaluation.latents import denoiser_of, denoisers
from caloman_cli.metrics.lid import Curves, LocalDimension, denoising_loss, flipd, plateau
from caloman_cli.models.densities.flow_matching import FlowMatching
from caloman_cli.models.densities.standard_normal import StandardNormal
from caloman_cli.models.latents import Latents
from tests.metrics.lid import gaussian, plane

NOTHING = torch.zeros(1, 0).double()


def points(variances, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    spread = torch.as_tensor(variances).double().sqrt()
    return torch.randn(n, len(spread), generator=generator).double() * spread


def at(t, n):
    return torch.full((n,), t).double(), NOTHING.expand(n, 0)


@pytest.mark.parametrize("sigma", [0.05, 0.1716, 0.5])
def test_a_plane_under_noise_that_keeps_the_variance(sigma):
    """Exactly k (1 - sigma^4) in the mean: over k points, one along each axis."""
    k, dim = 5, 50
    u = torch.eye(dim)[:k].double() * math.sqrt(k)  # the mean of their squares is 1 on each axis
    found = flipd(gaussian(plane(k, dim)), u, *at(sigma, k))
    assert float(found.mean()) == pytest.approx(k * (1 - sigma**4), abs=1e-3)
    rotated = torch.linalg.qr(points(torch.ones(dim), dim))[0]
    turned = SimpleNamespace(
        signal=gaussian(plane(k, dim)).signal,
        sigma=gaussian(plane(k, dim)).sigma,
        epsilon=lambda u, t, c: gaussian(plane(k, dim)).epsilon(u @ rotated, t, c) @ rotated.T,
    )
    torch.testing.assert_close(flipd(turned, u @ rotated.T, *at(sigma, k)), found)


@pytest.mark.parametrize("clock", ["vp", "flow"])
@pytest.mark.parametrize("t", [0.02, 0.3, 0.9])
def test_a_gaussian_at_each_point_and_in_the_mean(clock, t):
    variances = torch.tensor([4.0, 1.0, 0.1, 1e-3, 0.0]).double()
    model, u = gaussian(variances, clock), points(variances, 40)
    a, s = float(model.signal(torch.tensor(t))), t
    noisy = a**2 * variances + s**2
    each = 5 - (s**2 / noisy).sum() + (s**2 * a**2 * u.square() / noisy**2).sum(1)
    torch.testing.assert_close(flipd(model, u, *at(t, 40)), each)
    kept = a**2 * variances / noisy
    mean = (kept * (1 + s**2 / noisy)).sum()
    over_data = 5 - (s**2 / noisy).sum() + (s**2 * a**2 * variances / noisy**2).sum()
    assert float(over_data) == pytest.approx(float(mean))


def test_the_denoising_loss_of_a_gaussian():
    """In the mean over data and noise it is the part of the variance that is signal."""
    variances = torch.tensor([4.0, 1.0, 0.1, 0.0]).double()
    model, u = gaussian(variances), points(variances, 4000)
    found = denoising_loss(model, u, *at(0.3, 4000), 4, torch.Generator().manual_seed(1))
    kept = 0.91 * variances / (0.91 * variances + 0.09)
    error = float(found.std()) / math.sqrt(4000)
    assert float(found.mean()) == pytest.approx(float(kept.sum()), abs=4 * error)
    assert error < 0.03


def test_probes_spread_as_rademacher_vectors_do():
    """sqrt(2 (|J|^2 - sum of J_ii^2)) sigma of one vector: none on the diagonal, 4.3 turned."""
    k, dim, n, sigma = 5, 50, 1000, 0.05
    along = plane(k, dim)
    u, (t, c) = points(along, 1).expand(n, dim), at(sigma, n)
    exact = float(flipd(gaussian(along), u[:1], t[:1], c[:1]))
    straight = flipd(gaussian(along), u, t, c, 1, torch.Generator().manual_seed(0))
    assert float((straight - exact).abs().max()) < 1e-9
    rotated = torch.linalg.qr(points(torch.ones(dim), dim))[0]
    matrix = rotated @ torch.diag(sigma / ((1 - sigma**2) * along + sigma**2)) @ rotated.T
    turned = SimpleNamespace(
        signal=gaussian(along).signal,
        sigma=gaussian(along).sigma,
        epsilon=lambda u, t, c: u @ matrix,
    )
    off = matrix - torch.diag(matrix.diagonal())
    for probes in (1, 8):
        found = flipd(turned, u, t, c, probes, torch.Generator().manual_seed(2))
        expected = sigma * math.sqrt(2 / probes) * float(off.norm())
        assert float(found.std()) == pytest.approx(expected, rel=0.1)
        mean = float(flipd(turned, u[:1], t[:1], c[:1]))
        assert float(found.mean()) == pytest.approx(mean, abs=4 * expected / math.sqrt(n))


def test_curves_on_a_grid_and_above_the_exact_trace():
    model, dim = gaussian(plane(3, 600)), 600
    u = points(plane(3, dim), 20)
    curves = LocalDimension(3, 0.01, 0.5, draws=2, probes=4)(model, u, NOTHING.expand(20, 0))
    np.testing.assert_allclose(curves.noise, [0.01, math.sqrt(0.005), 0.5])
    np.testing.assert_allclose(curves.noise, curves.t / np.sqrt(1 - curves.t**2), rtol=2e-3)
    assert curves.flipd.shape == curves.denoising.shape == (20, 3)
    np.testing.assert_allclose(curves.flipd[:, 0], 3, atol=0.01)  # exact by luck of the axes


@pytest.mark.parametrize(
    ("curve", "value", "clear"),
    [
        ([50, 20, 9, 5.1, 5, 4.9, 3, 1], 5, True),  # falls to a plateau and from it
        ([5, 5, 4.8, 3, 2, 1, 0.4, 0.1], 5, True),
        ([14, 13.9, 13.4, 12, 9, 5, 2, 0.5], 14, True),
        ([8, 6, 4.5, 3.4, 2.5, 1.9, 1.4, 1], None, False),  # all sizes
    ],
)
@pytest.mark.parametrize("more", [0, 2])
def test_the_plateau_of_a_curve(curve, value, clear, more):
    """Wherever the curve is cut off behind it."""
    curve = np.array(curve + [curve[-1] / 5**n for n in range(1, more + 1)])
    found = plateau(0.01 * 2.0 ** np.arange(len(curve)), curve)
    assert found.clear == clear
    assert not clear or curve[found.at] == value


def trained(u, steps):
    """Flow matching of latents u (N, D) without conditions."""
    torch.manual_seed(0)
    density = FlowMatching(
        hidden=128, n_blocks=2, scaler="none", latents=Latents(u.shape[1]), c_dim=0
    )
    optimiser = torch.optim.Adam(density.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(u), (250,))
        optimiser.zero_grad()
        density.loss((u[rows], u.new_zeros(250, 0))).backward()
        optimiser.step()
        schedule.step()
    return density.eval()


@pytest.mark.slow
@pytest.mark.parametrize(("dim", "follows"), [(10, True), (50, False)])
def test_a_network_finds_five_dimensions(dim, follows):
    """To half a dimension, and on a whole plateau, where any curve passes through its own value.

    FLIPD asks a network about points without noise, which it never saw where there are many
    directions to take noise off: of 50 dimensions it is wrong, and the loss is right.
    """
    rotated = torch.linalg.qr(points(torch.ones(dim), dim))[0]
    u = (points(plane(5, dim), 20_500) @ rotated.T).float()
    density = trained(u[:20_000], 3000)
    curves = LocalDimension(5, 0.03, 0.18)(density, u[20_000:], u.new_zeros(500, 0))
    flipd, loss = curves.flipd.mean(0), curves.denoising.mean(0)
    assert np.abs(loss - 5).max() < 0.5
    assert follows == (np.abs(flipd - 5).max() < 0.5)


@pytest.mark.slow
def test_a_stick_and_a_disc_are_told_apart():
    """A lollipop in the plane, whose stick has one dimension and whose disc has two."""
    generator = torch.Generator().manual_seed(3)
    n = 10_000
    radius, angle, along = torch.rand(3, n, generator=generator)
    radius, angle = radius.sqrt(), 2 * math.pi * angle
    disc = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
    stick = torch.stack([1 + 3 * along, torch.zeros(n)], 1)
    mixed = torch.cat([disc, stick])
    density = trained(mixed, 4000)
    dimension, c = LocalDimension(), mixed.new_zeros(1000, 0)
    flat, thin = (dimension.flipd(density, part[:1000], c, 0.05) for part in (disc, stick))
    assert mannwhitneyu(flat, thin).statistic / len(flat) / len(thin) > 0.95
    assert flat.mean() == pytest.approx(2, abs=0.1)
    assert thin.mean() == pytest.approx(1, abs=0.1)


def test_rows_and_their_errors():
    t = np.array([0.1, 0.2])
    real = Curves(t, t, np.array([[1.0, 2.0], [3.0, 4.0]]), np.ones((2, 2)))
    ours = Curves(t, t, np.array([[1.0, 5.0], [3.0, 9.0]]), np.ones((2, 2)))
    first, second = _scores(real, ours, Reading(1, ""))
    assert (first.generated, first.truth, first.spread, first.truth_spread) == (7, 3, 2, 1)
    assert (first.key, second.key, first.goal) == ("lid_flipd", "lid_denoising", "truth")
    assert (second.generated, second.spread) == (1, 0)
    assert "no Gaussian's" in _note(real, Reading(1, ""), 4, 5)  # 3 against 1
    assert "no Gaussian's" not in _note(real, Reading(0, ""), 4, 5)  # 2 against 1


def test_a_noise_beyond_the_curves_is_refused():
    with pytest.raises(UserError, match="evaluation.lid.noise=900: must be between .* and"):
        LID(noise=900)


def test_a_density_that_takes_no_noise_off_is_refused():
    model = SimpleNamespace(density=StandardNormal(latents=Latents(3), c_dim=1))
    with pytest.raises(UserError, match="density=standard_normal does not: .*flow_matching"):
        denoiser_of(model, "evaluation=lid")
    assert "flow_matching" in denoisers() and "nsf" not in denoisers()


@pytest.mark.parametrize(
    "settings", [{"noise_min": 0.5, "noise_max": 0.2}, {"times": 1}, {"noise": -1.0}, {"draws": 0}]
)
def test_settings_out_of_range(settings):
    with pytest.raises(UserError):
        LID(**settings)
