"""Hydra's and OmegaConf's errors, said in one line that lists what exists."""

import difflib
import re
from collections.abc import Iterable

from caloman_cli.errors import UserError

_LISTED = 12


def one_line(error: BaseException) -> str:
    """An exception's message, and its cause's where that adds something, without line breaks."""
    message, cause = (
        re.sub(r"\s*full_key: (\S*).*$", r" (\1)", " ".join(str(part or "").split()))
        for part in (error, error.__cause__)
    )
    message = message or type(error).__name__
    return f"{message}: {cause}" if cause and cause not in message else message


def suggestion(given: str, known: Iterable[str]) -> str:
    """What to try instead: the nearest name, and the names that exist.

    Args:
        given: What the user wrote.
        known: The names that exist where the user wrote it.

    Returns:
        ``"did you mean 'encoder'? (there is: dataset, encoder, ...)"``
    """
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(given, names, 1, 0.6)
    if not near and "." in given:
        tails = {name.rsplit(".", 1)[-1]: name for name in names}
        near = [tails[n] for n in difflib.get_close_matches(given.rsplit(".", 1)[-1], tails, 1)]
    listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    exists = f"there is: {listed}" if names else "nothing can be set there"
    return f"did you mean '{near[0]}'? ({exists})" if near else exists


def unknown_option(error: BaseException) -> UserError | None:
    """``encoder=vaee``: an option that its group does not have."""
    found = re.search(r"Could not find '([^']+)'", str(error))
    if found is None:
        return None
    group, _, option = found.group(1).rpartition("/")
    listed = re.search(r"Available options in '[^']*':\s*(.*?)(?:Config search path|$)",
                       str(error), re.DOTALL)  # fmt: skip
    known = listed.group(1).split() if listed else []
    if not group:
        return UserError(f"config '{option}' does not exist")
    what = f"{group}={option}"
    if not known:
        return UserError(f"{what} does not exist, nor any option of '{group}'")
    return UserError(f"{what} does not exist: {suggestion(option, known)}")


def unchosen_group(error: BaseException) -> tuple[str, list[str]] | None:
    """The group that the user has to choose from, and its options."""
    found = re.search(r"You must specify '([^']+)'", str(error))
    if found is None:
        return None
    return found.group(1), str(error).partition("Available options:")[2].split()


def unknown_key(error: BaseException) -> str | None:
    """The key of ``encoder.latnt_dim=3`` that the composed config does not have."""
    found = re.search(r"Could not (?:override|delete from config|delete) '([^']+)'", str(error))
    cause = str(error.__cause__ or error)
    struct = "not in struct" in cause or re.search(r"Key '[^']*' not in '", cause)
    return found.group(1) if found and (struct or "delete" in found.group(0)) else None


def unreadable(error: BaseException) -> UserError | None:
    """``run=a(b)``: a line that Hydra's grammar cannot read."""
    grammar = (
        "mismatched input", "token recognition", "extraneous input", "missing EQUAL",
        "no viable alternative", "Error parsing override", "Ambiguous value",
    )  # fmt: skip
    if not any(phrase in str(error) for phrase in grammar):
        return None
    if "Ambiguous value" in str(error):
        found = re.search(r"for argument '([^']*)'", str(error))
        what = found.group(1) if found else "a value"
        return UserError(
            f"{what} lists several values: write -m for one job per value, [a,b] for a list, "
            "or quote a value that has a comma: \"key='a,b'\""
        )
    found = re.search(r"override '([^\n]*)'", str(error))
    what = found.group(1) if found else one_line(error)
    return UserError(f"cannot read {what}: quote values with special signs: \"key='value'\"")
