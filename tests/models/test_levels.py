"""Two levels of latents: what a density of them knows, and what a decoder hears."""

import math
from dataclasses import replace

import pytest
import torch

from caloman_cli.errors import UserError
from caloman_cli.models.densities import Levels, StandardNormal
from caloman_cli.models.encoders import VAE
from caloman_cli.models.latents import Latents, LayerLatents
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.base import Context
from caloman_cli.models.preprocess.conditions import Conditions
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import make_head, share_rows, shares
from tests.contracts.test_draws import of_parameters
from tests.models.adversarial import fit


def layered(n_layers, each=1, moments=1, c_dim=2):
    """One latent of the shower, those of the layers, and moments; c's columns take turns."""
    told = tuple((i % c_dim,) for i in range(n_layers))
    return Latents(1 + n_layers * each + moments, layers=LayerLatents(1, each, told))


def made(latents, c_dim=2, **settings):
    """A density with some weights, and scales and correlations to undo; its rows beside it."""
    torch.manual_seed(1)
    model = Levels(StandardNormal, 16, 3, **settings, latents=latents, c_dim=c_dim)
    c, dim = torch.randn(400, c_dim), latents.dim
    z = 2 + torch.randn(400, dim) @ torch.randn(dim, dim) + c[:, :1]
    model.prepare(TensorRows(z, c))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval(), z, c


def test_the_density_integrates_to_one():
    """Of any weights, over a latent of the shower and one of a layer."""
    model, _, _ = made(layered(1, moments=0))
    axis = torch.linspace(-25, 25, 501)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        density = model.log_prob(grid, torch.full((len(grid), 2), 0.3)).double().exp()
    assert float(density.sum()) * float(axis[1] - axis[0]) ** 2 == pytest.approx(1.0, abs=0.003)


def test_the_scores_of_draws_vanish():
    """E[d log p / da] = 0 for each parameter a, of draws from p, over standard errors."""
    model, _, c = made(layered(3, each=2))
    c = c[:1].expand(4000, -1)
    with torch.no_grad():
        z = model.sample(c, Noise(0, 0, len(c)))
    named = dict(model.named_parameters())
    found = of_parameters(named, lambda rows: model.log_prob(z[rows], c[rows]), len(c))
    assert max(found.values()) < 4.0, found


def test_latents_are_drawn_at_the_states_of_log_prob():
    """A place that is one off would not be seen in a sample's shape."""
    second, c = made(layered(3, each=2))[0].second, torch.randn(50, 4)
    with torch.no_grad():
        v = second._sample(c, Noise(3, 0, 50))
        states, chances = second._states(v, c), second.places.chances(Noise(3, 0, 50), c)
        again = [second.places.draw(i, states[:, i], v, c, chances) for i in range(6)]
    torch.testing.assert_close(torch.stack(again, 1), v, rtol=1e-4, atol=1e-4)


def slopes(values, *inputs):
    """Which columns of the inputs the values depend on."""
    found = torch.autograd.grad(values.sum(), inputs, retain_graph=True)
    return [(slope.flatten(1) != 0).any(0).tolist() for slope in found]


