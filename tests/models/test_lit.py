"""Bits of a block, one after the other."""

import torch

from caloman_cli.heads.lit import TOLERANCE, Bits


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
