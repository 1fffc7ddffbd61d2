"""Heads that walk from block to block: they sample as they are trained, each layer to its end."""

import math

import pytest
import torch
from torch import nn

from caloman_cli.models.heads.block_networks import sum_after
from caloman_cli.models.heads.portions import Component, Components, Draws
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.base import Context
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import shares
from tests.models.heads import (
    ORDERS,
    detector,
    double,
    drawn_by,
    prepared,
    random_params,
    stopping,
    tilt,
)

__all__ = ["detector"]


@pytest.mark.parametrize("name", ["hurdle_mixture", *ORDERS])
def test_voxels_are_drawn_above_the_cut(name, detector, monkeypatch):
    """Before layers are scaled, so that scaling is what a good model does not need."""
    head = prepared(name, detector)[0].double()
    layers, params = random_params(head, detector)
    x = drawn_by(head, params, monkeypatch)
    rich = (layers >= detector.threshold)[:, detector.layer_index]
    drawn = (x * layers[:, detector.layer_index])[(x > 0) & rich]
    assert len(drawn) > 400
    assert float(drawn.min()) >= detector.threshold * (1 - 1e-6)


@pytest.mark.parametrize("order", ["ring", "half_ring"])
def test_places_that_are_no_voxels_have_no_say(order, tiny_geometry):
    """Blocks of one and of four voxels are padded to one size."""
    head, x, c = prepared(order, tiny_geometry)
    places = head.networks.says_bits.bias.data.unflatten(1, (3, -1))
    params = head.params(torch.randn(len(x), head.out_dim), c)
    found = []
    for logit in (-100.0, 100.0):
        places[:, 0][~head.blocks.valid] = logit
        found.append((head.sample(params, Noise(0, 0, len(x))), head.log_prob(params, x)))
    for without, with_light in zip(*found, strict=True):
        assert torch.equal(without, with_light)


@pytest.mark.parametrize("name", ORDERS)
def test_a_walk_uses_up_each_layer_by_itself(name, detector, monkeypatch):
    """Normalising afterwards only helps layers whose last block was to end them and is dark."""
    head = prepared(name, detector)[0].double()
    layers, params = random_params(head, detector)
    rich = layers >= 0.999 * detector.threshold
    total = detector.layer_energies(drawn_by(head, params, monkeypatch))
    assert (total <= 1 + 1e-9).all()
    assert not total[~rich].any()
    tilt(monkeypatch, 100.0)
    x = drawn_by(head, params, monkeypatch)
    torch.testing.assert_close(detector.layer_energies(x), rich.double())
    lit = (head.blocks.split(x) > 0).any(1)
    stopped = (lit.sum(0) < len(head.blocks)) & rich.all(1)
    assert stopped.any() == (len(head.blocks) > detector.n_layers)


def test_a_layer_hardly_ends_where_no_training_shower_did(detector, monkeypatch):
    head, x, _ = prepared("ring", detector)
    bright = Context(torch.full((len(x), 1), 1e5), torch.full((len(x), detector.n_layers), 1e4))
    c = shares(detector).condition(bright)
    x = detector_shares(torch.rand_like(x) + 0.5, detector)  # every ring is lit
    head.networks.limit.zero_()
    head.prepare(TensorRows(x, c))
    assert not head.networks.limit[~head.blocks.last].any()
    with torch.no_grad():
        head.networks.says_total.bias[:, 0] += 3.0
        params = head.params(torch.randn(len(x), head.out_dim), c)
        tilt(monkeypatch, 9.0)
        ended = (head.blocks.split(drawn_by(head, params, monkeypatch)) <= 0).all(1)
    assert float(ended.float().mean()) < 0.01


def detector_shares(x, detector):
    return x / detector.layer_energies(x)[:, detector.layer_index]


def hidden_units(head, params, x, monkeypatch):
    """log_prob in training's way, and the hidden units of every block (3, N, hidden, B)."""
    kept, layers = [], head.networks.layers

    def keep(*arguments):
        kept.append(layers(*arguments))
        return kept[-1]

    with monkeypatch.context() as patch:
        patch.setattr(head.networks, "layers", keep)
        value = head.log_prob(params, x)
    return value, torch.stack(kept[0])


