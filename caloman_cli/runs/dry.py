"""Whether a command only says what it would do: then nothing is written, not even beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_dry: ContextVar[bool] = ContextVar("dry", default=False)


@contextmanager
def dry_run(on: bool = True) -> Iterator[None]:
    """Within the block nothing may be written, where ``on``."""
    token = _dry.set(on)
    try:
        yield
    finally:
        _dry.reset(token)


def is_dry() -> bool:
    """Whether nothing may be written now."""
    return _dry.get()
