"""The Wasserstein certificate, the scores of thin data, and how hard latents are."""

import numpy as np
import pytest

from caloman_cli.errors import UserError
from caloman_cli.metrics.manifold import diffusability, score_course, wasserstein


def test_distance_of_pairs_by_hand():
    x, y = np.array([[0.0, 0.0], [10.0, 0.0]]), np.array([[10.0, 3.0], [0.0, 4.0]])
    assert wasserstein(x, y) == pytest.approx(3.5)
    with pytest.raises(UserError, match="equally many"):
        wasserstein(x, y[:1])


@pytest.mark.parametrize("along", [0, 1])
def test_certificate_of_a_linear_decoder(along):
    """Latents shifted by delta: sigma_1 delta bounds W1, and is it where the shift is along v1."""
    rng, delta = np.random.default_rng(0), 0.7
    left, right = (np.linalg.qr(rng.normal(size=s))[0] for s in ((30, 2), (2, 2)))
    decoder = left @ np.diag([3.0, 0.5]) @ right.T
    z = rng.normal(size=(400, 2))
    moved = z + delta * right[:, along]
    latent = np.linalg.norm(decoder, 2) * wasserstein(z, moved)
    true = wasserstein(z @ decoder.T, moved @ decoder.T)
    assert latent == pytest.approx(3.0 * delta)
    assert true == pytest.approx((3.0, 0.5)[along] * delta)


def squares(score, x, noise):
    """E|s(x + sigma eps, sigma)|^2 of a score function for each noise sigma, shape (K,)."""
    rng = np.random.default_rng(0)
    noisy = [(x + sigma * rng.normal(size=x.shape), sigma) for sigma in noise]
    return np.array([np.square(score(*each)).sum(1).mean() for each in noisy])


def test_scores_of_thin_data_diverge_as_directions_over_variance():
    """A 5-plane in 50 dimensions: E|s|^2 = 45 / sigma^2 + 5 / (1 + sigma^2)."""
    rng, noise = np.random.default_rng(0), np.geomspace(1e-3, 1e-1, 8)
    axes = np.linalg.qr(rng.normal(size=(50, 5)))[0]
    x = rng.normal(size=(4000, 5)) @ axes.T

    def score(noisy, sigma):
        inside = noisy @ axes @ axes.T
        return -(noisy - inside) / sigma**2 - inside / (1 + sigma**2)

    course = score_course(noise, squares(score, x, noise))
    assert course.slope == pytest.approx(-2, abs=0.01)
    assert course.directions == pytest.approx(45, abs=0.5)
    inside = score_course(noise, squares(lambda v, s: -v / (1 + s**2), x @ axes, noise))
    assert inside.slope == pytest.approx(0, abs=0.02)
    assert inside.directions == pytest.approx(0, abs=1e-3)


def test_normal_latents_are_the_easiest():
    rng = np.random.default_rng(0)
    normal = diffusability(rng.normal(size=(2000, 6)))
    assert normal.directions == pytest.approx(1, abs=0.02)
    assert normal.narrowest == pytest.approx(1, abs=0.1)
    assert normal.gaussianity < 0.05
    assert normal.roughness == pytest.approx(0, abs=0.03)


def test_spectrum_of_unequal_latents():
    z = np.random.default_rng(0).normal(size=(4000, 3)) * [1.0, 1.0, 0.1]
    turned = z @ np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    for found in (diffusability(z), diffusability(1e3 * turned)):
        assert found.directions == pytest.approx(2.01**2 / 2.0001 / 3, rel=0.02)
        assert found.narrowest == pytest.approx(0.1, rel=0.05)
    whole = diffusability(np.c_[z, np.ones(len(z))])  # what is constant does not count
    assert whole.directions == pytest.approx(diffusability(z).directions)


def test_roughness_of_two_peaks_in_closed_form():
    """Of p = (N(-a, b^2) + N(a, b^2)) / 2 with unit variance, by an integral on a fine grid."""
    a, smoothed = 0.95, 0.3
    wide = np.sqrt(1 - a**2 + smoothed**2)
    grid = np.linspace(-6, 6, 20001)
    parts = [np.exp(-0.5 * ((grid - m) / wide) ** 2) / wide / np.sqrt(2 * np.pi) for m in (-a, a)]
    p = 0.5 * sum(parts)
    information = (np.gradient(p, grid) ** 2 / p).sum() * (grid[1] - grid[0])
    rng = np.random.default_rng(0)
    z = rng.choice([-a, a], 4000) + np.sqrt(1 - a**2) * rng.normal(size=4000)
    found = diffusability(z[:, None])
    assert found.roughness == pytest.approx(information * (1 + smoothed**2) - 1, rel=0.1)
    assert found.roughness > 1


def test_latents_that_say_nothing():
    with pytest.raises(UserError, match="2 latents"):
        diffusability(np.zeros((2, 3)))
    with pytest.raises(UserError, match="no latent varies"):
        diffusability(np.ones((5, 3)))
