"""Voxels in two colours: who touches whom, the chain of both, and what it learns."""

import pytest
import torch

from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.errors import UserError
from caloman_cli.models.heads import mixture
from caloman_cli.models.heads.chessboard import second_colour, touching
from caloman_cli.models.heads.hurdle_mixture import HurdleMixture
from caloman_cli.models.noise import Noise
from caloman_cli.models.preprocess.base import Context
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import image_geometry, maker, shares
from tests.models.heads import detector, drawn_by, prepared
from tests.models.test_copula import PAIR, total_of_two_voxels
from tests.models.test_heads import learned

__all__ = ["detector"]


def restless(head):
    """Its network says something."""
    torch.nn.init.normal_(head.chessboard.says.weight, std=0.2)
    torch.nn.init.normal_(head.chessboard.of_place, std=0.5)


def test_the_second_colour_is_touched_by_the_first_alone(geometry):
    second, near = second_colour(geometry), touching(geometry)
    nothing = geometry.n_voxels
    assert near.shape == (geometry.n_voxels, 6)
    assert not second[near[near < nothing]].any()
    for row in near[second].tolist():
        there = [voxel for voxel in row if voxel < nothing]
        assert len(set(there)) == len(there)


def test_places_on_a_grid():
    near = touching(image_geometry()).view(5, 8, 3, 6)  # layers, slices, rings

    def voxel(layer, piece, ring):
        return (layer * 8 + piece % 8) * 3 + ring

    nothing = 5 * 24
    assert near[0, 0, 1].tolist() == [
        voxel(0, -1, 1), voxel(0, 1, 1), voxel(0, 0, 0), voxel(0, 0, 2), nothing, voxel(1, 0, 1)
    ]  # fmt: skip
    assert near[2, 7, 2].tolist() == [
        voxel(2, 6, 2), voxel(2, 0, 2), voxel(2, 7, 1), nothing, voxel(1, 7, 2), voxel(3, 7, 2)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("slices", "seen"), [([1], []), ([2], [0]), ([3], [0, 2]), ([1, 3], [2, 2])]
)
def test_few_slices(slices, seen):
    """Two slices touch twice; the outer ones of three have a colour and touch each other."""
    layers = tuple(Layer(i, (0.0, 5.0), n) for i, n in enumerate(slices))
    rings = Geometry("rings", "photon", layers, 0.1, 2.0)
    near = touching(rings)[second_colour(rings)].flatten()
    assert near[near < sum(slices)].tolist() == seen


def test_the_first_colour_is_drawn_as_without(detector, monkeypatch):
    plain, x, c = prepared("hurdle_mixture", detector)
    head, _, _ = prepared("hurdle_mixture_refined", detector)
    params = head.params(torch.randn(len(x), head.out_dim), c)
    expected = drawn_by(plain, params, monkeypatch)
    assert torch.equal(drawn_by(head, params, monkeypatch), expected)  # it has nothing to say yet
    torch.testing.assert_close(head.log_prob(params, x), plain.log_prob(params, x))
    restless(head)
    found, first = drawn_by(head, params, monkeypatch), head.chessboard.first
    assert torch.equal(found[:, first], expected[:, first])
    assert (found[:, ~first] != expected[:, ~first]).any(1).float().mean() > 0.9
    assert (head.log_prob(params, x) - plain.log_prob(params, x)).abs().mean() > 0.1


def test_log_prob_is_the_chain_of_both_colours():
    """Of the first as it is by itself, then of the second told what the first was."""
    torch.manual_seed(1)
    plain, _, c = prepared("hurdle_mixture", image_geometry())
    head, x, _ = prepared("hurdle_mixture_refined", image_geometry())
    restless(head)
    params = head.params(torch.randn(len(x), head.out_dim), c)
    first, lit = head.chessboard.first, x > 0
    possible = params.edge < torch.inf
    edge = torch.where(possible, params.edge, 0.0)
    y = (x.clamp(min=1e-12).log() - head.shares.mean) / head.shares.std * lit
    apart = mixture.log_prob(params.mixture, y, lit.float(), edge)
    # The second colour's light is unknown to the network: any other will do.
    elsewhere = torch.where(first, x, x.roll(1, 0))
    elsewhere_lit = (elsewhere > 0).float()
    other = (elsewhere.clamp(min=1e-12).log() - head.shares.mean) / head.shares.std
    later = head.chessboard(params.mixture, head._seen(other, elsewhere_lit, edge))
    second = mixture.log_prob(later, y[:, ~first], lit[:, ~first].float(), edge[:, ~first])
    expected = (apart * (first & possible)).sum(1) + (second * possible[:, ~first]).sum(1)
    torch.testing.assert_close(head.log_prob(params, x), expected, rtol=1e-5, atol=1e-3)


def test_two_voxels_add_up_to_one():
    torch.manual_seed(4)
    conditions = maker("preprocess", "shares")(geometry=PAIR).conditions
    head = HurdleMixture(2, 0, 8, geometry=PAIR, conditions=conditions).double()
    restless(head)
    torch.nn.init.normal_(head.chessboard.reads.weight)
    assert total_of_two_voxels(head) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("refine", "expected"), [(0, 0.0), (16, 1.0)])
def test_neighbours_that_are_alike_are_learned(refine, expected):
    """Voxels are lit in pairs, with as much energy each; the decoder tells nothing."""
    torch.manual_seed(5)
    ring, n = Geometry("ring", "photon", (Layer(0, (0.0, 5.0), 6),), 0.1, 2.0), 4096
    pairs = torch.exp(0.7 * torch.randn(n, 3)) * (torch.rand(n, 3) < 0.6)
    pairs[:, 0] += (pairs.sum(1) == 0).float()
    x = pairs.repeat_interleave(2, 1)
    x = x / x.sum(1, keepdim=True)
    conditions = maker("preprocess", "shares")(geometry=ring).conditions
    c = conditions(Context(torch.full((n, 1), 1e4), torch.full((n, 1), 1e3)))
    head = HurdleMixture(2, 0, refine, geometry=ring, conditions=conditions)
    head.prepare(TensorRows(x, c))
    raw = learned(head, x, c, 300)
    with torch.no_grad():
        drawn = head.sample(head.params(raw.expand(n, -1), c), Noise(0, 0, n))
    lit = (drawn > 0).float()
    for first in 0, 2, 4:
        alike = torch.corrcoef(lit[:, first : first + 2].T)[0, 1]
        assert float(alike) == pytest.approx(expected, abs=0.15)
        both = drawn[lit[:, first : first + 2].all(1) & (lit.sum(1) > 3)][:, first : first + 2]
        found = float(torch.corrcoef(both.log().T)[0, 1])
        assert found > 0.9 if refine else found < 0.2


def test_a_copula_beside_it_is_refused(tiny_geometry):
    conditions = shares(tiny_geometry).conditions
    with pytest.raises(UserError, match=r"head\.copula=2 and head\.refine=8 .* one of them to 0"):
        HurdleMixture(2, 2, 8, geometry=tiny_geometry, conditions=conditions)
