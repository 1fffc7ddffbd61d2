"""Random numbers belong to rows: batching must not change them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from caloman_cli.models.noise import BLOCK, Noise, mix, stream


@given(cut=st.integers(1, 2 * BLOCK + 9), seed=st.integers(0, 2**40))
def test_a_cut_sample_is_the_whole_sample(cut, seed):
    n = 2 * BLOCK + 10
    whole = Noise(seed, 0, n)
    first, second = Noise(seed, 0, cut), Noise(seed, cut, n - cut)
    for shape in [(3,), (2, 2), ()]:
        expected = whole.normal(*shape)
        parts = torch.cat([first.normal(*shape), second.normal(*shape)])
        assert torch.equal(expected, parts)
    assert torch.equal(whole.uniform(4), torch.cat([first.uniform(4), second.uniform(4)]))


def test_a_part_goes_on_where_the_whole_is():
    """Slices of what the whole would draw next; the whole itself does not notice."""
    whole, same = Noise(5, 100, 600), Noise(5, 100, 600)
    whole.normal(2), same.normal(2)
    parts = [whole.part(a, b) for a, b in ((0, 156), (156, 157), (157, 600))]
    for draw in ("normal", "uniform"):
        expected = getattr(same, draw)(3)
        assert torch.equal(torch.cat([getattr(part, draw)(3) for part in parts]), expected)
    nested = Noise(5, 100, 600).part(50, 500).part(7, 9)
    assert torch.equal(nested.normal(1), Noise(5, 157, 2).normal(1))
    assert torch.equal(whole.normal(1), whole.part(0, 600).normal(1)) is False
    fresh = Noise(5, 100, 600)
    fresh.normal(2)
    assert torch.equal(whole.part(0, 9).normal(1), fresh.part(0, 9).normal(1)) is False


def test_single_rows_equal_a_batch():
    whole = Noise(5, 254, 6).normal(3)
    rows = torch.cat([Noise(5, 254 + i, 1).normal(3) for i in range(6)])
    assert torch.equal(whole, rows)


def test_draws_blocks_and_seeds_differ():
    noise = Noise(1, 0, 2 * BLOCK)
    first, second = noise.normal(1), noise.normal(1)
    assert not torch.equal(first, second)
    assert not torch.equal(first[:BLOCK], first[BLOCK:])
    assert not torch.equal(first, Noise(2, 0, 2 * BLOCK).normal(1))


def test_moments_are_those_of_the_distributions():
    noise = Noise(3, 0, 40_000)
    normal, uniform = noise.normal(5), noise.uniform(5)
    assert normal.mean().item() == pytest.approx(0, abs=0.01)
    assert normal.std().item() == pytest.approx(1, abs=0.01)
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.005)
    assert uniform.min() >= 0 and uniform.max() < 1
    across = torch.corrcoef(torch.stack([normal[:-BLOCK, 0], normal[BLOCK:, 0]]))[0, 1]
    assert abs(across) < 0.02


def test_seeds_that_differ_in_any_bit_give_other_numbers():
    seeds = [0, *(1 << bit for bit in range(64))]
    first = torch.stack([Noise(seed, 0, 1).normal(4)[0] for seed in seeds])
    assert len(first.unique(dim=0)) == len(seeds)


def test_no_two_streams_of_a_sample_are_the_same():
    """torch's generator on the CPU takes the low 32 bits of a seed only."""
    streams = [stream(12345, draw, block) for block in range(40_000) for draw in range(7)]
    assert len({value % 2**32 for value in streams}) == len(streams)
    assert 0 <= min(streams) <= max(streams) < 2**63
    far = [(0, 0), (1 << 12, 0), (0, 1 << 20), (1, 1 << 20), (1 << 12, 1)]
    assert len({stream(1, *where) for where in far}) == len(far)


@pytest.mark.parametrize("start", [0, 256, 300])
def test_no_rows_are_an_empty_tensor(start):
    noise = Noise(1, start, 0)
    assert noise.normal(3, 2).shape == (0, 3, 2)
    assert noise.uniform(4).shape == (0, 4)


def test_mix_depends_on_order_and_fits_a_seed():
    assert mix(1, 2) != mix(2, 1)
    assert len({mix(0, i, j) for i in range(50) for j in range(50)}) == 2500
    assert all(0 <= mix(-1, i) < 2**63 for i in range(100))
