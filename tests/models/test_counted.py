"""Halvings that begin with what was counted."""

import torch

from caloman_cli.models.heads.counted import CountedHalving
from caloman_cli.models.heads.halving import logit, n_raw
from caloman_cli.models.heads.tables import Place, Tables
from caloman_cli.models.nn.logistic import log_logistic
from tests.models.halvings import require_draws_of_density

EDGE = 100.0  # cuts: no voxel has less


def pairs(n, seed=0):
    """Two voxels, each of them lit in three of four showers, by one particle or two."""
    torch.manual_seed(seed)
    particles = 1 + (torch.rand(2, n) < 0.3)
    energy = particles * EDGE - EDGE * torch.log(torch.rand(2, n))
    first, second = energy * (torch.rand(2, n) < 0.75)
    return first.unsqueeze(0), second.unsqueeze(0)


def counted(first, second):
    halving = CountedHalving([len(first)], 3, [torch.zeros(len(first), dtype=torch.long)], [1])
    for rows in zip(first.split(7000, 1), second.split(7000, 1), strict=True):
        halving.measure(*rows)
    halving.measured()
    return halving


def drawn(halving, energy):
    """What is drawn where networks say nothing."""
    random = torch.rand(3, *energy.shape)
    random[2].logit_(1e-7)
    (at,) = halving.steps()
    raw = torch.zeros(n_raw(3), *energy.shape)
    return halving.draw(raw, energy, random, at).chunk(2)


def said_of(tables, energy, kind):
    """Probabilities of the cases, (3, *)."""
    return tables.of_cases(tables.place(energy, Place.of_kind(kind))).exp()


def test_pairs_are_drawn_as_they_were_counted_before_anything_is_learned():
    first, second = pairs(100_000)
    ours, others = drawn(counted(first, second), first + second)
    torch.testing.assert_close(ours + others, first + second, rtol=1e-5, atol=0)
    both, pair = (first > 0) & (second > 0), (ours > 0) & (others > 0)
    for low, high in ((0, 2 * EDGE), (2 * EDGE, 3 * EDGE), (3 * EDGE, 5 * EDGE), (5 * EDGE, 1e9)):
        there = (first + second >= low) & (first + second < high)
        assert abs(float(both[there].float().mean() - pair[there].float().mean())) < 0.03
    # Nothing below the edge: 2 per mille are, of a bin's width.
    assert float((ours[pair] < 0.95 * EDGE).float().mean()) < 0.01
    levels = torch.linspace(0.05, 0.95, 19)
    found, real = (logit(*x).sort().values for x in ((ours[pair], others[pair]),
                                                     (first[both], second[both])))  # fmt: skip
    assert float((found.quantile(levels) - real.quantile(levels)).abs().max()) < 0.05


def test_portions_of_two_energies_are_told_apart():
    """Of little energy both halves are alike, of much one is at the edge."""
    halving = counted(*pairs(200_000))
    spread = []
    for energy in (250.0, 900.0):
        ours, others = drawn(halving, torch.full((1, 20_000), energy))
        pair = (ours > 0) & (others > 0)
        assert float((ours[pair] < 0.95 * EDGE).float().mean()) < 0.02
        spread.append(float(logit(ours[pair], others[pair]).std()))
    assert spread[0] < 0.35 < 0.8 < spread[1]


def test_logits_go_there_and_back():
    halving = counted(*pairs(50_000))
    energy = torch.empty(1, 2000).uniform_(0.1, 12.0).exp()
    kinds = torch.zeros(1, 1, dtype=torch.long)
    t = torch.linspace(-12, 12, 2000).unsqueeze(0).double()
    tables = halving.counted.double()
    place = tables.place(energy.double(), Place.of_kind(kinds))
    y = tables.portion(t, place)
    back, slope = tables.standard(y, place)
    torch.testing.assert_close(back, t, atol=1e-6, rtol=1e-6)
    step = 1e-6
    higher = tables.portion(t + step, place)
    inside = ((t + step).sigmoid() * 33 - 0.5).floor() == (t.sigmoid() * 33 - 0.5).floor()
    torch.testing.assert_close(
        (step / (higher - y)).log()[inside], slope[inside], atol=1e-4, rtol=1e-4
    )


