"""How a classifier of showers is made and trained: two classes or many, voxels or images.

Three hidden layers of one width, LeakyReLU, or a 3-D ResNet; Adam on the cross-entropy; the best
epoch on the "test" split is kept.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from caloman_cli.config.values import Count, NotNegative, Positive, checked
from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError
from caloman_cli.metrics.classifier.inputs import AnyMode, ClassifierRows
from caloman_cli.metrics.classifier.resnet import ResNet18, image_shape
from caloman_cli.metrics.classifier.splits import Split, split_sizes
from caloman_cli.metrics.classifier.tabdpt import ENSEMBLE, require
from caloman_cli.metrics.classifier.trees import ROUNDS
from caloman_cli.metrics.protocol import ProtocolName, find_protocol

log = logging.getLogger(__name__)

Preset = Literal["auto", "official", "small"]
EPOCHS = {"official": 50, "small": 25}
SMALL_UNITS = 512
SMALL_BELOW = 20_000  # showers per class: fewer do not fill the official network


@dataclass(frozen=True)
class Plan:
    """One training's sizes, chosen for a number of showers.

    Args:
        preset: ``official`` or ``small``.
        units: Width of the hidden layers; None for the ResNet, trees and TabDPT.
        epochs: Number of epochs, at most; of trees, rounds; of TabDPT, members of its ensemble.
        sizes: Showers per class to train on and to select by; the others give the result.
        threshold: Readout cut [MeV].
    """

    preset: str
    units: int | None
    epochs: int
    sizes: tuple[int, int]
    threshold: float


@checked
@dataclass(frozen=True)
class ClassifierSettings:
    """What a user may choose of a classifier; see :class:`ClassifierTest` for each.

    Raises:
        UserError: A value is not among those allowed.
    """

    mode: AnyMode
    preset: Preset
    units: Count | None
    epochs: Count | None
    learning_rate: Positive
    batch_size: Count
    repeats: Count
    threshold: NotNegative | None
    uncut_voxels: bool
    protocol: ProtocolName
    tabdpt_weights: str | None = None

    def __post_init__(self) -> None:
        if self.mode == "tabdpt":
            require(self.tabdpt_weights)
        rules = find_protocol(self.protocol)
        if self.mode == "resnet":
            if not rules.resnet:
                raise UserError(
                    f"protocol {self.protocol} has no ResNet: use protocol=final, or modes low, "
                    "low_normed or high"
                )
            if self.batch_size < 2:
                raise UserError("classifier batch_size is 1: the ResNet's normalisation needs 2")

    def plan(self, n: int, geometry: Geometry) -> Plan:
        """Choose preset, network and split for n showers per class.

        Raises:
            UserError: The ResNet was asked for and the showers are no images.
        """
        rules = find_protocol(self.protocol)
        preset = self.preset
        if preset == "auto":
            preset = "small" if n < SMALL_BELOW else "official"
        units = self.units or (rules.units if preset == "official" else SMALL_UNITS)
        if self.mode == "resnet":
            image_shape(geometry)
        fixed = preset == "official" and rules.fixed_splits
        sizes = split_sizes(n, geometry if fixed else None)
        cut = rules.classifier_threshold(geometry) if self.threshold is None else self.threshold
        if self.mode == "voxel_trees":
            return Plan("trees", None, ROUNDS, sizes, cut)
        if self.mode == "tabdpt":
            return Plan("tabdpt", None, ENSEMBLE, sizes, cut)
        epochs = self.epochs or EPOCHS[preset]
        return Plan(preset, None if self.mode == "resnet" else units, epochs, sizes, cut)


def network(width: int, units: int, n_outputs: int = 1) -> nn.Sequential:
    """The official classifier: (B, width) -> logits (B, n_outputs)."""
    return nn.Sequential(
        nn.Linear(width, units),
        nn.LeakyReLU(0.01),
        nn.Linear(units, units),
        nn.LeakyReLU(0.01),
        nn.Linear(units, units),
        nn.LeakyReLU(0.01),
        nn.Linear(units, n_outputs),
    )


def parameter_count(width: int, units: int, n_outputs: int = 1) -> int:
    """Number of parameters of :func:`network`, without making any."""
    with torch.device("meta"):
        return sum(
            parameter.numel() for parameter in network(width, units, n_outputs).parameters()
        )


def new_network(
    units: int | None,
    width: int,
    geometry: Geometry,
    n_outputs: int,
    rng: np.random.Generator,
    device: torch.device,
) -> nn.Module:
    """A classifier with weights drawn from ``rng``; torch's own generator stays as it is.

    Args:
        units: Width of the hidden layers; None for the ResNet.
        width: Number of inputs.
        geometry: Gives the ResNet its image.
        n_outputs: Logits: one for two classes, else one for each class.
        rng: Gives the seed of the weights.
        device: Where the network will live.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**62)))
        if units is not None:
            return network(width, units, n_outputs).to(device)
        images = ResNet18(image_shape(geometry), n_outputs)
    # Tensor cores read channels last; on CPUs the two layouts cost the same within 15 %.
    layout = torch.channels_last_3d if device.type == "cuda" else torch.contiguous_format
    images = images.to(memory_format=layout)  # type: ignore[call-overload]  # not in the stubs
    return images.to(device)


