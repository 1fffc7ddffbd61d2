"""The energy model: coordinates, empty layers, tables, and the flow on top."""

import itertools
import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from caloman_cli.errors import UserError
from caloman_cli.models.energies.autoregressive import AutoregressiveEnergy
from caloman_cli.models.energies.energy_table import EnergyTable
from caloman_cli.models.energies.filled_layers import FilledLayers
from caloman_cli.models.energies.ratios import from_ratios, to_ratios, valid_ratios
from caloman_cli.models.energies.spline_flow import SplineFlowEnergy
from caloman_cli.models.energies.tails import bend, unbend
from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.models.energies import RESPONSE, layered

energy = st.one_of(st.just(0.0), st.floats(0.0009765625, 1e5, width=32))


@given(layers=arrays(np.float32, (3, 5), elements=energy))
@settings(max_examples=100, deadline=None)
def test_ratios_round_trip_with_empty_layers(layers):
    layers = torch.from_numpy(layers)
    e_inc = layers.sum(1, keepdim=True) + 10.0
    ratios = to_ratios(layers, e_inc, RESPONSE)
    assert torch.isfinite(ratios.y).all()
    assert torch.isfinite(ratios.log_volume).all()
    assert torch.equal(ratios.valid, valid_ratios(layers > 0))
    # As many coordinates as energies.
    assert torch.equal(ratios.valid.sum(1), (layers > 0).sum(1))
    # Coordinates that do not exist must not matter.
    junk = torch.where(ratios.valid, ratios.y, torch.full_like(ratios.y, 3.7))
    back = from_ratios(junk.float(), layers > 0, e_inc, RESPONSE)
    torch.testing.assert_close(back, layers.double(), rtol=1e-5, atol=0)


def test_ratio_volume_is_the_jacobian():
    layers = torch.tensor([[30.0, 0.0, 5.0, 200.0, 1.0]], dtype=torch.float64)
    e_inc, filled = torch.tensor([[500.0]], dtype=torch.float64), layers > 0
    ratios = to_ratios(layers, e_inc, RESPONSE)
    jacobian = torch.autograd.functional.jacobian(
        lambda y: from_ratios(y, filled, e_inc, RESPONSE)[0], ratios.y
    )
    square = jacobian[:, 0][filled[0]][:, ratios.valid[0]]
    torch.testing.assert_close(ratios.log_volume[0], torch.linalg.slogdet(square).logabsdet)


def test_empty_layer_probabilities_sum_to_one_and_are_causal():
    model = FilledLayers(5, 1, 32)
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    bits = torch.tensor(list(itertools.product([0.0, 1.0], repeat=5)))
    context = torch.full((32, 1), 0.3)
    total = model.log_prob(bits, context).exp().sum()
    torch.testing.assert_close(total, torch.tensor(1.0))

    def drawn(context, flip=None):
        """Bits from the same numbers, and from others for one of them."""
        uniform = torch.rand(500, 5, generator=torch.Generator().manual_seed(1))
        if flip is not None:
            uniform[:, flip] = 1 - uniform[:, flip]
        return model.sample(torch.full((500, 1), context), uniform)

    first, other = drawn(0.3), drawn(0.3, flip=3)
    assert torch.equal(first[:, :3], other[:, :3])
    assert not torch.equal(first[:, 4], other[:, 4])
    assert (drawn(1.3) != first).any(0).all()  # every bit sees the energy


def test_empty_layer_patterns_are_learned():
    # Two patterns with a known probability that depends on the context; no other pattern exists.
    patterns = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    context = torch.randint(0, 2, (2048, 1)).float() * 2 - 1
    share = torch.where(context[:, 0] > 0, 0.9, 0.25)
    which = (torch.rand(2048) > share).long()
    model = FilledLayers(3, 1, 32)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        optimiser.zero_grad()
        loss = -model.log_prob(patterns[which], context).mean()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        for sign, known in ((1.0, 0.9), (-1.0, 0.25)):
            there = torch.full((2, 1), sign)
            probability = model.log_prob(patterns, there).exp()
            observed = float((which[context[:, 0] == sign] == 0).float().mean())
            assert abs(observed - known) < 0.03
            assert abs(float(probability[0]) - observed) < 0.02
            assert float(probability.sum()) > 0.98
            drawn = model.sample(torch.full((20000, 1), sign), torch.rand(20000, 3))
            assert abs(float((drawn == patterns[0]).all(1).float().mean()) - observed) < 0.03


