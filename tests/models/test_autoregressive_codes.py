"""Densities of codes, one code after the other, against a Markov chain and against one."""

import itertools

import pytest
import torch
from scipy.stats import chisquare

from caloman_cli.errors import UserError
from caloman_cli.models.densities.base import Density
from caloman_cli.models.latents import Latents
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import made, small
from tests.models.adversarial import fit

CODES = ["ar_codes", "transformer"]
LARGER = {"ar_codes": {"hidden": 64}, "transformer": {"width": 64}}


def build(name, dim, n_codes, c_dim=1, **settings) -> Density:
    config = small("density", name)
    config.merge_with(settings)
    return made("density", name, config)(latents=Latents(dim, "codes", n_codes), c_dim=c_dim)


def chain(n, dim=6, n_codes=5):
    """A Markov chain that starts evenly and goes on in one of two ways, which c says.

    Returns:
        Codes (n, dim), c (n, 1), and the entropy of a code [nats].
    """
    generator = torch.Generator().manual_seed(5)
    ways = (2 * torch.randn(2, n_codes, n_codes, generator=generator)).softmax(2)
    way = torch.randint(2, (n,))
    z = torch.randint(n_codes, (n, 1))
    at, entropy = torch.full((2, 1, n_codes), 1.0 / n_codes), torch.tensor(n_codes).log()
    for _ in range(dim - 1):
        z = torch.cat([z, torch.multinomial(ways[way, z[:, -1]], 1)], 1)
        entropy = entropy - (at[:, 0, :, None] * ways * ways.log()).sum((1, 2)).mean()
        at = at @ ways
    return z.float(), 2.0 * way[:, None] - 1.0, float(entropy) / dim


@pytest.mark.slow
@pytest.mark.parametrize("name", CODES)
def test_a_markov_chain_has_its_entropy(name):
    """To 0.03 nats a code, where codes alone, or without the condition, would tell much less."""
    torch.manual_seed(0)
    model = build(name, 6, 5, **LARGER[name])
    fit(model, chain(30_000)[:2], 300, 5e-3)
    z, c, entropy = chain(20_000)
    with torch.no_grad():
        found = -float(model.log_prob(z, c).mean()) / 6
        drawn = model.sample(c, Noise(0, 0, len(c)))
        blind = -float(model.log_prob(z, -c).mean()) / 6
    assert found == pytest.approx(entropy, abs=0.03)
    assert blind > entropy + 0.2
    pairs = [
        torch.bincount((5 * row[:, 2] + row[:, 3]).long(), minlength=25) for row in (z, drawn)
    ]
    torch.testing.assert_close(*(pair / len(z) for pair in pairs), rtol=0, atol=0.015)


def every(dim, n_codes):
    return torch.tensor(list(itertools.product(range(n_codes), repeat=dim))).float()


def wild(name, dim, n_codes):
    torch.manual_seed(1)
    model = build(name, dim, n_codes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize(("dim", "n_codes"), [(1, 6), (4, 3), (7, 2)])
def test_all_codes_together_have_the_probability_one(name, dim, n_codes):
    """Of any weights."""
    z = every(dim, n_codes)
    with torch.no_grad():
        log_prob = wild(name, dim, n_codes).log_prob(z, torch.full((len(z), 1), 0.7)).double()
    assert float(log_prob.exp().sum()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", CODES)
def test_codes_are_drawn_as_often_as_log_prob_says(name):
    model, z = wild(name, 3, 3), every(3, 3)
    with torch.no_grad():
        expected = model.log_prob(z, torch.full((len(z), 1), 0.7)).double().exp()
        drawn = model.sample(torch.full((5000, 1), 0.7), Noise(2, 0, 5000))
    found = torch.bincount((drawn @ torch.tensor([9.0, 3.0, 1.0])).long(), minlength=27)
    expected = 5000 * expected / expected.sum()
    assert float(expected.max() / expected.min()) > 5
    assert chisquare(found.numpy(), expected.numpy()).pvalue > 0.01


@pytest.mark.parametrize("name", CODES)
def test_it_begins_with_how_often_each_place_has_each_code(name):
    """But for what the network says, which is little before a step; a code never seen is rare."""
    torch.manual_seed(0)
    z = torch.stack([torch.multinomial(w, 4000, True) for w in torch.eye(3).cumsum(1)], 1).float()
    model = build(name, 3, 3)
    model.prepare(TensorRows(z, torch.zeros(4000, 1)))
    assert model.scaler.n_active == 3  # also the one that has always the same
    with torch.no_grad():
        drawn = model.sample(torch.zeros(4000, 1), Noise(0, 0, 4000))
        assert torch.isfinite(model.log_prob(every(3, 3), torch.zeros(27, 1))).all()
    for place in range(3):
        counts = [torch.bincount(one[:, place].long(), minlength=3) / 4000 for one in (z, drawn)]
        torch.testing.assert_close(*counts, rtol=0, atol=0.08)


@pytest.mark.parametrize("name", CODES)
def test_codes_are_drawn_at_the_states_of_log_prob(name):
    model, c = wild(name, 4, 5), torch.randn(200, 1)
    with torch.no_grad():
        u = model._sample(c, Noise(3, 0, 200))
        states, chances = model._states(u, c), model.places.chances(Noise(3, 0, 200), c)
        again = [model.places.draw(i, states[:, i], u, c, chances) for i in range(4)]
    # A uniform number within rounding of an edge may fall on either side.
    assert (torch.stack(again, 1) == u).float().mean() > 0.999


def test_a_transformers_width_is_for_all_its_heads():
    with pytest.raises(UserError, match=r"density\.width=30 is no multiple of density\.n_heads=4"):
        build("transformer", 3, 5, width=30)


def test_a_transformer_learns_codes_as_they_are():
    """Whatever scale is asked for."""
    model = build("transformer", 3, 5, scaler="whiten", prune=0.5)
    assert (model.scaler.kind, model.scaler.prune) == ("none", 0.0)
