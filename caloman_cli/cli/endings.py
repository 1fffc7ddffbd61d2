"""How a command ends: one line on standard error, and the exit status."""

import sys
import traceback

from caloman_cli.data.files import is_full
from caloman_cli.errors import Failure, UserError
from caloman_cli.training.interruption import Preempted

OK, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130


def report(error: BaseException, debug: bool) -> int:
    """Say what went wrong on standard error and return the exit status."""
    status, message = explain(error)
    if debug and isinstance(error, Exception):
        sys.stderr.write("".join(traceback.format_exception(error)))
    sys.stderr.write(f"caloman: {message}\n")
    return status


def explain(error: BaseException) -> tuple[int, str]:
    """Exit status and one line for an exception."""
    if isinstance(error, UserError):
        return MISTAKE, " ".join(str(error).split())
    if isinstance(error, Failure):
        return FAILED, " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted"
    if isinstance(error, Preempted):
        return error.status, str(error)
    if is_full(error):
        place = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        return MISTAKE, f"{place}no room left on the disk: free some or write elsewhere"
    said = " ".join(str(error).split())
    kind = type(error).__name__
    return FAILED, f"failed: {kind}: {said or 'no message'} (run again with --debug)"
