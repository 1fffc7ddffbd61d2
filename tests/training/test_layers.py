"""Dimensions of hidden layers, by epoch where they are asked for."""

import numpy as np
import pytest
import torch
from torch import nn

from caloman_cli.models.densities.flow import NSF
from caloman_cli.models.latents import Latents
from caloman_cli.models.trainable import TensorRows, Trainable
from caloman_cli.training.layers import layer_dimensions
from tests.training.models import Regression


class Bottleneck(Trainable):
    """Ten numbers through three to a wide hidden layer: a 3-plane, bent; and an affine map."""

    def __init__(self, hidden=(32, 3, 24)):
        super().__init__()
        sizes = (10, *hidden, 1)
        layers = []
        for a, b in zip(sizes[:-1], sizes[1:], strict=True):
            layers += [nn.Linear(a, b), nn.Tanh()]
        self.network = nn.Sequential(*layers[:-1])
        self.affine = nn.Linear(10, 1)

    def loss(self, batch, player="model"):
        (x,) = batch
        assert not torch.is_grad_enabled()
        found = self.network(x) + self.affine(x)
        # Called once more with one free number, which does not count.
        return (found + self.network(x[:, :1].expand_as(x))).square().mean()


def rows(n=1000):
    return TensorRows(torch.randn(n, 10, generator=torch.Generator().manual_seed(0)))


def test_a_bottleneck_of_three_has_three_dimensions():
    found = layer_dimensions(Bottleneck(), rows())
    assert list(found) == ["network/last", "network/peak"]  # an affine map hides nothing
    assert found["network/last"] == pytest.approx(3, abs=0.3)
    assert found["network/peak"] > 5  # of the first hidden layer, which has ten


def test_the_last_layer_is_the_last_one_that_is_called():
    last = layer_dimensions(Bottleneck((3, 24, 24)), rows())
    assert last["network/peak"] == pytest.approx(3, abs=0.4)
    turned = Bottleneck((24, 24, 3))
    assert layer_dimensions(turned, rows())["network/last"] == pytest.approx(3, abs=0.3)


def test_batches_change_nothing_and_hooks_are_gone():
    model = Bottleneck()
    whole, parts = (layer_dimensions(model, rows(), size) for size in (1000, 300))
    assert whole == pytest.approx(parts, rel=1e-6)
    assert not any(layer._forward_pre_hooks for layer in model.modules())


def test_activations_that_are_constant_have_no_dimension():
    model = Bottleneck((8,))
    with torch.no_grad():
        model.network[0].weight.zero_()
    assert layer_dimensions(model, rows()) == {"network/last": None, "network/peak": None}


def test_layers_of_a_flow():
    flow = NSF(2, 16, 1, latents=Latents(4), c_dim=2).eval()
    same = TensorRows(torch.randn(300, 4), torch.randn(300, 2))
    found = layer_dimensions(flow, same)
    assert list(found) == ["flow/last", "flow/peak"]
    assert 0 < found["flow/last"] <= found["flow/peak"]
    # The conditions, which each block reads, are not taken for its last layer.
    again = layer_dimensions(NSF(2, 16, 1, latents=Latents(4), c_dim=2).eval(), same)
    assert again["flow/last"] != found["flow/last"]


@pytest.mark.parametrize("asked", [True, False])
def test_history_has_them_where_they_are_asked_for(make_trainer, data, asked):
    trainer = make_trainer(epochs=3)
    trainer.settings.layer_dimensions = asked
    trainer.fit("encoder", Regression(), *data)
    history = trainer.run.history.rows()
    names = {"layers/net/last", "layers/net/peak"}
    for row in history:
        assert names & set(row) == (names if asked else set())
    if asked:
        assert all(np.isfinite(row["layers/net/last"]) for row in history)


def test_asking_changes_no_weight(make_trainer, data):
    states = []
    for asked in (True, False):
        trainer = make_trainer(f"asked_{asked}", epochs=3)
        trainer.settings.layer_dimensions = asked
        torch.manual_seed(0)
        model = Regression()
        trainer.fit("encoder", model, *data)
        states.append(model.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name])
