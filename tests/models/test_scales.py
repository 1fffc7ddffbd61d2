"""In which steps layers are halved, and what a step is told."""

import pytest
import torch

from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.models.heads.multiscale import Multiscale
from caloman_cli.models.heads.scales import Scales
from caloman_cli.models.heads.sight import Sight
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import share_rows, shares

RINGS = (0.0, 5.0, 10.0)
LAYERS = tuple(Layer(number, RINGS, 4) for number in range(3))
ALIKE = Geometry("alike", "photon", LAYERS, 0.1, 2.0, incident_range=(1e3, 1e5))
MIXED = Geometry(
    "mixed",
    "photon",
    (
        LAYERS[0],
        Layer(1, (0.0, 2.0, 5.0, 20.0), 8),
        Layer(2, (0.0, 5.0, 10.0, 15.0), 1),
        LAYERS[0],
    ),
    0.1,
    2.0,
    incident_range=(1e3, 1e5),
)


def test_patches_have_the_energy_of_their_voxels():
    scales = Scales(ALIKE, 2, 1)
    x = torch.rand(5, ALIKE.n_voxels)
    patches = scales.energies(x)
    torch.testing.assert_close(patches[:3].mT, x.unflatten(1, (3, 8)).sum(2))
    torch.testing.assert_close(patches[scales.back].mT, x)
    first, second = scales.halves(patches)
    halved = torch.cat([patches[scales.halved(step)] for step in range(len(scales.n_halved))])
    torch.testing.assert_close(first + second, halved)


def test_neighbouring_layers_are_halved_in_turns():
    together, turns = Scales(ALIKE, 2, 0), Scales(ALIKE, 2, 1)
    assert together.halved(0).tolist() == [0, 1, 2]
    assert (turns.halved(0).tolist(), turns.halved(1).tolist()) == ([0, 2], [1])
    for scales in (together, turns):
        assert sum(scales.n_halved) == 3 * 7  # eight voxels are seven halvings
        seen = torch.cat([scales.halved(step) for step in range(len(scales.n_halved))])
        assert len(seen.unique()) == len(seen)


@pytest.mark.parametrize(
    ("most", "paired", "told", "reach"),
    [(256, False, 2, 0), (3, False, 2, 2), (256, True, 3, 0), (256, True, 3, 2)],
)
@pytest.mark.parametrize("detector", [ALIKE, MIXED], ids=lambda detector: detector.name)
def test_only_what_is_known_is_told(detector, most, paired, told, reach):
    """Every row of a step's table that is read has been drawn before, and not too many are."""
    scales = Scales(detector, 2, 1, paired)
    sight = Sight(scales, 3, most, told, reach)
    n = scales.n_patches
    for step in range(len(scales.n_halved)):
        known = set(range(scales.made(step).start)) | {n}
        for number, tree in enumerate(scales.trees):
            if tree.steps[step].now:
                of_three_layers = len(sight.all_of(number, step)) - 3
                assert of_three_layers <= 2 * 3 * min(most, 24)
                for places in (sight.all_of(number, step), sight.next_to(number, step)):
                    read = places[places < told * (n + 1)] % (n + 1)
                    assert set(read.tolist()) <= known


def test_where_a_detector_ends_nothing_is_seen():
    sight = Sight(Scales(ALIKE, 2, 1), 3, 256)
    n = sight.scales.n_patches
    # The middle layer sees both others, halved before it; the first one nothing on one side.
    middle = sight.all_of(1, 1)[: 2 * 5, 0].tolist()
    assert len(set(middle)) == 10
    assert sight.all_of(0, 0)[:3].mT.tolist() == [[0, n, 1], [2, 1, n]]


def test_what_lies_over_a_patch_in_a_layer_of_another_shape():
    """The fourth of eight slices lies over the second of four, 2 to 20 mm over 5 to 10 mm most."""
    scales = Scales(MIXED, 2, 1)
    assert [tree.layers for tree in scales.trees] == [[0], [1], [2], [3]]
    sight, tree = Sight(scales, 3, 256), scales.trees[1]
    step = max(i for i, step in enumerate(tree.steps) if step.now)
    patch = next(i for i in tree.steps[step].now if tree.patches[i] == (2, 3, 1, 3))
    row = tree.steps[step].now.index(patch)
    # Places told of a patch itself, eight next to it, and two each over it; then how bright.
    places = sight.next_to(1, step)[row, : 9 + 4, 0]
    before, behind = ([(1, 2, 1, 2), (1, 2, 0, 1)], [(0, 1, 1, 2), (0, 1, 2, 3)])
    for number, expected, found in ((0, before, places[9:11]), (2, behind, places[11:])):
        its = [scales.trees[number].patches.index(patch) for patch in expected]
        assert found.tolist() == scales.places[number][its, 0].tolist()


