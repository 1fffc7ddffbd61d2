"""Every option of conf/encoder, with every head it can serve, is a generalized autoencoder."""

import itertools
from functools import partial

import pytest
import torch
from torch.autograd.functional import jacobian
from torch.utils._pytree import tree_leaves

from caloman_cli.config.options import option_of
from caloman_cli.config.targets import trusting
from caloman_cli.errors import UserError
from caloman_cli.models.encoders.base import AVERAGED
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from caloman_cli.models.two_step import build
from tests.contracts.groups import (
    detector,
    make_encoder,
    make_head,
    options,
    served,
    share_rows,
    shares,
    showers,
    small,
    toy_for,
    toys,
)
from tests.contracts.pairs import (
    EVERY,
    PAIRS,
    REAL,
    SPANNING,
    THIN,
    WITH_MOMENTS,
    density_for,
    slow_unless,
)

__all__ = ["detector"]

COMBINATIONS = list(itertools.product(options("encoder"), options("preprocess")))
# Every encoder after one preprocessing, every preprocessing before one encoder.
FEW = {pair for pair in COMBINATIONS if pair[0] == "ae" or pair[1] == "shares"}
ROWS = 24


@pytest.fixture(params=slow_unless(SPANNING, PAIRS))
def pair(request):
    return request.param


@pytest.fixture
def toy(pair, tiny_geometry):
    return toy_for(pair[1], tiny_geometry)


@pytest.fixture
def encoder(pair, toy):
    made = make_encoder(*pair, toy)
    made.prepare(TensorRows(*share_rows(toy, ROWS)))
    return made


@pytest.mark.parametrize(("option", "head"), sorted(set(EVERY) - set(PAIRS)))
def test_a_pair_that_does_not_fit_says_so(option, head, tiny_geometry):
    """It names both and what to use."""
    with pytest.raises(UserError) as refused:
        make_encoder(option, head, toy_for(head, tiny_geometry))
    speaker = type(make_head(head, toy_for(head, tiny_geometry))).__name__
    for word in (f"encoder={option}", f"head={speaker.lower()}", "use "):
        assert word in str(refused.value).lower()


def test_every_encoder_and_every_head_fits_another():
    assert {option for option, _ in PAIRS} == {*options("encoder"), *toys("encoder")}
    assert {head for _, head in PAIRS} == set(options("head"))


def test_shapes(encoder, toy):
    x, c = share_rows(toy, ROWS)
    z = encoder.encode(x, c)
    assert z.shape == encoder.draw(x, c).shape == (ROWS, encoder.latents.dim)
    assert encoder.latents.dim == encoder.n_learned + encoder.head.moment_dim
    assert encoder.latents.encoder == option_of("encoder", encoder)
    decoded = encoder.head.mean(encoder.decode(z, c))
    assert decoded.shape == x.shape
    assert torch.isfinite(decoded).all()
    assert encoder.reconstruction_error(x, c).shape == (ROWS,)
    scores = encoder.scores((x, c))
    assert {"loss", "reconstruction"} <= scores.keys()
    assert all(score.ndim == 0 and torch.isfinite(score) for score in scores.values())


def test_a_posterior_has_a_density_or_says_that_it_has_none(encoder, toy):
    x, c = share_rows(toy, ROWS)
    if encoder.only_draws:
        asked = option_of("encoder", encoder)
        with pytest.raises(UserError, match=f"encoder={asked} can only draw"):
            encoder.posterior(x, c)
        return
    posterior = encoder.posterior(x, c)
    assert torch.equal(encoder.encode(x, c), posterior.mean)
    assert posterior.has_density == bool((posterior.sigma > 0).all())
    if posterior.has_density:
        assert posterior.log_prob(posterior.sample()).shape == (ROWS,)
        assert (posterior.kl() >= 0).all()
        return
    for ask in (posterior.kl, lambda: posterior.log_prob(posterior.mean)):
        with pytest.raises(UserError, match="deterministic encoder"):
            ask()