def fit(
    model: nn.Module,
    source: ClassifierRows,
    labels: np.ndarray,
    split: Split,
    epochs: int,
    settings: ClassifierSettings,
    rng: np.random.Generator,
    best_by: Literal["accuracy", "cross_entropy"] = "accuracy",
) -> None:
    """Train and leave the model with the weights of the best epoch.

    Args:
        model: One logit, or one for each class.
        source: Inputs of all rows.
        labels: Class of each row, int64, shape (rows,); a single logit is that of class 1.
        split: Rows to train on and to select by.
        epochs: At most: perfect accuracy ends a training that selects by it.
        settings: Learning rate and batch size.
        rng: Shuffles each epoch.
        best_by: What to select by on the "test" split: accuracy says whether the right class comes
            first, the cross-entropy also whether the probabilities are right.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    best, kept = -math.inf, {}
    progress = tqdm(range(epochs), f"classifier {settings.mode}", leave=False, disable=None)
    for _ in progress:
        model.train()
        for index in _batches(rng.permutation(split.train), settings.batch_size):
            loss = _loss(model(source.rows(index)), labels[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        scores = logits(model, source, split.test, settings.batch_size)
        predicted = scores.argmax(1) if scores.shape[1] > 1 else scores[:, 0] > 0
        accuracy = float(np.mean(predicted.numpy() == labels[split.test]))
        progress.set_postfix(accuracy=accuracy)
        select = best_by == "accuracy"
        value = accuracy if select else -float(_loss(scores, labels[split.test]))
        if value > best:
            best = value
            kept = {name: weights.clone() for name, weights in model.state_dict().items()}
        if select and accuracy == 1:
            break
    model.load_state_dict(kept)


@torch.no_grad()
def logits(model: nn.Module, source: ClassifierRows, index: np.ndarray, batch_size: int) -> Tensor:
    """Logits of selected rows, float64 on the CPU, shape (len(index), outputs)."""
    model.eval()
    starts = range(0, len(index), batch_size)
    return torch.cat(
        [model(source.rows(index[start : start + batch_size])).double().cpu() for start in starts]
    )


def _loss(outputs: Tensor, labels: np.ndarray) -> Tensor:
    target = torch.from_numpy(labels).to(outputs.device)
    if outputs.shape[1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(
            outputs[:, 0], target.to(outputs.dtype)
        )
    return nn.functional.cross_entropy(outputs, target)


def _batches(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Batches in order; a lone last row joins those before it, since one has no variance."""
    starts = list(range(0, len(order), size))
    if len(starts) > 1 and size > 1 and len(order) % size == 1:
        starts.pop()
    yield from np.split(order, starts[1:])
