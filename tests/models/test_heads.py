"""Heads that sample shares: sums, zeros, the cut, and what a voxel knows of those before it."""

import math

import pytest
import torch
from torch import nn

from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError
from caloman_cli.heads import mixture
from caloman_cli.heads.autoregressive import Autoregressive
from caloman_cli.heads.blocks import Blocks
from caloman_cli.heads.cylinder import Cylinder
from caloman_cli.heads.gaussian import Gaussian
from caloman_cli.heads.hurdle_mixture import HurdleMixture
from caloman_cli.noise import Noise
from caloman_cli.preprocess.base import Context
from caloman_cli.trainable import TensorRows
from tests.contracts.groups import image_geometry, maker, share_rows, shares, showers

ORDERS = ["layer", "ring", "half_ring"]
HEADS = {
    "hurdle_mixture": lambda **build: HurdleMixture(2, **build),
    **{
        order: lambda order=order, **build: Autoregressive(order, 16, 16, 2, **build)
        for order in ORDERS
    },
    "cylinder": lambda **build: Cylinder(8, 4, 16, 2, **build),
}


def prepared(name, geometry):
    """A head with measured statistics, and rows x, c of plausible showers."""
    if name == "cylinder" and geometry.image_shape is None:
        pytest.skip("needs layers of one shape")
    head = HEADS[name](geometry=geometry, conditions=shares(geometry).conditions)
    x, c = share_rows(geometry)
    head.prepare(TensorRows(x, c))
    return head, x, c


def contexts(geometry):
    """All that an energy model may say: empty layers, layers below the cut, just above it, rich.

    Context of 400 showers, and conditions c.
    """
    energies = geometry.threshold * 10 ** torch.empty(400, geometry.n_layers).uniform_(-2, 5)
    energies *= torch.rand_like(energies) < 0.8
    context = Context(torch.full((400, 1), 1e5), energies)
    return context, shares(geometry).condition(context)


@pytest.fixture(params=["tiny", "image"])
def detector(request, tiny_geometry) -> Geometry:
    return tiny_geometry if request.param == "tiny" else image_geometry()


@pytest.mark.parametrize("lit", [-100.0, 0.0, 3.0])
@pytest.mark.parametrize("name", HEADS)
def test_samples_are_shares_of_the_layers_that_have_energy(name, lit, detector, monkeypatch):
    head, _, _ = prepared(name, detector)
    context, c = contexts(detector)
    made = mixture.mixture
    monkeypatch.setattr(
        mixture, "mixture", lambda raw: made(raw)._replace(lit=made(raw).lit * 0.1 + lit)
    )
    x = head.sample(head.params(torch.randn(400, head.out_dim), c), Noise(0, 0, 400))
    assert (x >= 0).all()
    total = detector.layer_energies(x)
    # Sums to one where there is energy, with a lit voxel even if none was drawn; else zero.
    torch.testing.assert_close(total, (context.layers > 0).float(), rtol=0, atol=1e-5)
    if lit < -50:
        assert ((x > 0).sum(1) == (context.layers > 0).sum(1)).all()
    voxels = shares(detector).inverse(x, context)
    torch.testing.assert_close(detector.layer_energies(voxels), context.layers, rtol=1e-5, atol=0)
    rich = (context.layers >= detector.threshold)[:, detector.layer_index]
    assert not ((voxels > 0) & (voxels < detector.threshold * (1 - 1e-5)) & rich).any()


