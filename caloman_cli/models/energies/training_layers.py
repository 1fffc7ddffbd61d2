"""What an energy model measures of the layer energies it learns from."""

import logging
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from caloman_cli.models.trainable import RowSource, iterate

Order = Literal["detector", "brightest_last"]
CHUNK = 1 << 14  # rows
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingLayers:
    """Facts of N showers with L layers.

    Args:
        e_inc: Incident energies [MeV], shape (N, 1).
        filled: How many showers have energy in each layer, float64, shape (L,).
        floor: The smallest energy of a non-empty layer [MeV]; 0 where all are empty.
    """

    e_inc: Tensor
    filled: Tensor
    floor: float


def measure(train: RowSource, max_response: float) -> TrainingLayers:
    """A pass over rows (layers (L,), e_inc (1,)) MeV; warns of showers beyond ``max_response``."""
    energies, filled, floor, beyond = [], [], math.inf, 0
    for layers, e_inc in iterate(train, CHUNK):
        energies.append(e_inc)
        filled.append((layers > 0).double().sum(0))
        beyond += int((layers.sum(1) > max_response * e_inc[:, 0]).sum())
        if bool((layers > 0).any()):
            floor = min(floor, float(layers[layers > 0].min()))
    if beyond:
        log.warning(
            "%d of %d showers have more visible energy than max_response=%g times the "
            "incident energy; the energy model cannot generate such showers",
            *(beyond, len(train), max_response),
        )
    smallest = floor if math.isfinite(floor) else 0.0
    return TrainingLayers(torch.cat(energies), torch.stack(filled).sum(0), smallest)


def faintest_first(train: RowSource) -> Tensor:
    """The layers' numbers by rising mean share of a shower's energy, int64, shape (L,)."""
    parts = []
    for layers, _ in iterate(train, CHUNK):
        energy = layers.double()
        parts.append((energy / energy.sum(1, keepdim=True).clamp(min=1e-30)).sum(0))
    return torch.argsort(torch.stack(parts).sum(0), stable=True)
