"""Heads that sample shares: sums, zeros, the cut, and what they learn."""

import math

import pytest
import torch
from torch import nn

from caloman_cli.config.options import option_of
from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.errors import UserError
from caloman_cli.models.heads import block_networks, mixture
from caloman_cli.models.heads.autoregressive import Autoregressive
from caloman_cli.models.heads.blocks import Blocks
from caloman_cli.models.heads.gaussian import Gaussian
from caloman_cli.models.heads.half_network import Half
from caloman_cli.models.heads.hurdle_mixture import HurdleMixture
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.base import Context
from caloman_cli.models.trainable import TensorRows
from tests.conftest import load_geometry
from tests.contracts.groups import image_geometry, maker, shares, showers
from tests.models.heads import HEADS, ORDERS, SERVED, contexts, detector, prepared, tilt

__all__ = ["detector"]


@pytest.mark.parametrize("lit", [-100.0, 0.0, 3.0])
@pytest.mark.parametrize(("name", "detector"), SERVED, indirect=["detector"])
def test_samples_are_shares_of_the_layers_that_have_energy(name, lit, detector, monkeypatch):
    head, _, _ = prepared(name, detector)
    context, c = contexts(detector)
    made = mixture.mixture

    def tilted(*arguments):
        return made(*arguments)._replace(lit=made(*arguments).lit * 0.1 + lit)

    monkeypatch.setattr(mixture, "mixture", tilted)
    monkeypatch.setattr(Half, "lit", property(lambda half: half.voxels[:, :, 0] * 0.1 + lit))
    tilt(monkeypatch, lit, scale=0.1)
    x = head.sample(head.params(torch.randn(400, head.out_dim), c), Noise(0, 0, 400))
    assert (x >= 0).all()
    total = detector.layer_energies(x)
    # Sums to one where there is energy, with a lit voxel even if none was drawn; else zero.
    torch.testing.assert_close(total, (context.layers > 0).float(), rtol=0, atol=1e-5)
    if lit < -50 and not name.startswith("multiscale"):  # whose halves are never both dark
        assert ((x > 0).sum(1) == (context.layers > 0).sum(1)).all()
    voxels = shares(detector).inverse(x, context)
    torch.testing.assert_close(detector.layer_energies(voxels), context.layers, rtol=1e-5, atol=0)
    rich = (context.layers >= detector.threshold)[:, detector.layer_index]
    assert not ((voxels > 0) & (voxels < detector.threshold * (1 - 1e-5)) & rich).any()


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("preprocess", ["dequantized_log", "energy_shares", "logit_shares"])
def test_other_preprocessing_is_refused_in_one_line(name, preprocess):
    geometry = image_geometry()
    made = maker("preprocess", preprocess)(geometry=geometry)
    voxels, e_inc = showers(geometry)
    made.fit(TensorRows(voxels, e_inc))
    head = HEADS[name](geometry=geometry, conditions=made.conditions)
    with pytest.raises(
        UserError, match=f"head={option_of('head', head)}.*preprocess=shares"
    ) as found:
        head.prepare(TensorRows(*made(voxels, e_inc)))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda **build: HurdleMixture(0, **build), "components=0"),
        (lambda **build: Autoregressive(components=0, **build), "components=0"),
        (
            lambda **build: Autoregressive(components=1, **build),
            "components=1: .* 2 or",
        ),
        (lambda **build: Autoregressive("spiral", **build), "order=spiral.*layer, ring, half_r"),
        (lambda **build: Autoregressive(state=0, **build), "state=0"),
    ],
)
def test_bad_arguments(make, message, tiny_geometry):
    with pytest.raises(UserError, match=message):
        make(geometry=tiny_geometry, conditions=shares(tiny_geometry).conditions)


def test_hurdle_mixture_from_a_mean_gives_back_the_shares(detector):
    head, x, _ = prepared("hurdle_mixture", detector)
    params = head.from_mean(x, torch.ones(()))
    for shares_again in (head.sample(params, Noise(0, 0, len(x))), head.mean(params)):
        torch.testing.assert_close(shares_again, x, rtol=1e-4, atol=1e-7)


