"""In which steps layers are halved, and what a step is told."""

import pytest
import torch

from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.models.heads.multiscale import Multiscale
from caloman_cli.models.heads.scales import Scales
from caloman_cli.models.heads.sight import Sight
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


@pytest.mark.parametrize("most", [256, 3])
@pytest.mark.parametrize("detector", [ALIKE, MIXED], ids=lambda detector: detector.name)
def test_only_what_is_known_is_told(detector, most):
    """Every row of a step's table that is read has been drawn before, and not too many are."""
    scales = Scales(detector, 2, 1)
    sight = Sight(scales, 3, most)
    n = scales.n_patches
    for step in range(len(scales.n_halved)):
        known = set(range(scales.made(step).start)) | {n}
        for number, tree in enumerate(scales.trees):
            if tree.steps[step].now:
                of_three_layers = len(sight.all_of(number, step)) - 3
                assert of_three_layers <= 2 * 3 * min(most, 24)
                for told in (sight.all_of(number, step), sight.next_to(number, step)):
                    read = told[told < 2 * (n + 1)] % (n + 1)
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


def test_patches_of_a_kind_are_told_alike():
    """What is next to patches that differ by their angle stands in the same order, turned."""
    layer = Layer(0, (0.0, 1.0, 2.0, 3.0), 8)
    scales = Scales(
        Geometry("even", "photon", (layer,), 0.1, 2.0, incident_range=(1e3, 1e5)), 2, 0
    )
    sight, (tree,) = Sight(scales, 3, 256), scales.trees
    shared = 0
    for step, (_, now) in enumerate(tree.steps):
        known = {place: patch for patch, place in enumerate(scales.places[0][:, 0].tolist())}
        kinds = tree.kinds(step)
        turned: dict[int, list] = {}
        for row, patch in enumerate(now):
            start, end, *rings = tree.patches[patch]
            told = [known.get(place) for place in sight.next_to(0, step)[row, :9, 0].tolist()]
            seen = [tree.patches[i] if i is not None else None for i in told]
            seen = [one and ((one[0] - start) % 8, one[1] - one[0], *one[2:]) for one in seen]
            alike = turned.setdefault(int(kinds[row]), [end - start, rings, seen])
            assert alike == [end - start, rings, seen]
        shared += len(now) - len(turned)
    assert shared > 8
