"""The exceptions that speak to users, and how they show what others wrote."""

from importlib import import_module
from types import ModuleType

_LONGEST = 80  # characters of a foreign value in a message


class UserError(Exception):
    """A mistake that the user can mend: what was given, what is allowed, what to try.

    The command line prints the message without a traceback and exits with status 2.
    """


class CannotWrite(UserError):
    """A file cannot be written: no room, no permission. Never the outcome of one metric alone."""


class FileError(UserError):
    """A file cannot be read or does not hold what it has to. Never the outcome of one metric."""


class Failure(Exception):
    """What was asked for could not be done, though nothing is wrong with the command.

    The command line prints the message without a traceback and exits with status 1.
    """


def shown(value: object) -> str:
    """A foreign value, short and on one line."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def counted(number: int, noun: str) -> str:
    """``1 thread``, ``1,000 threads``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def reason(error: BaseException) -> str:
    """An error as part of one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def needed(module: str, package: str, wanted: str, asked: str, instead: str) -> ModuleType:
    """A module that is not installed with the package itself.

    Args:
        module: Its dotted name.
        package: The package that brings it.
        wanted: What pip has to install where it is not there.
        asked: The setting that asks for it.
        instead: A setting that does not.

    Raises:
        UserError: It cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"{asked} needs the package {package} ({reason(error)}): pip install {wanted}, or "
            f"{instead}"
        ) from error
