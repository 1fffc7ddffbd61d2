"""The energy model that goes layer by layer: its mixtures, its networks, exact densities."""

import itertools
import math

import pytest
import torch
from scipy import stats

from caloman_cli.errors import UserError
from caloman_cli.models.energies.autoregressive import AutoregressiveEnergy, _count, _given
from caloman_cli.models.energies.filled_layers import FilledLayers
from caloman_cli.models.energies.layer_networks import LayerNetworks, Steps
from caloman_cli.models.energies.ratios import to_ratios, valid_ratios
from caloman_cli.models.energies.truncated_logistic import (
    LogisticMixture,
    draw,
    log_prob,
    pick,
)
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.models.energies import RESPONSE, layered
from tests.models.operations import Counting

INTERVALS = [(-1.0, 2.0), (-60.0, 60.0), (9.0, 12.0), (-45.0, -40.0)]


def shaken(n_layers, size=0.3, **settings):
    """A model with random weights, a floor of 2 MeV and no training."""
    torch.manual_seed(4)
    model = AutoregressiveEnergy(3, 2, 8, 2, 16, geometry=layered(n_layers), **settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(size * torch.randn_like(parameter))
        model.filled_layers.networks.last_bias.fill_(1.5)
        model.floor.fill_(2.0)
        model.log_mean.fill_(2.5)
    return model.eval()


def two_components(n):
    """A narrow and a broad component in double precision."""
    columns = ((0.3, -0.4), (-0.5, 1.0), (math.log(0.2), math.log(0.8)))
    return LogisticMixture(
        *(torch.tensor(c, dtype=torch.float64).expand(n, 2).contiguous() for c in columns)
    )


@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_truncated_mixture_integrates_to_one(low, high):
    y = torch.linspace(low, high, 40_001, dtype=torch.float64)
    ends = torch.full_like(y, low), torch.full_like(y, high)
    density = log_prob(two_components(len(y)), y, *ends).exp()
    assert float(torch.trapezoid(density, y)) == pytest.approx(1.0, abs=1e-4)
    beyond = log_prob(two_components(1), torch.tensor([low - 5.0]), ends[0][:1], ends[1][:1])
    torch.testing.assert_close(beyond.exp(), density[:1])


@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_draws_of_a_truncated_mixture_follow_its_density(low, high):
    torch.manual_seed(5)
    n = 20_000
    weight, *component = (column.t() for column in two_components(n))
    which = pick(weight, torch.rand(1, n))
    center, log_scale = (column.gather(0, which) for column in component)
    ends = (torch.full((1, n), end, dtype=torch.float64) for end in (low, high))
    y = draw(center, log_scale.exp(), torch.rand(1, n, dtype=torch.float64), *ends)[0]
    assert y.min() >= low
    assert y.max() <= high
    grid = torch.linspace(low, high, 40_001, dtype=torch.float64)
    density = log_prob(two_components(len(grid)), grid, grid.min().expand(1), grid.max().expand(1))
    cumulative = torch.cumulative_trapezoid(density.exp(), grid).numpy()
    expected = torch.from_numpy(cumulative)[torch.searchsorted(grid[1:], y).clamp(max=39_999)]
    assert stats.kstest(expected.numpy(), "uniform").pvalue > 0.01


@pytest.mark.parametrize("far", [-1e4, 1e4])
def test_a_component_far_outside_gives_the_nearest_end(far):
    low, high, center = (torch.tensor([[x]], dtype=torch.float64) for x in (-1.0, 1.0, far))
    y = draw(center, torch.ones_like(low), torch.full_like(low, 0.5), low, high)
    torch.testing.assert_close(y, low if far < 0 else high, rtol=0, atol=2.0**-10)


def test_networks_see_only_what_came_before_and_agree_one_by_one():
    torch.manual_seed(6)
    networks = LayerNetworks(4, 3, 2, 8, 5)
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        context, known, own = torch.randn(7, 3), torch.randn(7, 8), torch.randn(7, 4)
        outputs, shift = networks(context, known, own)
        assert outputs.shape == (7, 4, 5)
        other = known.clone()
        other[:, [2, 6]] += 1.0  # both numbers of coordinate 2
        moved = (networks(context, other, own)[0] != outputs).any(0).any(-1)
        assert moved.tolist() == [False, False, False, True]
        steps = Steps(networks, context, torch.tensor(0.5))
        steps.known.copy_(known.t().unflatten(0, (2, 4)).transpose(0, 1).flatten(0, 1))
        for k in range(4):
            steps.own.copy_(2 * own[:, k])
            inner, line = steps(k)
            alone = networks.last[k].t() @ inner + networks.last_bias[k].t()
            torch.testing.assert_close(alone.t(), outputs[:, k])
            torch.testing.assert_close(line[0], shift[:, k])


def test_probabilities_of_filled_layers_sum_to_one_and_start_at_the_rates():
    torch.manual_seed(9)
    model = FilledLayers(4, 2, 8)
    filled = torch.tensor([100.0, 70.0, 10.0, 0.0])
    model.start_at(filled, 100)
    bits = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)))
    with torch.no_grad():
        drawn = model.sample(torch.zeros(20_000, 2), torch.rand(20_000, 4)).mean(0)
        torch.testing.assert_close(drawn, filled / 100, rtol=0, atol=0.05)
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
        context = torch.tensor([[0.3, -1.0]])
        probability = model.log_prob(bits, context.expand(16, 2)).exp()
        assert float(probability.sum()) == pytest.approx(1.0, abs=1e-5)
        drawn = model.sample(context.expand(40_000, 2), torch.rand(40_000, 4))
        rate = (drawn[:, None] == bits).all(-1).float().mean(0)
        torch.testing.assert_close(rate, probability, rtol=0, atol=0.01)