def divided(energies, density):
    """Log-density of a block's voxels (S,) of known energies over the cut, one shower, by hand.

    ``density(s, free, others, y)`` is that of voxel s.
    """
    total = 0.0
    lit = [s for s, energy in enumerate(energies) if energy > 0]
    for rank, s in enumerate(lit[:-1]):
        others = len(lit) - rank - 1
        rest = max(sum(float(energies[k]) for k in lit[rank + 1 :]) - others, 1e-3)
        mine = max(float(energies[s]) - 1.0, 1e-3)
        left = (rest / (mine + rest)) ** others
        total += density(s, mine + rest, others, math.log((1 - left) / left))
    return total


@pytest.mark.parametrize("order", [*ORDERS, "half_ring_dipoles"])
def test_training_and_sampling_walk_the_same_way(order, detector, monkeypatch):
    """Sampling, told to draw a given shower, gives it the probability that training gives it."""
    head, x, params = double(*prepared(order, detector))
    x = stopping(x, detector)
    if head.dipoles is not None:
        exact = head.dipoles.moments(head.blocks.split(x), params.energies)
        params = params._replace(moments=exact + 0.1 * torch.randn_like(exact))
    head.networks.limit.fill_(1e9)
    head.networks.follows.data.normal_(0.0, 0.1)
    head.networks.goes_on.data.normal_(0.0, 0.3)
    expected, training = hidden_units(head, params, x, monkeypatch)
    blocks, networks = head.blocks, head.networks
    whole = params.energies.T[blocks.layer_index]
    voxels = blocks.split(x) * whole[:, None]
    later = blocks.after(voxels)
    found, chosen, visits = torch.zeros(len(x)).double(), torch.zeros(2), []

    def take(hidden, follow, left, rows, i, at):
        alive = left >= 0.999
        here = training[:, i, :, rows]
        torch.testing.assert_close(torch.stack(hidden)[..., alive], here[..., alive])
        part, after = voxels[i][:, rows], later[i][rows]
        lit, n_lit = (part > 0).double(), (part > 0).sum(0)
        logit, first, each = networks.bits(hidden[0], follow.bits, at)
        before = lit.cumsum(0) - lit
        logit = logit + (before > 0) * (first + each * (before - 1))
        says = nn.functional.logsigmoid(torch.where(lit > 0, logit, -logit))
        says = (says * blocks.valid[i, :, None]).sum(0) * alive
        free = left - n_lit - 1.0
        end, total = networks.total(hidden[1], lit, free, at)
        may = (n_lit > 0) & (left >= n_lit + 1.0) & ~blocks.last[i]
        says = says + may * nn.functional.logsigmoid(torch.where(after > 0, -end, end))
        chosen.add_(torch.stack([may & (after <= 0), may & (after > 0)]).sum(1))
        open_ = (n_lit > 0) & (after > 0)
        excess = (part.sum(0) - n_lit).clamp(min=1e-3)
        y = torch.log(excess / (after - 1.0).clamp(min=1e-3))
        portion = total.placed(free[None]).log_prob(y[None], "normal")[0]
        says = says + torch.where(open_, portion, 0.0)
        excess, goes_on = part.sum(0) - n_lit, open_.double()
        split = networks.split(hidden[2], lit, y, excess, goes_on, follow.split, at)
        for b in range(len(rows)):
            shift = torch.zeros(blocks.size).double()

            def density(s, free, others, y, b=b, shift=shift):
                one = Components(*(field[:, s : s + 1, b : b + 1] for field in split))
                portions = torch.arange(len(one.center))[:, None, None] < len(one.center) - 1
                one = one._replace(center=one.center + portions * shift[s])
                follows = (follow.gates[:, b, None, None] * networks.goes_on[i]).sum(0)
                shift += follows[:, s].detach() * 2 * math.tanh(y / 2)
                one = one.placed(torch.full((1, 1), free), torch.full((1, 1), float(others)))
                return one.log_prob(torch.full((1, 1), y).double(), "logistic").squeeze()

            says[b] += divided(part[:, b], density)
        found[rows] += says.detach()
        visits.append(len(rows))
        return part, lit, after

    with torch.no_grad():
        torch.testing.assert_close(head._walk(params, take), x, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-4)
    assert (chosen > 20).all() == (order != "layer")  # both were put to the test
    assert sum(visits) < len(x) * len(blocks)  # layers that are empty or over are left out


