"""Heads that walk from block to block: they sample as they are trained, each layer to its end."""

import pytest
import torch
from torch import nn

from caloman_cli.heads import mixture
from caloman_cli.heads.autoregressive import Autoregressive
from caloman_cli.noise import Noise
from tests.contracts.groups import image_geometry
from tests.models.heads import ORDERS, contexts, detector, prepared

__all__ = ["detector"]


def drawn_by(head, params, monkeypatch):
    """What a walk makes before layers are normalised (B, V), and its draws: lit, y by block."""
    kept, n = [], len(params[0])

    def watched(walk):
        def watching(params, decide):
            def watching_decide(*arguments):
                kept.append(decide(*arguments))
                return kept[-1]

            return walk(params, watching_decide)

        return watching

    with monkeypatch.context() as patch, torch.no_grad():
        if isinstance(head, Autoregressive):
            patch.setattr(head, "_walk", watched(head._walk))
        patch.setattr(head, "_rescued", lambda x, *_: x)
        patch.setattr(head, "_normalised", lambda x: x)
        return head.sample(params, Noise(0, 0, n)), kept


@pytest.mark.parametrize("name", ["hurdle_mixture", *ORDERS])
def test_voxels_are_drawn_above_the_cut(name, detector, monkeypatch):
    """Before layers are scaled, so that scaling is what a good model does not need."""
    head, _, _ = prepared(name, detector)
    context, c = contexts(detector)
    raw = torch.randn(400, head.out_dim).double()
    head = head.double()
    params = tuple(part.double() for part in head.params(raw, c))
    x, kept = drawn_by(head, params, monkeypatch)
    layers = context.layers.double()
    if name != "hurdle_mixture":
        # Shares are of what the blocks before have left.
        parts, blocks = head.blocks.split(x), head.blocks
        begun = blocks.later.T - torch.eye(len(blocks))
        left = 1.0 - parts.sum(2) @ begun.double()
        lit, y, _ = (torch.stack(part, 1) for part in zip(*kept, strict=True))
        energy = (y * head.shares.std + head.shares.mean).exp() * left[:, :, None]
        energy = energy * layers[:, blocks.layer_index, None]
        able = (left * layers[:, blocks.layer_index] >= detector.threshold)[:, :, None]
        drawn = energy[(lit > 0) & blocks.valid & able]
    else:
        energy = x * layers[:, detector.layer_index]
        drawn = energy[(x > 0) & (layers >= detector.threshold)[:, detector.layer_index]]
    assert len(drawn) > 400
    assert float(drawn.min()) >= detector.threshold * (1 - 1e-6)


@pytest.mark.parametrize("order", ["ring", "half_ring"])
def test_places_that_are_no_voxels_have_no_say(order, tiny_geometry):
    """Blocks of one and of four voxels are padded to one size."""
    head, x, c = prepared(order, tiny_geometry)
    places = head.bias_2.data[:, :-1].unflatten(1, (-1, head.blocks.size))
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
    head, _, _ = prepared(name, detector)
    context, c = contexts(detector)
    head, rich = head.double(), context.layers >= 0.999 * detector.threshold
    raw = torch.randn(400, head.out_dim).double()
    params = tuple(part.double() for part in head.params(raw, c))
    total = detector.layer_energies(drawn_by(head, params, monkeypatch)[0])
    assert (total <= 1 + 1e-9).all()
    assert not total[~rich].any()
    made = mixture.mixture
    monkeypatch.setattr(
        mixture, "mixture", lambda raw: made(raw)._replace(lit=made(raw).lit * 0 + 100)
    )
    x, _ = drawn_by(head, params, monkeypatch)
    torch.testing.assert_close(detector.layer_energies(x), rich.double())
    blocks = (head.blocks.split(x) > 0).any(2)
    stopped = (blocks.sum(1) < len(head.blocks)) & rich.all(1)
    assert stopped.any() == (len(head.blocks) > detector.n_layers)


def parallel(head, params, x, monkeypatch):
    """log_prob in training's way, and the parameters of every block (B, N, *)."""
    kept, split = [], head._split

    def keep(raw):
        kept.append(split(raw))
        return kept[-1]

    with monkeypatch.context() as patch:
        patch.setattr(head, "_split", keep)
        value = head.log_prob(params, x)
    return value, fields(kept[0])


def fields(block):
    """All that a block is drawn from."""
    return {"end": block.end, "shift": block.shift, **block.voxels._asdict()}


def told(block, y, lit, edge, must, ends, valid=True):
    """Log-probability of a shower's block, (B,), by the rules of a draw: y, lit (B, *)."""
    n_lit = lit.flatten(1).sum(1)
    # The only voxel of a block that uses up its layer takes what is left.
    free = lit * ~(ends & (n_lit == 1)).view(-1, *[1] * (lit.ndim - 1))
    given = block.given(ends.to(y).view(-1, *[1] * (lit.ndim - 2)))
    voxels = (mixture.log_prob(given, y, lit, edge, free) * valid).flatten(1).sum(1)
    choice = torch.where(ends, 1.0, -1.0) * block.end
    return voxels + torch.where((n_lit > 0) & ~must, nn.functional.logsigmoid(choice), 0.0)


def double(head, x, c):
    """The same in double precision, where only mistakes differ."""
    head = head.double()
    energies = head.conditions.layer_energies(c).double()
    x = x.double()
    x = x / head.layers.spread(head.layers.sum(x).clamp(min=1e-12))
    return head, x, (torch.randn(len(x), head.out_dim).double(), energies / head.cut)