def test_hurdle_mixture_is_the_sum_over_its_voxels(detector):
    """log_prob per voxel by the mixture; an empty layer, which c tells, costs nothing."""
    head, x, c = prepared("hurdle_mixture", detector)
    raw = torch.randn(len(x), head.out_dim)
    params = head.params(raw, c)
    m = mixture.mixture(raw.unflatten(1, (head.n_parameters, detector.n_voxels)))
    layers = shares(detector).conditions.layer_energies(c)[:, detector.layer_index]
    mean, std = head.shares.mean, head.shares.std
    y = torch.where(x > 0, (x.clamp(min=1e-12).log() - mean) / std, 0.0)
    edge = ((detector.threshold / layers.clamp(min=1e-3)).log() - mean) / std
    voxels = mixture.log_prob(m, y, (x > 0).float(), edge)
    expected = torch.where(layers > 0, voxels, 0.0).sum(1)
    torch.testing.assert_close(head.log_prob(params, x), expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("order", ORDERS)
def test_blocks_hold_each_voxel_once(order, geometry):
    blocks = Blocks(geometry, order)
    x = torch.rand(2, geometry.n_voxels, dtype=torch.float64)
    parts = blocks.split(x)
    assert parts.shape == (len(blocks), blocks.size, 2)
    assert torch.equal(blocks.join(parts), x)
    torch.testing.assert_close(parts.sum((0, 1)), x.sum(1))
    assert len(blocks.spans) == int(blocks.last.sum()) == geometry.n_layers
    blocks.later.data = blocks.later.double()
    for i, after in enumerate(blocks.after(parts)):
        same = [k for k in range(i + 1, len(blocks)) if blocks.layer[k] == blocks.layer[i]]
        torch.testing.assert_close(after, parts[same].sum((0, 1)))


def test_half_rings_have_their_neighbours_before_them():
    geometry = image_geometry()
    blocks = Blocks(geometry, "half_ring")
    number = blocks.join(torch.arange(len(blocks))[:, None, None].expand(-1, blocks.size, 1))
    image = number.view(geometry.n_layers, 8, 3)
    assert image[0, :, 0].tolist() == [0, 1] * 4
    assert image[0, 0].tolist() == [0, 2, 4]
    assert image[1].min() > image[0].max()


def test_rings_without_slices_are_drawn_together():
    """As many at once as half a ring has voxels elsewhere, in parts as equal as they can be."""
    geometry = load_geometry("ds1_photons")  # 8, 16 x 10, 19 x 10, 5 and 5 rings
    blocks = Blocks(geometry, "half_ring")
    number = blocks.join(torch.arange(len(blocks))[:, None, None].expand(-1, blocks.size, 1))[0]
    assert number[geometry.slices[0]].tolist() == [0] * 4 + [1] * 4
    assert number[geometry.slices[3]].tolist() == [72] * 5
    assert number[geometry.slices[4]].tolist() == [73] * 5
    near = blocks.near.tolist()
    none = len(blocks)
    assert near[1] == [0, none, none, none, none]
    assert near[2 + 2 * 6] == [13, 12, 11, 1, none]  # ring 6 of layer 1, and 4 to 7 of layer 0
    assert near[72] == [none, none, none, 34, 35]  # the innermost ring of layer 2


@pytest.mark.parametrize("order", ORDERS)
def test_near_blocks_come_before_and_lie_next_to_it(order, geometry):
    blocks = Blocks(geometry, order)
    if order == "layer":
        assert blocks.near.shape == (len(blocks), 0)
        return
    for i, near in enumerate(blocks.near.tolist()):
        there = [j for j in near if j < len(blocks)]
        assert all(j < i and blocks.layer[i] - blocks.layer[j] in (0, 1) for j in there)
        assert len(set(there)) == len(there)
        first = blocks.layer.index(blocks.layer[i])
        assert i == first or i - 1 in there  # the even half of an odd one
        if blocks.layer[i] and i == first:
            assert blocks.layer.index(blocks.layer[i] - 1) in there  # the axis, a layer before


def test_what_follows_is_weighed_by_the_layers_energy(tiny_geometry):
    """Of weights that are 1, 2, ... for each of the energies that have their own."""
    networks = prepared("half_ring", tiny_geometry)[0].networks
    n_gates = len(block_networks._GATES)
    numbers = torch.arange(1.0, n_gates + 1).repeat_interleave(
        networks.follows.shape[1] // n_gates
    )
    networks.follows.data.copy_(numbers[:, None].expand_as(networks.follows))
    i, near = 3, torch.zeros(networks.follows.shape[2], n_gates + 2)
    near[0] = 1.0
    places = torch.tensor([-9.0, *block_networks._GATES, 9.0])
    whole = torch.exp(networks.wholes.mean[i] + networks.wholes.std[i] * places)
    at = networks.blocks()[i]
    follow = networks.follow(near, networks.gates(whole, at), at)
    torch.testing.assert_close(follow.gates.sum(0), torch.ones(n_gates + 2))
    for added in follow.bits, follow.split:
        assert bool((added.diff(dim=1) > -1e-5).all())
        torch.testing.assert_close(added[:, 0], torch.full((networks.size,), 1.0))
        torch.testing.assert_close(added[:, -1], torch.full((networks.size,), float(n_gates)))
        assert added[0, n_gates // 2 + 1].item() == pytest.approx((n_gates + 1) / 2)


def learned(head, x, c, steps):
    """A state (1, out_dim) for all rows, learned with the head's parameters."""
    raw = nn.Parameter(torch.zeros(1, head.out_dim))
    optimiser = torch.optim.Adam([raw, *head.parameters()], 2e-2)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, steps)
    for _ in range(steps):
        rows = torch.randint(0, len(x), (256,))
        optimiser.zero_grad()
        (-head.log_prob(head.params(raw.expand(256, -1), c[rows]), x[rows]).mean()).backward()
        optimiser.step()
        schedule.step()
    return raw


def two_layers() -> Geometry:
    """Two layers with two rings each."""
    rings = {"r_edges": [0, 5, 10], "n_alpha": 1}
    return Geometry.from_dict(
        {
            "name": "rings",
            "particle": "electron",
            "threshold": 0.1,
            "max_response": 2.0,
            "incident_range": [1.0e3, 1.0e5],
            "layers": [{"id": 0, **rings}, {"id": 1, **rings}],
        }
    )


@pytest.mark.parametrize(
    ("name", "expected", "width"),
    [("ring", -1.0, 1.0), ("hurdle_mixture", 0.0, math.sqrt(0.5))],
)
def test_correlations_between_blocks_are_learned(name, expected, width):
    """The inner share of one layer is the outer one of the next; the decoder tells nothing.

    Independent voxels cannot know, and scaling two of them to the sum one halves their variance.
    """
    geometry, n = two_layers(), 4096
    inner = torch.empty(n, 1).uniform_(0.2, 0.8)
    x = torch.cat([inner, 1 - inner, 1 - inner, inner], 1)
    context = Context(torch.full((n, 1), 1e4), torch.full((n, 2), 1e3))
    conditions = maker("preprocess", "shares")(geometry=geometry).conditions
    c = conditions(context)
    head = HEADS[name](geometry=geometry, conditions=conditions)
    head.prepare(TensorRows(x, c))
    raw = learned(head, x, c, 200)
    with torch.no_grad():
        drawn = head.sample(head.params(raw.expand(n, -1), c), Noise(0, 0, n))
    drawn = drawn[(drawn > 0).all(1)]
    assert len(drawn) > 0.5 * n
    assert float(drawn[:, 0].mean()) == pytest.approx(0.5, abs=0.03)
    assert float(drawn[:, 0].std()) == pytest.approx(width * 0.6 / math.sqrt(12), rel=0.15)
    correlation = float(torch.corrcoef(drawn[:, [0, 2]].T)[0, 1])
    assert correlation == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        pytest.param("ring", [1], marks=pytest.mark.slow),
        pytest.param("half_ring", [1], marks=pytest.mark.slow),
        ("cylinder", [1, 3]),
        pytest.param("multiscale", [1], marks=pytest.mark.slow),
    ],
)
def test_showers_stop_where_the_data_do(name, more):
    """Half of the showers have two voxels in the innermost ring, the others more in the next.

    Without a choice to end, a head must go on to spend what is left. A cylinder does not know its
    slices apart, so that for it both odd ones are lit.
    """
    rings = Layer(0, (0.0, 5.0, 10.0, 15.0), 4)
    geometry, n = Geometry("stopping", "electron", (rings,), 0.1, 2.0), 4096
    inner, longer = torch.empty(n).uniform_(0.45, 0.55), torch.rand(n) < 0.5
    image = torch.zeros(n, 4, 3)
    image[:, 0, 0], image[:, 2, 0] = inner, 1 - inner
    image[longer] *= 0.8
    image[:, more, 1] = 0.2 / len(more) * longer[:, None]
    x = image.flatten(1)
    conditions = maker("preprocess", "shares")(geometry=geometry).conditions
    c = conditions(Context(torch.full((n, 1), 100.0), torch.full((n, 1), 20.0)))
    head = HEADS[name](geometry=geometry, conditions=conditions)
    head.prepare(TensorRows(x, c))
    raw = learned(head, x, c, 400)
    with torch.no_grad():
        drawn = head.sample(head.params(raw.expand(n, -1), c), Noise(0, 0, n))
    error = 0.5 / math.sqrt(n)
    assert (drawn > 0).float().mean(0)[~(x > 0).any(0)].max() < 0.01
    expected = torch.bincount((x > 0).sum(1), minlength=13) / n
    found = torch.bincount((drawn > 0).sum(1), minlength=13) / n
    torch.testing.assert_close(found, expected, rtol=0, atol=4 * error)
    rest = 1 - drawn.view(n, 4, 3)[:, :, 0].sum(1)
    assert float(rest.mean()) == pytest.approx(0.1, abs=0.01)
    assert float(rest.std()) == pytest.approx(0.1, abs=0.02)


