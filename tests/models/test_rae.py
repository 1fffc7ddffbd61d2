"""The regularised autoencoder: scale-free latents, and what noise on them is good for."""

import math

import pytest
import torch

from caloman_cli.models.encoders.rae import RAE
from caloman_cli.models.heads.gaussian import Gaussian
from caloman_cli.models.nn.running import Running
from tests.contracts.groups import flat, make_encoder, share_rows, tiny
from tests.models.adversarial import fit


def build(x_dim=6, latent_dim=3, hidden=(), value=1.0, **settings):
    head = Gaussian("fixed", value=value, **flat(x_dim))
    sizes = {"x_dim": x_dim, "c_dim": 1, "head": head}
    return RAE(latent_dim, hidden, conditional=False, **settings, **sizes)


def test_a_running_mean_begins_with_the_first_batch():
    running = Running(torch.tensor([7.0]))
    where = running.mean
    for n in range(4):
        running.update(torch.tensor([float(n)]))
    assert running.mean is where
    assert float(where) == pytest.approx(1.5)  # 0, 1, 2, 3
    running.count.fill_(10_000)
    running.update(torch.tensor([101.5]))
    assert float(where) == pytest.approx(2.5)


def test_the_encoder_cannot_outgrow_the_noise():
    """Its scale is not seen by the loss, nor by its gradient: normalisation has one, too."""
    torch.manual_seed(0)
    model, batch = build(noise=0.5), (torch.randn(64, 6), torch.zeros(64, 1))
    last = model.encoder[-1]

    def loss():
        torch.manual_seed(1)
        return model.loss(batch)

    before = loss()
    before.backward()
    slope, weight = last.weight.grad, last.weight.detach()
    assert abs(float((slope * weight).sum())) < 1e-5 * float(slope.norm() * weight.norm())
    with torch.no_grad():
        last.weight.mul_(10.0)
        last.bias.add_(3.0)
        torch.testing.assert_close(loss(), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("noise_scale", "mean"), [("fixed", 1.0), ("half_normal", (2 / math.pi) ** 0.5)]
)
def test_noise_has_one_scale_a_row(noise_scale, mean):
    """Squares are noise^2 on average; rows' sizes are the same, or half-normal."""
    torch.manual_seed(0)
    model = build(500, 400, noise=0.3, noise_scale=noise_scale)
    x, c = torch.randn(3000, 500), torch.zeros(3000, 1)
    model.eval()
    with torch.no_grad():
        noise = model._shaken(x, c) - model.encode(x, c)
    scales = noise.square().mean(1).sqrt()
    assert float(noise.square().mean()) == pytest.approx(0.09, rel=0.06)
    assert float(scales.mean() / 0.3) == pytest.approx(mean, rel=0.03)


def test_training_normalises_by_the_batch_and_goes_on_with_its_mean():
    torch.manual_seed(0)
    model = build(noise=0.0)
    x, c = 5.0 * torch.randn(512, 6) + 3.0, torch.zeros(512, 1)
    assert [buffer is model.scale.mean for buffer in model.averaged_buffers()] == [True]
    with torch.no_grad():
        first = model._shaken(x, c)
        model.eval()
        again = model._shaken(x, c)
    torch.testing.assert_close(first.std(0, correction=0), torch.ones(3), rtol=1e-4, atol=0)
    torch.testing.assert_close(first.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(again, first)
    torch.testing.assert_close(model.encode(x, c), first)
    one = model.train().loss((x[:1], c[:1]))
    assert torch.isfinite(one)
    assert int(model.scale.count) == 1


def test_moments_keep_the_noise_that_they_have():
    geometry = tiny()
    model = make_encoder("rae", "autoregressive_dipoles", geometry)
    model.noise = 100.0
    x, c = share_rows(geometry)
    with torch.no_grad():
        told = model._shaken(x, c)[:, model.n_learned :] - model.head.moments(x, c)
    assert float(told.std()) == pytest.approx(0.1, rel=0.1)


def noisy_error(model, x, c, noise):
    """Mean squared error of what is decoded of latents under noise, over noise^2."""
    with torch.no_grad():
        z = model.encode(x, c)
        mean = model.head.mean(model.decode(z + noise * torch.randn_like(z), c))
    return float((mean - x).square().sum(1).mean()) / noise**2


@pytest.mark.slow
def test_noise_has_latents_share_what_it_costs():
    r"""Linear networks: the least error under noise of variance t is known.

    Of D latents of variance 1 with covariance C it is :math:`t\, tr(\Lambda (C + t)^{-1})` in the
    principal axes, least for :math:`C + t \propto \Lambda^{1/2}`:
    :math:`t (tr \Lambda^{1/2})^2 / (D + t D)`. Whitened components, where both trainings begin,
    cost about twice as much; without noise they are as good as any.
    """
    torch.manual_seed(0)
    root, t = torch.tensor([6.0, 1.0, 0.5]), 0.04
    axes, turn = (torch.linalg.qr(torch.randn(n, 3)).Q for n in (6, 3))
    x, c = torch.randn(8000, 3) * root @ axes.T, torch.zeros(8000, 1)
    lengths = torch.linalg.eigvalsh(torch.cov(x.T))[-3:].sqrt()
    least = float(lengths.sum().square()) / (3 + 3 * t)
    errors = []
    for noise in (0.2, 0.0):
        model = build(noise=noise, noise_scale="fixed")
        with torch.no_grad():
            model.encoder[0].weight.copy_(turn @ (axes / root).T)
            model.decoder[0].weight.copy_(axes * root @ turn.T)
            for part in (model.encoder, model.decoder):
                part[0].bias.zero_()
        errors.append(noisy_error(model, x, c, 0.2))
        fit(model, (x, c), 800, 2e-2, batch=512)
        errors.append(noisy_error(model, x, c, 0.2))
    assert min(errors[0], errors[2]) > 1.9 * least
    assert errors[1] == pytest.approx(least, rel=0.04)
    assert errors[3] > 1.2 * least


@pytest.mark.slow
@pytest.mark.parametrize("noise_scale", ["fixed", "half_normal"])
def test_five_dimensions_in_368_are_found(noise_scale):
    """Rec/Var below 1 %, with latents of variance 1."""
    torch.manual_seed(0)
    x = torch.randn(4000, 5) @ torch.randn(5, 368)
    x, c = x / x.std(), torch.zeros(4000, 1)
    model = fit(
        build(368, 5, (64,), value=0.1, noise=0.05, noise_scale=noise_scale), (x, c), 600, 3e-3
    )
    with torch.no_grad():
        share = float(model.reconstruction_error(x, c).mean() / x.var(0).sum())
        z = model.encode(x, c)
    assert share < 1e-2
    torch.testing.assert_close(z.std(0), torch.ones(5), rtol=0, atol=0.05)
