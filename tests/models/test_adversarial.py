"""Encoders with a critic: their losses in closed form, and what their training reaches."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from caloman_cli.errors import UserError
from caloman_cli.models.encoders.avb import AVB
from caloman_cli.models.encoders.bigan import BiGAN
from caloman_cli.models.encoders.wae import WAE
from caloman_cli.models.heads.gaussian import Gaussian
from caloman_cli.models.nn.adversarial import (
    Critic,
    LogRatio,
    gradient_penalty,
    mmd,
    telling_apart,
)
from tests.contracts.groups import flat, make_encoder, share_rows, tiny
from tests.models.adversarial import fit

WAES = {"wae-mmd": (WAE, {"mode": "mmd"}), "wae-adversarial": (WAE, {"mode": "adversarial"})}
MODELS = {**WAES, "bigan": (BiGAN, {}), "avb": (AVB, {})}


def build(name, x_dim=6, latent_dim=2, hidden=(16,), c_dim=1, value=1.0, **settings):
    kind, own = MODELS[name]
    head = Gaussian("fixed", value=value, **flat(x_dim))
    sizes = {"x_dim": x_dim, "c_dim": c_dim, "head": head}
    return kind(latent_dim, hidden, critic_hidden=(32, 32), **{**own, **settings}, **sizes)


def critic_parameters(model):
    return list(model.critic.parameters())


def test_squared_mmd_is_the_mean_of_kernels_of_pairs():
    """The twin in loops, for which the samples differ in what is within one and between both."""
    x, y = torch.randn(7, 3), 0.5 + 2.0 * torch.randn(7, 3)
    expected = 0.0
    for size in (2 * 3 * 1.5**2 * scale for scale in (0.5, 2.0)):

        def kernel(a, b, size=size):
            return size / (size + (a - b).square().sum())

        within = sum(
            kernel(s[i], s[j]) for s in (x, y) for i, j in itertools.permutations(range(7), 2)
        )
        between = sum(kernel(a, b) for a in x for b in y)
        expected += within / 42 - 2 * between / 49
    found = mmd(x, y, 1.5, (0.5, 2.0))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_squared_mmd_has_no_bias():
    """Zero on average for samples of one distribution; the one of all pairs would be positive."""
    torch.manual_seed(0)
    same = torch.stack([mmd(torch.randn(8, 2), torch.randn(8, 2), 1.0) for _ in range(300)])
    assert abs(float(same.mean())) < 4 * float(same.std()) / math.sqrt(300)
    shifted = mmd(torch.randn(1000, 2), torch.randn(1000, 2) + 0.5, 1.0)
    assert float(shifted) > 20 * float(same.std()) * 8 / 1000
    assert float(mmd(torch.randn(1, 2), torch.randn(1, 2), 1.0)) == 0.0


def test_the_gradient_penalty_of_a_linear_critic():
    """(|w| - 1)^2 wherever it is looked at; what the critic is told does not count."""
    critic = Critic(9, (), "silu")
    real, generated = ((torch.randn(5, 4), torch.randn(5, 3)) for _ in range(2))
    found = gradient_penalty(critic, real, generated, torch.rand(5, 1), torch.randn(5, 2))
    norm = critic[0].weight[0, :7].norm()
    torch.testing.assert_close(found, (norm - 1).square(), rtol=1e-6, atol=1e-9)


def test_the_penalty_looks_between_a_shower_and_a_generated_one():
    """All parts of a row at one place: at eta of the way from what is real."""
    seen = []

    class Watched(Critic):
        def said(self, *parts):
            seen.append(parts[0].detach())
            return super().said(*parts)

    critic = Watched(5, (8,), "silu")
    real, generated = ((torch.randn(4, 3), torch.randn(4, 2)) for _ in range(2))
    eta = torch.tensor([[0.0], [1.0], [0.5], [0.25]])
    gradient_penalty(critic, real, generated, eta, torch.zeros(4, 0))
    a, b = torch.cat(real, 1), torch.cat(generated, 1)
    torch.testing.assert_close(seen[0], a + eta * (b - a))


def test_bigans_losses_with_a_linear_critic():
    torch.manual_seed(3)
    model = build("bigan", penalty=10.0, reconstruction_weight=2.0, prior_range=0.5)
    model.critic = Critic(6 + 2 + 1, (), "silu")
    x, c = torch.randn(30, 6), torch.randn(30, 1)
    torch.manual_seed(1)
    loss = model.loss((x, c), "critic")
    torch.manual_seed(1)
    prior = 0.5 * (2 * torch.rand(30, 2) - 1)
    w = model.critic[0].weight[0]
    z = model.encode(x, c)
    generated = model.head.mean(model.decode(prior, c))
    far = ((torch.cat([x, z], 1) - torch.cat([generated, prior], 1)) @ w[:8]).mean()
    penalty = 10.0 * (w[:8].norm() - 1).square()
    torch.testing.assert_close(loss, penalty - far, rtol=1e-5, atol=1e-5)
    torch.manual_seed(1)
    unlikely = 0.5 * ((x - model.head.mean(model.decode(z, c))).square().sum(1)).mean()
    unlikely = unlikely + 3 * math.log(2 * math.pi)
    torch.testing.assert_close(model.loss((x, c)), far + 2 * unlikely, rtol=1e-5, atol=1e-5)


def test_waes_losses():
    torch.manual_seed(3)
    model = build("wae-adversarial", weight=3.0, prior_sigma=2.0)
    x, c = torch.randn(30, 6), torch.randn(30, 1)
    z = model.encode(x, c)
    unlikely = 0.5 * model.reconstruction_error(x, c).mean() + 3 * math.log(2 * math.pi)
    fooled = F.binary_cross_entropy_with_logits(model.critic(z), torch.zeros(30, 1))
    torch.testing.assert_close(model.loss((x, c)), unlikely + 3 * fooled)
    torch.manual_seed(1)
    loss = model.loss((x, c), "critic")
    torch.manual_seed(1)
    prior = 2.0 * torch.randn(30, 2)
    told = F.binary_cross_entropy_with_logits(model.critic(z), torch.ones(30, 1))
    told = told + F.binary_cross_entropy_with_logits(model.critic(prior), torch.zeros(30, 1))
    torch.testing.assert_close(loss, told)
    kernel = build("wae-mmd", weight=3.0)
    assert kernel.players == {"model": 1}
    torch.manual_seed(1)
    loss = kernel.loss((x, c))
    torch.manual_seed(1)
    z = kernel.encode(x, c)
    unlikely = 0.5 * kernel.reconstruction_error(x, c).mean() + 3 * math.log(2 * math.pi)
    torch.testing.assert_close(loss, unlikely + 3 * mmd(z, torch.randn(30, 2), 1.0))


@pytest.mark.parametrize("name", ["wae-adversarial", "bigan", "avb"])
def test_each_player_has_what_is_its_own(name):
    """The critic's loss has no graph into encoder and decoder; all are somebody's."""
    model = build(name)
    players = {player: model.player_parameters(player) for player in model.players}
    assert list(players) == ["critic", "model"]
    assert {id(p) for p in players["critic"]} == {id(p) for p in critic_parameters(model)}
    assert len(players["critic"]) + len(players["model"]) == len(list(model.parameters()))
    model.loss((torch.randn(9, 6), torch.randn(9, 1)), "critic").backward()
    assert all(p.grad is None for p in players["model"])
    assert all(p.grad is not None for p in players["critic"])


@pytest.mark.parametrize("name", ["wae-adversarial", "wae-mmd", "bigan"])
def test_validation_does_not_ask_the_critic_for_the_loss(name):
    """Its numbers are of other units in every epoch."""
    model = build(name).eval()
    batch = torch.randn(50, 6), torch.randn(50, 1)

    def scores():
        torch.manual_seed(0)
        with torch.no_grad():
            return model.scores(batch)

    before = scores()
    assert before["reconstruction"] == model.reconstruction_error(*batch).mean()
    told = {"critic", "wasserstein"} & before.keys()
    if model.critic is None:
        assert not told
        return
    with torch.no_grad():
        for parameter in critic_parameters(model):
            parameter.add_(1.0)
    after = scores()
    assert after["loss"] == before["loss"]
    assert all(after[name] != before[name] for name in told)


@pytest.mark.parametrize("name", ["wae-mmd", "bigan", "avb"])
def test_critics_see_what_a_head_is_told(name):
    """Moments beside latents of a head that wants them: the decoder is told, noisily."""
    geometry = tiny()
    model = make_encoder(name.partition("-")[0], "autoregressive_dipoles", geometry)
    x, c = share_rows(geometry, 20)
    for player in model.players:
        assert torch.isfinite(model.loss((x, c), player))
    assert model.draw(x, c).shape[1] == model.n_learned + model.head.moment_dim


def test_the_ratio_of_normal_distributions_is_exact_where_r_is_q():
    """A classifier that says nothing leaves log r - log p."""
    ratio = LogRatio(1, 2, (), "silu", "adaptive")
    with torch.no_grad():
        for parameter in ratio.net.parameters():
            parameter.zero_()
        ratio.normal[0].weight.zero_()
        ratio.normal[0].bias.copy_(torch.tensor([0.3, -1.0, math.log(0.1), math.log(2.0)]))
    z, normal = torch.randn(50, 2), torch.distributions.Normal
    q = normal(torch.tensor([0.3, -1.0]), torch.tensor([0.1, 2.0]))
    expected = (q.log_prob(z) - normal(0.0, 1.0).log_prob(z)).sum(1)
    torch.testing.assert_close(ratio(torch.zeros(50, 1), z), expected, rtol=1e-4, atol=1e-4)


def test_telling_apart_is_least_at_the_log_ratio():
    logits, ratio = torch.linspace(-3, 3, 601), 0.7
    p, q = torch.tensor(1.0), torch.tensor(math.exp(ratio))
    cost = torch.stack([q * telling_apart(t, torch.tensor(-99.0)) + p * F.softplus(t)
                        for t in logits])  # fmt: skip
    assert float(logits[cost.argmin()]) == pytest.approx(ratio, abs=0.01)
    nothing = torch.zeros(4)
    assert float(telling_apart(nothing, nothing)) == pytest.approx(2 * math.log(2))


@pytest.mark.parametrize(
    ("contrast", "sigma"),
    [
        ("adaptive", 0.1),
        pytest.param("adaptive", 0.6, marks=pytest.mark.slow),
        pytest.param("prior", 0.6, marks=pytest.mark.slow),
    ],
)
def test_the_critic_learns_the_log_ratio(contrast, sigma):
    """q(z | x) = N(0.8 x, sigma^2): R^2 of T in the exact log q - log p on draws of q."""
    torch.manual_seed(0)
    model = build("avb", 1, 1, (), noise_dim=1, contrast=contrast, conditional=False)
    with torch.no_grad():
        model.encoder[0].weight.copy_(torch.tensor([[0.8, sigma]]))
        model.encoder[0].bias.zero_()
    x, c = torch.randn(20_000, 1), torch.zeros(20_000, 1)
    fit(model, (x, c), 300 if contrast == "adaptive" else 600, 3e-3, only="critic")
    normal = torch.distributions.Normal
    with torch.no_grad():
        z = model.draw(x, c)
        found = model.critic(model.seen(x, c), z)
    exact = (normal(0.8 * x, sigma).log_prob(z) - normal(0.0, 1.0).log_prob(z))[:, 0]
    assert 1 - float((found - exact).square().mean() / exact.var()) > 0.97
    assert float(found.mean()) == pytest.approx(float(exact.mean()), abs=0.03)


def linear_data(n=4000, x_dim=368):
    x = torch.randn(n, 5) @ torch.randn(5, x_dim)
    return x / x.std(), torch.zeros(n, 1)


def sliced_w2(z):
    """Squared, of latents from N(0, 1), over 64 directions."""
    generator = torch.Generator().manual_seed(0)
    prior = torch.randn(z.shape, generator=generator)
    axes = F.normalize(torch.randn(z.shape[1], 64, generator=generator), dim=0)
    return float(((z @ axes).sort(0).values - (prior @ axes).sort(0).values).square().mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_five_dimensions_in_368_are_found(name):
    """Rec/Var below 1 %, and a WAE's latents nearer to the prior than before."""
    torch.manual_seed(0)
    x, c = linear_data()
    model = build(name, 368, 5, (64,), conditional=False)
    with torch.no_grad():
        before = sliced_w2(model.encode(x, c)) ** 0.5
    fit(model, (x, c), 800, 2e-3, 128)
    with torch.no_grad():
        error = float(model.reconstruction_error(x, c).mean() / x.var(0).sum())
        after = sliced_w2(model.encode(x, c)) ** 0.5
    assert error < 0.01
    if name in WAES:
        assert after < 0.3 * before


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("wae-mmd", {"mode": "gan"}),
        ("wae-mmd", {"weight": -1.0}),
        ("bigan", {"critic_steps": 0}),
        ("avb", {"contrast": "none"}),
    ],
)
def test_refuses(name, settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        build(name, **settings)


@pytest.mark.parametrize("name", MODELS)
def test_a_decoder_needs_no_critic(name):
    model = build(name)
    needed = {id(p) for p in model.parameters()} - {id(p) for p in model.training_only()}
    assert needed == {id(p) for p in model.decoder.parameters()}
    assert isinstance(model.decoder, nn.Module)