@pytest.mark.slow
def test_cylinder_keeps_what_halves_and_rings_take():
    """Voxels share what their half and ring have in all proportions, these have always the same.

    Drawn apart, the inner voxels alone would spread what half of the slices take by 0.08.
    """
    rings = Layer(0, (0.0, 5.0, 10.0, 15.0), 4)
    geometry, n = Geometry("sharing", "electron", (rings,), 0.1, 2.0), 4096
    image, u = torch.zeros(n, 4, 3), torch.empty(n, 2, 2).uniform_(0.1, 0.9)
    for ring, part in enumerate((0.7, 0.3)):
        image[:, 0:2, ring] = 0.5 * part * u[:, ring]
        image[:, 2:4, ring] = 0.5 * part * (1 - u[:, ring])
    x = image.flatten(1)
    conditions = maker("preprocess", "shares")(geometry=geometry).conditions
    c = conditions(Context(torch.full((n, 1), 1e4), torch.full((n, 1), 1e3)))
    head = HEADS["cylinder"](geometry=geometry, conditions=conditions)
    head.prepare(TensorRows(x, c))
    raw = learned(head, x, c, 400)
    with torch.no_grad():
        drawn = head.sample(head.params(raw.expand(n, -1), c), Noise(0, 0, n)).view(n, 4, 3)
    assert float(drawn[:, 0::2].sum((1, 2)).std()) < 0.03
    assert float(drawn[:, :, 0].sum(1).std()) < 0.03
    width = 0.35 * 0.8 / math.sqrt(12)
    assert float(drawn[:, :, 0].std()) == pytest.approx(width, rel=0.2)


