"""Random numbers belong to rows: neither batches nor devices nor layouts change them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from caloman_cli.models import noise as module
from caloman_cli.models.noise import Noise, mix

GOLDEN = 0x9E3779B97F4A7C15
# So many numbers that a deviation of 1 % would show; five standard errors are asked for.
ROWS, PLACES = 20_000, 50


def hashed(z, key=0):
    """The hash with numpy's unsigned integers: slow, plain, and without torch."""
    z = np.asarray(z, np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9) + np.asarray(key, np.uint64)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(32))


def halves(seed, rows, draw, size):
    """Upper and lower 32 bits of the hashes of a draw's places, each (B, ceil(size / 2))."""
    places = [draw * 2**40 + place for place in range((size + 1) // 2)]
    counter = np.array([place * GOLDEN % 2**64 for place in places], np.uint64)
    rows = np.array([row * GOLDEN % 2**64 for row in rows], np.uint64)[:, None]
    first, second = (hashed(rows + np.uint64(mix(seed, key))) for key in (1, 2))
    whole = hashed(first + counter, second)
    return whole >> np.uint64(32), whole & np.uint64(2**32 - 1)


def uniform_twin(bits):
    scaled = bits.astype(np.float32) * np.float32((1 - 2.0**-24) * 2.0**-32)
    return scaled + np.float32(2.0**-33)


SEEDS = [0, 1, 2**63 + 5, 2**64 - 1]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [1, 4, 7])
def test_uniform_numbers_are_those_of_plain_integers(seed, size):
    noise = Noise(seed, 5, 3)
    noise.normal(2), noise.uniform(9)
    upper, lower = halves(seed, range(5, 8), 2, size)
    expected = np.concatenate([uniform_twin(upper), uniform_twin(lower)], 1)[:, :size]
    np.testing.assert_array_equal(noise.uniform(size).numpy(), expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [1, 4, 7])
def test_normal_numbers_are_those_of_plain_integers(seed, size):
    upper, lower = halves(seed, range(5, 8), 0, size)
    angle = upper.astype(np.uint32).view(np.int32) * (np.pi * 2.0**-31)
    radius = np.sqrt(-2 * np.log((lower + 0.5) * 2.0**-32))
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], 1)[:, :size]
    found = Noise(seed, 5, 3).normal(size)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


def test_known_answers():
    """Numbers that samples are made of: others are a new version of sampling."""
    noise = Noise(1, 0, 2)
    assert noise.uniform(3).tolist() == [
        [0.23800575733184814, 0.24080348014831543, 0.2303207367658615],
        [0.5193350911140442, 0.4442729651927948, 0.6671262383460999],
    ]
    expected = [[0.02099025, -1.3907025, 1.4615285], [2.2509086, 1.1382879, 0.41660947]]
    np.testing.assert_allclose(noise.normal(3), expected, rtol=1e-5, atol=1e-6)


@given(cut=st.integers(1, 520), seed=st.integers(0, 2**64 - 1))
def test_a_cut_sample_is_the_whole_sample(cut, seed):
    n = 521
    whole = Noise(seed, 3, n)
    first, second = Noise(seed, 3, cut), Noise(seed, 3 + cut, n - cut)
    for shape in [(3,), (2, 2), ()]:
        expected = whole.normal(*shape)
        parts = torch.cat([first.normal(*shape), second.normal(*shape)])
        assert torch.equal(expected, parts)
    assert torch.equal(whole.uniform(4), torch.cat([first.uniform(4), second.uniform(4)]))


@pytest.mark.parametrize("size", [1, 6, 301])
def test_neither_pieces_nor_layout_change_numbers(monkeypatch, size):
    expected = [getattr(Noise(9, 0, 70), kind)(size) for kind in ("uniform", "normal")]
    for hashes in (1, 64, 1000):
        monkeypatch.setattr(module, "_CACHED", hashes)
        for kind, rows_first in zip(("uniform", "normal"), expected, strict=True):
            assert torch.equal(getattr(Noise(9, 0, 70), kind)(size), rows_first)
            rows_last = getattr(Noise(9, 0, 70), kind)(size, rows_last=True)
            assert rows_last.is_contiguous()
            assert torch.equal(rows_last.T, rows_first)