def test_what_a_patch_reaches():
    """Of sixteen slices the pair 4, 5 reaches 6 to 9 on one side, 0 to 3 on the other."""
    scales = Scales(_layer(16, 2), 2, 0, paired=True)
    sight, (tree,) = Sight(scales, 3, 256, reach=2), scales.trees
    step = max(i for i, step in enumerate(tree.steps) if step.now)
    now = tree.halved(step)

    def reached(first):
        row = now.index((first, first + 2, 0, 1))
        places = sight.next_to(0, step)[row, 9 : 9 + 8, 0].tolist()
        patches = [tree.patches[i] if i < scales.n_patches else None for i in places]
        return [one and one[:2] for one in patches if one is None or one[2:] == (0, 1)]

    # Next ones are halved in the step before, those after them are not.
    first = now[0][0]
    turned = [(first + k) % 16 for k in (2, 3, 14, 15, 4, 12)]
    expected = [(i, i + 1) for i in turned[:4]]
    expected += [(turned[4], turned[4] + 2), None, (turned[5], turned[5] + 2), None]
    assert reached(first) == expected


@pytest.mark.parametrize("sight", [0, 1])
def test_layers_know_of_each_other_within_sight(sight):
    torch.manual_seed(0)
    head = Multiscale(8, 8, 4, 2, sight=sight, geometry=ALIKE, conditions=shares(ALIKE).conditions)
    x, c = share_rows(ALIKE)
    head.prepare(TensorRows(x, c))
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    c = c[:1].expand(2, -1)
    first, last = x[:2].clone(), x[:2].clone()
    last[:, :8] = first.flip(0)[:, :8]  # the first layer of one with the others of the other
    params = head.params(torch.randn(1, head.out_dim).expand(2, -1), c)
    with torch.no_grad():
        change = head.log_prob(params, first).sum() - head.log_prob(params, last).sum()
    assert (abs(float(change)) > 1e-2) == bool(sight)


@pytest.mark.parametrize(
    ("slices", "paired", "reach"),
    [(8, False, 0), (8, True, 0), (8, True, 2), (10, True, 0), (25, True, 0), (25, True, 2)],
)
def test_patches_of_a_kind_are_told_alike(slices, paired, reach):
    """What is next to patches that differ by their angle stands in the same order, turned."""
    scales = Scales(_layer(slices, 3), 2, 0, paired)
    sight, (tree,) = Sight(scales, 3, 256, reach=reach), scales.trees
    shared, told = 0, 9 + 4 * reach
    for step, (_, now) in enumerate(tree.steps):
        known = {place: patch for patch, place in enumerate(scales.places[0][:, 0].tolist())}
        kinds = sight.kinds(0, step) if paired else tree.kinds(step)
        turned: dict[int, list] = {}
        for row, patch in enumerate(now):
            start, end, *rings = tree.patches[patch]
            places = sight.next_to(0, step)[row, :told, 0].tolist()
            seen = [tree.patches[known[i]] if i in known else None for i in places]
            seen = [one and ((one[0] - start) % slices, one[1] - one[0], *one[2:]) for one in seen]
            alike = turned.setdefault(int(kinds[row]), [end - start, rings, seen])
            assert alike == [end - start, rings, seen]
        shared += len(now) - len(turned)
    assert shared >= slices - reach


@pytest.mark.parametrize(("paired", "sizes", "kinds"), [(False, 12, 39), (True, 18, 18)])
def test_patches_of_fifty_slices_look_alike_on_a_grid_only(paired, sizes, kinds):
    """Where most are halved there are as many kinds as rings, and not three of a size."""
    scales = Scales(_layer(50, 18), 2, 0, paired)
    most = max(range(len(scales.n_halved)), key=lambda step: scales.n_halved[step])
    assert len(scales.trees[0].kinds(most).unique()) == sizes
    assert len(Sight(scales, 3, 256).kinds(0, most).unique()) == kinds


