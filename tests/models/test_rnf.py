"""Rectangular flows: an exact inverse, an exact volume, and what their likelihood learns."""

import math

import pytest
import torch

from caloman_cli.errors import UserError
from caloman_cli.models.encoders.pca import PCA
from caloman_cli.models.encoders.rnf import RNF
from caloman_cli.models.heads.gaussian import Gaussian
from caloman_cli.models.nn.forward_mode import jvp
from caloman_cli.models.nn.rectangular import (
    Householders,
    _solved,
    exact_half_logdet,
    surrogate_half_logdet,
)
from caloman_cli.models.trainable import Step, TensorRows
from caloman_cli.models.two_step import build as build_model
from tests.contracts.groups import (
    flat,
    make_encoder,
    make_head,
    share_rows,
    shares,
    small,
    toy_for,
)
from tests.models.adversarial import fit

RADIUS = 3.0


def build(latent_dim=3, x_dim=7, flow_hidden=(16,), **settings):
    head = Gaussian("fixed", **flat(x_dim))
    sizes = {"x_dim": x_dim, "c_dim": 1, "head": head}
    return RNF(latent_dim, flow_hidden=flow_hidden, **{"conditional": False, **settings}, **sizes)


def bend(model, by=0.15):
    """Give couplings something to do."""
    with torch.no_grad():
        for net in model.couplings.nets:
            for parameter in net[-1].parameters():
                parameter.copy_(by * torch.randn_like(parameter))
        model.turn.vectors.add_(0.3 * torch.randn_like(model.turn.vectors))
    return model


def rows(n=500, x_dim=7):
    """Of a bent surface of three dimensions, and noise."""
    z = torch.randn(n, 3)
    x = torch.cat([2 * z, 0.5 * z.square(), 0.1 * torch.randn(n, x_dim - 6)], 1)
    return x + 1.0, torch.zeros(n, 1)


def test_reflections_are_an_orthogonal_map_that_begins_at_a_plane():
    turn = Householders(9, 4)
    axes = torch.linalg.qr(torch.randn(9, 4)).Q.T
    turn.begin_at(axes)
    images = turn(torch.eye(9))
    torch.testing.assert_close(images @ images.T, torch.eye(9), atol=1e-5, rtol=0)
    torch.testing.assert_close((images[:4] @ axes.T).abs(), torch.eye(4), atol=1e-5, rtol=0)
    with torch.no_grad():
        turn.vectors.copy_(torch.randn(9, 4))
    images, x = turn(torch.eye(9)), torch.randn(5, 9)
    torch.testing.assert_close(images @ images.T, torch.eye(9), atol=1e-5, rtol=0)
    torch.testing.assert_close(turn.inverse(turn(x)), x, atol=1e-5, rtol=1e-5)
    one = torch.eye(9)
    for v in turn.vectors.T:
        one = one @ (torch.eye(9) - 2 * torch.outer(v, v) / v.square().sum())
    torch.testing.assert_close(images.T, one, atol=1e-5, rtol=0)


def test_it_begins_as_the_principal_plane_with_latents_of_variance_one():
    x, c = rows()
    flow, plane = build(), PCA(3, x_dim=7, c_dim=1, head=Gaussian(**flat(7)))
    for model in (flow, plane):
        model.prepare(TensorRows(x, c))
    with torch.no_grad():
        z, of_plane = flow.encode(x, c), plane.encode(x, c)
        torch.testing.assert_close(
            flow.reconstruction_error(x, c), plane.reconstruction_error(x, c), atol=1e-4, rtol=1e-4
        )
    of_plane = of_plane / of_plane.std(0, correction=0)
    torch.testing.assert_close(z.abs(), of_plane.abs(), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(flow.sigma, plane.sigma)


def test_latents_of_the_manifold_are_found_again():
    torch.manual_seed(0)
    model = build(conditional=True)
    model.prepare(TensorRows(*rows()))
    bend(model)
    z, c = torch.randn(50, 3), torch.randn(50, 1)
    with torch.no_grad():
        mean = model.head.mean(model.decode(z, c))
        torch.testing.assert_close(model.encode(mean, c), z, atol=1e-4, rtol=1e-4)
        assert float(model.reconstruction_error(mean, c).max()) < 1e-8
        moved = (model.encode(mean, c + 1.0) - z).abs().max()
    assert moved > 1e-2  # couplings see c


def test_the_volume_of_a_linear_map_is_exact():
    a = torch.randn(9, 4)
    found = exact_half_logdet(lambda z: z @ a.T, torch.randn(3, 4))
    expected = 0.5 * torch.logdet(a.T.double() @ a.double())
    torch.testing.assert_close(found, expected.expand(3), atol=1e-6, rtol=0)


def volumes(model, z, c):
    return exact_half_logdet(lambda rows: model._bent(rows, c), z)


def test_the_volume_is_the_singular_values():
    torch.manual_seed(0)
    model = build()
    model.prepare(TensorRows(*rows()))
    bend(model)
    z, c = torch.randn(4, 3), torch.zeros(4, 1)
    for row in range(4):
        jacobian = torch.func.jacrev(lambda one: model._lift(one[None], c[:1])[0])(z[row])
        expected = torch.linalg.svdvals(jacobian.double()).log().sum()
        for found in (volumes(model, z, c), model.half_logdet(z, c)):
            torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-5)