def test_a_part_goes_on_where_the_whole_is():
    """Slices of what the whole would draw next; the whole itself does not notice."""
    whole, same = Noise(5, 100, 600), Noise(5, 100, 600)
    whole.normal(2), same.normal(2)
    parts = [whole.part(a, b) for a, b in ((0, 156), (156, 157), (157, 600))]
    for draw in ("normal", "uniform"):
        expected = getattr(same, draw)(3)
        assert torch.equal(torch.cat([getattr(part, draw)(3) for part in parts]), expected)
    nested = Noise(5, 100, 600).part(50, 500).part(7, 9)
    assert nested.n == 2
    assert torch.equal(nested.normal(1), Noise(5, 157, 2).normal(1))
    assert not torch.equal(whole.normal(1), whole.part(0, 600).normal(1))


def test_single_rows_equal_a_batch():
    whole = Noise(5, 2**40, 6).normal(3)
    rows = torch.cat([Noise(5, 2**40 + i, 1).normal(3) for i in range(6)])
    assert torch.equal(whole, rows)


def test_seeds_that_differ_in_any_bit_give_other_numbers():
    seeds = [12345, *(12345 ^ 1 << bit for bit in range(64))]
    first = torch.stack([Noise(seed, 0, 1).normal(4)[0] for seed in seeds])
    assert len(first.unique(dim=0)) == len(seeds)


@pytest.mark.parametrize("start", [0, 256, 300])
@pytest.mark.parametrize("rows_last", [False, True])
def test_no_rows_are_an_empty_tensor(start, rows_last):
    noise = Noise(1, start, 0)
    turned = (lambda shape: (*shape[1:], 0)) if rows_last else lambda shape: shape
    assert noise.normal(3, 2, rows_last=rows_last).shape == turned((0, 3, 2))
    assert noise.uniform(4, rows_last=rows_last).shape == turned((0, 4))
    assert Noise(1, start, 2).normal(0).shape == (2, 0)
    assert Noise(1, start, 2).uniform().shape == (2,)


@pytest.mark.parametrize("seed", [0, 2**32])
def test_moments_and_distributions(seed):
    """Every place of a draw, the first and the last row's half, odd and even ones."""
    noise = Noise(seed, 0, ROWS)
    n = ROWS * PLACES
    for numbers, law, mean, variance, kurtosis in (
        (noise.uniform(PLACES), "uniform", 0.5, 1 / 12, 1.8),
        (noise.normal(PLACES), "norm", 0.0, 1.0, 3.0),
    ):
        values = numbers.double()
        centred = values - mean
        assert abs(values.mean() - mean) < 5 * math.sqrt(variance / n)
        spread = math.sqrt((kurtosis - 1) / n) * variance
        assert abs(centred.square().mean() - variance) < 5 * spread
        assert abs((centred**3).mean()) < 5 * math.sqrt(15 * variance**3 / n)
        assert abs((centred**4).mean() - kurtosis * variance**2) < 5 * math.sqrt(
            96 * variance**4 / n
        )
        for some in (values[:, 0], values[:, -1], values[::2].flatten(), values[0], values[-1]):
            assert stats.kstest(some.numpy(), law).pvalue > 1e-4
        # Each row and each place by itself: their p-values are uniform where all is well.
        for lines in (values[:2000], values[:2000].T):
            p = [stats.kstest(line.numpy(), law).pvalue for line in lines[:100]]
            assert stats.kstest(p, "uniform").pvalue > 1e-4


def test_bits_are_fair_and_far_from_each_other():
    """A flipped bit of the row, the place or the seed flips each bit of a number half the time."""
    upper, lower = halves(3, range(4000), 0, 2)
    base = np.concatenate([upper, lower], 1)
    rows = np.arange(4000)
    changed = [halves(3, (rows ^ 1 << bit).tolist(), 0, 2) for bit in (0, 1, 12, 30, 45)]
    changed += [halves(3 ^ 1 << bit, range(4000), 0, 2) for bit in (0, 31, 32, 63)]
    changed += [halves(3, range(4000), 1, 2)]
    for pair in changed:
        flips = base ^ np.concatenate(pair, 1)
        for bit in range(32):
            rate = ((flips >> np.uint64(bit)) & np.uint64(1)).mean(0)
            assert np.all(np.abs(rate - 0.5) < 5 * 0.5 / math.sqrt(4000))


