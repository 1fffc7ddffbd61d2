"""Densities vae and avb against a linear-Gaussian model, whose evidence is known."""

import math

import pytest
import torch

from caloman_cli.models.densities.avb import AVB
from caloman_cli.models.densities.vae import VAE
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import Step, TensorRows
from tests.models.adversarial import fit
from tests.training.conftest import make_trainer
from tests.training.models import trained_with_a_cut

__all__ = ["make_trainer"]

SIGMA = 0.7


def exact(kind, n=1000, **settings):
    """u = A w + 0.7 n with q as good as independent normals can be.

    Returns:
        The density, rows u, log p(u), and the gap of the evidence lower bound, which is the
        divergence of q from the posterior.
    """
    torch.manual_seed(2)
    a = torch.tensor([[1.0, 0.8], [0.5, 0.9], [-0.7, -0.4], [0.2, 1.0]])
    model = kind(2, [], scaler="none", latents=Latents(4), c_dim=0, **settings)
    precision = torch.eye(2) + a.T @ a / SIGMA**2
    mean = torch.linalg.inv(precision) @ a.T / SIGMA**2
    sigma = precision.diagonal().rsqrt()
    with torch.no_grad():
        model.decoder[0].weight.copy_(torch.cat([a, torch.zeros(4, 2)]))
        model.decoder[0].bias.copy_(torch.tensor([0.0] * 4 + [math.log(SIGMA - 1e-3)] * 4))
        moments = torch.cat([mean, torch.zeros(2, 4)]), torch.cat([torch.zeros(2), sigma.log()])
        follows = model.encoder if kind is VAE else model.critic.normal
        if kind is AVB:
            model.encoder[0].weight.copy_(torch.cat([mean, torch.diag(sigma)], 1))
            model.encoder[0].bias.zero_()
            for parameter in model.critic.net.parameters():
                parameter.zero_()  # q is r, so that the classifier has nothing to say
        if follows is not None:
            follows[0].weight.copy_(moments[0])
            follows[0].bias.copy_(moments[1])
    u = torch.randn(n, 2) @ a.T + SIGMA * torch.randn(n, 4)
    covariance = a @ a.T + SIGMA**2 * torch.eye(4)
    evidence = torch.distributions.MultivariateNormal(torch.zeros(4), covariance).log_prob(u)
    gap = 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision))
    return model, u, evidence, float(gap)


@pytest.mark.parametrize("kind", [VAE, AVB])
def test_the_objective_is_the_evidence_lower_bound(kind):
    """Below the evidence by the divergence of q from the posterior."""
    settings = {"samples": 1, "kl_warmup": 0.0} if kind is VAE else {"noise_dim": 2}
    model, u, evidence, gap = exact(kind, 5000, **settings)
    with torch.no_grad():
        bound = -float(model.train().loss((u, u[:, :0])))
    assert gap > 0.1
    assert float(evidence.mean()) - bound == pytest.approx(gap, abs=0.03)


@pytest.mark.parametrize("kind", [VAE, AVB])
def test_more_draws_tighten_the_bound(kind):
    """From some way below the evidence up to it, but for what shared draws err."""
    settings = {} if kind is VAE else {"noise_dim": 2}
    found = []
    for draws in (8, 64, 512):
        model, u, evidence, gap = exact(kind, draws=draws, **settings)
        with torch.no_grad():
            found.append(float((evidence - model.log_prob(u, u[:, :0])).mean()))
    assert found[0] > gap > found[1] > 0.05
    assert abs(found[2]) < 0.03
    assert model.kind == "bound"


def test_with_the_prior_as_contrast_the_critic_is_believed():
    """Whatever it says is taken off: an estimate, and only that."""
    latents = Latents(3)
    model = AVB(2, [8], contrast="prior", noise_dim=2, latents=latents, c_dim=1).eval()
    u, c = torch.randn(6, 3), torch.randn(6, 1)
    with torch.no_grad():
        before = model.log_prob(u, c)
        model.critic.net[-1].bias += 1.5
        torch.testing.assert_close(model.log_prob(u, c), before - 1.5)
    assert model.kind == "estimate"
    assert AVB(2, [8], noise="tweedie", latents=latents, c_dim=1).kind == "score"


