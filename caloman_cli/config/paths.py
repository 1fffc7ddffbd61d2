"""Paths that a user typed: their home, patterns, and their way through Hydra's grammar."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from caloman_cli.errors import UserError

PRETRAINED = "pretrained:"
"""Before a name that stands for a model and is no path."""
SIGNS = frozenset("*?[")
"""What makes a path a pattern."""
_PARSER = OverridesParser.create()


def expanded(path: Path | str) -> Path:
    """The path with ``~`` replaced; one that names no user's home is a name like any other."""
    with suppress(RuntimeError):
        return Path(path).expanduser()
    return Path(path)


def matching(pattern: str) -> list[Path]:
    """The paths that a pattern matches, sorted; ``*``, ``?``, ``[...]``, ``**`` as in a shell.

    A path that exists is itself, whatever signs its name has.
    """
    path = expanded(pattern)
    try:
        if path.exists():
            return [path]
        if not SIGNS & set(str(path)):
            return []
        start = Path(path.anchor) if path.is_absolute() else Path()
        return sorted(start.glob(str(path.relative_to(start))))
    except (OSError, ValueError):  # no name of a file, or no pattern: `a**b`
        return []


def readable(argument: str, texts: Mapping[str, bool] | None = None) -> str:
    """An override that Hydra's grammar takes as the text that the user meant.

    The grammar has signs and words of its own, and letters of English alone. What it would not
    take for a text is quoted, so that the user need not; what the user quoted is left as it is.
    A comma separates the values of a multirun or the items of a list.

    Args:
        argument: ``key=value``.
        texts: Keys whose value is a text or a path -> whether it may be a list of them.

    Returns:
        The same argument, with quotes where they are needed.

    Raises:
        UserError: The grammar cannot read it, quoted or not.
    """
    key, equals, value = argument.partition("=")
    if equals and not re.fullmatch(r"[+~]{0,2}[A-Za-z0-9_./@:$-]+", key):
        raise UserError(f"unknown key '{key}' in {argument}")
    if not equals or not value or "${" in value:
        return argument
    name, texts = key.lstrip("+"), texts or {}
    parsed = _parsed(argument)
    if parsed is not None and (name not in texts or _is_text(parsed, value, texts[name])):
        return argument
    listed = isinstance(getattr(parsed, "_value", None), list) and "," in value
    if listed and not texts.get(name, True):
        return argument  # a list where there is one text: those who check values say so
    if value.startswith("[") and value.endswith("]") and (name not in texts or texts[name]):
        meant = f"{key}={_list(value)}"
    else:
        items = _items(value)
        meant = f"{key}={','.join(map(quoted, items)) if len(items) > 1 else quoted(value)}"
    if _parsed(meant) is None:
        raise UserError(
            f"cannot read {argument}: quote values with special signs: \"{key}='value'\""
        )
    return meant


def read_value(argument: str) -> Any:
    """What Hydra's grammar makes of the value of ``key=value``; a list for a multirun's values.

    Another string than what was typed, where the value is a function of Hydra's.
    """
    parsed = _parsed(argument)
    if parsed is None:
        return argument.partition("=")[2]
    if parsed.is_sweep_override():
        values = getattr(parsed._value, "list", None)
        return str(parsed._value) if values is None else values
    return parsed.value()


def _parsed(argument: str) -> Override | None:
    try:
        return _PARSER.parse_override(argument)
    except HydraException:
        return None


def _is_text(parsed: Override, value: str, listed: bool) -> bool:
    """Whether the grammar takes a value for the text that it is, or for a list of texts."""
    found: Any = parsed._value
    if parsed.is_sweep_override():
        values = getattr(found, "list", None)  # range(), interval(), glob() are functions
        return values is None or all(_item_is_text(item, listed) for item in values)
    if isinstance(found, str):
        return found == value
    return _item_is_text(found, listed)


def _item_is_text(item: Any, listed: bool) -> bool:
    if isinstance(item, list):
        return listed and all(_item_is_text(part, False) for part in item)
    return item is None or isinstance(item, str | QuotedString)


def _list(value: str) -> str:
    """``[a b,c]``; several of them, ``[a],[b]``, are the values of a multirun."""
    lists = re.split(r"\]\s*,\s*\[", value[1:-1])
    return ",".join(f"[{','.join(map(quoted, _items(items)))}]" for items in lists)


def _items(values: str) -> list[str]:
    """The parts between commas, without blanks around them; a comma in quotes is no such one."""
    items = [""]
    for part in values.split(","):
        opened = items[-1][:1]
        if opened in ("'", '"') and not _is_quoted(items[-1]):
            items[-1] += f",{part}"
        else:
            items.append(part.strip())
    return items[1:]


def _is_quoted(item: str) -> bool:
    return len(item) > 1 and item[0] in "'\"" and item[-1] == item[0]


def quoted(item: str) -> str:
    """A text as Hydra's grammar takes it, whatever signs it has."""
    if item in ("", "null") or _is_quoted(item):
        return item
    return QuotedString(item, Quote.single).with_quotes()