def test_conjugate_gradients_solve():
    torch.manual_seed(0)
    model = bend(build())
    z, c, e = torch.randn(6, 3), torch.zeros(6, 1), torch.randn(6, 3)
    found = _solved(lambda rows: model._bent(rows, c), z, e)
    for row in range(6):
        jacobian = torch.func.jacrev(lambda one: model._bent(one[None], c[:1])[0])(z[row])
        expected = torch.linalg.solve(jacobian.T @ jacobian, e[row])
        torch.testing.assert_close(found[row], expected, atol=1e-3, rtol=1e-3)


def test_conjugate_gradients_are_few_where_a_training_begins(monkeypatch):
    """Latents of lengths that differ by far: one step for all of them, as J^T J is 1."""
    model = build(exact=0)
    x, c = rows()
    x[:, 0] *= 100.0
    model.prepare(TensorRows(x, c))
    slopes = []

    def counted(*args):
        slopes.append(1)
        return jvp(*args)

    monkeypatch.setattr("caloman_cli.models.nn.rectangular.jvp", counted)
    model._volume(model.encode(x, c), c)
    assert len(slopes) == 1 + 2


def test_the_surrogate_has_the_gradient_of_the_volume():
    """Of weights and of latents, over 20 000 random vectors: within 3 %."""
    torch.manual_seed(0)
    model = bend(build(flow_hidden=(8,), n_layers=4))
    z = torch.randn(2, 3).requires_grad_()
    many, c = z.repeat_interleave(10_000, 0), torch.zeros(20_000, 1)
    weights = [z, *model.couplings.parameters()]
    exact = torch.autograd.grad(volumes(model, z, c[:2]).mean(), weights, allow_unused=True)
    surrogate = surrogate_half_logdet(lambda rows: model._bent(rows, c), many).mean()
    found = torch.autograd.grad(surrogate, weights, allow_unused=True)
    exact, found = (
        torch.cat([g.flatten().float() for g in grads if g is not None])
        for grads in (exact, found)
    )
    assert float((found - exact).norm() / exact.norm()) < 0.03
    assert float(surrogate.detach()) == pytest.approx(1.5, rel=0.05)  # D / 2: no log-determinant


def test_the_loss_is_the_papers():
    torch.manual_seed(0)
    model = build(beta=7.0, warmup=0.2, n_layers=2)
    x, c = rows()
    model.prepare(TensorRows(x, c))
    bend(model, 0.05)
    model.train()
    with torch.no_grad():
        z = model.encode(x, c)
        far = model.reconstruction_error(x, c).mean() * 7.0 / model.scales[-1].square()
        base = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
        unlikely = (model.half_logdet(z, c) - base).mean().float()
        assert far < 1e3  # else the other terms would not be seen
        for number, weight in ((0, 0.0), (20, 0.0), (30, 0.5), (40, 1.0), (99, 1.0)):
            model.step = Step(number, 100)
            torch.testing.assert_close(model.loss((x, c)), far + weight * unlikely)
        model.step = Step(0, 100)
        torch.testing.assert_close(model.eval().loss((x, c)), far + unlikely)


def test_there_must_be_something_left_to_project():
    with pytest.raises(UserError, match=r"encoder=rnf encoder.latent_dim=7: .*encoder=identity"):
        build(7)
    geometry = toy_for("cylinder", None)
    head = make_head("cylinder", geometry)
    sizes = {"x_dim": geometry.n_voxels, "c_dim": shares(geometry).c_dim, "head": head}
    with pytest.raises(UserError, match=f"latent_dim={head.feature_dim}: .*head=cylinder shows"):
        RNF(head.feature_dim, **sizes)


def test_a_head_that_learns_does_not_move_the_manifold():
    geometry = toy_for("cylinder", None)
    x, c = share_rows(geometry, 40)
    model = make_encoder("rnf", "cylinder", geometry)
    model.prepare(TensorRows(x, c))
    model._unlikely((x, c)).backward()
    flow = {id(p) for p in model.training_only()}
    assert flow
    for parameter in model.parameters():
        assert (parameter.grad is None) == (id(parameter) in flow)