# Each draw of an implicit manifold is a walk.
@pytest.mark.parametrize(
    "pair", slow_unless(THIN - {("implicit", "gaussian")}, PAIRS), indirect=True
)
def test_draws_average_to_what_is_encoded(encoder, toy):
    x, c = (part[:4] for part in share_rows(toy, ROWS))
    with torch.no_grad():
        drawn = torch.stack([encoder.draw(x, c) for _ in range(400)])
        encoded = encoder.encode(x, c)
    # An encoder that can only draw averages a few.
    error = drawn.std(0) * (1 / 400 + encoder.only_draws / AVERAGED) ** 0.5
    assert ((drawn.mean(0) - encoded).abs() <= 5 * error + 1e-5).all()


@pytest.mark.parametrize("pair", slow_unless(SPANNING, WITH_MOMENTS), indirect=True)
def test_latents_end_with_the_heads_moments(encoder, toy):
    """Roughly, whoever learned the others: a decoder that knew them exactly would rely on it."""
    x, c = share_rows(toy, ROWS)
    moments, n = encoder.head.moments(x, c), encoder.n_learned
    with torch.no_grad():
        z = encoder.encode(x, c)
        if encoder.bins is not None:  # as codes, of which a decoder hears what they stand for
            moments = encoder.bins.means(encoder.bins(moments))
            torch.testing.assert_close(encoder.heard(z[:, n:]), moments)
            torch.testing.assert_close(encoder.decode(z, c).moments, moments)
            return
        torch.testing.assert_close(z[:, n:], moments)
        told = torch.stack([encoder.draw(x, c)[:, n:] for _ in range(100)])
        assert float((told - moments).std()) == pytest.approx(0.1, rel=0.1)
        # The head hears of the moments, whichever way the decoder is made.
        torch.testing.assert_close(encoder.decode(z, c).moments, moments)


def test_gradients_reach_every_parameter(encoder, toy):
    if not list(encoder.parameters()):
        return
    batch = share_rows(toy, ROWS)
    for player in encoder.players:
        encoder.loss(batch, player).backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


def drawn(encoder, x, c):
    """What an encoder draws with numbers that are always the same."""
    torch.manual_seed(4)
    with torch.no_grad():
        return encoder.draw(x, c)


def test_saved_and_loaded_is_the_same(encoder, pair, toy):
    fresh = make_encoder(*pair, toy)
    fresh.load_state_dict(encoder.state_dict())
    encoder.eval()
    fresh.eval()
    x, c = share_rows(toy, ROWS)
    z, again = (drawn(made, x, c) for made in (encoder, fresh))
    assert torch.equal(z, again)
    mine, theirs = (tree_leaves(made.decode(z, c)) for made in (encoder, fresh))
    assert all(torch.equal(*parts) for parts in zip(mine, theirs, strict=True))


def test_rows_do_not_see_each_other(encoder, toy):
    encoder.eval()
    x, c = share_rows(toy, ROWS)
    z = encoder.encode(x, c)
    if not encoder.only_draws:
        part = encoder.encode(x[3:20], c[3:20])
        torch.testing.assert_close(part, z[3:20], rtol=1e-4, atol=1e-5)
    whole = encoder.head.mean(encoder.decode(z, c))
    part = encoder.head.mean(encoder.decode(z[3:20], c[3:20]))
    torch.testing.assert_close(part, whole[3:20], rtol=1e-4, atol=1e-5)


def mean(encoder, c, z):
    """The mean (V,) that an encoder decodes of one shower's latents (D,) at c (1, C)."""
    return encoder.head.mean(encoder.decode(z[None], c))[0]