def test_the_bounds_density_integrates_to_one():
    """With enough draws, of any weights: a constant that is missing would be seen here."""
    torch.manual_seed(0)
    model = VAE(2, [8], draws=2048, latents=Latents(1), c_dim=0).eval()
    model.prepare(TensorRows(3 * torch.randn(50, 1) + 1, torch.zeros(50, 0)))
    with torch.no_grad():  # q is the prior: no weight is large
        model.encoder[-1].weight.zero_()
        model.encoder[-1].bias.zero_()
    grid = torch.linspace(-60, 60, 601)[:, None]
    with torch.no_grad():
        density = model.log_prob(grid, grid[:, :0]).exp()
    assert float(density.sum() * 0.2) == pytest.approx(1.0, abs=0.002)


def test_samples_are_what_the_decoder_says():
    """Their covariance is A A^T + 0.49: the decoder's own width is drawn, too."""
    model, u, _, _ = exact(VAE)
    with torch.no_grad():
        drawn = model.sample(torch.zeros(40_000, 0), Noise(0, 0, 40_000))
    a = model.decoder[0].weight[:4].detach()
    expected = a @ a.T + SIGMA**2 * torch.eye(4)
    torch.testing.assert_close(torch.cov(drawn.T), expected, rtol=0.03, atol=0.05)
    del u


def test_the_divergence_warms_up_in_training_only():
    model = VAE(2, [8], kl_warmup=0.5, latents=Latents(3), c_dim=1)
    batch = torch.randn(9, 3), torch.randn(9, 1)

    def loss(number):
        torch.manual_seed(1)
        model.step = Step(number, 100)
        return float(model.loss(batch).detach())

    begin, half, whole, end = (loss(number) for number in (0, 25, 50, 99))
    assert begin != pytest.approx(half)
    assert whole == pytest.approx(end)
    model.eval()
    assert loss(0) == pytest.approx(loss(99))


def test_a_killed_training_of_two_players_ends_as_a_whole_one(make_trainer):
    """Each with an optimiser and a number of steps of its own, bit for bit."""
    z = torch.randn(60, 3, generator=torch.Generator().manual_seed(1))

    def make():
        torch.manual_seed(5)
        return AVB(2, [8], noise_dim=2, critic_steps=3, latents=Latents(3), c_dim=1)

    settings = {"schedule": "cosine", "player_lr": {"critic": 3e-3}}
    rows = TensorRows(z, z[:, :1])
    whole, _ = trained_with_a_cut(make_trainer, make, rows, 7, **settings)
    assert (whole.players.count("critic"), whole.players.count("model")) == (8, 2)


def small(kind, z_dim, c_dim):
    torch.manual_seed(0)
    own = {} if kind is VAE else {"noise_dim": 4}
    return kind(4, [64, 64], **own, latents=Latents(z_dim), c_dim=c_dim)


STEPS = {VAE: (800, 3e-3), AVB: (3000, 2e-3)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [VAE, AVB])
def test_a_gaussian_is_learned(kind):
    """Its likelihood within 0.03 nats per dimension, and not above it."""
    model = small(kind, 4, 0)
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(4, 4, generator=generator)
    scale = torch.linalg.cholesky(a @ a.T / 4 + 0.3 * torch.eye(4))
    z = torch.randn(20_000, 4) @ scale.T
    fit(model, (z, z[:, :0]), *STEPS[kind])
    z = torch.randn(4000, 4) @ scale.T
    normal = torch.distributions.MultivariateNormal(torch.zeros(4), scale_tril=scale)
    with torch.no_grad():
        excess = float((normal.log_prob(z) - model.log_prob(z, z[:, :0])).mean()) / 4
        drawn = model.sample(z[:, :0], Noise(1, 0, 4000))
    assert -0.005 < excess < 0.03
    torch.testing.assert_close(torch.cov(drawn.T), scale @ scale.T, rtol=0.1, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [VAE, AVB])
def test_latents_follow_the_condition(kind):
    """z | c ~ N(c, 0.1^2): the slope of E[z | c] is 1 within 0.02."""
    model = small(kind, 2, 2)
    c = torch.randn(20_000, 2)
    fit(model, (c + 0.1 * torch.randn(20_000, 2), c), *STEPS[kind])
    with torch.no_grad():
        z = model.sample(c, Noise(1, 0, len(c)))
    slope = (z * c).sum(0) / c.square().sum(0)
    torch.testing.assert_close(slope, torch.ones(2), rtol=0, atol=0.02)
    torch.testing.assert_close((z - c).std(0), torch.full((2,), 0.1), rtol=0.05, atol=0)