def test_paired_patches_are_those_of_a_grid():
    """Seven slices by three rings: the whole, 4 and 3, rings 2 and 1, 2 2 2 1, ...

    Slices are halved last: neighbours of one ring, which one particle lights, then see each other.
    """
    scales = Scales(_layer(7, 3), 2, 0, paired=True)
    (tree,) = scales.trees
    halved = [sorted(tree.halved(step)) for step in range(len(tree.steps))]
    assert halved[0] == [(0, 7, 0, 3)]
    assert sorted(halved[1] + halved[2]) == [(0, 4, 0, 3), (4, 7, 0, 3)]
    quarters = [(a, b, *rings) for a, b in ((0, 4), (4, 7)) for rings in ((0, 2), (2, 3))]
    assert sorted(halved[3] + halved[4]) == sorted(quarters)
    # The last slice stands alone, and is not halved with the others.
    columns = [(0, 2), (2, 4), (4, 6), (6, 7)]
    assert sorted(halved[5] + halved[6]) == [(a, b, 0, 2) for a, b in columns]
    assert sorted(halved[7] + halved[8]) == [
        (a, b, r, r + 1) for a, b in columns[:-1] for r in range(3)
    ]
    assert len(halved) == 9


def _layer(slices, rings):
    layer = Layer(0, tuple(map(float, range(rings + 1))), slices)
    return Geometry("one", "photon", (layer,), 0.1, 2.0, incident_range=(1e3, 1e5))


@pytest.mark.parametrize(
    "settings", [{}, {"sight": 1, "paired": True, "energies": True, "counted": True}]
)
@pytest.mark.parametrize("detector", [ALIKE, MIXED], ids=lambda detector: detector.name)
def test_a_draw_is_told_what_its_density_is_told(detector, settings, monkeypatch):
    torch.manual_seed(0)
    conditions = shares(detector).conditions
    head = Multiscale(8, 8, 4, 2, **settings, geometry=detector, conditions=conditions)
    x, c = share_rows(detector)
    head.prepare(TensorRows(x, c))
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    said: list[torch.Tensor] = []
    raw_of = Multiscale._raw

    def listening(self, table, step):
        said.append(raw_of(self, table, step))
        return said[-1]

    monkeypatch.setattr(Multiscale, "_raw", listening)
    with torch.no_grad():
        params = head.params(torch.randn(len(x), head.out_dim), c)
        drawn = head.sample(params, Noise(1, 0, len(x)))
        drawing, said[:] = list(said), []
        head.log_prob(params, drawn)
    for halved, one, other in zip(head.scales.n_halved, drawing, said, strict=True):
        assert one.shape == other.shape and one.shape[1] == halved
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_networks_that_are_told_energies_tell_two_of_equal_shares_apart():
    torch.manual_seed(0)
    conditions = shares(ALIKE).conditions
    x, c = share_rows(ALIKE)
    said = {}
    for energies in (False, True):
        head = Multiscale(8, 8, 4, 2, energies=energies, geometry=ALIKE, conditions=conditions)
        head.prepare(TensorRows(x, c))
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        params = head.params(torch.zeros(1, head.out_dim), c[:1])
        more = params._replace(energies=2.0 * params.energies)
        with torch.no_grad():
            said[energies] = [head.said(one, x[:1])[-1] for one in (params, more)]
    assert torch.equal(*said[False])
    assert not torch.allclose(*said[True])


def test_a_gain_is_of_what_is_said_of_neighbours_alone():
    torch.manual_seed(0)
    x, c = share_rows(ALIKE)
    said = {}
    for gain in (1.0, 4.0):
        torch.manual_seed(1)
        conditions = shares(ALIKE).conditions
        head = Multiscale(8, 8, 4, 2, gain=gain, geometry=ALIKE, conditions=conditions)
        head.prepare(TensorRows(x, c))
        params, network = head.params(torch.zeros(len(x), head.out_dim), c), head.networks[-1][0]
        with torch.no_grad():
            of_layer = head.said(params, x)[-1]  # at first nothing is said of neighbours
            torch.nn.init.constant_(network.adds, 0.5)
            said[gain] = head.said(params, x)[-1] - of_layer
    assert said[1.0].abs().max() > 1e-2
    torch.testing.assert_close(said[4.0], 4.0 * said[1.0], atol=1e-4, rtol=1e-4)
