"""Bits of a block, one after the other."""

import pytest
import torch

from caloman_cli.models.heads.lit import TOLERANCE, Bits, affordable, some_lit
from caloman_cli.models.noise import Noise


def test_bits_are_drawn_given_those_before_and_no_more_than_there_are_cuts():
    rows = torch.Generator().manual_seed(1)
    says = Bits(*(2.0 * torch.randn(3, 5, 4000, generator=rows)))
    logistic = torch.logit(torch.rand(5, 4000, generator=rows), 1e-6)
    budget = 6.0 * torch.rand(4000, generator=rows)
    budget[:100] = 1.0 - 0.5 * TOLERANCE  # one voxel, by rounding
    budget[100:200] = 0.0
    expected, n_lit = torch.zeros(5, 4000), torch.zeros(4000)
    for s in range(4):
        enough = torch.where(n_lit > 0, budget, budget + TOLERANCE) >= n_lit + 1.0
        expected[s] = (logistic[s] < says.voxel(s).given(n_lit)) & enough
        n_lit = n_lit + expected[s]
    lit, count = says.draw(logistic, budget, 4)
    assert torch.equal(lit, expected)
    assert torch.equal(count, n_lit)
    assert {int(n) for n in count.unique()} == {0, 1, 2, 3, 4}
    assert not lit[4].any()  # padding


@pytest.mark.parametrize("shift", [-8.0, -2.0, 2.0])
def test_bits_given_that_one_is_set(shift):
    """Drawn as often as conditional probability says, from hopeless logits too."""
    logits = torch.tensor([[[0.5, -1.0], [0.0, 0.3]]]) + shift
    p = torch.sigmoid(logits.flatten()).double()
    patterns = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4).double()[1:]
    expected = (patterns * p + (1 - patterns) * (1 - p)).prod(1)
    expected = expected / expected.sum()
    n = 40_000
    uniform = Noise(3, 0, n).uniform(4).view(n, 2, 2)
    drawn = some_lit(logits.expand(n, -1, -1), uniform).flatten(1).double()
    number = (drawn @ torch.tensor([8.0, 4.0, 2.0, 1.0]).double()).long()
    found = torch.bincount(number, minlength=16)[1:] / n
    assert int((number == 0).sum()) == 0
    error = 4 * torch.sqrt(expected / n) + 1e-4
    assert ((found - expected).abs() < error).all()


def test_no_more_lit_voxels_than_there_are_cuts():
    logits = torch.tensor([[3.0, 1.0, 2.0, 0.0]]).view(1, 2, 2).expand(4, -1, -1)
    lit = torch.tensor([True, True, False, True]).view(1, 2, 2).expand(4, -1, -1)
    kept = affordable(lit, logits, torch.tensor([0.2, 1.7, 2.0, 9.0])).flatten(1)
    assert kept.int().tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 1]]
