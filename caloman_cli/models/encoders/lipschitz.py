"""How far apart a decoder can take two points, at most."""

import torch
from torch import Tensor, nn

from caloman_cli.models.encoders.base import Encoder
from caloman_cli.models.encoders.learned import Learned
from caloman_cli.models.heads.gaussian import Gaussian

_STEEPEST = {nn.ReLU: 1.0, nn.ELU: 1.0, nn.Tanh: 1.0, nn.SiLU: 1.0999, nn.GELU: 1.1290}
"""The largest slope of an activation, rounded up."""
_ROUNDING = 1.0 + 1e-6


def lipschitz_bound(encoder: Encoder) -> float | None:
    """An upper bound of |G(z, c) - G(z', c')| / |(z, c) - (z', c')|, G the decoded mean.

    The product of the layers' spectral norms and of the largest slopes of their activations: true
    everywhere and often far from tight.

    Args:
        encoder: Any.

    Returns:
        None where no such product bounds it: other decoders than perceptrons, normalised layers,
        heads whose mean is more than what is decoded.
    """
    plain = isinstance(encoder, Learned) and type(encoder)._decode is Learned._decode
    if not plain or not isinstance(encoder.head, Gaussian) or encoder.head.moment_dim:
        return None
    bound = perceptron_bound(encoder.get_submodule("decoder"))
    return None if bound is None else bound * _ROUNDING


def perceptron_bound(network: nn.Module) -> float | None:
    """The product for linear layers and activations one after the other; None for others."""
    if not isinstance(network, nn.Sequential):
        return None
    bound = 1.0
    for layer in network:
        if isinstance(layer, nn.Linear):
            weight: Tensor = layer.weight.detach().double()
            bound *= float(torch.linalg.matrix_norm(weight, 2))
        elif type(layer) in _STEEPEST:
            bound *= _STEEPEST[type(layer)]
        else:
            return None
    return bound