@pytest.mark.parametrize("discrete", [True, False])
def test_table_standardises_at_every_energy(discrete):
    torch.manual_seed(1)
    n = 20000
    e_inc = (
        2.0 ** torch.randint(8, 23, (n, 1)).float()
        if discrete
        else torch.logspace(3, 6, n)[torch.randperm(n), None]
    )
    logs = e_inc.log()
    y = torch.randn(n, 2) * logs * 0.1 + (logs**2 if discrete else 3 * logs)
    valid = torch.rand(n, 2) < 0.7
    table = EnergyTable(2)
    table.place(e_inc)
    table.standardize(
        [(y[:5000], valid[:5000], e_inc[:5000]), (y[5000:], valid[5000:], e_inc[5000:])]
    )
    mean, scale = table.at(e_inc)
    pull = (y - mean) / scale
    for part in torch.argsort(e_inc[:, 0]).chunk(10):
        for k in range(2):
            here = pull[part, k][valid[part, k]]
            assert abs(float(here.mean())) < 0.15
            assert abs(float(here.std()) - 1) < 0.15
    beyond, _ = table.at(torch.tensor([[1.0], [1e12]]))
    assert torch.isfinite(beyond).all()
    finite = torch.isfinite(table.knots)
    torch.testing.assert_close(beyond[0], table.mean[0])
    torch.testing.assert_close(beyond[1], table.mean[finite][-1])


def test_table_with_one_energy():
    table = EnergyTable(2)
    e_inc = torch.full((10, 1), 65536.0)
    table.place(e_inc)
    y = torch.randn(10, 2)
    table.standardize([(y, torch.ones(10, 2).bool(), e_inc)])
    mean, scale = table.at(e_inc)
    torch.testing.assert_close(mean[0], y.quantile(0.5, 0))
    assert torch.isfinite(table.feature(e_inc)).all()


def test_one_odd_shower_does_not_stretch_the_table_at_its_energy():
    torch.manual_seed(2)
    e_inc = 2.0 ** torch.randint(8, 12, (4000, 1)).float()
    y = torch.randn(4000, 1)
    y[0] = -1e3
    table = EnergyTable(1)
    table.place(e_inc)
    table.standardize([(y, torch.ones_like(y).bool(), e_inc)])
    _, scale = table.at(e_inc)
    assert ((scale - 1).abs() < 0.15).all()


def test_tails_bend_back():
    x = torch.tensor([-70.0, -3.9, -1.0, 0.0, 3.9, 4.1, 1e6], dtype=torch.float64)
    x.requires_grad_()
    bent, log_slope = bend(x)
    torch.testing.assert_close(unbend(bent), x)
    (slope,) = torch.autograd.grad(bent.sum(), x)
    torch.testing.assert_close(log_slope, slope.log())
    assert bent[0].abs() < 9
    assert torch.equal(bent[1:5], x[1:5])


@pytest.mark.parametrize("tails", ["linear", "logarithmic"])
def test_density_of_two_layers_integrates_to_one(tails):
    model = SplineFlowEnergy(2, 16, 1, 8, 5.0, 16, tails=tails, geometry=layered(2)).eval()
    e_inc = 100.0
    with torch.no_grad():
        for parameter in model.flow.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        # Both layers filled: integrate over (y_0, y_1) on a grid, dE = |dE/dy| dy.
        axis = torch.linspace(-14, 14, 281, dtype=torch.float64)
        y = torch.cartesian_prod(axis, axis)
        filled, where = torch.ones(len(y), 2).bool(), torch.full((len(y), 1), e_inc)
        layers = from_ratios(y, filled, where, RESPONSE)
        inside = to_ratios(layers, where, RESPONSE)
        density = model.log_prob(layers, where).double() + inside.log_volume
        mass = float(density.exp().sum() * (axis[1] - axis[0]) ** 2)
        both = model.filled_layers.log_prob(torch.ones(1, 2), model.table.feature(where[:1])).exp()
        assert abs(mass - float(both)) < 0.01 * float(both)


