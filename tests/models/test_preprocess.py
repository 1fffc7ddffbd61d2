"""Every transform undoes itself, and the border between MeV and numbers holds."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError
from caloman_cli.models.preprocess.base import Context
from caloman_cli.models.preprocess.conditions import Conditions
from caloman_cli.models.preprocess.layers import LayerMap
from caloman_cli.models.preprocess.moments import Moments
from caloman_cli.models.preprocess.preprocess import Preprocess
from caloman_cli.models.preprocess.scales import Clip, Logit, Standardize
from caloman_cli.models.preprocess.shares import EnergyShare, LayerShare, Threshold
from caloman_cli.models.trainable import TensorRows

LAYERS = [(0, 2, 1), (1, 2, 4), (12, 2, 1)]
GEOMETRY = Geometry.from_dict(
    {
        "name": "tiny",
        "particle": "electron",
        "threshold": 0.1,
        "max_response": 2.0,
        "layers": [
            {"id": i, "r_edges": [5.0 * k for k in range(n + 1)], "n_alpha": a}
            for i, n, a in LAYERS
        ],
    }
)
# Voxels as the detector reads them: zero, or at least the cut.
voxel = st.one_of(st.just(0.0), st.floats(0.125, 1e4, width=32))
showers = arrays(np.float32, (4, GEOMETRY.n_voxels), elements=voxel)
anything = arrays(np.float32, (4, GEOMETRY.n_voxels), elements=st.floats(-1e6, 1e6, width=32))
some_layers = arrays(
    np.float32,
    (4, 3),
    elements=st.one_of(st.just(0.0), st.floats(0.001953125, 1e6, width=32)),
)


def chain(*transforms, geometry=GEOMETRY):
    return Preprocess(list(transforms), Conditions(), geometry=geometry)


def brute_layers(voxels):
    return torch.stack([voxels[:, 0:2].sum(1), voxels[:, 2:10].sum(1), voxels[:, 10:12].sum(1)], 1)


CHAINS = {
    "cut": lambda: [Threshold()],
    "hard_cut": lambda: [Threshold(keep_sums=False)],
    "shares": lambda: [Threshold(), LayerShare()],
    "plain_shares": lambda: [LayerShare(renormalise=False)],
    "energy": lambda: [EnergyShare()],
    "logit": lambda: [Threshold(), LayerShare(), Logit()],
    "standard": lambda: [Threshold(), LayerShare(), Logit(), Standardize(), Clip()],
    "caloman": lambda: [LayerShare(renormalise=False), Clip()],
}


@pytest.mark.parametrize("name", CHAINS)
@given(voxels=showers)
@settings(max_examples=25, deadline=None)
def test_inverse_undoes_forward(name, voxels):
    voxels = torch.from_numpy(voxels)
    e_inc = voxels.sum(1, keepdim=True) + 1.0
    preprocess = chain(*CHAINS[name]())
    preprocess.fit(TensorRows(voxels, e_inc))
    x, c = preprocess(voxels, e_inc)
    back = preprocess.inverse(x, preprocess.context(voxels, e_inc))
    assert torch.isfinite(x).all()
    assert torch.isfinite(c).all()
    # The logit keeps 1e-6 from both ends; a share below float32's step near 1 is lost with it.
    torch.testing.assert_close(back, voxels, rtol=2e-5, atol=1e-6 * float(e_inc.max()))


@given(x=anything, layers=some_layers)
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("name", ["shares", "logit", "standard"])
def test_generated_layers_have_exactly_the_energy_they_were_given(name, x, layers):
    x, layers = torch.from_numpy(x), torch.from_numpy(layers)
    preprocess = chain(*CHAINS[name]())
    voxels = preprocess.inverse(x, Context(torch.ones(4, 1), layers))
    assert (voxels >= 0).all()
    torch.testing.assert_close(brute_layers(voxels), layers, rtol=2e-5, atol=0)
    # What is not zero passes the readout cut, unless its whole layer is below it.
    enough = preprocess.layers.spread(layers) >= GEOMETRY.threshold
    assert ((voxels == 0) | (voxels >= GEOMETRY.threshold * (1 - 1e-5)) | ~enough).all()


@given(x=anything, layers=some_layers)
@settings(max_examples=20, deadline=None)
@pytest.mark.parametrize("name", ["plain_shares", "energy", "caloman"])
def test_any_decoder_output_gives_finite_energies(name, x, layers):
    preprocess = chain(*CHAINS[name]())
    context = Context(torch.full((4, 1), 10.0), torch.from_numpy(layers))
    voxels = preprocess.inverse(torch.from_numpy(x), context)
    assert torch.isfinite(voxels).all()
    assert (voxels >= 0).all()


def test_renormalisation_is_a_choice():
    context = Context(torch.tensor([[100.0]]), torch.tensor([[10.0, 20.0, 0.0]]))
    x = torch.full((1, 12), 0.25)
    published = chain(LayerShare(renormalise=False)).inverse(x, context)
    assert brute_layers(published).tolist() == [[5.0, 40.0, 0.0]]
    exact = chain(LayerShare()).inverse(x, context)
    assert brute_layers(exact).tolist() == [[10.0, 20.0, 0.0]]


def test_a_layer_without_a_positive_share_lights_its_largest_voxel():
    context = Context(torch.tensor([[100.0]]), torch.tensor([[10.0, 20.0, 3.0]]))
    x = torch.full((1, 12), -1.0)
    x[0, 5], x[0, 0] = -0.5, 0.0
    voxels = chain(Threshold(), LayerShare()).inverse(x, context)
    assert voxels.tolist() == [[10.0, 0, 0, 0, 0, 20.0, 0, 0, 0, 0, 3.0, 0]]


def test_the_readout_cut_moves_energy_to_the_survivors():
    voxels = torch.zeros(1, 12)
    voxels[0, 2:6] = torch.tensor([0.05, 0.3, 0.6, 0.05])
    cut = chain(Threshold()).inverse(voxels, Context(torch.ones(1, 1), torch.ones(1, 3)))
    torch.testing.assert_close(cut[0, 2:6], torch.tensor([0.0, 1 / 3, 2 / 3, 0.0]))
    hard = chain(Threshold(keep_sums=False))
    kept = hard.inverse(voxels, Context(torch.ones(1, 1), torch.ones(1, 3)))
    torch.testing.assert_close(kept[0, 2:6], torch.tensor([0.0, 0.3, 0.6, 0.0]))


def test_layer_energies_are_those_after_the_cut():
    voxels = torch.full((1, 12), 0.05)
    voxels[0, 0] = 7.0
    e_inc = torch.ones(1, 1)
    assert chain(Threshold()).context(voxels, e_inc).layers.tolist() == [[7.0, 0.0, 0.0]]
    uncut = chain(LayerShare()).context(voxels, e_inc).layers
    torch.testing.assert_close(uncut, torch.tensor([[7.05, 0.4, 0.1]]))


def test_the_cut_must_come_first():
    with pytest.raises(UserError, match=r"transforms\[1\] is Threshold"):
        chain(LayerShare(), Threshold())


def test_an_empty_training_split_is_a_user_error():
    with pytest.raises(UserError, match="empty"):
        chain(LayerShare()).fit(TensorRows(torch.zeros(0, 12), torch.zeros(0, 1)))


@pytest.mark.parametrize("alpha", [0.0, 0.5, -1.0])
def test_logit_refuses_a_distance_that_makes_no_sense(alpha):
    with pytest.raises(UserError, match="alpha"):
        Logit(alpha)


def test_statistics_do_not_depend_on_the_chunks_of_the_stream(monkeypatch):
    voxels = torch.rand(37, 12) * 1000
    rows = TensorRows(voxels, torch.full((37, 1), 5000.0))
    whole = chain(*CHAINS["standard"]())
    whole.fit(rows)
    monkeypatch.setattr("caloman_cli.models.preprocess.preprocess._CHUNK_VOXELS", 5 * 12)
    pieces = chain(*CHAINS["standard"]())
    pieces.fit(rows)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(pieces.state_dict()[name], value, rtol=1e-6, atol=1e-6)
    x, _ = whole(voxels, torch.full((37, 1), 5000.0))
    torch.testing.assert_close(x.mean(0), torch.zeros(12), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(12), atol=1e-4, rtol=0)


def test_statistics_travel_in_the_state():
    voxels, e_inc = torch.rand(50, 12) * 100, torch.full((50, 1), 500.0)
    fitted, fresh = chain(*CHAINS["standard"]()), chain(*CHAINS["standard"]())
    fitted.fit(TensorRows(voxels, e_inc))
    fresh.load_state_dict(fitted.state_dict())
    for mine, theirs in zip(fitted(voxels, e_inc), fresh(voxels, e_inc), strict=True):
        assert torch.equal(mine, theirs)


def test_moments_keep_their_digits_far_from_zero():
    rows = torch.randn(1000, 3, dtype=torch.float64) * 1e-3 + 1e3
    moments = Moments()
    for part in rows.split(7):
        moments.add(part)
    torch.testing.assert_close(moments.std, rows.std(0, correction=0), rtol=1e-6, atol=0)


def test_moments_of_a_column_without_entries():
    moments = Moments()
    moments.add(torch.tensor([[5.0, 1.0]]), torch.tensor([[False, True]]))
    assert moments.mean.tolist() == [0.0, 1.0]
    assert moments.std.tolist() == [1.0, 1.0]


def test_published_conditions():
    published = Conditions(empty_bits=False, standardize=False, offset=6.0)
    published.bind(GEOMETRY)
    c = published(Context(torch.tensor([[1e3]]), torch.tensor([[0.0, 1e5, 10.0]])))
    assert published.dim == 4
    torch.testing.assert_close(c, torch.tensor([[3.0, -9.0, -1.0, -5.0]]), rtol=1e-4, atol=1e-4)


def test_conditions_say_which_layers_are_empty():
    layers = torch.rand(200, 3) * 1000 + 1
    layers[::2, 1] = 0.0
    e_inc = torch.logspace(3, 5, 200)[:, None]
    conditions = Conditions()
    conditions.bind(GEOMETRY)
    conditions.fit(lambda: [(layers, Context(e_inc, layers))])
    c = conditions(Context(e_inc, layers))
    assert c.shape == (200, 7)
    assert torch.equal(c[:, 4:] > 0, layers == 0)
    assert (c[::2, 2] == 0).all()  # an empty layer is not a spike
    full = c[1::2, :4]
    torch.testing.assert_close(full[:, 2].mean(), torch.tensor(0.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(c[:, 0].std(correction=0), torch.tensor(1.0), atol=1e-4, rtol=0)


@pytest.mark.parametrize("empty_bits", [True, False])
@pytest.mark.parametrize(("standardize", "offset"), [(True, 0.0), (False, 6.0)])
def test_conditions_tell_the_layer_energies(empty_bits, standardize, offset):
    layers = 10 ** torch.empty(300, 3).uniform_(-3, 6)
    layers[::3, 0], layers[1::3, 2] = 0.0, 0.0
    e_inc = torch.logspace(3, 6, 300)[:, None]
    conditions = Conditions(empty_bits, standardize, offset)
    conditions.bind(GEOMETRY)
    conditions.fit(lambda: [(layers, Context(e_inc, layers))])
    found = conditions.layer_energies(conditions(Context(e_inc, layers)))
    assert torch.equal(found == 0, layers == 0)
    torch.testing.assert_close(found, layers, rtol=1e-4, atol=1e-7)


def test_a_layer_with_next_to_no_energy_is_not_empty():
    """An energy model may say so; the bit counts, not what float32 leaves of the logarithm."""
    layers = torch.logspace(-12, -4, 90).view(30, 3)
    context = Context(torch.full((30, 1), 1e4), layers)
    conditions = Conditions()
    conditions.bind(GEOMETRY)
    conditions.fit(lambda: [(layers, Context(context.e_inc, 1e6 * layers))])
    assert (conditions.layer_energies(conditions(context)) > 0).all()


def test_a_constant_condition_stays_finite():
    layers, e_inc = torch.zeros(5, 3), torch.full((5, 1), 65536.0)
    conditions = Conditions()
    conditions.bind(GEOMETRY)
    conditions.fit(lambda: [(layers, Context(e_inc, layers))])
    assert conditions(Context(e_inc, layers)).abs().max() == 1.0


def test_layer_map_is_the_loop_over_layers(geometry):
    voxels = torch.rand(3, geometry.n_voxels, dtype=torch.float64)
    layers = LayerMap(geometry)
    torch.testing.assert_close(layers.sum(voxels), geometry.layer_energies(voxels))
    loop = torch.stack([voxels[:, part].amax(1) for part in geometry.slices], 1)
    assert torch.equal(voxels.gather(1, layers.brightest(voxels)), loop)
    spread = layers.spread(loop)
    for i, part in enumerate(geometry.slices):
        assert (spread[:, part] == loop[:, i : i + 1]).all()
