"""Dark voxels become noise below the readout cut, and zeros again."""

import math

import pytest
import torch

from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError
from caloman_cli.models.preprocess.base import Context
from caloman_cli.models.preprocess.conditions import Conditions
from caloman_cli.models.preprocess.layers import LayerMap
from caloman_cli.models.preprocess.preprocess import Preprocess
from caloman_cli.models.preprocess.shares import LayerShare, Threshold
from caloman_cli.models.preprocess.zeros import DequantizeZeros, Log
from caloman_cli.models.trainable import TensorRows
from tests.conftest import load_geometry
from tests.contracts.groups import maker

PHOTONS = load_geometry("ds1_photons")
LIT = torch.arange(PHOTONS.n_voxels)


def showers(n=400):
    """Energies over nine decades, from the cut itself to shares of 1e-7; dark voxels, layers."""
    e_inc = torch.logspace(2.5, 6.5, n)[:, None]
    voxels = 10 ** (torch.rand(n, PHOTONS.n_voxels) * e_inc.log10())
    voxels[:, ::7] = PHOTONS.threshold
    voxels = torch.where(torch.rand_like(voxels) < 0.3, voxels, 0.0)
    voxels[: n // 4, PHOTONS.slices[2]] = 0.0
    return voxels, e_inc


def chain(*after):
    return Preprocess(
        [Threshold(), LayerShare(), DequantizeZeros(), *after], Conditions(), geometry=PHOTONS
    )


def test_lit_voxels_come_back_and_dark_ones_as_zeros():
    preprocess = maker("preprocess", "dequantized_log")(geometry=PHOTONS)
    voxels, e_inc = showers()
    preprocess.fit(TensorRows(voxels, e_inc))
    x, _ = preprocess(voxels, e_inc)
    back = preprocess.inverse(x, preprocess.context(voxels, e_inc))
    torch.testing.assert_close(back, voxels, rtol=1e-4, atol=0)  # also those exactly at the cut
    torch.testing.assert_close(back, voxels, rtol=1e-5, atol=1.5e-5 * PHOTONS.threshold)


def test_what_lies_between_noise_and_cut_belongs_to_the_nearer_one():
    """The gap is from -0.4 to 0 decades below the cut."""
    decades = torch.tensor([2.0, 0.05, -0.05, -0.19, -0.21, -0.39, -1.0])
    layers = torch.full((1, 5), 500.0)
    x = torch.full((1, PHOTONS.n_voxels), -1.0)
    x[0, 8 : 8 + len(decades)] = decades
    x = torch.log(PHOTONS.threshold / 500.0 * 10**x)
    voxels = chain(Log()).inverse(x, Context(torch.tensor([[3e3]]), layers))
    found = voxels[0, 8 : 8 + len(decades)] / PHOTONS.threshold
    assert (found > 0).tolist() == [True] * 4 + [False] * 3
    torch.testing.assert_close(voxels[0, 8 : 8 + len(decades)].sum(), torch.tensor(500.0))
    assert found.min() == 0
    assert 1 < found[3] < found[2] < 10**0.4  # a tenth of a decade, in units of what is shared
    assert found[1] > 1


def test_layers_that_do_not_quite_sum_keep_their_voxels():
    preprocess = chain(Log())
    voxels, e_inc = showers()
    x, _ = preprocess(voxels, e_inc)
    context = preprocess.context(voxels, e_inc)
    layers = torch.tensor(PHOTONS.layer_index)
    most = torch.zeros_like(voxels).scatter(1, LayerMap(PHOTONS).brightest(voxels), 1.0)
    back = preprocess.inverse(x + math.log(1.5) * most, context)  # layers of up to 1.5
    enough = context.layers > 1.01 * PHOTONS.layer_energies((voxels > 0).float())
    lit = (voxels > 0) & enough[:, layers]
    assert (back[lit] >= PHOTONS.threshold).all()
    torch.testing.assert_close(PHOTONS.layer_energies(back), context.layers, rtol=1e-4, atol=1e-3)


def test_the_noise_is_log_normal_below_the_cut_at_every_layer_energy():
    voxels, e_inc = showers()
    preprocess = chain()
    context = preprocess.context(voxels, e_inc)
    x, _ = preprocess(voxels, e_inc)
    layers = torch.tensor(PHOTONS.layer_index)
    energies = x * context.layers.clamp(min=PHOTONS.threshold)[:, layers]
    decades = (energies[voxels == 0] / PHOTONS.threshold).log10()
    assert decades.mean() == pytest.approx(-1.0, abs=0.01)
    assert decades.std() == pytest.approx(0.2, rel=0.03)
    assert decades.max() <= -0.4 + 1e-5
    neighbours = (energies / PHOTONS.threshold).log10()[:, :8][(voxels[:, :8] == 0).all(1)]
    correlation = torch.corrcoef(neighbours.T) - torch.eye(8)
    assert correlation.abs().max() < 5 / math.sqrt(len(neighbours))


def test_one_shower_has_one_noise_and_two_have_two():
    preprocess, (voxels, e_inc) = chain(Log()), showers()
    before = torch.get_rng_state()
    whole, _ = preprocess(voxels, e_inc)
    alone, _ = preprocess.eval()(voxels[7:8], e_inc[7:8])
    torch.testing.assert_close(alone[0], whole[7])
    assert torch.get_rng_state().equal(before)
    empty = torch.zeros(2, PHOTONS.n_voxels)
    two, _ = preprocess(empty, torch.tensor([[1e3], [1.1e3]]))
    assert (two[0] - two[1]).std() == pytest.approx(0.2 * math.sqrt(2) * math.log(10), rel=0.1)


def test_a_layer_with_energy_never_comes_out_empty():
    preprocess = chain(Log())
    layers = torch.tensor([[1.5, 0.0, 3e5, 2.0, 0.0]])
    x = torch.full((1, PHOTONS.n_voxels), -40.0)
    voxels = preprocess.inverse(x, Context(torch.tensor([[4e5]]), layers))
    torch.testing.assert_close(PHOTONS.layer_energies(voxels), layers)


@pytest.mark.parametrize(("level", "spread"), [(0.0, 0.0), (-0.5, 0.2)])
def test_noise_that_reaches_the_cut_is_refused(level, spread):
    with pytest.raises(UserError, match="readout cut"):
        DequantizeZeros(level, spread)


def test_a_detector_without_a_cut_is_refused():
    facts = {**PHOTONS.to_dict(), "threshold": 0.0}
    with pytest.raises(UserError, match="has none"):
        DequantizeZeros().bind(Geometry.from_dict(facts))


def test_density_of_the_noise_integrates_to_one_per_mev():
    """What log_det takes off a dark voxel is a density of energies below the cut."""
    made = DequantizeZeros()
    made.bind(PHOTONS)
    context = Context(torch.tensor([[3e3]]), torch.tensor([[0.0, 500.0, 70.0, 9.0, 2.0]]))
    x = torch.zeros(1, PHOTONS.n_voxels)
    n = torch.linspace(-3, 3, 401, dtype=torch.float64)
    energy = PHOTONS.threshold * 10 ** (-1.0 + 0.2 * n)
    density = []
    for value in n:
        made._normal = lambda x, context, value=value: value.expand_as(x)
        one, none = (made.log_det(x.index_fill(1, lit, 1.0), context) for lit in (LIT[:-1], LIT))
        density.append((none - one).exp())
    total = torch.trapezoid(torch.cat(density), energy)
    torch.testing.assert_close(total, torch.ones((), dtype=torch.float64), rtol=1e-4, atol=0)


def test_a_model_of_the_noise_itself_loses_nothing_to_it():
    """Whoever draws the very noise is sure of the dark voxels: only units of lit ones are left."""
    preprocess = chain()
    voxels, e_inc = showers(40)
    voxels[:, 5] = 0.0
    context = preprocess.context(voxels, e_inc)
    shares, noise = preprocess.transforms[1], preprocess.transforms[2]
    x = noise(shares(voxels, context), context)
    dark = voxels <= 0
    reference = noise.layers.spread(context.layers.clamp(min=PHOTONS.threshold)).double()
    n = (torch.log10(x.double() * reference / PHOTONS.threshold) + 1.0) / 0.2
    within = math.erf(3 / math.sqrt(2))
    density = torch.distributions.Normal(0.0, 1.0).log_prob(n) - math.log(
        within * 0.2 * math.log(10)
    )
    density = (density - x.double().log()) * dark
    layers = noise.layers.spread(context.layers.double())
    lit = torch.where(dark, 1.0, layers).log().sum(1)
    found = density.sum(1) + preprocess.log_det(voxels, e_inc)
    torch.testing.assert_close(found, -lit, rtol=1e-5, atol=1e-3)