def stopping(x, geometry):
    """Showers of which some layers end early: no light beyond the innermost ring, or one voxel."""
    keep = torch.zeros(3, geometry.n_voxels, dtype=torch.bool)
    keep[0] = True
    for layer, part in zip(geometry.layers, geometry.slices, strict=True):
        keep[1, part.start : part.stop : layer.n_r] = True
        keep[2, part.start] = True
    x = x.clone()
    x[:, [part.start for part in geometry.slices]] += 0.2 * (geometry.layer_energies(x) > 0)
    x = x * keep[torch.arange(len(x)) % 3]
    return x / geometry.layer_energies(x).clamp(min=1e-12)[:, geometry.layer_index]


@pytest.mark.parametrize("order", ORDERS)
def test_training_and_sampling_walk_the_same_way(order, detector, monkeypatch):
    """Sampling, told to draw a given shower, gives it the probability that training gives it."""
    head, x, params = double(*prepared(order, detector))
    x = stopping(x, detector)
    expected, training = parallel(head, params, x, monkeypatch)
    blocks, parts = head.blocks, head.blocks.split(x)
    left = blocks.remaining(parts)
    y, lit = head._standard(parts, left)
    # A block that cannot be lit, because its layer has nothing left, has no say.
    alive = left * params[1][:, blocks.layer_index] >= 0.999
    found, sampling, chosen = [], [], torch.zeros(2)

    def decide(block, edge, room, must, i):
        ends = blocks.last[i] | (parts.sum(2) @ blocks.later.tril(-1)[:, i] <= 0)
        found.append(told(block, y[:, i], lit[:, i], edge, must, ends, blocks.valid[i]))
        sampling.append(fields(block))
        free = ~must & alive[:, i] & lit[:, i].any(1)
        chosen.add_(torch.stack([free & ends, free & ~ends], 1).sum(0))
        return lit[:, i], y[:, i], ends

    torch.testing.assert_close(head._walk(params, decide), x, rtol=1e-6, atol=1e-9)
    found = (torch.stack(found, 1) * alive).sum(1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-4)
    for name, at_once in training.items():
        one_by_one = torch.stack([block[name] for block in sampling], 1)
        torch.testing.assert_close(one_by_one[alive], at_once[alive], rtol=1e-5, atol=1e-6)
    assert (chosen > 20).all() == (order != "layer")  # both were put to the test


@pytest.mark.parametrize("order", ORDERS)
def test_a_block_sees_only_the_blocks_before_it(order, detector, monkeypatch):
    head, x, params = double(*prepared(order, detector))
    full = (params[1] > 0).all(1)
    x, params = x[full], (params[0][full], params[1][full])
    _, before = parallel(head, params, x, monkeypatch)
    own = head.blocks.split(x)
    left = head.blocks.remaining(own)
    for j, layer in enumerate(head.blocks.layer):
        other = head.blocks.split(x.roll(1, 0))
        # The same up to block j; from there on another shower, with what this layer has left.
        rest = head.blocks.remaining(other)[:, j]
        usable = (rest > 0) & (left[:, j] > 0)
        same = torch.tensor([k >= j and of == layer for k, of in enumerate(head.blocks.layer)])
        factor = torch.where(usable, left[:, j] / rest, 1.0)[:, None, None]
        other = torch.where(same[:, None], other * factor, other)
        other[:, :j] = own[:, :j]
        _, after = parallel(head, params, head.blocks.join(other), monkeypatch)
        for name, parameter in before.items():
            known = slice(0, j + 1)
            torch.testing.assert_close(parameter[usable, known], after[name][usable, known])
        if j + 1 < len(head.blocks):
            rest = slice(j + 1, None)
            assert not torch.allclose(
                before["center"][usable, rest], after["center"][usable, rest]
            )


def test_cylinder_samples_as_it_was_trained():
    """As above, for layers and halves of them."""
    geometry = image_geometry()
    head, x, params = double(*prepared("cylinder", geometry))
    x = stopping(x, geometry)
    # The innermost ring of the even slices alone, too.
    x.view(-1, geometry.n_layers, 4, 6)[1::6, :, :, 3:] = 0
    x = head._normalised(x)
    image, energies = x.unflatten(1, geometry.image_shape), params[1]
    params = params[0].unflatten(1, (geometry.n_layers, -1)), energies
    found, chosen = [], torch.zeros(2)

    def decide(block, edge, room, must, layer, half):
        part = image[:, layer, half::2]
        left = image[:, layer].sum((1, 2)) if half == 0 else part.sum((1, 2))
        ends = must | (image[:, layer, 1::2].sum((1, 2)) <= 0)
        lit = (part > 0).double()
        logs = part.clamp(min=1e-12).log() - left.clamp(min=1e-12).log()[:, None, None]
        y = lit * (logs - head.shares.mean[layer, half]) / head.shares.std[layer, half]
        possible = left * energies[:, layer] >= 0.999
        found.append(told(block, y, lit, edge, must, ends) * possible)
        free = ~must & possible & lit.flatten(1).any(1)
        chosen.add_(torch.stack([free & ends, free & ~ends], 1).sum(0))
        return lit, y, ends

    torch.testing.assert_close(head._walk(params, decide), x, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(sum(found), head.log_prob(params, x), rtol=1e-6, atol=1e-4)
    assert (chosen > 20).all()


def test_cylinder_does_not_know_where_alpha_begins():
    geometry = image_geometry()
    head, x, params = double(*prepared("cylinder", geometry))
    params = params[0].unflatten(1, (geometry.n_layers, -1)), params[1]
    turned = x.unflatten(1, geometry.image_shape).roll(2, 2).flatten(1)
    torch.testing.assert_close(head.log_prob(params, turned), head.log_prob(params, x))
    torch.testing.assert_close(head.features(turned), head.features(x))