def test_a_shower_without_energy_has_the_probability_of_its_bits():
    model = SplineFlowEnergy(2, 16, 1, 8, 5.0, 16, geometry=layered(3)).eval()
    e_inc, none = torch.full((1, 1), 100.0), torch.zeros(1, 3)
    expected = model.filled_layers.log_prob(none, model.table.feature(e_inc))
    assert torch.equal(model.log_prob(none, e_inc), expected)


def synthetic(n):
    """Layers with a known response and known empty rates at three energies."""
    e_inc = torch.tensor([1e3, 1e4, 1e5])[torch.randint(0, 3, (n, 1))]
    level = e_inc.log10() - 3  # 0, 1, 2
    total = e_inc * (0.7 + 0.1 * level + (0.1 - 0.03 * level) * torch.randn(n, 1)).clamp(0.1, 1.5)
    share = torch.distributions.Dirichlet(torch.tensor([2.0, 8.0, 4.0, 1.0])).sample((n,))
    bits = torch.rand(n, 4) < torch.cat([0.5 + 0.2 * level, level + 2, level + 2, 0.3 * level], 1)
    layers = share * bits
    return total * layers / layers.sum(1, keepdim=True), e_inc


@pytest.fixture(
    scope="module",
    params=[pytest.param("detector", marks=pytest.mark.slow), "brightest_last"],
)
def fitted(request):
    torch.manual_seed(3)
    layers, e_inc = synthetic(12000)
    model = SplineFlowEnergy(3, 24, 1, 8, 6.0, 32, order=request.param, geometry=layered(4))
    model.prepare(TensorRows(layers, e_inc))
    optimiser = torch.optim.Adam(model.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 200)
    model.train()
    for _ in range(200):
        index = torch.randint(0, len(layers), (384,))
        optimiser.zero_grad()
        model.loss((layers[index], e_inc[index])).backward()
        optimiser.step()
        schedule.step()
    return model.eval(), layers, e_inc


def test_fitted_response_and_empty_rates(fitted):
    model, layers, e_inc = fitted
    with torch.no_grad():
        drawn = model.sample(e_inc, Noise(5, 0, len(e_inc)))
    assert drawn.shape == layers.shape
    assert (drawn >= 0).all()
    assert drawn[drawn > 0].min() >= layers[layers > 0].min()
    for value in e_inc.unique():
        here = e_inc[:, 0] == value
        true, made = layers[here], drawn[here]
        response, mine = true.sum(1) / value, made.sum(1) / value
        assert abs(float(mine.mean() - response.mean())) < 0.15 * float(response.std())
        assert abs(float(mine.std() / response.std()) - 1) < 0.15
        gap = (made == 0).float().mean(0) - (true == 0).float().mean(0)
        assert gap.abs().max() < 0.04
        torch.testing.assert_close(made.mean(0) / value, true.mean(0) / value, rtol=0, atol=0.02)


def test_rows_do_not_depend_on_the_batch(fitted):
    model, _, e_inc = fitted
    with torch.no_grad():
        whole = model.sample(e_inc[:600], Noise(7, 0, 600))
        parts = [
            model.sample(e_inc[a:b], Noise(7, a, b - a)) for a, b in ((0, 1), (1, 300), (300, 600))
        ]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-4)


def test_state_holds_everything(fitted):
    model, layers, e_inc = fitted
    order = "brightest_last" if model.sorts else "detector"
    fresh = SplineFlowEnergy(3, 24, 1, 8, 6.0, 32, order=order, geometry=layered(4)).eval()
    fresh.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(
            fresh.sample(e_inc[:50], Noise(1, 0, 50)), model.sample(e_inc[:50], Noise(1, 0, 50))
        )
        assert torch.equal(
            fresh.log_prob(layers[:50], e_inc[:50]), model.log_prob(layers[:50], e_inc[:50])
        )


def test_published_scaling_divides_by_the_largest():
    layers, e_inc = synthetic(2000)
    model = SplineFlowEnergy(tail_bound=1.0, scaling="max_abs", geometry=layered(4))
    model.prepare(TensorRows(layers, e_inc))
    ratios = to_ratios(layers, e_inc, RESPONSE)
    mean, scale = model.table.at(e_inc)
    scaled = ((ratios.y - mean) / scale) * ratios.valid
    torch.testing.assert_close(scaled.abs().amax(0), torch.ones(4, dtype=torch.float64))