@pytest.mark.parametrize("pair", slow_unless(THIN, REAL), indirect=True)
def test_half_logdet_is_finite_or_says_that_a_direction_is_missing(pair, encoder, toy):
    """Never NaN; a toy's showers with empty layers may have fewer directions than latents."""
    voxels, e_inc = (part.clone() for part in showers(toy, ROWS))
    voxels[0] = 0.0
    voxels[1, toy.slices[0]] = voxels[2, toy.slices[-1]] = 0.0
    voxels[3, toy.slices[1].start + 1 :] = 0.0
    x, c = shares(toy)(voxels, e_inc)
    z = encoder.eval().encode(x, c)
    volume = encoder.half_logdet(z, c)
    assert volume.shape == (ROWS,)
    assert volume.dtype == torch.float64
    assert not volume.isnan().any()
    assert (volume < torch.inf).all()
    if pair[0] == "none":  # a decoder that reads no latents has no volume
        assert (volume == -torch.inf).all()
        return
    full = (toy.layer_energies(voxels) > 0).all(1)
    assert 8 < int(full.sum()) < ROWS
    # A small network of rectified units may pass on fewer directions than latents.
    for row in (full & ~torch.isfinite(volume)).nonzero().flatten().tolist():
        slopes = jacobian(partial(mean, encoder, c[row : row + 1]), z[row])
        directions = torch.linalg.svdvals(slopes.double())
        assert directions[-1] < 1e-6 * directions[0]


@pytest.mark.parametrize("pair", slow_unless(FEW, COMBINATIONS))
def test_every_encoder_makes_showers_after_every_preprocessing(pair, tiny_geometry):
    check_showers(*pair, tiny_geometry)


@pytest.mark.parametrize("preprocess", options("preprocess"))
def test_every_preprocessing_serves_every_detector(preprocess, detector):
    check_showers("ae", preprocess, detector)


def built(groups, geometry):
    cfg = {group: small(group, name) for group, name in groups.items()}
    with trusting(node._target_ for node in cfg.values()):  # as from one's own command line
        return build(cfg, geometry).eval()


def check_showers(option, preprocess, geometry):
    """Any energies give showers, the same ones in any batches."""
    groups = {
        "preprocess": preprocess,
        "energy": "nsf",
        "encoder": option,
        "head": "gaussian",
        "density": density_for(option, "gaussian"),
    }
    model = built(groups, geometry)
    e_inc = torch.logspace(3, 5, 300)[:, None]
    with torch.no_grad():
        whole = model.sample(e_inc, Noise(2, 0, 300))
        parts = [model.sample(e_inc[a:b], Noise(2, a, b - a)) for a, b in ((0, 100), (100, 300))]
        for parameter in model.encoder.training_only():
            parameter.fill_(torch.nan)  # whoever reads it is found out
        assert torch.equal(model.sample(e_inc, Noise(2, 0, 300)), whole)
    assert whole.shape == (300, geometry.n_voxels)
    assert torch.isfinite(whole).all()
    assert (whole >= 0).all()
    different = (torch.cat(parts) - whole).abs() > 1e-3 * whole + 1e-2
    # A voxel at the readout cut may fall on either side of it by the last bit.
    assert float(different.float().mean()) < 1e-4


def test_every_pair_makes_showers_from_shares(pair, toy):
    check_layers(*pair, toy)


@pytest.mark.parametrize(("head", "detector"), served(), indirect=["detector"])
def test_every_head_makes_showers_in_every_detector(head, detector):
    check_layers("vae", head, detector)


def check_layers(option, head, geometry):
    """Voxels add up to the generated energy of each layer and respect the readout cut."""
    groups = {
        "preprocess": "shares",
        "energy": "nsf",
        "encoder": option,
        "head": head,
        "density": density_for(option, head),
    }
    model = built(groups, geometry)
    voxels, e_inc = showers(geometry)
    model.preprocess.fit(TensorRows(voxels, e_inc))
    model.encoder.prepare(TensorRows(*model.preprocess(voxels, e_inc)))
    with torch.no_grad():
        generated = model.sample(e_inc, Noise(2, 0, len(e_inc)))
        layers = model.energy.sample(e_inc, Noise(2, 0, len(e_inc)))
    torch.testing.assert_close(
        geometry.layer_energies(generated), layers, rtol=1e-4, atol=1e-3 * geometry.threshold
    )
    # A layer with less energy than the cut still has its one voxel.
    low = (layers < geometry.threshold * (1 + 1e-4))[:, geometry.layer_index]
    below = (generated > 0) & (generated < geometry.threshold * (1 - 1e-4)) & ~low
    assert not below.any()