def test_rows_draws_places_and_seeds_are_uncorrelated():
    n = 100_000
    noise, other = Noise(7, 0, n), Noise(7 + 2**32, 0, n)
    first, second = noise.normal(8), noise.normal(8)
    columns = torch.cat([first[:-1], first[1:], second[:-1], other.normal(8)[:-1]], 1)
    for values in (columns, columns.square(), columns.abs().log()):
        found = torch.corrcoef(values.double().T) - torch.eye(32, dtype=torch.float64)
        assert found.abs().max() < 5.5 / math.sqrt(n)
    # Along a long row, at several distances.
    row = Noise(7, 3, 1).uniform(200_001)[0].double() - 0.5
    for lag in (1, 2, 3, 64, 100_000, 100_001):
        correlation = 12 * (row[lag:] * row[:-lag]).mean()
        assert abs(correlation) < 5 / math.sqrt(len(row) - lag)


def test_pairs_of_normal_numbers_fill_the_plane():
    """The square of the radius is exponential and knows nothing of the angle."""
    x, y = Noise(11, 0, 100_000).normal(2).double().T
    square, angle = x.square() + y.square(), torch.atan2(y, x)
    assert stats.kstest(square.numpy(), "expon", args=(0, 2)).pvalue > 1e-4
    assert stats.kstest(angle.numpy(), "uniform", args=(-math.pi, 2 * math.pi)).pvalue > 1e-4
    for wave in (torch.cos, torch.sin):
        correlation = torch.corrcoef(torch.stack([square, wave(3 * angle)]))[0, 1]
        assert abs(correlation) < 5 / math.sqrt(len(x))


def test_numbers_stay_inside_and_reach_the_tails():
    """The largest and the smallest integers of 32 bits, and what is drawn of ten million."""
    bits = torch.tensor([[0, 1, 2**31, 2**32 - 1]])
    signed = torch.where(bits >= 2**31, bits - 2**32, bits)
    first, second = torch.empty(1, 4), torch.empty(1, 4)
    module._uniform(signed.clone(), bits, first, second)
    assert torch.equal(first, second)
    assert first[0, 0] == 2.0**-33 and first[0, 3] == 1 - 2.0**-24
    assert first[0, 0] < first[0, 1] < first[0, 2] == pytest.approx(0.5, abs=1e-7)
    module._normal(signed.clone(), bits, first, second)
    assert torch.isfinite(first).all() and torch.isfinite(second).all()
    assert first[0, 0] == pytest.approx(math.sqrt(66 * math.log(2)))

    n, far = 4_000_000, 4.0
    normal = Noise(2, 0, n).normal(1)
    expected = n * math.erfc(far / math.sqrt(2))
    assert abs((normal.abs() > far).sum() - expected) < 5 * math.sqrt(expected)
    uniform = Noise(2, 0, n).uniform(1)
    for share in (1e-4, 1e-5):
        for inside in (uniform < share, uniform > 1 - share):
            assert abs(inside.sum() - n * share) < 5 * math.sqrt(n * share)


@pytest.mark.slow
def test_a_captured_draw_is_the_drawn_one():
    """Nothing but tensor operations, for whatever compiles, exports or replays them."""
    from torch.fx.experimental.proxy_tensor import make_fx

    def drawn(x):
        noise = Noise(4, 2, 5)
        return x + noise.normal(3), noise.uniform(2, rows_last=True)

    replay = make_fx(drawn)(torch.zeros(5, 3))
    for found, expected in zip(replay(torch.ones(5, 3)), drawn(torch.ones(5, 3)), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.slow
def test_an_exported_draw_is_the_drawn_one():
    class Drawing(torch.nn.Module):
        def forward(self, x):
            return x + Noise(4, 2, 5).normal(3)

    exported = torch.export.export(Drawing(), (torch.zeros(5, 3),)).module()
    assert torch.equal(exported(torch.zeros(5, 3)), Noise(4, 2, 5).normal(3))


def test_no_device_is_asked_for_a_number():
    noise = Noise(4, 2, 5, "meta")  # has no numbers to give
    assert noise.part(1, 3).normal(3, 2).shape == (2, 3, 2)
    assert noise.uniform(3).device.type == "meta"


def test_torchs_generator_is_left_alone():
    before = torch.get_rng_state()
    Noise(1, 0, 3).normal(2)
    assert torch.equal(before, torch.get_rng_state())


def test_mix_depends_on_order_and_fits_a_seed():
    assert mix(1, 2) != mix(2, 1)
    assert len({mix(0, i, j) for i in range(50) for j in range(50)}) == 2500
    assert all(0 <= mix(-1, i) < 2**63 for i in range(100))
    # Runs that were cut go on with these.
    assert mix(1, 2, 3) == 3851293329796251419
