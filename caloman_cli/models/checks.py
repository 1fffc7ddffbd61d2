"""What has to hold of a batch, asked once after it.

Each question makes the host wait for the device, and keeps a graph from being captured.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_Pending = list[tuple[Tensor, Callable[[], str]]]
_of_thread = threading.local()


def require(fine: Tensor, why: Callable[[], str]) -> None:
    """Raise now, or at the end of :func:`asked_once`, unless ``fine`` is true.

    While a graph is captured nothing is asked: who runs it looks at its result.

    Args:
        fine: A boolean, shape ().
        why: What to say otherwise.

    Raises:
        FloatingPointError: It is not.
    """
    pending: _Pending | None = getattr(_of_thread, "pending", None)
    if torch.compiler.is_compiling():
        return
    if pending is not None:
        pending.append((fine, why))
    elif not bool(fine):
        raise FloatingPointError(why())


@contextmanager
def asked_once() -> Iterator[None]:
    """What this thread requires inside is asked behind it, in one question.

    Raises:
        FloatingPointError: The first of what is required does not hold.
    """
    if getattr(_of_thread, "pending", None) is not None or torch.compiler.is_compiling():
        yield
        return
    pending: _Pending = []
    _of_thread.pending = pending
    try:
        yield
    except Exception:
        _ask(pending)  # what broke a later step may be here
        raise
    finally:
        _of_thread.pending = None
    _ask(pending)


def _ask(pending: _Pending) -> None:
    if not pending or pending[0][0].is_meta:
        return
    every = torch.stack([fine for fine, _ in pending]).tolist()
    for fine, (_, why) in zip(every, pending, strict=True):
        if not fine:
            raise FloatingPointError(why())


def static(values: Tensor) -> bool:
    """Whether no shape may depend on values: on all devices but a CPU, and in a graph."""
    return torch.compiler.is_compiling() or values.device.type != "cpu"


def somewhere(marked: Tensor) -> bool:
    """Whether anything is marked, where that can be asked for nothing; else True.

    Work on a few rows is saved on a CPU, and is done for all elsewhere.
    """
    return static(marked) or bool(marked.any())
