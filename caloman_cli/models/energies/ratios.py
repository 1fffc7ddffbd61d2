"""Layer energies as unbounded coordinates."""

from typing import NamedTuple

import torch
from torch import Tensor

LARGEST_RESPONSE = 1.0 - 1e-6  # E_tot / (f E_inc) of a shower beyond the bound counts as this


class Ratios(NamedTuple):
    """The coordinates of B showers, float64.

    Args:
        y: Shape (B, L); 0 where not valid.
        valid: Which coordinates exist, boolean, shape (B, L).
        log_volume: log |d E / d y| over the non-empty layers, E in MeV, shape (B,).
    """

    y: Tensor
    valid: Tensor
    log_volume: Tensor


def valid_ratios(filled: Tensor) -> Tensor:
    """Which coordinates exist, given which layers are not empty: booleans (B, L) -> (B, L).

    The response needs one non-empty layer, a layer's ratio needs a non-empty layer behind it.
    """
    later = filled.flip(1).cumsum(1).flip(1) - filled.long()
    inner = filled[:, :-1] & (later[:, :-1] > 0)
    return torch.cat([filled.any(1, keepdim=True), inner], 1)


def to_ratios(layers: Tensor, e_inc: Tensor, max_response: float) -> Ratios:
    r"""Layer energies (B, L) MeV -> coordinates.

    :math:`u_0 = E_{tot} / (f E_{inc})` and :math:`u_k = E_{k-1} / \sum_{d \ge k-1} E_d`, each
    through the logit. The logit of :math:`u_k` is the log-ratio of the layer to what lies behind
    it, which needs no cut-off at 0 and 1: where a layer or everything behind it is empty the
    coordinate does not exist.

    References:
        Krause, Shih (2021), CaloFlow, arXiv:2106.05285 (the coordinates).
    """
    energy = layers.double().clamp(min=0.0)
    filled = energy > 0
    valid = valid_ratios(filled)
    rest = energy.flip(1).cumsum(1).flip(1)
    behind = torch.cat([rest[:, 1:], torch.zeros_like(rest[:, :1])], 1)
    total = rest[:, :1]
    response = (total / (max_response * e_inc.double())).clamp(max=LARGEST_RESPONSE)
    logs = torch.log(torch.where(valid[:, 1:], energy[:, :-1], 1.0))
    logs_behind = torch.log(torch.where(valid[:, 1:], behind[:, :-1], 1.0))
    logs_rest = torch.log(torch.where(valid[:, 1:], rest[:, :-1], 1.0))
    first = torch.logit(torch.where(valid[:, :1], response, 0.5))
    y = torch.cat([first, logs - logs_behind], 1)
    # dE/d(E_tot, u) = prod of rests; du/dy = u (1 - u); dE_tot/dy_0 = E_tot (1 - u_0).
    log_total = torch.log(torch.where(valid[:, 0], total[:, 0] * (1.0 - response[:, 0]), 1.0))
    log_volume = log_total + (logs + logs_behind - logs_rest).sum(1)
    return Ratios(y, valid, log_volume)


def from_ratios(y: Tensor, filled: Tensor, e_inc: Tensor, max_response: float) -> Tensor:
    """The inverse: coordinates (B, L) and non-empty layers (B, L) -> layers (B, L) MeV, float64.

    Coordinates that do not exist are not read.
    """
    y, filled = y.double(), filled.bool()
    valid = valid_ratios(filled)[:, 1:]
    total = max_response * e_inc.double() * torch.sigmoid(y[:, :1])
    # In logarithms, so that a layer that takes nearly all leaves an exact rest.
    passed = torch.where(valid, torch.nn.functional.logsigmoid(-y[:, 1:]), 0.0)
    taken = torch.where(valid, torch.nn.functional.logsigmoid(y[:, 1:]), 0.0)
    nothing = torch.zeros_like(y[:, :1])
    rest = torch.cat([nothing, passed.cumsum(1)], 1)
    energy = total * torch.exp(rest + torch.cat([taken, nothing], 1))
    return torch.where(filled, energy, 0.0)
