"""Every option of conf/energy is an energy model."""

import pytest
import torch

from caloman_cli.models.noise import Noise
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import detector, maker, options

__all__ = ["detector"]


def layer_rows(geometry, n=300):
    e_inc = torch.logspace(3, 5, n)[:, None]
    layers = torch.rand(n, geometry.n_layers) * e_inc / geometry.n_layers
    return layers * (torch.rand_like(layers) < 0.8), e_inc


@pytest.fixture(params=options("energy"))
def energy(request, detector):
    made = maker("energy", request.param)(geometry=detector)
    made.prepare(TensorRows(*layer_rows(detector)))
    return made


def test_samples_are_layer_energies(energy, detector):
    e_inc = torch.logspace(3, 5, 300)[:, None]
    with torch.no_grad():
        layers = energy.eval().sample(e_inc, Noise(1, 0, 300))
    assert layers.shape == (300, detector.n_layers)
    assert layers.dtype == torch.float32
    assert torch.isfinite(layers).all()
    assert (layers >= 0).all()
    assert (layers == 0).any()
    assert (layers > 0).any()


def test_log_prob_is_one_number_per_row(energy, detector):
    layers, e_inc = layer_rows(detector)
    layers[0] = 0.0
    result = energy.eval().log_prob(layers, e_inc)
    assert result.shape == (300,)
    assert torch.isfinite(result).all()
    assert torch.equal(result, energy.log_prob(layers, e_inc))


def test_gradients_reach_every_parameter(energy, detector):
    energy.train().loss(layer_rows(detector)).backward()
    assert [name for name, p in energy.named_parameters() if p.grad is None] == []


def test_any_batch_size_gives_the_same_rows(energy):
    e_inc = torch.logspace(3, 5, 300)[:, None]
    with torch.no_grad():
        whole = energy.eval().sample(e_inc, Noise(1, 0, 300))
        parts = [energy.sample(e_inc[a:b], Noise(1, a, b - a)) for a, b in ((0, 7), (7, 300))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-3, atol=1e-3)


def test_saved_and_loaded_is_the_same(energy, detector, request):
    option = request.node.callspec.params["energy"]
    fresh = maker("energy", option)(geometry=detector).eval()
    fresh.load_state_dict(energy.eval().state_dict())
    e_inc = torch.logspace(3, 5, 20)[:, None]
    with torch.no_grad():
        mine = energy.sample(e_inc, Noise(1, 0, 20))
        assert torch.equal(fresh.sample(e_inc, Noise(1, 0, 20)), mine)
