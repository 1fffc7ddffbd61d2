"""What the trainer knows of a model, and what a model knows of its data."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

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


class MappedRows:
    """Rows of another source, each batch of them passed through a function.

    Args:
        source: The other one.
        change: A tuple of tensors -> another one, row by row.
    """

    def __init__(
        self, source: RowSource, change: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]
    ) -> None:
        self.source, self.change = source, change

    def __len__(self) -> int:
        return len(self.source)

    def rows(self, index: np.ndarray) -> tuple[Tensor, ...]:
        return self.change(self.source.rows(index))


def iterate(source: RowSource, batch_size: int) -> Iterator[tuple[Tensor, ...]]:
    """All rows in file order, in batches; the last one may be smaller."""
    for start in range(0, len(source), batch_size):
        yield source.rows(np.arange(start, min(start + batch_size, len(source))))


class Step(NamedTuple):
    """Where a training is.

    Args:
        number: Steps done before this one.
        total: Steps of the whole stage, at most.
    """

    number: int
    total: int

    @property
    def progress(self) -> float:
        """The part of the training that is done, in [0, 1)."""
        return self.number / self.total


class Trainable(nn.Module):
    """A model that the trainer can fit.

    Its state is tensors, and plain bytes where a part is no torch module: a module that overrides
    ``get_extra_state`` returns ``bytes`` from it, and ``set_extra_state`` takes them back. They
    are data that travel in files: never what ``pickle`` writes.

    Attributes:
        players: The parties of the optimisation, each with an optimiser of its own: name -> number
            of steps. One for most models, several for adversarial ones. The player with the
            largest number steps on every batch, one with m of its n steps on m of n batches:
            ``{"critic": 5, "generator": 1}`` has the critic see five fresh batches for each of the
            generator. Players that step on the same batch do so in this order.
        step: Where the training is, for losses that change on the way; the trainer sets it before
            every step, also of the Trainables inside this one.
        kept: A folder where :meth:`prepare`, if it takes long, leaves what it has finished, so
            that a training that was cut in it goes on behind that; the trainer gives each
            Trainable one, and removes it when the stage is done. None: nowhere.
    """

    players: Mapping[str, int] = MappingProxyType({"model": 1})
    step: Step = Step(0, 1)
    kept: Path | None = None

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

    def averaged_buffers(self) -> list[Tensor]:
        """Buffers that training changes and that belong to the weights of their moment.

        Where weights are averaged, so are these: codebooks that follow what is encoded, running
        statistics of a normalisation. They are of floating point, and changed in place.
        """
        return []

    def loss(self, batch: tuple[Tensor, ...], player: str = "model") -> Tensor:
        """The scalar that ``player`` minimises on a batch of rows."""
        raise NotImplementedError

    def scores(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Validation scores of a batch: name -> scalar mean over rows, lower is better.

        ``loss`` is always among them; early stopping may choose any.
        """
        return {"loss": self.loss(batch, next(iter(self.players)))}


def plain_state(model: nn.Module) -> dict[str, Tensor | bytes]:
    """What a file keeps of a model: its state, without the graph that it may hang on.

    Raises:
        TypeError: A part of it is neither a tensor nor bytes, which no file would be read with.
    """
    state: dict[str, Tensor | bytes] = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor | bytes):
            raise TypeError(
                f"{name} of {type(model).__name__} is of type {type(value).__name__}: a state "
                "holds tensors, and bytes from get_extra_state"
            )
        state[name] = value.detach() if isinstance(value, Tensor) else value
    return state
