"""Tab completion: Hydra completes keys and options of a config, this adds the verbs."""

import os
import sys

from caloman_cli.cli.application import Application
from caloman_cli.cli.endings import OK
from caloman_cli.cli.verbs import VERBS
from caloman_cli.errors import UserError
from caloman_cli.runs.console import say


def complete(arguments: list[str]) -> int:
    """Answer ``caloman -sc install=bash`` and the shell's queries.

    Raises:
        UserError: The shell command is not one of install, uninstall, query.
    """
    commands = [argument for argument in arguments if not argument.startswith("-")]
    if len(commands) != 1 or commands[0].partition("=")[0] not in (
        "install",
        "uninstall",
        "query",
    ):
        raise UserError(
            '-sc takes install=bash or uninstall=bash: eval "$(caloman -sc install=bash)"'
        )
    if not commands[0].endswith("=bash"):
        raise UserError(f"-sc {commands[0]}: completion exists for bash")
    if not commands[0].startswith("query"):
        sys.argv[0] = "caloman"  # Hydra binds the completion to the name of the running program
        Application(VERBS["train"]).complete(commands[0])
        return OK
    line = os.environ.get("COMP_LINE", "")
    words, verb = line.split(), 1
    fresh = line.endswith(" ")
    first = words[1] if len(words) > 1 else ""
    family = [name.split()[1] for name in VERBS if name.startswith(f"{first} ")]
    if len(words) < 2 or (len(words) == 2 and not fresh):
        names = dict.fromkeys(name.split()[0] for name in VERBS)
        return _offer([name for name in names if name.startswith(first)])
    if family:
        second = words[2] if len(words) > 2 else ""
        if len(words) < 3 or (len(words) == 3 and not fresh):
            return _offer([name for name in family if name.startswith(second)])
        first, verb = f"{first} {second}", 2
    if first in VERBS:
        rest = line.split(None, verb + 1)[verb + 1 :]
        os.environ["COMP_LINE"] = " ".join([words[0], *rest]) + ("" if rest else " ")
        Application(VERBS[first]).complete(commands[0])
    return OK


def _offer(names: list[str]) -> int:
    say(" ".join(names) + "\n")
    return OK
