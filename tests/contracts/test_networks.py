"""The networks of encoders: with every encoder that takes one, every head that shows images."""

import itertools

import pytest
import torch
from omegaconf import OmegaConf
from torch.utils._pytree import tree_leaves

from caloman_cli.models.encoders.base import Encoder
from caloman_cli.models.nn.cylinder_conv import CylinderDecoder, CylinderEncoder
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import (
    image_geometry,
    made,
    make_head,
    options,
    serves,
    share_rows,
    shares,
    small,
)

DETECTOR = image_geometry()
TOO_SMALL = {"implicit"}  # for fewer voxels than images have
ENCODERS = [
    name
    for name in options("encoder")
    if "network" in small("encoder", name) and name not in TOO_SMALL
]
HEADS = [
    name
    for name in options("head")
    if serves(name, DETECTOR) and make_head(name, DETECTOR).images[0]
]
# Every encoder with a plain head, every head with one encoder.
DEFAULT = {(name, "gaussian") for name in ENCODERS} | {("vae", head) for head in HEADS}
ROWS = 16


def convolving(option: str, head: str) -> Encoder:
    """A small encoder whose networks convolve, whatever its head would do by itself."""
    cfg = OmegaConf.merge(small("encoder", option), {"network": "cylinder_conv", "hidden": [4, 8]})
    if "decoder" in cfg:
        cfg.decoder = "learned"
    sizes = {"x_dim": DETECTOR.n_voxels, "c_dim": shares(DETECTOR).c_dim}
    encoder: Encoder = made("encoder", option, cfg)(**sizes, head=make_head(head, DETECTOR))
    return encoder


@pytest.fixture(
    params=[
        pytest.param(pair, id="-".join(pair), marks=() if pair in DEFAULT else pytest.mark.slow)
        for pair in itertools.product(ENCODERS, HEADS)
    ]
)
def pair(request):
    return request.param


@pytest.fixture
def encoder(pair):
    found = convolving(*pair)
    found.prepare(TensorRows(*share_rows(DETECTOR, ROWS)))
    return found


def test_images_are_those_of_all_voxels_and_lead():
    """A voxel's place in an image is its place in the shower."""
    x, _ = share_rows(DETECTOR, ROWS)
    for name in HEADS:
        head = make_head(name, DETECTOR)
        n, of_raw = head.images
        assert n * DETECTOR.n_voxels <= head.feature_dim
        assert of_raw * DETECTOR.n_voxels <= head.out_dim - head.moment_dim
        last = head.features(x)[:, : n * DETECTOR.n_voxels].unflatten(1, (n, -1))[:, -1]
        assert torch.equal(last > 0, x > 0)


def test_it_convolves_and_learns(encoder, pair):
    """Every parameter has a gradient, of every voxel something is read."""
    x, c = share_rows(DETECTOR, ROWS)
    networks = [part for part in encoder.modules() if hasattr(part, "basis")]
    reads = hasattr(encoder, "encoder")
    assert any(isinstance(part, CylinderEncoder) for part in networks) == reads
    writes = encoder.head.images[1] > 0
    assert any(isinstance(part, CylinderDecoder) for part in networks) == writes
    for player in encoder.players:
        encoder.loss((x, c), player).backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []
    if reads and encoder.latents.kind == "real":  # codes have no slopes
        x = x.requires_grad_()
        encoder.encode(x, c).square().sum().backward()
        assert (x.grad.abs().sum(0) > 0).all() or pair[1] != "gaussian"


def test_saved_and_loaded_is_the_same(encoder, pair):
    fresh = convolving(*pair)
    fresh.load_state_dict(encoder.state_dict())
    x, c = share_rows(DETECTOR, ROWS)
    with torch.no_grad():
        z = encoder.eval().draw(x, c)
        mine, theirs = (tree_leaves(one.decode(z, c)) for one in (encoder, fresh.eval()))
    assert all(torch.equal(*parts) for parts in zip(mine, theirs, strict=True))


def test_rows_do_not_see_each_other(encoder):
    x, c = share_rows(DETECTOR, ROWS)
    encoder.eval()
    with torch.no_grad():
        z = encoder.draw(x, c)
        whole, part = (
            encoder.head.mean(encoder.decode(z[rows], c[rows]))
            for rows in (slice(None), slice(3, 9))
        )
        torch.testing.assert_close(part, whole[3:9], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pair", [("vae", "gaussian"), ("vae", "hurdle_mixture")], indirect=True)
def test_its_volume_is_a_number(encoder):
    """Forward derivatives go through convolutions and norms."""
    x, c = share_rows(DETECTOR, ROWS)
    volume = encoder.eval().half_logdet(encoder.encode(x, c), c)
    assert torch.isfinite(volume).all()
