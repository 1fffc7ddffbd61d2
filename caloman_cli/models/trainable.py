"""What the trainer knows of a model, and what a model knows of its data."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn


class RowSource(Protocol):
    """Rows of training data in file order, as float32 tensors on the training device.

    A row is a tuple; its members are what :meth:`Trainable.loss` documents.
    """

    def __len__(self) -> int: ...

    def rows(self, index: np.ndarray) -> tuple[Tensor, ...]:
        """The rows of an int64 index array, in the order of the index."""
        ...


@runtime_checkable
class DrawnRows(RowSource, Protocol):
    """Rows whose first member is drawn anew whenever they are asked for."""

    def means(self) -> RowSource:
        """The same with the means of what is drawn."""
        ...


class TensorRows:
    """Rows held in memory: tensors of one length, moved to the device once.

    Args:
        tensors: Tensors of shape (N, *).
        device: Where the rows live.
    """

    def __init__(self, *tensors: Tensor, device: torch.device | str = "cpu") -> None:
        if len({len(tensor) for tensor in tensors}) != 1:
            raise ValueError(f"rows differ in length: {[len(tensor) for tensor in tensors]}")
        self.tensors = tuple(tensor.to(device, torch.float32) for tensor in tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def rows(self, index: np.ndarray) -> tuple[Tensor, ...]:
        where = torch.as_tensor(index, device=self.tensors[0].device)
        return tuple(tensor[where] for tensor in self.tensors)


def iterate(source: RowSource, batch_size: int) -> Iterator[tuple[Tensor, ...]]:
    """All rows in file order, in batches; the last one may be smaller."""
    for start in range(0, len(source), batch_size):
        yield source.rows(np.arange(start, min(start + batch_size, len(source))))


class Trainable(nn.Module):
    """A model that the trainer can fit.

    ``players`` are the parties of the optimisation, each with an optimiser of its own, stepped in
    turn on every batch: one for most models, several for adversarial ones.
    """

    players: tuple[str, ...] = ("model",)

    def prepare(self, train: RowSource) -> None:
        """Set what is computed, not learned (means, scales, axes) from the training split.

        Called once, before the first step and before anything holds the parameters, so it may
        make or replace networks; a model that does must make the same ones in ``load_state_dict``.
        The results are buffers and travel in checkpoints. A model without learned parameters is
        complete after it.
        """

    def player_parameters(self, player: str) -> list[nn.Parameter]:
        """The parameters that one player may change; together the players hold all of them."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        """The scalar that ``player`` minimises on a batch of rows."""
        raise NotImplementedError

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Validation scores of a batch: name -> scalar mean over rows, lower is better.

        ``loss`` is always among them; early stopping may choose any.
        """
        return {"loss": self.loss(batch, self.players[0])}
