"""One orientation of a shower for all that it can be turned to, and random ones back."""

import copy
import math

import pytest
import torch
from scipy.stats import chi2

from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.errors import UserError
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.orientation import Orientation
from caloman_cli.models.turns import Turns
from tests.conftest import load_geometry
from tests.contracts.groups import showers
from tests.models.test_likelihood import fitted, made

OFFICIAL = ("ds1_photons", "ds1_pions", "ds2", "ds3")
ODD = {"one step": (3, 4), "halves": (2, 2), "mixed": (1, 6, 4), "five": (5,), "none": (1, 1)}


def detector(name):
    if name in OFFICIAL:
        return load_geometry(name)
    layers = [Layer(i, (0.0, 5.0, 9.0), n) for i, n in enumerate(ODD[name])]
    return Geometry(name, "electron", tuple(layers), 0.1, 2.0)


def showers_of_all_kinds(geometry):
    """Dense, sparse, faint beside bright, and those that cosine and sine leave undecided."""
    v = geometry.n_voxels
    dense = torch.empty(8, v).exponential_() * 1e3
    sparse = dense * (torch.rand(8, v) < 3 / v)
    steep = torch.exp(4 * torch.randn(8, v)) * (torch.rand(8, v) < 0.3)
    equal = (torch.rand(40, v) < 3 / v).float()
    pairs = torch.zeros(40, v)
    pairs[torch.arange(40)[:, None], torch.randint(v, (40, 2))] = torch.tensor([1e4, 0.02])
    turns = Turns(geometry)
    half = turns.count // 4 * 2  # once turned about, where slices allow: no dipole
    round_ones = dense + turns(dense, torch.full((8,), half))
    nothing, even = torch.zeros(1, v), torch.ones(1, v)
    return torch.cat([dense, sparse, steep, equal, pairs, round_ones, nothing, even])


@pytest.mark.parametrize("name", [*OFFICIAL, *ODD])
def test_all_that_a_shower_can_be_turned_to_have_one_orientation(name):
    geometry = detector(name)
    orientation, turns = Orientation(geometry), Turns(geometry)
    x = showers_of_all_kinds(geometry)
    canonical = turns(x, orientation.of(x))
    assert turns.count == 1 or not torch.equal(canonical, x)
    for turn in torch.linspace(0, turns.count - 1, min(turns.count, 21)).round().long():
        other = turns(x, turn.expand(len(x)))
        assert torch.equal(turns(other, orientation.of(other)), canonical)


@pytest.mark.parametrize("name", ["ds1_photons", "ds2", "five", "halves"])
def test_it_leans_to_zero_and_is_drawn_out_to_positive_angles(name):
    geometry = detector(name)
    orientation = Orientation(geometry)
    x = torch.empty(200, geometry.n_voxels).exponential_().square()
    x = orientation.turns(x, orientation.of(x)).double()
    dipole, quadrupole = (sum(moment(geometry, x, m)) for m in (1, 2))
    steps = orientation.turns.count // 2
    if name == "halves":  # neither cosine nor the second sine tells two slices apart
        assert (dipole.imag > 0).all()
    else:
        assert (dipole.angle().abs() <= math.pi / steps + 1e-4).all()
        assert dipole.angle().std() > 0.1 * math.pi / steps
        assert (quadrupole.imag >= -1e-4 * quadrupole.abs().mean()).all()


def moment(geometry, x, m):
    """sum E exp(i m alpha) of each layer with slices."""
    for layer, part in zip(geometry.layers, geometry.slices, strict=True):
        if layer.n_alpha > 1:
            angle = (torch.arange(layer.n_alpha).double() + 0.5) * math.tau / layer.n_alpha
            slices = x[:, part].unflatten(1, (layer.n_alpha, -1)).sum(2).to(torch.complex128)
            yield slices @ torch.polar(torch.ones_like(angle), m * angle)


@pytest.mark.parametrize("name", ["ds1_photons", *ODD])
def test_turns_are_undone(name):
    turns = Turns(detector(name))
    every = torch.arange(turns.count)
    x = torch.rand(turns.count, detector(name).n_voxels)
    assert torch.equal(turns(turns(x, every), turns.undone(every)), x)


