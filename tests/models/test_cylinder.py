"""Heads that walk through the layers of a cylinder, with one network for all slices."""

import math

import pytest
import torch
from torch import nn

from caloman_cli.models.heads.half_network import HalfNetwork
from tests.contracts.groups import image_geometry
from tests.models.heads import double, drawn_by, prepared, random_params, stopping


@pytest.mark.parametrize("name", ["cylinder", "cylinder_direction"])
def test_samples_as_it_was_trained(name):
    """Layers, halves of them and rings, one after the other."""
    geometry = image_geometry()
    head, x, c = prepared(name, geometry)
    head, x, params = double(head, x, c)
    x = stopping(x, geometry)
    # The innermost ring of the even slices alone, too.
    x.view(-1, geometry.n_layers, 4, 6)[1::6, :, :, 3:] = 0
    x = head._normalised(x)
    image, energies = x.unflatten(1, geometry.image_shape), params.energies
    found, chosen = [], torch.zeros(2)

    def density(m, excess, scale):
        t = (torch.log(excess.clamp(min=1e-3)) - scale[0]) / scale[1]
        t = torch.exp(-(t.unsqueeze(-2) - m.center) / m.log_scale.exp())
        each = t / m.log_scale.exp() / (1 + t) ** 2
        return (torch.softmax(m.weight, -2) * each).sum(-2).log()

    def take(says, before, left, layer, half):
        part, last = image[:, layer, half::2], image[:, layer, 1::2].sum((1, 2)) * (half == 0)
        voxels, after = part * energies[:, layer, None, None], last * energies[:, layer]
        lit, n_lit = (voxels > 0).double(), (voxels > 0).sum((1, 2))
        taken, possible = voxels.sum((1, 2)), left >= 0.999
        log_p = nn.functional.logsigmoid(torch.where(lit > 0, says.lit, -says.lit)).sum((1, 2))
        if half:  # given that one is lit
            log_p = log_p - torch.log(1 - (1 - torch.sigmoid(says.lit)).flatten(1).prod(1))
        ends, y = after <= 0, torch.zeros_like(left)
        if half == 0:
            end, portions = head.network.total(says, lit, left - n_lit - 1.0, layer)
            may = (n_lit > 0) & (left >= n_lit + 1.0)
            log_p = log_p + may * nn.functional.logsigmoid(torch.where(ends, end, -end))
            excess = (taken - n_lit).clamp(min=1e-3) / (after - 1.0).clamp(min=1e-3)
            y, open_ = torch.log(excess), (n_lit > 0) & ~ends
            placed = portions.placed((left - n_lit - 1.0)[None])
            log_p = log_p + torch.where(open_, placed.log_prob(y[None], "normal")[0], 0.0)
            chosen.add_(torch.stack([may & ends, may & ~ends], 1).sum(0))
        if half:
            first = image[:, layer, 0::2] * energies[:, layer, None, None]
            n, total = (first > 0).sum(1), first.sum(1)
            each = ((total - n) / n / ((total - n).sum(1) / n.sum(1))[:, None]).log()
            stats = head.network.of_rings
            divided = (each - stats.mean[layer, 0]) / stats.std[layer, 0]
            several = (n > 0) & ((n > 0).sum(1) > 1)[:, None]
            torch.testing.assert_close(before, torch.where(several, divided, 0.0))
        else:
            assert not before.any()
        in_ring, n_ring = voxels.sum(1), lit.sum(1)
        m, scale = head.network.rings(says, lit, taken - n_lit, y, ends, before, layer, half)
        drawn = (n_ring > 0) & ((n_ring > 0).sum(1) > 1)[:, None]  # a single one takes all
        log_p = log_p + torch.where(drawn, density(m, in_ring - n_ring, scale), 0.0).sum(1)
        m, scale = head.network.slices(says, lit, in_ring - n_ring, layer, half)
        drawn = (lit > 0) & (n_ring > 1)[:, None]
        log_p = log_p + torch.where(drawn, density(m, voxels - 1.0, scale), 0.0).sum((1, 2))
        found.append(log_p * possible)
        return voxels, after

    torch.testing.assert_close(head._walk(params, take), x, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(sum(found), head.log_prob(params, x), rtol=1e-6, atol=1e-4)
    assert (chosen > 20).all()


def test_voxels_divide_what_their_half_takes(monkeypatch):
    """Before layers are scaled, which a draw does not need: exact sums, nothing below the cut."""
    geometry = image_geometry()
    head = prepared("cylinder", geometry)[0].double()
    layers, params = random_params(head, geometry)
    x = drawn_by(head, params, monkeypatch)
    rich = layers >= geometry.threshold
    torch.testing.assert_close(geometry.layer_energies(x), rich.double())
    voxels = (x * layers[:, geometry.layer_index])[x > 0]
    assert float(voxels.min()) >= geometry.threshold * (1 - 1e-6)
    halves = x.unflatten(1, (geometry.n_layers, -1, 2, geometry.image_shape[2])).sum((2, 4))
    assert all((halves[..., k] > 0).any() and (halves[..., k] == 0).any() for k in (0, 1))


def test_does_not_know_where_alpha_begins():
    geometry = image_geometry()
    head, x, params = double(*prepared("cylinder", geometry))
    turned = x.unflatten(1, geometry.image_shape).roll(2, 2).flatten(1)
    torch.testing.assert_close(head.log_prob(params, turned), head.log_prob(params, x))
    torch.testing.assert_close(head.features(turned), head.features(x))


def test_turns_with_its_direction():
    """The dipole that latents hold turns with a shower, and with both its probability stays."""
    geometry = image_geometry()
    head, x, c = prepared("cylinder_direction", geometry)
    turned = x.unflatten(1, geometry.image_shape).roll(2, 2).flatten(1)
    angle = 2 * 2 * math.pi / geometry.image_shape[1]
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    moments = head.moments(x, c)
    torch.testing.assert_close(head.moments(turned, c), moments @ turn, rtol=1e-4, atol=1e-5)
    assert float(moments.square().sum(1).mean()) == pytest.approx(1.0, abs=1e-3)
    raw = torch.randn(len(x), head.out_dim - head.moment_dim)
    before, after = (
        head.log_prob(head.params(torch.cat([raw, head.moments(y, c)], 1), c), y)
        for y in (x, turned)
    )
    torch.testing.assert_close(before, after, rtol=1e-3, atol=0.05)


def test_odd_slices_see_the_even_ones_next_to_them():
    """As many on either side: with others a layer would lean to one side of its first half."""
    slices = 12
    network = HalfNetwork((1, slices, 2), 1, 1, 8, 2, told=0)
    with torch.no_grad():
        for layer in (network.pooled, network.context):  # what all slices hear alike
            layer.weight.zero_()
    rest = torch.zeros(1, 6, network.first.in_features - 2 * 2 * 4)
    past = torch.zeros(1, 6), torch.zeros(1, 3)

    def says(energy):
        now = energy, (energy > 0).float()
        return network(
            rest, now, torch.zeros(1, 1), past, torch.ones(1), torch.ones(1), 0, 1
        ).voxels

    nothing = says(torch.zeros(1, 6, 2))
    for even in range(0, slices, 2):
        lit = torch.zeros(1, 6, 2)
        lit[0, even // 2] = 1.0
        changed = (says(lit) - nothing).abs().amax((2, 3))[0] > 1e-5
        seen_from = {2 * odd + 1 for odd in changed.nonzero()[:, 0].tolist()}
        assert seen_from == {(even + step) % slices for step in (-3, -1, 1, 3)}