@pytest.mark.parametrize("order", ["ring", "half_ring"])
def test_what_is_drawn_is_what_was_divided(order, detector, monkeypatch):
    """Portions that are put into a draw come out of its energies, as training reads them."""
    head = prepared(order, detector)[0].double()
    _, params = random_params(head, detector)
    drawn, odds, read, blocks = [], [], [], head.blocks
    totals = torch.zeros(len(blocks), len(params.state)).double()
    parts = torch.zeros(len(blocks), blocks.size, len(params.state)).double()
    walk = head._walk

    def watched(params, take):
        def watch(hidden, follow, left, rows, i, at):
            odds.clear()
            made = take(hidden, follow, left, rows, i, at)
            totals[i, rows] = drawn[-1][0]
            several = rows[made[1].sum(0) > 1]
            for s, odd in enumerate(odds):
                parts[i, s, several] = odd.log()
            return made

        return walk(params, watch)

    with monkeypatch.context() as patch:
        draw, of, log_prob = Component.draw, Draws.odds, Components.log_prob
        patch.setattr(Component, "draw", lambda *a: drawn.append(draw(*a)) or drawn[-1])
        patch.setattr(Draws, "odds", lambda *a: odds.append(of(*a)) or odds[-1])
        patch.setattr(head, "_walk", watched)
        x = drawn_by(head, params, monkeypatch)
        patch.setattr(
            Components, "log_prob", lambda m, y, family: read.append(y) or log_prob(m, y, family)
        )
        head.log_prob(params, x)
    voxels = blocks.split(x) * params.energies.T[blocks.layer_index][:, None]
    whole = (head.layers.sum(x) - 1).abs().lt(1e-9).all(1)
    lit, taken, after = voxels > 0, voxels.sum(1), blocks.after(voxels)
    open_ = lit.any(1) & (after > 0) & whole
    free = taken + after - lit.sum(1) - 1.0
    sure = open_ & (totals.abs() < 6) & (free > 0.1)  # not at the resolution of an excess
    assert int(sure.sum()) > 10
    torch.testing.assert_close(totals[sure], read[0][:, 0][sure], rtol=1e-4, atol=1e-3)
    others = sum_after(lit.double())
    least = torch.minimum(voxels - 1.0, sum_after(voxels) - others)
    sure = lit & (others > 0) & whole & (parts.abs() < 6) & (least > 0.02)
    assert sure.any()
    torch.testing.assert_close(parts[sure], read[1][sure], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("order", ORDERS)
def test_a_block_sees_only_the_blocks_before_it(order, detector, monkeypatch):
    head, x, params = double(*prepared(order, detector))
    full = (params.energies > 0).all(1)
    x, params = x[full], type(params)(*(part[full] for part in params))
    _, before = hidden_units(head, params, x, monkeypatch)
    own = head.blocks.split(x)
    left = own.sum(1) + head.blocks.after(own)
    for j, layer in enumerate(head.blocks.layer):
        other = head.blocks.split(x.roll(1, 0))
        # The same up to block j; from there on another shower, with what this layer has left.
        rest = (other.sum(1) + head.blocks.after(other))[j]
        usable = (rest > 0) & (left[j] > 0)
        same = torch.tensor([k >= j and of == layer for k, of in enumerate(head.blocks.layer)])
        factor = torch.where(usable, left[j] / rest, 1.0)
        other = torch.where(same[:, None, None], other * factor, other)
        other[:j] = own[:j]
        _, after = hidden_units(head, params, head.blocks.join(other), monkeypatch)
        known = slice(0, j + 1)
        torch.testing.assert_close(before[:, known][..., usable], after[:, known][..., usable])
        if j + 1 < len(head.blocks):
            rest = slice(j + 1, None)
            assert not torch.allclose(before[:, rest][..., usable], after[:, rest][..., usable])
