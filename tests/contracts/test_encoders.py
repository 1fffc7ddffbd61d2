"""Every option of conf/encoder, with every head it can serve, is a generalized autoencoder."""

import itertools

import pytest
import torch

from caloman_cli.errors import UserError
from caloman_cli.model import build
from caloman_cli.noise import Noise
from caloman_cli.trainable import TensorRows
from tests.contracts.groups import detector, maker, options, small

__all__ = ["detector"]

PAIRS = list(itertools.product(options("encoder"), options("head")))
ROWS, C = 80, 7


def make(option, head, x_dim):
    speaker = maker("head", head)(x_dim=x_dim)
    try:
        return maker("encoder", option)(x_dim=x_dim, c_dim=C, head=speaker)
    except UserError as error:
        # A pair that does not fit must say so, naming both; then there is nothing to test.
        assert option in str(error)  # noqa: PT017
        assert type(speaker).__name__ in str(error)  # noqa: PT017
        pytest.skip(str(error))


def rows(x_dim):
    return torch.rand(ROWS, x_dim), torch.randn(ROWS, C)


@pytest.fixture(params=PAIRS, ids="-".join)
def encoder(request, detector):
    made = make(*request.param, detector.n_voxels)
    made.prepare(TensorRows(*rows(detector.n_voxels)))
    return made


def test_shapes(encoder, detector):
    x, c = rows(detector.n_voxels)
    posterior = encoder.posterior(x, c)
    assert posterior.mean.shape == posterior.sigma.shape == (ROWS, encoder.latent_dim)
    assert (posterior.sigma >= 0).all()
    assert torch.equal(encoder.encode(x, c), posterior.mean)
    decoded = encoder.head.mean(encoder.decode(posterior.mean, c))
    assert decoded.shape == x.shape
    assert torch.isfinite(decoded).all()
    assert encoder.reconstruction_error(x, c).shape == (ROWS,)
    scores = encoder.scores((x, c))
    assert {"loss", "reconstruction"} <= scores.keys()
    assert all(score.ndim == 0 and torch.isfinite(score) for score in scores.values())


def test_gradients_reach_every_parameter(encoder, detector):
    if not list(encoder.parameters()):
        return
    batch = rows(detector.n_voxels)
    for player in encoder.players:
        encoder.loss(batch, player).backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


def test_saved_and_loaded_is_the_same(encoder, detector, request):
    fresh = make(*request.node.callspec.params["encoder"], detector.n_voxels)
    fresh.load_state_dict(encoder.state_dict())
    encoder.eval()
    fresh.eval()
    x, c = rows(detector.n_voxels)
    z = encoder.encode(x, c)
    assert torch.equal(fresh.encode(x, c), z)
    for mine, theirs in zip(encoder.decode(z, c), fresh.decode(z, c), strict=True):
        assert torch.equal(mine, theirs)


def test_rows_do_not_see_each_other(encoder, detector):
    encoder.eval()
    x, c = rows(detector.n_voxels)
    z = encoder.encode(x, c)
    torch.testing.assert_close(encoder.encode(x[3:20], c[3:20]), z[3:20], rtol=1e-4, atol=1e-5)
    whole = encoder.head.mean(encoder.decode(z, c))
    part = encoder.head.mean(encoder.decode(z[3:20], c[3:20]))
    torch.testing.assert_close(part, whole[3:20], rtol=1e-4, atol=1e-5)


def test_half_logdet_is_finite(encoder, tiny_geometry, detector):
    x, c = rows(detector.n_voxels)
    z = encoder.eval().encode(x[:4], c[:4])
    volume = encoder.half_logdet(z, c[:4])
    assert volume.shape == (4,)
    assert volume.dtype == torch.float64
    assert torch.isfinite(volume).all()


@pytest.mark.parametrize("option", options("encoder"))
@pytest.mark.parametrize("preprocess", options("preprocess"))
def test_every_encoder_makes_showers_after_every_preprocessing(option, preprocess, detector):
    groups = {
        "preprocess": preprocess,
        "energy": "nsf",
        "encoder": option,
        "head": "gaussian",
        "density": "standard_normal",
    }
    model = build({group: small(group, name) for group, name in groups.items()}, detector).eval()
    e_inc = torch.logspace(3, 5, 300)[:, None]
    whole = model.sample(e_inc, Noise(2, 0, 300))
    assert whole.shape == (300, detector.n_voxels)
    assert torch.isfinite(whole).all()
    assert (whole >= 0).all()
    parts = [model.sample(e_inc[a:b], Noise(2, a, b - a)) for a, b in ((0, 100), (100, 300))]
    different = (torch.cat(parts) - whole).abs() > 1e-3 * whole + 1e-2
    # A voxel at the readout cut may fall on either side of it by the last bit.
    assert float(different.float().mean()) < 1e-4