def test_faint_layers_take_their_shares_first():
    layers, e_inc = synthetic(2000)
    model = SplineFlowEnergy(order="brightest_last", geometry=layered(4)).eval()
    model.prepare(TensorRows(layers, e_inc))
    assert model.order.tolist() == torch.argsort((layers / layers.sum(1, True)).mean(0)).tolist()
    assert model.order[-1] == 1


def test_order_changes_coordinates_not_densities():
    # With an untrained flow of a given base density the layers' order is a change of variables.
    model = SplineFlowEnergy(2, 16, 1, 8, 5.0, 16, order="brightest_last", geometry=layered(2))
    model.order.copy_(torch.tensor([1, 0]))
    other = SplineFlowEnergy(2, 16, 1, 8, 5.0, 16, geometry=layered(2))
    other.load_state_dict({k: v for k, v in model.state_dict().items() if k != "order"})
    e_inc, layers = torch.full((50, 1), 100.0), torch.rand(50, 2) * 40 + 1
    for each in (model, other):
        for parameter in each.filled_layers.parameters():
            parameter.data.zero_()
    torch.testing.assert_close(
        model.eval().log_prob(layers, e_inc), other.eval().log_prob(layers.flip(1), e_inc)
    )


def test_too_much_visible_energy_is_reported(caplog):
    model = SplineFlowEnergy(geometry=layered(2))
    model.prepare(TensorRows(torch.tensor([[3.0, 1.0], [0.1, 0.1]]), torch.ones(2, 1)))
    assert "1 of 2 showers have more visible energy" in caplog.text


@pytest.mark.parametrize(
    "model",
    [
        lambda **build: SplineFlowEnergy(2, 8, 1, 8, 5.0, 8, **build),
        lambda **build: AutoregressiveEnergy(2, 0, 8, 0, 8, **build),
    ],
)
def test_one_layer_and_all_empty(model):
    model = model(geometry=layered(1))
    layers, e_inc = torch.tensor([[0.0], [5.0], [7.0]]), torch.full((3, 1), 10.0)
    model.prepare(TensorRows(layers, e_inc))
    model.loss((layers, e_inc)).backward()
    with torch.no_grad():
        assert torch.isfinite(model.eval().log_prob(layers, e_inc)).all()
        assert (model.sample(e_inc, Noise(0, 0, 3)) >= 0).all()
    model.prepare(TensorRows(torch.zeros(3, 1), e_inc))
    assert torch.isfinite(model.sample(e_inc, Noise(0, 0, 3))).all()


def test_bad_settings_are_user_errors():
    with pytest.raises(UserError, match="scaling"):
        SplineFlowEnergy(scaling="none", geometry=layered(3))
    with pytest.raises(UserError, match="order"):
        SplineFlowEnergy(order="random", geometry=layered(3))
    with pytest.raises(UserError, match="mask_hidden"):
        SplineFlowEnergy(mask_hidden=0, geometry=layered(5))


def test_a_layer_that_is_never_empty_is_not_generated_empty():
    # Before any training: the rates of the training split are where it begins.
    layers, e_inc = torch.rand(2000, 3) + 1, torch.full((2000, 1), 10.0)
    layers[::4, 2] = 0.0
    model = SplineFlowEnergy(2, 8, 1, 8, 5.0, 8, geometry=layered(3)).eval()
    model.prepare(TensorRows(layers, e_inc))
    with torch.no_grad():
        empty = (model.sample(e_inc, Noise(1, 0, 2000)) == 0).float().mean(0)
    assert (empty[:2] < 0.003).all()
    assert abs(float(empty[2]) - 0.25) < 0.15


def test_a_beam_of_one_energy_is_a_feature_of_order_one():
    """Its logarithms differ from their mean by rounding, which is no width."""
    table = EnergyTable(1)
    e_inc = torch.full((400, 1), 5.0)
    table.place(e_inc)
    assert float(table.feature(e_inc).abs().max()) < 1e-6
    assert float(table.feature(2 * e_inc)[0]) == pytest.approx(math.log(2.0))
