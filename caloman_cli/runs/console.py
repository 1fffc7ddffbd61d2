"""What caloman says on standard output: warnings marked, each once, nothing lost unnoticed."""

import logging
import os
import sys
from contextlib import suppress
from typing import TextIO

ON_THE_BAR = "on_the_bar"
"""Attribute of records that a progress bar shows already: for log files alone."""


class Lines(logging.Formatter):
    """Information as it is; a warning or an error is one line that begins with its kind."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.levelno < logging.WARNING:
            return text
        kind = "warning" if record.levelno < logging.ERROR else "error"
        return f"{kind}: {' '.join(text.split())}"


class Console(logging.StreamHandler):
    """A stream of lines; what was warned of is not said again.

    A stream that can no longer be written (a full disk, a closed pipe) does not stop the work;
    :func:`finish` tells of it at the end.
    """

    lost: OSError | None = None

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._warned: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless a bar shows it or it warns of what was warned of."""
        if hasattr(record, ON_THE_BAR):
            return
        if record.levelno == logging.WARNING:
            text = record.getMessage()
            if text in self._warned:
                return
            self._warned.add(text)
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            Console.lost = error
        else:
            super().handleError(record)


def say(text: str) -> None:
    """Write text to standard output."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        Console.lost = error


def finish() -> OSError | None:
    """Write out what is still in memory.

    Returns:
        Why something was lost; None where nothing was.
    """
    lost, Console.lost = Console.lost, None
    try:
        sys.stdout.flush()
    except OSError as error:
        lost = error
    if lost is not None:
        # The interpreter would try once more when it ends, and complain over many lines.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
    return lost
