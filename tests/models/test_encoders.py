"""Encoders and the Gaussian head against closed forms."""

import math

import pytest
import torch
from torch import nn

from caloman_cli.errors import UserError
from caloman_cli.models.encoders.ae import AE
from caloman_cli.models.encoders.identity import Identity
from caloman_cli.models.encoders.jacobian import half_logdet
from caloman_cli.models.encoders.pca import PCA
from caloman_cli.models.encoders.posterior import DiracPosterior, GaussianPosterior
from caloman_cli.models.encoders.vae import VAE
from caloman_cli.models.heads.gaussian import Gaussian, Normal
from caloman_cli.models.nn.mlp import MLP
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import Step, TensorRows
from caloman_cli.models.turns import Turns
from tests.contracts.groups import flat, make_head, share_rows


def linear_data(n, x_dim=40, rank=5, noise=0.0, shift=3.0):
    axes = torch.randn(rank, x_dim) * torch.linspace(2, 1, rank)[:, None]
    return torch.randn(n, rank) @ axes + noise * torch.randn(n, x_dim) + shift


def train(model, x, steps, rate):
    c = torch.zeros(len(x), 1)
    model.prepare(TensorRows(x, c))
    optimiser = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        index = torch.randint(0, len(x), (256,))
        optimiser.zero_grad()
        model.loss((x[index], c[index])).backward()
        optimiser.step()
        schedule.step()
    return model.eval(), c


@pytest.mark.parametrize(("kind", "limit"), [("ae", 1e-3), ("vae", 1e-2), ("pca", 1e-6)])
def test_linear_manifold_is_found(kind, limit):
    x = linear_data(2000, shift=0.0)
    make = {"x_dim": 40, "c_dim": 1}
    if kind == "ae":
        model = AE(5, (), head=Gaussian("fixed", value=0.1, **flat(40)), **make)
    elif kind == "vae":
        model = VAE(5, (), head=Gaussian("fixed", value=0.1, **flat(40)), **make)
    else:
        model = PCA(5, head=Gaussian(**flat(40)), **make)
    if kind == "pca":
        c = torch.zeros(len(x), 1)
        model.prepare(TensorRows(x, c))
    else:
        model, c = train(model, x, 600 if kind == "vae" else 300, 1e-2)
    with torch.no_grad():
        error = model.reconstruction_error(x, c).mean() / x.var(0).sum()
    assert float(error) < limit


def test_one_direction_too_few_costs_its_eigenvalue():
    x = linear_data(2000)
    model = PCA(4, head=Gaussian(**flat(40)), x_dim=40, c_dim=1)
    model.prepare(TensorRows(x, torch.zeros(len(x), 1)))
    values = torch.linalg.eigvalsh(torch.cov(x.T.double(), correction=0))
    error = model.reconstruction_error(x, torch.zeros(len(x), 1)).mean().double()
    torch.testing.assert_close(error, values[-5] + values[:-5].sum(), rtol=1e-3, atol=0)


def test_pca_sigma_is_what_the_axes_leave_out():
    x = linear_data(20000, noise=0.5)
    model = PCA(5, head=Gaussian(**flat(40)), x_dim=40, c_dim=1)
    model.prepare(TensorRows(x, torch.zeros(len(x), 1)))
    assert abs(float(model.sigma) - 0.5) < 0.01
    torch.testing.assert_close(model.axes @ model.axes.T, torch.eye(5), atol=1e-5, rtol=0)


def test_randomised_pca_agrees_with_the_exact_one(monkeypatch):
    x = linear_data(800, x_dim=120, rank=8, noise=0.3)
    rows = TensorRows(x, torch.zeros(800, 1))
    exact = PCA(6, head=Gaussian(**flat(120)), x_dim=120, c_dim=1)
    exact.prepare(rows)
    monkeypatch.setattr("caloman_cli.models.encoders.projection._EXACT", 50)
    monkeypatch.setattr("caloman_cli.models.encoders.projection._CHUNK_VALUES", 120 * 100)
    streamed = PCA(6, head=Gaussian(**flat(120)), x_dim=120, c_dim=1)
    streamed.prepare(rows)
    torch.testing.assert_close(streamed.axes, exact.axes, atol=2e-3, rtol=0)
    torch.testing.assert_close(streamed.sigma, exact.sigma, rtol=1e-3, atol=0)


def test_pca_needs_more_showers_than_directions():
    model = PCA(5, head=Gaussian(**flat(40)), x_dim=40, c_dim=1)
    with pytest.raises(UserError, match="latent_dim=5"):
        model.prepare(TensorRows(torch.randn(5, 40), torch.zeros(5, 1)))