def two_filled_layers(e_inc, floor=2.0, n_total=800, n_share=200):
    """A grid over (E_tot, E_0) with both layers at the floor or above, and its cells [MeV^2]."""
    bound = RESPONSE * e_inc
    lowest = math.log(2 * floor / (bound - 2 * floor))
    step = (13.8 - lowest) / n_total
    y = lowest + step * (torch.arange(n_total, dtype=torch.float64) + 0.5)
    total = bound * torch.sigmoid(y)
    room = total - 2 * floor
    part = (torch.arange(n_share, dtype=torch.float64) + 0.5) / n_share
    first = floor + room[:, None] * part
    cell = total * torch.sigmoid(-y) * step * room / n_share
    layers = torch.stack([first, total[:, None] - first], -1).flatten(0, 1)
    return layers, cell.repeat_interleave(n_share)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_density_of_two_layers_integrates_to_one(order):
    model, e_inc = shaken(2, order="brightest_last"), 30.0
    model.order.copy_(torch.tensor(order))
    bits = torch.tensor(list(itertools.product([0.0, 1.0], repeat=2)))
    with torch.no_grad():
        context = model._feature(torch.full((4, 1), e_inc))
        neither, *one, both = model.filled_layers.log_prob(bits, context).exp().double()
        layers, cell = two_filled_layers(e_inc)
        density = model.log_prob(layers, torch.full((len(layers), 1), e_inc)).exp()
        assert float((density * cell).sum()) == pytest.approx(float(both), rel=1e-3)
        energy = torch.linspace(2.0, RESPONSE * e_inc, 100_001, dtype=torch.float64)
        given = torch.full((len(energy), 1), e_inc)
        for pattern, expected in zip(bits[1:3], one, strict=True):
            density = model.log_prob(energy[:, None] * pattern, given).exp()
            mass = float(torch.trapezoid(density.double(), energy))
            assert mass == pytest.approx(float(expected), rel=1e-3)
        nothing = model.log_prob(torch.zeros(1, 2), torch.full((1, 1), e_inc)).exp()
        assert float(nothing) == pytest.approx(float(neither))


