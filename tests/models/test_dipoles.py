"""Which way layers lean, and that a walk and its latents know it."""

import math

import pytest
import torch

from caloman_cli.models.encoders.vae import VAE
from caloman_cli.models.heads.blocks import Blocks
from caloman_cli.models.heads.dipoles import Dipoles
from caloman_cli.models.noise import Noise
from tests.models.heads import ORDERS, prepared

ROUND = 1  # the layer of the tiny detector that has slices, four of two voxels each
VOXELS = slice(2, 10)


@pytest.fixture(params=ORDERS)
def dipoles(request, tiny_geometry):
    return Dipoles(tiny_geometry, Blocks(tiny_geometry, request.param))


def test_a_layer_with_one_lit_voxel_leans_its_way(dipoles, tiny_geometry):
    """Slice 0 points along x, slice 1 of 4 along y, slice 2 back."""
    shares = torch.zeros(3, tiny_geometry.n_voxels)
    for row, place in enumerate((2, 4, 7)):  # slices 0, 1, 2; rings 0, 0, 1
        shares[row, place] = 1.0
    energies = torch.full((3, 3), 50.0)
    found = dipoles.moments(dipoles.blocks.split(shares), energies)
    expected = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]) * math.sqrt(50 / 200)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    whole = dipoles.energies(found, energies)
    assert whole.shape == (3, 2, 3)
    torch.testing.assert_close(whole[ROUND].T, 50 * 2 * expected, rtol=0, atol=1e-4)
    assert not whole[[0, 2]].any()


def test_what_is_left_ends_at_nothing(dipoles, tiny_geometry):
    energies = torch.rand(20, tiny_geometry.n_voxels)
    voxels = dipoles.blocks.split(energies)
    whole = dipoles.whole(voxels)
    left = dipoles.left(whole, voxels)
    for i, layer in enumerate(dipoles.blocks.layer):
        if any(i == first for first, _ in dipoles.blocks.spans):
            torch.testing.assert_close(left[i], whole[layer])
        after = dipoles.after(left[i], voxels[i], i)
        expected = torch.zeros_like(after) if dipoles.blocks.last[i] else left[i + 1]
        torch.testing.assert_close(after, expected, rtol=0, atol=1e-5)


def test_what_networks_are_told_is_bounded(dipoles):
    """A drawn dipole may be one that no shower has, and little may be left of much."""
    left = torch.tensor([0.0, 1e-8, 1.0, 1e8])
    told = dipoles.told(torch.full((2, 4), 1e6), left)
    assert told.shape == (4, 4)
    assert told.abs().max() <= 3.0
    assert not told[:, 0].any()


def test_turned_showers_lean_another_way(tiny_geometry):
    head, x, c = prepared("half_ring_dipoles", tiny_geometry)
    quarter = head.moments(head.turned(x, torch.full((len(x),), 2)), c)
    x_old, y_old = head.moments(x, c).T
    found = [quarter, -quarter]  # whichever sense the turn has
    expected = torch.stack([-y_old, x_old], 1)
    assert min((part - expected).abs().max().item() for part in found) < 1e-5


def vae(head, x, c, **settings):
    sizes = {"x_dim": x.shape[1], "c_dim": c.shape[1], "head": head}
    return VAE(3, [16], **settings, **sizes)


def test_latents_hold_the_moments_free_of_charge(tiny_geometry):
    head, x, c = prepared("half_ring_dipoles", tiny_geometry)
    encoder = vae(head, x, c).eval()
    assert encoder.latent_dim == 3 + 2
    posterior = encoder.posterior(x, c)
    mean, sigma = posterior.mean, posterior.sigma
    torch.testing.assert_close(mean[:, 3:], head.moments(x, c))
    assert (sigma[:, 3:] == sigma[0, 3]).all()
    assert 0.05 < sigma[0, 3] < 0.3  # moments are of order 1
    with torch.no_grad():
        kl = 0.5 * (mean.square() + sigma.square() - 1.0) - sigma.log()
        torch.testing.assert_close(encoder.scores((x, c))["kl"], kl[:, :3].sum(1).mean())
        encoder.samples = 4
        assert torch.isfinite(encoder.loss((x, c)))


def test_the_decoder_is_told_of_moments_roughly(tiny_geometry, monkeypatch):
    """One that knew exactly what is left would know when its last voxel comes."""
    head, x, c = prepared("half_ring_dipoles", tiny_geometry)
    encoder, heard = vae(head, x, c).train(), []
    decode = encoder.decode
    monkeypatch.setattr(encoder, "decode", lambda z, c: heard.append(z) or decode(z, c))
    for _ in range(20):
        encoder.loss((x, c))
    apart = torch.stack(heard).detach()[..., encoder.n_learned :] - head.moments(x, c)
    assert float(apart.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(apart.std()) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("name", ["hurdle_mixture", "half_ring"])
def test_heads_without_moments_leave_latents_as_they_are(name, tiny_geometry):
    head, x, c = prepared(name, tiny_geometry)
    assert vae(head, x, c).latent_dim == 3


def test_a_trained_walk_leans_as_its_latents_say(tiny_geometry):
    """Half of the showers lean to slice 0, half to slice 2; latents that say so are obeyed."""
    torch.manual_seed(3)
    head, x, c = prepared("half_ring_dipoles", tiny_geometry)
    x, c = (part.repeat(8, 1) for part in (x, c))
    image = x[:, VOXELS].view(-1, 4, 2)
    image[::2, 2] *= 0.05
    image[1::2, 0] *= 0.05
    x = torch.cat([x[:, :2], image.flatten(1), x[:, 10:]], 1)
    energies = head.layers.sum(x)
    x = x / head.layers.spread(energies.clamp(min=1e-12))
    encoder = vae(head, x, c, beta=1.0)
    optimizer = torch.optim.Adam(encoder.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        encoder.loss((x, c)).backward()
        optimizer.step()
    with torch.no_grad():
        z = encoder.encode(x, c)
        z[:, :3] = torch.randn(len(z), 3)  # the learned ones say nothing
        drawn = head.sample(encoder.decode(z, c), Noise(1, 0, len(z)))
    some = (energies > 0)[:, ROUND]
    asked, found = (head.moments(part, c)[some, 0] for part in (x, drawn))
    assert torch.corrcoef(torch.stack([asked, found]))[0, 1] > 0.8