def linear_gaussian_vae(samples=1):
    """A VAE whose decoder is x = A z + s n and whose encoder is its exact posterior."""
    torch.manual_seed(2)
    a, s = torch.randn(6, 2), 0.7
    head = Gaussian("fixed", value=s, **flat(6))
    model = VAE(2, (), samples=samples, conditional=False, x_dim=6, c_dim=1, head=head)
    precision = torch.eye(2) + a.T @ a / s**2
    covariance = torch.linalg.inv(precision)
    with torch.no_grad():
        model.decoder[0].weight.copy_(a)
        model.decoder[0].bias.zero_()
        model.encoder[0].weight.copy_(torch.cat([covariance @ a.T / s**2, torch.zeros(2, 6)]))
        # The exact posterior correlates the latents; take the best diagonal normal.
        model.encoder[0].bias.copy_(torch.cat([torch.zeros(2), -0.5 * precision.diagonal().log()]))
    x = torch.randn(20000, 2) @ a.T + s * torch.randn(20000, 6)
    evidence = torch.distributions.MultivariateNormal(
        torch.zeros(6), a @ a.T + s**2 * torch.eye(6)
    ).log_prob(x)
    # KL between the diagonal normal and the exact posterior: the ELBO's known gap.
    gap = 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision))
    return model, x, evidence.mean(), gap


def test_vae_loss_is_the_evidence_bound():
    model, x, evidence, gap = linear_gaussian_vae()
    with torch.no_grad():
        bound = -model.loss((x, torch.zeros(len(x), 1)))
    torch.testing.assert_close(evidence - bound, gap, atol=0.03, rtol=0)


def test_importance_samples_tighten_the_bound():
    model, x, evidence, gap = linear_gaussian_vae(samples=32)
    with torch.no_grad():
        bound = -model.loss((x[:5000], torch.zeros(5000, 1)))
    del evidence
    exact = -linear_gaussian_vae()[0].loss((x[:5000], torch.zeros(5000, 1))).detach() + gap
    assert abs(float(exact - bound)) < 0.05 + 0.2 * float(gap)


def test_beta_weighs_the_divergence():
    x, c = torch.randn(64, 6), torch.zeros(64, 1)
    losses = []
    for beta in (0.0, 1.0, 3.0):
        torch.manual_seed(0)
        model = VAE(2, (8,), beta=beta, x_dim=6, c_dim=1, head=Gaussian(**flat(6)))
        losses.append(float(model.loss((x, c)).detach()))
    assert math.isclose(losses[2] - losses[0], 3 * (losses[1] - losses[0]), rel_tol=1e-3)


def small_vae(**settings):
    torch.manual_seed(0)
    return VAE(2, (8,), x_dim=6, c_dim=1, head=Gaussian(**flat(6)), **settings)


def encoder_gradient(model, x, c):
    torch.manual_seed(1)
    model.zero_grad()
    model.loss((x, c)).backward()
    return torch.cat([p.grad.flatten() for p in model.encoder.parameters()])


def test_free_bits_cost_nothing():
    """Below the limit of nats per dimension the divergence has no gradient, as with beta = 0."""
    x, c = torch.randn(64, 6), torch.zeros(64, 1)
    free = encoder_gradient(small_vae(free_bits=1e3), x, c)
    torch.testing.assert_close(free, encoder_gradient(small_vae(beta=0.0), x, c))
    assert not torch.allclose(free, encoder_gradient(small_vae(), x, c))
    bound = encoder_gradient(small_vae(free_bits=1e-6), x, c)
    torch.testing.assert_close(bound, encoder_gradient(small_vae(), x, c))


def test_every_shower_costs_delta():
    """However wide a network would like to be: 1 nat for sigma = 0.229 and a mean of 0."""
    model = small_vae(delta=1.0)
    with torch.no_grad():
        last = list(model.encoder.parameters())[-1]
        last.zero_()
        last[len(last) // 2 :] = 50.0
    for parameter in list(model.encoder.parameters())[:-1]:
        torch.nn.init.zeros_(parameter)
    posterior = model.posterior(torch.randn(5, 6), torch.zeros(5, 1))
    torch.testing.assert_close(posterior.kl(), torch.ones_like(posterior.kl()))
    torch.testing.assert_close(posterior.sigma[0, 0].item(), 0.2290605, rtol=1e-5, atol=0.0)
    assert float(encoder_gradient(model, torch.randn(8, 6), torch.zeros(8, 1)).abs().sum()) > 0


def test_free_bits_keep_dimensions_in_use():
    """Latents that pay less than they cost die without free bits, and live with them."""
    x, c = torch.randn(256, 6), torch.zeros(256, 1)
    nats = []
    for free_bits in (0.0, 0.5):
        model = VAE(
            2, (), free_bits=free_bits, x_dim=6, c_dim=1, head=Gaussian("fixed", **flat(6))
        )
        optimiser = torch.optim.Adam(model.parameters(), 2e-2)
        for _ in range(150):
            optimiser.zero_grad()
            model.loss((x, c)).backward()
            optimiser.step()
        nats.append(model.posterior(x, c).kl().mean(0).detach())
    assert (nats[0] < 0.2).all()
    assert (nats[1] > 0.4).all()


def test_divergence_is_that_of_torch():
    mean, sigma = torch.randn(5, 3), torch.rand(5, 3) + 0.1
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, sigma), normal(0.0, 1.0))
    torch.testing.assert_close(GaussianPosterior(mean, sigma).kl(), expected)