@pytest.fixture
def turn(geometry):
    """``turned``, all rows alike: (x, steps, mirrored) -> x."""
    head = Gaussian(geometry=geometry, conditions=None)
    return lambda x, step, mirrored: head.turned(x, torch.full((len(x),), 2 * step + mirrored))


def test_turning_is_a_symmetry_of_the_detector(geometry, turn):
    n = math.gcd(*(layer.n_alpha for layer in geometry.layers if layer.n_alpha > 1))
    x = torch.rand(2, geometry.n_voxels)
    found = {(step, mirror): turn(x, step, mirror) for step in range(n) for mirror in range(2)}
    assert torch.equal(found[0, 0], x)
    assert len({tuple(turned[0].tolist()) for turned in found.values()}) == 2 * n > 2
    # Each row by its own turn.
    rows = Gaussian(geometry=geometry, conditions=None).turned(x, torch.tensor([3, 0]))
    assert torch.equal(rows, torch.stack([found[1, 1][0], x[1]]))
    for turned in found[1, 0], found[n - 1, 1]:
        for layer, part in zip(geometry.layers, geometry.slices, strict=True):
            # Every ring of every layer keeps its voxels.
            shape = (layer.n_alpha, layer.n_r)
            before, after = (v[:, part].unflatten(1, shape).sort(1).values for v in (x, turned))
            assert torch.equal(before, after)
    again = x
    for step in range(1, n + 1):
        again = turn(again, 1, 0)
        assert torch.equal(again, found[step % n, 0])
    assert torch.equal(turn(found[0, 1], 0, 1), x)


def test_neighbours_stay_neighbours_when_turned(tiny_geometry):
    head = Gaussian(geometry=tiny_geometry, conditions=None)
    x = torch.arange(12.0)[None]
    seen = set()
    for turn in range(head.n_turns):
        inner = head.turned(x, torch.tensor([turn]))[0, 2:10].view(4, 2)[:, 0]
        seen.add(tuple(inner.tolist()))
        assert {abs(float(d)) for d in inner.roll(1) - inner} == {2.0, 6.0}
    assert len(seen) == 8
