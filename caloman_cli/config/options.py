"""Options of config groups, and the classes that they name."""

import re
from collections.abc import Mapping
from functools import cache

from caloman_cli.config.compose import CONF
from caloman_cli.config.public import TARGET
from caloman_cli.config.targets import PLACES

_NAMED = re.compile(rf"^{TARGET}: *(\S+)", re.MULTILINE)


@cache
def known_options(group: str) -> Mapping[str, str]:
    """Options of a group that name a class of its room -> the class's own name.

    Args:
        group: ``encoder``, ``density``, ...
    """
    found = {}
    for path in sorted((CONF / group).glob("*.yaml")):
        named = _NAMED.search(path.read_text(encoding="utf-8"))
        room, _, name = named[1].rpartition(".") if named else ("", "", "")
        if room == PLACES[group].room:
            found[path.stem] = name
    return found


def option_of(group: str, made: object) -> str:
    """What a user types to have an object of this class, for messages.

    Of several options the one that is called as the class is, or else the shortest; a class that
    no option names has its own name.

    Args:
        group: ``encoder``, ``density``, ...
        made: The object.
    """
    name = type(made).__name__
    if type(made).__module__.startswith(f"{PLACES[group].room}."):
        options = [option for option, target in known_options(group).items() if target == name]
        for option in sorted(options, key=lambda option: (option != name.lower(), len(option))):
            return option
    return name