@pytest.mark.parametrize("samples", [1, 4])
def test_the_divergence_warms_up_with_the_steps_of_the_training(samples):
    x, c = torch.randn(64, 6), torch.zeros(64, 1)

    def loss(model, step=0):
        torch.manual_seed(1)
        model.step = Step(step, 100)
        return float(model.loss((x, c)).detach())

    quarters = [loss(small_vae(beta=0.5 * k, samples=samples)) for k in range(5)]
    model = small_vae(beta=2.0, kl_warmup=4, samples=samples)
    assert loss(model.eval()) == pytest.approx(quarters[4])  # validation takes it whole
    model.train()
    rising = [loss(model, step) for step in (0, 1, 2, 3, 4, 50)]
    assert rising == pytest.approx([*quarters[1:], quarters[4], quarters[4]])


def test_files_of_versions_that_counted_steps_are_read():
    model = small_vae(kl_warmup=4)
    old = {**model.state_dict(), "steps": torch.tensor(7)}
    nn.ModuleDict({"encoder": model}).load_state_dict(
        {f"encoder.{name}": value for name, value in old.items()}
    )
    model.load_state_dict(old)
    assert "steps" in old
    with pytest.raises(RuntimeError, match="stepz"):
        model.load_state_dict({**old, "stepz": torch.tensor(7)})


def test_showers_are_turned_in_training_only(tiny_geometry, monkeypatch):
    head = make_head("gaussian", tiny_geometry)
    model = VAE(2, (8,), augment=True, x_dim=12, c_dim=7, head=head)
    turned = []

    class Listening(Turns):
        def __call__(self, x, turn):
            turned.append(turn)
            return 1000 + x

    monkeypatch.setattr(head, "turned", Listening(tiny_geometry))
    batch = share_rows(tiny_geometry)
    plain = model.eval().loss(batch)
    assert not turned
    assert model.train().loss(batch) > 10 * plain
    assert [turn.shape for turn in turned] == [batch[0].shape[:1]]
    assert set(turned[0].tolist()) <= set(range(head.n_turns))


def test_layer_norm_normalises_hidden_layers():
    """What a layer norm follows may have any scale."""
    x = torch.randn(5, 3)
    for layer_norm in (False, True):
        net = MLP(3, [16, 8], 2, layer_norm=layer_norm)
        before = net(x)
        with torch.no_grad():
            for layer in list(net)[:-1]:
                if isinstance(layer, nn.Linear):
                    layer.weight.mul_(7.0)
                    layer.bias.mul_(7.0)
        assert torch.allclose(net(x), before, rtol=1e-2, atol=1e-2) is layer_norm
    assert any(isinstance(part, nn.LayerNorm) for part in small_vae(layer_norm=True).modules())
    assert not any(isinstance(part, nn.LayerNorm) for part in small_vae().modules())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"free_bits": -1.0}, "free_bits=-1.0"),
        ({"kl_warmup": -1}, "kl_warmup=-1"),
        ({"free_bits": 0.1, "samples": 2}, "free_bits needs encoder.samples=1"),
        ({"delta": 11.0}, "delta=11: must be from 1e-06 to 10 nats, or 0"),
        ({"delta": 1e-17}, "delta=1e-17: must be from 1e-06"),
    ],
)
def test_vae_refuses(settings, message):
    with pytest.raises(UserError, match=message):
        small_vae(**settings)