@pytest.mark.parametrize("name", ["hurdle_mixture", *ORDERS])
def test_voxels_are_drawn_above_the_cut(name, detector, monkeypatch):
    """Before layers are scaled, so that scaling is what a good model does not need."""
    head, _, _ = prepared(name, detector)
    context, c = contexts(detector)
    drawn = []
    monkeypatch.setattr(head, "_rescued", lambda x, *_: drawn.append(x) or x)
    monkeypatch.setattr(head, "_normalised", lambda x: x)
    if isinstance(head, Autoregressive):
        monkeypatch.setattr(head.blocks, "closes", [False] * len(head.blocks))
    x = head.sample(head.params(torch.randn(400, head.out_dim), c), Noise(0, 0, 400))
    energy = x * context.layers[:, detector.layer_index]
    rich = (context.layers >= detector.threshold)[:, detector.layer_index]
    assert (x > 0).any()
    assert not ((x > 0) & (energy < detector.threshold * (1 - 1e-4)) & rich).any()


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("preprocess", ["dequantized_log", "energy_shares", "logit_shares"])
def test_other_preprocessing_is_refused_in_one_line(name, preprocess):
    geometry = image_geometry()
    made = maker("preprocess", preprocess)(geometry=geometry)
    voxels, e_inc = showers(geometry)
    made.fit(TensorRows(voxels, e_inc))
    head = HEADS[name](geometry=geometry, conditions=made.conditions)
    with pytest.raises(UserError, match=f"head={type(head).__name__}.*preprocess=shares") as found:
        head.prepare(TensorRows(*made(voxels, e_inc)))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda **build: HurdleMixture(0, **build), "components=0"),
        (lambda **build: Autoregressive(components=0, **build), "components=0"),
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
    assert parts.shape == (2, len(blocks), blocks.size)
    assert torch.equal(blocks.join(parts), x)
    torch.testing.assert_close(parts.sum((1, 2)), x.sum(1))
    assert sum(blocks.opens) == sum(blocks.closes) == geometry.n_layers
    blocks.later.data = blocks.later.double()
    for i, left in enumerate(blocks.remaining(parts).T):
        same = [k for k in range(i, len(blocks)) if blocks.layer[k] == blocks.layer[i]]
        torch.testing.assert_close(left, parts[:, same].sum((1, 2)))


def test_half_rings_have_their_neighbours_before_them():
    geometry = image_geometry()
    blocks = Blocks(geometry, "half_ring")
    number = blocks.join(torch.arange(len(blocks))[None, :, None].expand(1, -1, blocks.size))
    image = number.view(geometry.n_layers, 8, 3)
    assert image[0, :, 0].tolist() == [0, 1] * 4
    assert image[0, 0].tolist() == [0, 2, 4]
    assert image[1].min() > image[0].max()