def test_a_layer_knows_the_shower_and_all_layers_before():
    """Not the layer before alone; and of its own latents those that are drawn already."""
    second = made(layered(3, each=2))[0].second
    v, c = torch.randn(5, 6, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    states = second._states(v, c)
    for i in range(6):
        of_v, of_c = slopes(states[:, i], v, c)
        assert of_v == [place < i for place in range(6)]
        assert all(of_c)


def test_layers_share_weights_and_each_is_told_of_itself():
    """Where the number of a layer says nothing, its own columns of c do."""
    latents = layered(3, each=2, c_dim=3)
    second = made(latents, c_dim=3)[0].second
    fewer = made(layered(2, each=2, c_dim=3), c_dim=3)[0].second
    grown = {n for n, p in second.named_parameters() if p.shape != fewer.get_parameter(n).shape}
    # What is of a place alone: the linear map that its mixture stands around.
    places = {"places.linear", "places.offset", "places.log_scale"}
    assert grown == {"layer", "condition.0.weight", *places} - {"condition.0.weight"}
    with torch.no_grad():
        second.layer.zero_()
        for parameter in second.condition.parameters():
            parameter.zero_()
    c = torch.randn(4, 5, requires_grad=True)
    tokens = second._tokens(c)
    for i, layer in enumerate([0, 0, 1, 1, 2, 2]):
        assert slopes(tokens[:, i], c) == [[column == layer for column in range(5)]]


def chain(n, n_layers=6, lag=1):
    """v_l = 0.9 v_{l - lag} and noise, of variance 1: the first ones are the shower's latent."""
    s = torch.randn(n, 1)
    v = [s[:, 0]] * lag
    for _ in range(n_layers):
        v.append(0.9 * v[-lag] + math.sqrt(1 - 0.81) * torch.randn(n))
    return torch.cat([s, torch.stack(v[lag:], 1)], 1)


@pytest.mark.parametrize("lag", [1, 2])
def test_a_chain_of_layers_is_found_again(lag):
    """Also one of every other layer, which those in between know nothing of."""
    torch.manual_seed(0)
    latents = layered(6, moments=0)
    model = Levels(StandardNormal, 16, 2, latents=latents, c_dim=2)
    z, c = chain(20_000, lag=lag), torch.randn(20_000, 2)
    fit(model, (z, c), 50, 1e-2)
    with torch.no_grad():
        drawn = model.sample(c, Noise(0, 0, len(c)))
    torch.testing.assert_close(torch.corrcoef(drawn.T), torch.corrcoef(z.T), rtol=0, atol=0.03)
    normal = 0.5 * math.log(2 * math.pi * math.e)
    entropy = 7 * normal + 6 * 0.5 * math.log(1 - 0.81)
    with torch.no_grad():
        nll = -float(model.log_prob(chain(20_000, lag=lag), c).mean())
    assert nll == pytest.approx(entropy, abs=0.03 * 7)


def test_it_begins_with_a_linear_map_of_what_is_near():
    """Before a step is made: of the shower, of what c says of the layer, of two layers before."""
    torch.manual_seed(0)
    latents = layered(4, each=2, c_dim=5)
    told = tuple((layer + 1,) for layer in range(4))
    latents = replace(latents, layers=replace(latents.layers, told=told))
    n = 5000
    s, moment, c = torch.randn(n), torch.randn(n), torch.randn(n, 5)
    v = [s, moment]
    for layer in range(4):
        said = 0.5 * s - 0.3 * moment + 0.4 * c[:, 0] + c[:, 1 + layer]
        v.append(said + 0.5 * v[-1] - 0.4 * v[-2] + 0.3 * torch.randn(n))
        v.append(0.7 * v[-1] + 0.3 * torch.randn(n))
    z = torch.stack([s, *v[2:], moment], 1)
    model = Levels(StandardNormal, 16, 3, latents=latents, c_dim=5)
    model.prepare(TensorRows(z, c))
    with torch.no_grad():
        drawn = model.eval().sample(c, Noise(0, 0, n))
    both = (torch.corrcoef(torch.cat([rows, c], 1).T) for rows in (z, drawn))
    torch.testing.assert_close(*both, rtol=0, atol=0.06)


def test_few_showers_of_many_layers_are_not_learned_by_heart():
    """Of new ones, that is: at the start, what 90 latents before it tell of one is none of 100."""
    torch.manual_seed(0)
    latents = layered(45, each=2, c_dim=91)
    model = Levels(StandardNormal, 16, 5, latents=latents, c_dim=91)
    z, c = torch.randn(200, latents.dim), torch.randn(200, 91)
    model.prepare(TensorRows(z[:100], c[:100]))
    with torch.no_grad():
        nll = -model.eval().log_prob(z[100:], c[100:]).mean() / latents.dim
    assert float(nll) < 0.5 * math.log(2 * math.pi * math.e) + 0.2


def bent(n, n_layers=5):
    """v_l = cos(2 v_{l - 2}) and noise of 0.2, v_0 and v_1 normal: nothing is correlated."""
    v = [torch.randn(n), torch.randn(n)]
    for _ in range(n_layers - 2):
        v.append(torch.cos(2 * v[-2]) + 0.2 * torch.randn(n))
    return torch.stack([torch.randn(n), *v], 1)


@pytest.mark.slow
def test_the_recurrence_remembers_the_layer_before_the_last():
    """Which no linear map tells: it lacks 0.59 nats a latent, the recurrence 0.009."""
    torch.manual_seed(0)
    model = Levels(StandardNormal, 48, 3, latents=layered(5, moments=0), c_dim=2)
    z, c = bent(30_000), torch.randn(30_000, 2)
    fit(model, (z, c), 300, 1e-2)
    normal = 0.5 * math.log(2 * math.pi * math.e)
    with torch.no_grad():
        nll = -float(model.log_prob(bent(30_000), c).mean())
    assert nll == pytest.approx(6 * normal + 3 * math.log(0.2), abs=0.03 * 6)


def test_what_is_pruned_may_be_of_any_layer():
    """The networks know which latents are left, also those that are read from a file."""
    torch.manual_seed(0)
    latents = layered(3, each=2)
    z, c = torch.randn(400, 8), torch.randn(400, 2)
    z[:, [2, 6]] *= 1e-3  # the second of the first layer's, and of the last's
    model = Levels(StandardNormal, 16, 2, prune=1e-4, latents=latents, c_dim=2)
    model.prepare(TensorRows(z, c))
    assert model.second.of_layer.tolist() == [0, 1, 1, 2]
    assert model.second.of_kind.tolist() == [0, 0, 1, 0]
    fresh = Levels(StandardNormal, 16, 2, prune=1e-4, latents=latents, c_dim=2)
    fresh.load_state_dict(model.state_dict())
    with torch.no_grad():
        drawn = model.eval().sample(c, Noise(0, 0, 400))
        assert torch.equal(fresh.eval().sample(c, Noise(0, 0, 400)), drawn)
        assert torch.equal(fresh.log_prob(z, c), model.log_prob(z, c))
    torch.testing.assert_close(drawn.std(0), z.std(0), rtol=0.2, atol=0)
    z[:, 1:7] *= 1e-3
    alone = Levels(StandardNormal, 16, 2, prune=1e-3, latents=latents, c_dim=2)
    alone.prepare(TensorRows(z, c))
    assert alone.second is None
    assert torch.isfinite(alone.log_prob(z, c)).all()
    with pytest.raises(UserError, match=r"density.prune=0.001 leaves none of the shower's"):
        Levels(StandardNormal, prune=1e-3, latents=latents, c_dim=2).prepare(
            TensorRows(z * torch.tensor([1e-9, *[1e6] * 6, 1e-9]), c)
        )


def test_moments_are_the_showers():
    """They stand behind those of layers, and their order is kept."""
    model, z, c = made(layered(2))
    with torch.no_grad():
        shower = model._first((z, c))[0]
    u = model.scaler(z)[0]
    torch.testing.assert_close(shower, u[:, [0, 3]])
    torch.testing.assert_close(model._second((z, c))[0], u[:, [1, 2]])


def test_an_encoder_without_latents_of_layers_is_told_what_to_do():
    with pytest.raises(UserError) as refused:
        Levels(StandardNormal, latents=Latents(3, encoder="vae"), c_dim=2)
    assert str(refused.value) == (
        "density=levels learns latents of layers beside a shower's, which encoder=vae does not "
        "hand over: give encoder.layer_latents=2, which encoder=vae has, or use density=nsf"
    )


def test_more_latents_of_layers_than_there_are_are_refused():
    with pytest.raises(ValueError, match="more latents of layers than there are"):
        Latents(2, layers=LayerLatents(1, 1, ((), ())))


def vae(head, geometry, **settings):
    return VAE(
        3,
        (16,),
        "silu",
        **settings,
        x_dim=geometry.n_voxels,
        c_dim=shares(geometry).c_dim,
        head=make_head(head, geometry),
    )


@pytest.mark.parametrize("head", ["multiscale", "multiscale_long"])
def test_a_layer_hears_of_the_shower_and_of_itself(head, tiny_geometry):
    encoder = vae(head, tiny_geometry, layer_latents=2)
    _, c = share_rows(tiny_geometry, 5)
    assert encoder.latents.layers is not None
    assert (encoder.n_shower, encoder.n_learned) == (3, 9)
    assert encoder.latents.dim == 9 + encoder.head.moment_dim
    z = torch.randn(5, encoder.latents.dim, requires_grad=True)
    state = encoder.decode(z, c).state.unflatten(1, (3, -1))
    for layer in range(3):
        (seen,) = slopes(state[:, layer], z)
        own = [place // 2 == layer for place in range(6)]
        assert seen == [True] * 3 + own + [True] * encoder.head.moment_dim


def test_layers_share_the_network_of_their_latents(tiny_geometry):
    """Layers of which the decoder says the same, and with the same latents, have one state."""
    encoder = vae("multiscale", tiny_geometry, layer_latents=2)
    with torch.no_grad():
        for parameter in encoder.decoder[-1].parameters():
            parameter.zero_()
    _, c = share_rows(tiny_geometry, 5)
    z = torch.randn(5, encoder.latents.dim)
    z[:, 5:7] = z[:, 3:5]
    state = encoder.decode(z, c).state.unflatten(1, (3, -1))
    torch.testing.assert_close(state[:, 0], state[:, 1])
    assert not torch.allclose(state[:, 0], state[:, 2])


def test_a_head_that_is_not_made_of_layers_hears_all(tiny_geometry):
    encoder = vae("gaussian", tiny_geometry, layer_latents=2)
    _, c = share_rows(tiny_geometry, 5)
    z = torch.randn(5, 9, requires_grad=True)
    for voxel in encoder.head.mean(encoder.decode(z, c)).unbind(1):
        assert slopes(voxel, z) == [[True] * 9]


def test_without_them_nothing_is_different(tiny_geometry):
    torch.manual_seed(0)
    plain = vae("multiscale", tiny_geometry, free_bits=0.1)
    torch.manual_seed(0)
    none = vae("multiscale", tiny_geometry, free_bits=0.1, layer_latents=0, layer_free_bits=3.0)
    batch = share_rows(tiny_geometry, 5)
    torch.manual_seed(0)
    loss = plain.loss(batch)
    torch.manual_seed(0)
    assert torch.equal(loss, none.loss(batch))
    assert plain.latents.layers is None


def test_free_bits_of_layers_are_their_own(tiny_geometry):
    """Of a posterior that is the prior, divergences count what is free."""
    x, c = share_rows(tiny_geometry, 5)
    losses = {}
    for free in ((0.0, 0.0), (0.5, None), (0.5, 0.1), (0.0, 0.1)):
        torch.manual_seed(0)
        settings = {"layer_latents": 2, "free_bits": free[0], "layer_free_bits": free[1]}
        encoder = vae("multiscale", tiny_geometry, **settings)
        with torch.no_grad():
            for parameter in encoder.encoder[-1].parameters():
                parameter.zero_()
        encoder.prepare(TensorRows(x, c))
        torch.manual_seed(1)
        losses[free] = float(encoder.loss((x, c)).detach())
    beyond = {free: loss - losses[0.0, 0.0] for free, loss in losses.items()}
    expected = {(0.0, 0.0): 0.0, (0.5, None): 4.5, (0.5, 0.1): 2.1, (0.0, 0.1): 0.6}
    assert beyond == pytest.approx(expected, abs=1e-3)
    with pytest.raises(UserError, match=r"layer_free_bits needs encoder\.samples=1"):
        vae("multiscale", tiny_geometry, layer_latents=1, layer_free_bits=0.1, samples=2)


@pytest.mark.parametrize("bits", [True, False])
def test_conditions_say_which_columns_are_a_layers(bits, tiny_geometry):
    conditions = Conditions(empty_bits=bits)
    conditions.bind(tiny_geometry)
    e_inc, layers = torch.full((1, 1), 1e4), torch.full((1, 3), 1e3)
    c = conditions(Context(e_inc, layers))
    for layer, own in enumerate(conditions.of_layers):
        dark = layers.clone()
        dark[:, layer] = 0.0
        changed = (conditions(Context(e_inc, dark)) != c)[0].nonzero()[:, 0]
        assert changed.tolist() == list(own)