@pytest.mark.parametrize("encoder", [VAE, AE])
def test_conditional_is_a_choice(encoder):
    x, z = torch.randn(3, 6), torch.randn(3, 2)
    one, two = torch.zeros(3, 4), torch.ones(3, 4)
    for conditional in (True, False):
        model = encoder(
            2, (8,), conditional=conditional, x_dim=6, c_dim=4, head=Gaussian(**flat(6))
        )
        same = torch.equal(model.encode(x, one), model.encode(x, two))
        same_decoded = torch.equal(model.decode(z, one)[0], model.decode(z, two)[0])
        assert same is same_decoded is (not conditional)


@pytest.mark.parametrize("encoder", [VAE, AE, PCA])
@pytest.mark.parametrize("latent_dim", ["auto", "many", 0, 7])
def test_latent_dim_must_be_a_number_that_fits(encoder, latent_dim):
    with pytest.raises(UserError, match=f"latent_dim={latent_dim}"):
        encoder(latent_dim, x_dim=6, c_dim=1, head=Gaussian(**flat(6)))


def test_identity_changes_nothing():
    model = Identity(x_dim=6, c_dim=1, head=Gaussian(draw=True, **flat(6)))
    x, c = torch.randn(4, 6), torch.zeros(4, 1)
    posterior = model.posterior(x, c)
    assert isinstance(posterior, DiracPosterior)
    assert torch.equal(posterior.mean, x)
    assert not posterior.sigma.any()
    assert torch.equal(model.head.sample(model.decode(x, c), Noise(0, 0, 4)), x)
    assert float(model.loss((x, c))) == 0.0


class Circle(nn.Module):
    def forward(self, z, c):
        return c[:, :1] * torch.cat([z.cos(), z.sin()], 1)


def test_half_logdet_of_a_circle_is_the_log_radius():
    z, radius = torch.rand(100, 1) * 6, torch.linspace(0.1, 9, 100)[:, None]
    result = half_logdet(Circle(), z, radius, chunk=7)
    torch.testing.assert_close(result, radius[:, 0].double().log(), atol=1e-6, rtol=0)


def test_half_logdet_of_a_linear_map():
    a = torch.randn(9, 4)
    result = half_logdet(lambda z, c: z @ a.T, torch.randn(3, 4), torch.zeros(3, 0))
    expected = 0.5 * torch.logdet(a.T.double() @ a.double())
    torch.testing.assert_close(result, expected.expand(3), atol=1e-5, rtol=0)


def test_half_logdet_of_encoders_in_closed_form():
    z, c = torch.randn(2, 3), torch.zeros(2, 1)
    pca = PCA(3, head=Gaussian(**flat(8)), x_dim=8, c_dim=1)
    pca.prepare(TensorRows(torch.randn(50, 8), torch.zeros(50, 1)))
    slow = half_logdet(lambda zs, cs: pca.head.mean(pca.decode(zs, cs)), z, c)
    torch.testing.assert_close(pca.half_logdet(z, c), slow, atol=1e-5, rtol=0)
    identity = Identity(x_dim=3, c_dim=1, head=Gaussian(**flat(3)))
    assert identity.half_logdet(z, c).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("sigma", ["shower", "voxel", "fixed"])
def test_gaussian_head_is_the_normal_distribution(sigma):
    head = Gaussian(sigma, draw=True, value=0.5, **flat(4))
    raw, x = torch.randn(6, head.out_dim), torch.randn(6, 4)
    mean, scale = head.params(raw, torch.zeros(6, 3))
    normal = torch.distributions.Normal(mean, scale.expand(6 if sigma != "fixed" else 1, -1))
    torch.testing.assert_close(head.log_prob(Normal(mean, scale), x), normal.log_prob(x).sum(1))
    many = head.params(raw[:1].expand(50000, -1), torch.zeros(50000, 3))
    drawn = head.sample(many, Noise(0, 0, 50000))
    torch.testing.assert_close(drawn.mean(0), mean[0], atol=0.05 * float(scale.max()), rtol=0)
    torch.testing.assert_close(
        drawn.std(0), scale[0].expand(4), atol=0.02 * float(scale.max()), rtol=0
    )


def test_gaussian_head_generates_the_mean_unless_told():
    head = Gaussian(**flat(4))
    params = head.params(torch.randn(6, 5), torch.zeros(6, 3))
    assert torch.equal(head.sample(params, Noise(0, 0, 6)), params[0])


@pytest.mark.parametrize("arguments", [{"sigma": "layer"}, {"value": 0.0}])
def test_gaussian_head_refuses(arguments):
    with pytest.raises(UserError, match=f"^Gaussian: {next(iter(arguments))}="):
        Gaussian(**arguments, **flat(4))


def test_unknown_activation_lists_what_exists():
    with pytest.raises(UserError, match="activation=swish: must be relu, silu, elu, gelu, tanh"):
        MLP(3, [4], 2, "swish")
