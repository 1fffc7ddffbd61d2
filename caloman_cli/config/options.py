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
    ours = type(made).__module__.startswith(f"{PLACES[group].room}.")
    return _option(group, name) if ours else name


def option_named(group: str, node: object) -> str:
    """The same of what a run's config has for a group; nothing where it names no class."""
    target = node.get(TARGET) if isinstance(node, Mapping) else None
    if not isinstance(target, str):
        return ""
    room, _, name = target.rpartition(".")
    return _option(group, name) if group in PLACES and room == PLACES[group].room else name


def _option(group: str, name: str) -> str:
    options = [option for option, target in known_options(group).items() if target == name]
    return min(options, key=lambda o: (o != name.lower(), len(o)), default=name)