def test_likelihood_of_a_two_step_model_is_exact_on_the_manifold(tiny_geometry):
    """A bent line in twelve voxels, in MeV themselves: its density integrates to one."""
    torch.manual_seed(0)
    cfg = {
        "preprocess": small("preprocess", "caloman"),
        "energy": small("energy", "autoregressive"),
        "encoder": small("encoder", "rnf"),
        "head": small("head", "gaussian"),
        "density": small("density", "standard_normal"),
    }
    cfg["preprocess"].transforms = []
    cfg["encoder"].latent_dim, cfg["encoder"].conditional = 1, False
    model = build_model(cfg, tiny_geometry).eval()
    model.energy.log_prob = lambda layers, e_inc: torch.zeros(len(layers))
    bend(model.encoder)
    z = torch.linspace(-5, 5, 2001)[:, None]
    e_inc = torch.full((len(z), 1), 1e4)
    with torch.no_grad():
        line = model.encoder.head.mean(model.encoder.decode(z, torch.zeros(len(z), 7)))
        found = model.log_prob(line, e_inc)
    steps = (line[1:] - line[:-1]).norm(dim=1).double()
    total = float(((0.5 * (found[1:] + found[:-1])).exp() * steps).sum())
    assert total == pytest.approx(1.0, abs=1e-3)
    assert model.kind == "exact"
    assert model.measure.startswith("per MeV of each non-empty layer and of D-dimensional volume")


@pytest.mark.slow
def test_it_bends_and_what_it_leaves_is_the_heads_sigma():
    """A parabola with noise of .1: the plane leaves the parabola."""
    torch.manual_seed(0)
    t, c = torch.randn(4000, 1), torch.zeros(4000, 1)
    x = torch.cat([3 * t, t.square(), torch.zeros(4000, 2)], 1) + 0.1 * torch.randn(4000, 4)
    # Most steps are those without a volume, which are quick; sigma is of the last hundred.
    model = fit(build(1, 4, (32,), n_layers=4, warmup=0.5), (x, c), 800, 1e-2)
    plane = PCA(1, x_dim=4, c_dim=1, head=Gaussian(**flat(4)))
    plane.prepare(TensorRows(x, c))
    with torch.no_grad():
        errors = [float(one.reconstruction_error(x, c).mean()) for one in (model, plane)]
    assert errors[0] == pytest.approx(0.03, rel=0.15)
    assert errors[1] > 1.5
    assert float(model.sigma) == pytest.approx(0.1, rel=0.1)


@pytest.mark.slow
def test_von_mises_on_a_circle():
    """Its density [nats] by a flow of one latent, with the volume and without, where rows are.

    The circle has the radius 3: on one of radius 1 even a perfect flow from N(0, 1) is off by .37
    only without the volume (on average of angles), on this one by 1.30. No flow closes a circle:
    it has a seam, which the likelihood puts where rows are few, if it is there from the start.
    After steps without it the seam may lie anywhere, and stays.
    """
    torch.manual_seed(0)
    angles = torch.distributions.VonMises(torch.tensor(0.0), torch.tensor(1.0)).sample((2000,))
    x, c = RADIUS * torch.stack([angles.cos(), angles.sin()], 1), torch.zeros(2000, 1)
    model = fit(build(1, 2, (32, 32), beta=50.0, warmup=0.0), (x, c), 600, 5e-3)
    t = torch.linspace(-math.pi, math.pi, 1001, dtype=torch.float64)[:-1]
    exact = t.cos() - math.log(2 * math.pi * RADIUS) - torch.special.i0(torch.ones(())).log()
    points, c = RADIUS * torch.stack([t.cos(), t.sin()], 1).float(), torch.zeros(1000, 1)
    with torch.no_grad():
        z = model.encode(points, c)
        there = model.reconstruction_error(points, c) < 0.01 * RADIUS**2  # not at the seam
        volume = model.half_logdet(z, c)
    base = torch.distributions.Normal(0.0, 1.0).log_prob(z[:, 0]).double()
    rows = exact.exp()[there] / exact.exp().sum()
    assert float(rows.sum()) > 0.95
    assert float(rows @ (base - volume - exact)[there].abs()) < 0.25
    assert float(rows @ (base - exact)[there].abs()) > 0.8
    whole = float((base - volume).exp().sum()) * 2 * math.pi * RADIUS / 1000
    assert whole == pytest.approx(1.0, abs=0.1)