def test_draws_have_the_density_that_is_said_of_them():
    """Where networks say something, too."""
    halving = counted(*pairs(100_000))
    torch.manual_seed(2)
    require_draws_of_density(halving, torch.randn(n_raw(3), 1, 1), 700.0)


def test_kinds_of_patches_are_counted_apart():
    """A step's kinds, patch by patch and layer by layer, are none of another one's."""
    kinds, layers = [torch.tensor([0, 1]), torch.tensor([0])], [2, 1]
    halving = CountedHalving([4, 1], 3, kinds, layers)
    assert halving.kinds.tolist() == [0, 0, 1, 1, 2]
    first = torch.tensor([300.0, 300.0, 0.0, 0.0, 300.0]).unsqueeze(1).expand(5, 500)
    second = torch.tensor([0.0, 0.0, 300.0, 300.0, 300.0]).unsqueeze(1).expand(5, 500)
    halving.measure(first, second)
    halving.measured()
    said = said_of(halving.counted, torch.full((5, 1), 300.0), halving.kinds.unsqueeze(1))
    assert said[..., 0].argmax(0).tolist() == [0, 0, 1, 1, 2]
    assert float(said[..., 0].amax(0).min()) > 0.99


def test_a_portion_that_only_other_kinds_had_is_possible():
    """Kinds lend each other ends: what one has not shown in some hundred patches may come."""
    tables, n = Tables(2), 500
    torch.manual_seed(0)
    kind = torch.cat([torch.zeros(n), torch.ones(20 * n)]).long()
    y = torch.cat([torch.randn(n) / 4, 3 * torch.randn(20 * n)])
    tables.add(torch.full_like(kind, 2), torch.full((21 * n,), 50.0), kind, y)
    tables.finish()
    far, zero = torch.tensor([4.0]), torch.zeros(1, dtype=torch.long)
    place = tables.place(torch.tensor([50.0]), Place.of_kind(zero))
    t, slope = tables.standard(far, place)
    assert float(log_logistic(t) + slope) > -20.0
    near, slope = tables.standard(torch.zeros(1), place)
    assert float(log_logistic(near) + slope) > 0.2  # of a normal distribution 0.47


def test_where_little_was_counted_neighbouring_energies_speak():
    tables = Tables(2)
    energy = torch.tensor([400.0] * 300 + [20.0] * 2)
    case = torch.tensor([2] * 300 + [0] * 2)
    tables.add(case, energy, torch.zeros(302, dtype=torch.long), torch.full((302,), 1.5))
    tables.finish()
    zero = torch.zeros(1, dtype=torch.long)
    far, near, other = (
        said_of(tables, torch.tensor([at]), zero + kind)[:, 0]
        for at, kind in ((20.0, 0), (400.0, 0), (20.0, 1))
    )
    assert near[2] > 0.999
    assert 0.005 < far[0] < 0.01  # two of 302, fewer than are asked for
    torch.testing.assert_close(other, torch.full((3,), 1 / 3))
    assert torch.isfinite(tables.portions).all() and (tables.portions.diff(dim=1) > 0).all()


def test_halves_that_were_never_dark_at_an_energy_are_darker_the_less_there_is():
    """Showers that are dark on one side below an energy alone: above it the share fades."""
    tables, n = Tables(1), 200_000
    torch.manual_seed(4)
    energy = torch.exp(torch.rand(n) * 9.0 + 1.0)
    case = torch.where(torch.rand(n) < torch.exp(-energy / 40.0), 0, 2)
    kind = torch.zeros(n, dtype=torch.long)
    tables.add(case, energy, kind, torch.zeros(n))
    tables.finish()
    at = torch.tensor([30.0, 100.0, 1000.0, 3000.0, 8000.0])
    dark = said_of(tables, at, torch.zeros(5, dtype=torch.long))[:2].sum(0)
    torch.testing.assert_close(dark[:2], torch.exp(-at[:2] / 40.0), rtol=0.15, atol=0)
    assert (dark.diff() < 0).all()
    assert dark[2] < 1e-4
    assert dark[4] < 1e-6