def test_a_context_knows_the_way_back(tiny_geometry):
    """What is decoded of a shower is oriented as it is."""
    voxels, e_inc = showers(tiny_geometry)
    model = canonical_model(tiny_geometry)
    x, _ = model.preprocess(voxels, e_inc)
    context = model.preprocess.context(voxels, e_inc)
    assert len(set(context.turn.tolist())) == 8
    back = model.preprocess.inverse(x, context)
    torch.testing.assert_close(back, voxels, rtol=1e-5, atol=1e-3)
    # All orientations of a shower are learned as one, conditions included.
    turned = model.preprocess.orientation.turns(voxels, torch.arange(len(voxels)) % 8)
    for ours, theirs in zip(
        model.preprocess(turned, e_inc), model.preprocess(voxels, e_inc), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_statistics_are_those_of_canonical_showers(tiny_geometry):
    voxels, e_inc = showers(tiny_geometry)
    preprocess = canonical_model(tiny_geometry, preprocess="logit_shares").preprocess
    voxels[:, tiny_geometry.slices[1]][:, 2:] *= 0.05  # as it has seen them
    x, _ = preprocess(voxels, e_inc)
    torch.testing.assert_close(x.mean(0), torch.zeros(12), rtol=0, atol=1e-4)


def canonical_model(geometry, **groups):
    """Of showers of which a slice holds nearly all, in one orientation of eight."""
    voxels, e_inc = showers(geometry)
    voxels[:, geometry.slices[1]][:, 2:] *= 0.05
    settings = {"preprocess.orientation": "canonical"}
    groups = {"encoder": "pca", "head": "gaussian", "density": "standard_normal"} | groups
    return fitted(geometry, voxels, e_inc, settings, **groups)


def test_draws_are_as_likely_in_every_orientation(tiny_geometry, monkeypatch):
    model, n = canonical_model(tiny_geometry), 4000
    orientation = model.preprocess.orientation
    e_inc = torch.full((n, 1), 2e4)

    def brightest(x):
        slices = x[:, tiny_geometry.slices[1]].unflatten(1, (4, 2)).sum(2)
        lit = slices.sum(1) > 0
        return torch.bincount(slices[lit].argmax(1), minlength=4).double()

    def unlikely(counts):
        expected = counts.sum() / len(counts)
        return float((counts - expected).square().sum() / expected) > chi2.ppf(
            1 - 1e-4, len(counts) - 1
        )

    drawn = model.sample(e_inc, Noise(3, 0, n))
    assert not unlikely(brightest(drawn))
    turns = orientation.drawn(Noise(3, 0, n))
    assert not unlikely(torch.bincount(turns, minlength=8).double())
    with monkeypatch.context() as patch:
        patch.setattr(type(orientation), "drawn", lambda *_: torch.zeros(n, dtype=torch.int64))
        as_learned = model.sample(e_inc, Noise(3, 0, n))
    assert unlikely(brightest(as_learned))
    assert brightest(as_learned).max() > 0.9 * n


def test_a_draw_that_is_turned_is_the_draw_turned(tiny_geometry, monkeypatch):
    """Exactly: each orientation of what is drawn has one turn of |G| that gives it."""
    model = canonical_model(tiny_geometry, head="autoregressive", encoder="vae", density="nsf")
    orientation, e_inc = model.preprocess.orientation, torch.full((60, 1), 2e4)

    def given(turn):
        turn = torch.full((60,), turn)
        monkeypatch.setattr(type(orientation), "drawn", lambda *_: turn)
        return model.sample(e_inc, Noise(3, 0, 60))

    plain = given(0)
    for turn in range(8):
        assert torch.equal(given(turn), orientation.turns(plain, torch.full((60,), turn)))


def test_a_row_is_turned_as_it_is_in_any_batch(tiny_geometry):
    model = canonical_model(tiny_geometry, head="autoregressive", encoder="vae", density="nsf")
    e_inc = torch.logspace(3, 5, 40)[:, None]
    whole = model.sample(e_inc, Noise(3, 0, 40))
    parts = [
        model.sample(e_inc[i:j], Noise(3, i, j - i)) for i, j in ((0, 1), (1, 7), (7, 7), (7, 40))
    ]
    torch.testing.assert_close(torch.cat(parts), whole)
    turns = model.preprocess.orientation.drawn(Noise(3, 0, 40))
    assert len(set(turns.tolist())) == 8
    rows = torch.tensor([31, 2])
    assert torch.equal(model.preprocess.orientation.drawn(Noise(3, 0, 40).rows(rows)), turns[rows])


def learned_alone(model):
    """The model of canonical showers, whose draws stay as they are."""
    other = copy.deepcopy(model)
    other.preprocess.orientation = None
    return other


@pytest.mark.parametrize(
    ("preprocess", "encoder", "head", "kind"),
    [
        ("caloman_logit", "identity", "gaussian", "score"),
        ("shares", "vae", "autoregressive", "bound"),
        ("logit_shares", "pca", "gaussian", "exact"),
    ],
)
def test_log_prob_beside_the_mean_over_all_orientations(
    tiny_geometry, preprocess, encoder, head, kind
):
    """It is the canonical one's term: what the others add makes it a lower bound."""
    groups = {"preprocess": preprocess, "encoder": encoder, "head": head}
    model = canonical_model(tiny_geometry, **groups)
    alone, turns = learned_alone(model), model.preprocess.orientation.turns
    voxels, e_inc = (rows[:12] for rows in showers(tiny_geometry))
    voxels[0], voxels[1, tiny_geometry.slices[1]] = 0.0, 0.0
    voxels[1, 0] = 900.0
    assert model.kind == alone.kind == kind

    def log_prob(who, turn):
        turned = turns(voxels, torch.full((12,), turn))
        return who.likelihood(turned, e_inc, draws=4).total

    with torch.no_grad():
        found = log_prob(model, 0)
        every = torch.stack([log_prob(alone, turn) for turn in range(8)])
        for turn in range(8):
            assert torch.equal(log_prob(model, turn), found)
        seen, _ = model.preprocess.seen(voxels, e_inc)
        own = alone.likelihood(seen, e_inc, draws=4).total
    # Slices without energy: all orientations are one.
    moved = torch.ones(12).double()
    moved[:2] = 0.0
    torch.testing.assert_close(found, own - moved * math.log(8))
    if encoder == "identity":
        whole = every.logsumexp(0) - math.log(8)
        assert (found[2:] < whole[2:]).all()
        torch.testing.assert_close(found[:2], whole[:2])


def test_log_prob_of_who_draws_canonical_showers_is_that_mean(tiny_geometry, monkeypatch):
    model = canonical_model(tiny_geometry, preprocess="caloman_logit", encoder="identity")
    alone, orientation = learned_alone(model), model.preprocess.orientation
    voxels, e_inc = (rows[:12] for rows in showers(tiny_geometry))
    plain = type(model.density).log_prob

    def restricted(density, z, c):
        x = torch.sigmoid(z)
        canonical = (orientation.turns(x, orientation.of(x)) == x).all(1)
        return torch.where(canonical, plain(density, z, c), -math.inf)

    monkeypatch.setattr(type(model.density), "log_prob", restricted)
    with torch.no_grad():
        every = torch.stack(
            [alone.log_prob(orientation.turns(voxels, torch.full((12,), turn)), e_inc)
             for turn in range(8)]
        )  # fmt: skip
        assert (every.isfinite().sum(0) == 1).all()
        whole = every.logsumexp(0) - math.log(8)
        torch.testing.assert_close(model.log_prob(voxels, e_inc), whole)


def test_what_is_saved_does_not_depend_on_it(tiny_geometry):
    groups = {"preprocess": "logit_shares"}
    plain = made(tiny_geometry, **groups)
    turned = made(tiny_geometry, {"preprocess.orientation": "canonical"}, **groups)
    assert plain.state_dict().keys() == turned.state_dict().keys()


def test_one_of_two_ways_to_turn_is_enough(tiny_geometry):
    settings = {"preprocess.orientation": "canonical", "encoder.augment": True}
    with pytest.raises(UserError, match="give encoder.augment=false$"):
        made(tiny_geometry, settings)


def test_an_orientation_that_there_is_not(tiny_geometry):
    with pytest.raises(UserError, match="orientation.*canonical"):
        made(tiny_geometry, {"preprocess.orientation": "canonica"})