def parallel(head, params, x, monkeypatch):
    """log_prob in training's way, and the mixture of every block (B, N, ., S)."""
    kept, original = [], mixture.log_prob

    def keep(m, *arguments):
        kept.append(m)
        return original(m, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(mixture, "log_prob", keep)
        value = head.log_prob(params, x)
    return value, kept[0]


def double(head, x, c):
    """The same in double precision, where only mistakes differ."""
    head = head.double()
    energies = head.conditions.layer_energies(c).double()
    x = x.double()
    x = x / head.layers.spread(head.layers.sum(x).clamp(min=1e-12))
    return head, x, (torch.randn(len(x), head.out_dim).double(), energies / head.cut)


@pytest.mark.parametrize("order", ORDERS)
def test_training_and_sampling_walk_the_same_way(order, detector, monkeypatch):
    """Sampling, told to draw a given shower, gives it the probability that training gives it."""
    head, x, params = double(*prepared(order, detector))
    expected, training = parallel(head, params, x, monkeypatch)
    parts = head.blocks.split(x)
    y, lit = head._standard(parts, head.blocks.remaining(parts))
    voxels, sampling = [], []

    def decide(m, edge, i):
        voxels.append(mixture.log_prob(m, y[:, i], lit[:, i], edge) * head.blocks.valid[i])
        sampling.append(m)
        return lit[:, i], y[:, i]

    walked = head._walk(params, decide)
    torch.testing.assert_close(walked, x, rtol=1e-6, atol=1e-9)
    # A block that cannot be lit, because its layer has nothing left, has no say.
    budget = head.blocks.remaining(parts) * params[1][:, head.blocks.layer_index]
    found = (torch.stack(voxels, 1).sum(2) * (budget >= 0.999)).sum(1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-4)
    for field in mixture.Mixture._fields:
        one_by_one = torch.stack([getattr(m, field) for m in sampling], 1)
        at_once = getattr(training, field)
        alive = budget >= 0.999
        torch.testing.assert_close(one_by_one[alive], at_once[alive], rtol=1e-5, atol=1e-6)


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
        for a, b in zip(before, after, strict=True):
            torch.testing.assert_close(a[usable, : j + 1], b[usable, : j + 1])
        if j + 1 < len(head.blocks):
            assert not torch.allclose(
                before.center[usable, j + 1 :], after.center[usable, j + 1 :]
            )


def test_cylinder_samples_as_it_was_trained():
    """As above, for layers and halves of them."""
    geometry = image_geometry()
    head, x, params = double(*prepared("cylinder", geometry))
    image, energies = x.unflatten(1, geometry.image_shape), params[1]
    params = params[0].unflatten(1, (geometry.n_layers, -1)), energies
    found = []

    def decide(m, edge, layer, half):
        part = image[:, layer, half::2]
        left = image[:, layer].sum((1, 2)) if half == 0 else part.sum((1, 2))
        lit = (part > 0).double()
        logs = part.clamp(min=1e-12).log() - left.clamp(min=1e-12).log()[:, None, None]
        y = lit * (logs - head.shares.mean[layer, half]) / head.shares.std[layer, half]
        possible = left * energies[:, layer] >= 0.999
        found.append(mixture.log_prob(m, y, lit, edge).sum((1, 2)) * possible)
        return lit, y

    torch.testing.assert_close(head._walk(params, decide), x, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(sum(found), head.log_prob(params, x), rtol=1e-6, atol=1e-4)


def test_cylinder_does_not_know_where_alpha_begins():
    geometry = image_geometry()
    head, x, params = double(*prepared("cylinder", geometry))
    params = params[0].unflatten(1, (geometry.n_layers, -1)), params[1]
    turned = x.unflatten(1, geometry.image_shape).roll(2, 2).flatten(1)
    torch.testing.assert_close(head.log_prob(params, turned), head.log_prob(params, x))
    torch.testing.assert_close(head.features(turned), head.features(x))


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
    raw = nn.Parameter(torch.zeros(1, head.out_dim))
    optimiser = torch.optim.Adam([raw, *head.parameters()], 2e-2)
    for _ in range(200):
        rows = torch.randint(0, n, (256,))
        optimiser.zero_grad()
        (-head.log_prob(head.params(raw.expand(256, -1), c[rows]), x[rows]).mean()).backward()
        optimiser.step()
    with torch.no_grad():
        drawn = head.sample(head.params(raw.expand(n, -1), c), Noise(0, 0, n))
    drawn = drawn[(drawn > 0).all(1)]
    assert len(drawn) > 0.5 * n
    assert float(drawn[:, 0].mean()) == pytest.approx(0.5, abs=0.03)
    assert float(drawn[:, 0].std()) == pytest.approx(width * 0.6 / math.sqrt(12), rel=0.15)
    correlation = float(torch.corrcoef(drawn[:, [0, 2]].T)[0, 1])
    assert correlation == pytest.approx(expected, abs=0.05)


@pytest.fixture
def turn(geometry, monkeypatch):
    """``turned`` with a choice in the place of chance: (x, steps, mirrored) -> x."""
    head = Gaussian(geometry=geometry, conditions=None)

    def turn(x, *chosen):
        drawn = list(chosen)
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randint", lambda *_: torch.tensor(drawn.pop(0)))
            return head.turned(x)

    return turn


def test_turning_is_a_symmetry_of_the_detector(geometry, turn):
    n = math.gcd(*(layer.n_alpha for layer in geometry.layers if layer.n_alpha > 1))
    x = torch.rand(2, geometry.n_voxels)
    found = {(step, mirror): turn(x, step, mirror) for step in range(n) for mirror in range(2)}
    assert torch.equal(found[0, 0], x)
    assert len({tuple(turned[0].tolist()) for turned in found.values()}) == 2 * n > 2
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
    for _ in range(100):
        inner = head.turned(x)[0, 2:10].view(4, 2)[:, 0]
        seen.add(tuple(inner.tolist()))
        assert {abs(float(d)) for d in inner.roll(1) - inner} == {2.0, 6.0}
    assert len(seen) == 8