def test_draws_have_the_density_that_log_prob_says():
    model, n = shaken(2), 40_000
    with torch.no_grad():
        drawn = model.sample(torch.full((n, 1), 100.0), Noise(3, 0, n)).double()
        drawn = drawn[(drawn > 0).all(1)]
        layers, cell = two_filled_layers(100.0, n_total=300, n_share=1000)
        density = model.log_prob(layers, torch.full((len(layers), 1), 100.0)).double().exp() * cell
    for quantity in (lambda e: (e[:, 0] / e[:, 1]).log(), lambda e: e.sum(1), lambda e: e[:, 0]):
        value, made = quantity(layers), quantity(drawn)
        mean = float((density * value).sum() / density.sum())
        spread = float((density * (value - mean).square()).sum() / density.sum()) ** 0.5
        assert abs(float(made.mean()) - mean) < 5 * spread / len(drawn) ** 0.5
        assert float(made.std()) == pytest.approx(spread, rel=0.03)


def cumulative(model, layers, e_inc):
    """How probable a smaller ratio was, of every coordinate, and which there are: (B, L) each."""
    ordered = layers[:, model.order].double()
    bits = (ordered > 0).float()
    ratios, table = to_ratios(ordered, e_inc, model.max_response), model.table.at(e_inc)
    left = ordered.flip(1).cumsum(1).flip(1)
    rest = torch.cat([model.max_response * e_inc.double(), left[:, :-1]], 1)
    rest = torch.where(ratios.valid, rest, 1.0).log()
    scaled = model._scaled(ratios.y, ratios.valid, table)
    logs = model._standardised(_given(ordered).log(), ratios.valid)
    seen = torch.cat([model._feature(e_inc), bits], 1)
    raw = model.networks(seen, torch.cat([scaled, logs], 1), model._told(rest, ratios.valid))
    weight, center, log_scale = (
        each.double() for each in model._mixture(raw, rest, table, slice(None))
    )
    ends = model._limits(rest, _count(ordered > 0))
    t, low, high = ((y.unsqueeze(-1) - center) * torch.exp(-log_scale) for y in (ratios.y, *ends))
    # Taken from the end where probabilities are small; a component far outside is at an end.
    above = torch.sigmoid(-t) - torch.sigmoid(-high), torch.sigmoid(-low) - torch.sigmoid(-high)
    under = torch.sigmoid(t) - torch.sigmoid(low), torch.sigmoid(high) - torch.sigmoid(low)
    share = torch.where(low > 0, 1 - above[0] / above[1], under[0] / under[1])
    share = torch.where(torch.isnan(share), (low > 0).double(), share)
    return (torch.softmax(weight, -1) * share).sum(-1), ratios.valid


@pytest.mark.parametrize("settings", [{}, {"order": "brightest_last"}])
def test_every_ratio_is_drawn_from_what_log_prob_says(settings):
    model, n = shaken(4, **settings), 20_000
    model.order.copy_(torch.tensor([2, 0, 3, 1]) if settings else model.order)
    with torch.no_grad():
        model.log_std.copy_(torch.tensor([0.5, 2.0, 1.0, 0.8]))
        model.table.scale[:] = torch.tensor([0.7, 1.5, 0.4, 1.0])
        model.table.center.fill_(6.0)
        model.table.width.fill_(1.3)
        e_inc = torch.logspace(2, 4, n)[:, None]
        layers = model.sample(e_inc, Noise(3, 0, n))
        below, valid = cumulative(model, layers, e_inc)
    assert valid.sum(0).min() > 3000
    for coordinate, there in zip(below.unbind(1), valid.unbind(1), strict=True):
        assert stats.kstest(coordinate[there].numpy(), "uniform").pvalue > 0.001


def test_rows_do_not_depend_on_the_batch():
    model, e_inc = shaken(4), torch.logspace(2, 4, 600)[:, None]
    parts = [
        model.sample(e_inc[a:b], Noise(7, a, b - a)) for a, b in ((0, 1), (1, 300), (300, 600))
    ]
    whole = model.sample(e_inc, Noise(7, 0, 600))
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-4)
    assert model.sample(e_inc[:0], Noise(7, 0, 0)).shape == (0, 4)


