"""Upper bounds of how far a decoder takes two points apart."""

import pytest
import torch
from torch import nn

from caloman_cli.models.encoders.ae import AE
from caloman_cli.models.encoders.jacobian import jacobians
from caloman_cli.models.encoders.lipschitz import _STEEPEST, lipschitz_bound, perceptron_bound
from caloman_cli.models.heads.gaussian import Gaussian
from caloman_cli.models.nn.mlp import MLP
from tests.contracts.groups import flat


def autoencoder(hidden=(), **settings):
    head = Gaussian("fixed", **flat(12))
    return AE(3, list(hidden), **settings, x_dim=12, c_dim=2, head=head).eval()


def slopes(encoder, n=50):
    joint = torch.randn(n, 5)
    found = jacobians(lambda j: encoder.head.mean(encoder.decode(j[:, :3], j[:, 3:])), joint)
    return torch.linalg.matrix_norm(found.detach().double(), 2)


def test_bound_of_a_linear_decoder_is_its_largest_singular_value():
    encoder = autoencoder()
    assert lipschitz_bound(encoder) == pytest.approx(float(slopes(encoder).max()), rel=1e-4)


@pytest.mark.parametrize("activation", ["relu", "silu", "elu", "gelu", "tanh"])
def test_no_slope_exceeds_the_bound(activation):
    encoder = autoencoder([16, 16], activation=activation)
    assert float(slopes(encoder, 200).max()) <= lipschitz_bound(encoder)


@pytest.mark.parametrize("kind", _STEEPEST)
def test_largest_slopes_of_activations(kind):
    x = torch.linspace(-6, 6, 200_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(kind()(x).sum(), x)
    assert _STEEPEST[kind] - 1e-3 < float(slope.abs().max()) <= _STEEPEST[kind]


def test_what_has_no_such_product():
    normed = MLP(3, [16], 12, layer_norm=True)
    assert perceptron_bound(normed) is None
    assert perceptron_bound(nn.Linear(2, 2)) is None
    assert perceptron_bound(nn.Sequential(nn.Linear(2, 2), nn.Sigmoid())) is None

    class Other(AE):
        def _decode(self, z, told):
            return 1e3 * super()._decode(z, told)

    other = Other(3, [], x_dim=12, c_dim=2, head=Gaussian("fixed", **flat(12)))
    assert lipschitz_bound(other) is None
