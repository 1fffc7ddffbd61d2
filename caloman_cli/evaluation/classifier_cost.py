"""How long classifiers of showers take to train, from a few steps on inputs of noise."""

import math
import time

import numpy as np
import torch
from torch import nn

from caloman_cli.data.geometry import Geometry
from caloman_cli.metrics.classifier.inputs import LowLevelInput
from caloman_cli.metrics.classifier.training import ClassifierSettings, new_network

_STEPS, _SECONDS = 5, 1.0  # timed, at most
_IMAGES = 32  # of a step's images, which each take long
_SCORING = 1 / 3  # of a step: what only looking at as many rows takes


def training_seconds(
    settings: ClassifierSettings, n: int, geometry: Geometry, device: torch.device
) -> float:
    """Seconds of all trainings of one network classifier.

    Args:
        settings: Of ``low``, ``low_normed``, ``high`` or ``resnet``.
        n: Showers per class.
        geometry: The detector.
        device: Where they will be trained.
    """
    plan = settings.plan(n, geometry)
    train, test = 2 * plan.sizes[0], 2 * plan.sizes[1]
    rows = min(settings.batch_size, train)
    steps = math.ceil(train / rows) + _SCORING * test / rows
    few = min(rows, _IMAGES) if settings.mode == "resnet" else rows
    step = _step(settings, plan.units, few, geometry, device) * rows / few
    return settings.repeats * plan.epochs * steps * step


def _step(
    settings: ClassifierSettings,
    units: int | None,
    rows: int,
    geometry: Geometry,
    device: torch.device,
) -> float:
    """Seconds of a step, without reading its showers."""
    if settings.mode == "high":
        width = 1 + 6 * geometry.n_layers
    else:
        width = LowLevelInput(geometry, geometry.threshold, settings.mode == "low_normed").width
    model = new_network(units, width, geometry, 1, np.random.default_rng(0), device)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    inputs = torch.zeros(rows, width, device=device)
    labels = torch.zeros(rows, 1, device=device)
    taken: list[float] = []
    while len(taken) < _STEPS and sum(taken) < _SECONDS:
        began = time.perf_counter()
        loss = nn.functional.binary_cross_entropy_with_logits(model(inputs), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        float(loss.detach())  # waits for a GPU
        taken.append(time.perf_counter() - began)
    return min(taken)