def test_a_layer_costs_few_operations_and_no_question_to_the_device():
    calls = []
    for n_layers in (5, 15):
        with torch.inference_mode(), Counting() as counting:
            shaken(n_layers).sample(torch.full((3, 1), 100.0), Noise(1, 0, 3))
        assert not counting.calls["aten._local_scalar_dense"]
        calls.append(counting.calls.total())
    assert calls[1] - calls[0] <= 10 * 75


def test_drawn_layers_are_possible():
    model, e_inc = shaken(5, size=0.6), torch.logspace(1.1, 4, 4000)[:, None]
    with torch.no_grad():
        for parameter in model.filled_layers.parameters():
            parameter.zero_()  # every pattern of empty layers is as likely
        layers = model.sample(e_inc, Noise(8, 0, 4000))
        assert torch.isfinite(model.log_prob(layers, e_inc)).all()
    lit = layers > 0
    assert layers[lit].min() >= 2.0 * (1 - 1e-5)
    assert (layers.sum(1) <= RESPONSE * e_inc[:, 0] * (1 + 1e-5)).all()
    patterns = {tuple(row) for row in lit.int().tolist()}
    assert len(patterns) == 32
    assert valid_ratios(lit).any(0).all()


def passing_particles(n):
    """Layer 0: 20 MeV of a particle that passes, at every energy, or a share of its energy."""
    e_inc = torch.tensor([1e3, 1e4, 1e5])[torch.randint(0, 3, (n, 1))]
    passes = torch.rand(n, 1) < 0.6
    share = torch.sigmoid(torch.randn(n, 1) * 0.5)
    first = torch.where(passes, 20.0 * torch.exp(0.1 * torch.randn(n, 1)), share * e_inc)
    return torch.cat([first, (e_inc - first) * torch.exp(0.1 * torch.randn(n, 1))], 1), e_inc


def test_no_bridge_between_particles_that_pass_and_others():
    torch.manual_seed(7)
    layers, e_inc = passing_particles(8000)
    model = AutoregressiveEnergy(4, 2, 24, 3, 16, geometry=layered(2))
    model.prepare(TensorRows(layers, e_inc))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 250)
    for _ in range(250):
        index = torch.randint(0, len(layers), (384,))
        optimiser.zero_grad()
        model.loss((layers[index], e_inc[index])).backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        drawn = model.eval().sample(e_inc, Noise(1, 0, len(e_inc)))
    for value in e_inc.unique()[1:]:
        here = e_inc[:, 0] == value
        true, made = layers[here, 0], drawn[here, 0]
        assert float((made < 40).float().mean()) == pytest.approx(0.6, abs=0.04)
        between = (made > 40) & (made < true[true > 40].min())
        assert float(between.float().mean()) < 0.02
        passing = made[made < 40].log()
        assert float(passing.median()) == pytest.approx(math.log(20), abs=0.03)
        assert float(passing.std()) == pytest.approx(0.1, abs=0.03)


def test_a_layer_below_the_floor_has_a_density():
    model, e_inc = shaken(2), torch.full((1, 1), 100.0)
    low = model.log_prob(torch.tensor([[0.5, 30.0]]), e_inc)
    assert torch.isfinite(low).all()


def test_faint_layers_take_their_shares_first():
    layers, e_inc = torch.tensor([[5.0, 1.0, 3.0]]).expand(9, 3), torch.full((9, 1), 10.0)
    model = AutoregressiveEnergy(order="brightest_last", geometry=layered(3))
    model.prepare(TensorRows(layers, e_inc))
    assert model.order.tolist() == [1, 2, 0]


def test_bad_settings_are_user_errors():
    with pytest.raises(UserError, match="order"):
        AutoregressiveEnergy(order="random", geometry=layered(3))
    with pytest.raises(UserError, match="mask_hidden=0"):
        AutoregressiveEnergy(mask_hidden=0, geometry=layered(5))
    with pytest.raises(UserError, match="components=0"):
        AutoregressiveEnergy(components=0, geometry=layered(3))
