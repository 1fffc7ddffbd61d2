"""Which values a setting may have: ranges to annotate with, the check, and its words.

A signature says what its parameters may be, ``hidden: list[Count]``. One check, pydantic's, holds
values against it, where a config is composed and where a constructor is called; one function puts
it into words.
"""

import functools
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from inspect import Parameter, getattr_static, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import annotated_types as at

from caloman_cli.errors import UserError, shown

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Count = Annotated[int, at.Ge(1)]
Several = Annotated[int, at.Ge(2)]
Natural = Annotated[int, at.Ge(0)]
Seed = Annotated[Natural, at.Le(2**63 - 1)]
Positive = Annotated[float, at.Gt(0)]
NotNegative = Annotated[float, at.Ge(0)]
Share = Annotated[float, at.Gt(0), at.Lt(1)]
Fraction = Annotated[float, at.Ge(0), at.Lt(1)]

Compression = Literal["gzip", "fast", "none"]
"""Of a file: ``gzip`` as h5py has it by itself; ``fast``: gzip by ISA-L; ``none``."""

PARTIAL = "partial"
"""Beside a dataclass in ``Annotated``: not all of its keys have to be there."""
_NAMES: dict[Any, str] = {
    int: "an integer", float: "a number", bool: "true or false", str: "a text", Path: "a path",
    NoneType: "null", None: "null", list: "a list", dict: "a mapping",
}  # fmt: skip
T = TypeVar("T")


def form(pattern: str) -> at.Predicate:
    """A text that the whole of a regular expression matches; to be said with ``doc``."""
    return at.Predicate(lambda text: re.fullmatch(pattern, text) is not None)


def setting_types(cls: type) -> dict[str, tuple[Parameter, Any]]:
    """The hyper-parameters of a class: name -> parameter of its constructor, and annotation.

    What is keyword-only is passed when a model is built and is no setting.
    """
    hints = get_type_hints(getattr_static(cls, "__init__"), include_extras=True)
    return {
        name: (parameter, hints.get(name, Any))
        for name, parameter in signature(cls).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }


def checked(cls: type[T]) -> type[T]:
    """Have a class refuse settings that its constructor's annotations do not allow.

    ``Head(components=0)`` raises ``UserError: Head: components=0: must be an integer, 1 or more``.
    What is keyword-only, and what is no plain value, is left to the constructor.
    """
    constructor: Callable[..., None] = vars(cls)["__init__"]
    takes = signature(constructor)
    known = functools.cache(
        functools.partial(setting_types, cls)
    )  # when called: names may come later

    @functools.wraps(constructor)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        given = takes.bind(self, *args, **kwargs).arguments
        for name, (_, annotation) in known().items():
            if name in given and is_plain(given[name]) and not fits(given[name], annotation):
                raise UserError(
                    f"{type(self).__name__}: {name}={shown(given[name])}: must be "
                    f"{spell(annotation)}"
                )
        constructor(self, *args, **kwargs)

    cls.__init__ = init  # type: ignore[method-assign]
    return cls


def fits(value: Any, annotation: Any) -> bool:
    """Whether a plain value, as YAML has it, may be passed where the annotation stands.

    An int is a float, a bool is neither, a text is a path, a list a tuple; no number is infinite.
    """
    if annotation is Parameter.empty:
        return True
    try:
        # JSON's own rules for what YAML knows, too: strict, but without tuples and paths.
        _adapter(annotation).validate_json(json.dumps(value, default=_plain))
    except (ValueError, TypeError, RecursionError):  # pydantic's are ValueErrors
        return False
    return True


@functools.cache
def _adapter(annotation: Any) -> "TypeAdapter[Any]":
    # Only here: a command that checks nothing need not load it.
    from pydantic import ConfigDict, TypeAdapter

    strict = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    return TypeAdapter(annotation, config=None if is_dataclass(annotation) else strict)


def require(values: Mapping[str, Any], described: type) -> None:
    """Hold plain values against the fields of a class that have their names.

    Raises:
        UserError: One does not fit.
    """
    for name, annotation in get_type_hints(described, include_extras=True).items():
        if name in values and not fits(values[name], annotation):
            raise UserError(f"{name}={shown(values[name])}: must be {spell(annotation)}")


def is_plain(value: Any) -> bool:
    """Whether a value is made of what YAML can say."""
    if isinstance(value, Mapping):
        return all(is_plain(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str | os.PathLike)


def _plain(value: Any) -> str:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} is no plain value")


def spell(annotation: Any) -> str:
    """What an annotation allows, in words for a message."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _spell_rules(arguments[0], arguments[1:])
    if origin in (Union, UnionType):
        parts = [spell(option) for option in arguments]
        return (", or " if any("," in part for part in parts) else " or ").join(parts)
    if origin is Literal:
        return ", ".join(str(option) for option in arguments)
    if origin in (list, tuple, Sequence):
        inner = [spell(part) for part in arguments if part is not Ellipsis]
        if origin is tuple and Ellipsis not in arguments:
            return f"[{', '.join(inner)}]"
        return f"a list [{inner[0]}, ...]" if inner else "a list"
    if is_dataclass(annotation) or origin in (dict, Mapping):
        return "a mapping"
    if origin is Callable and arguments:
        return f"a mapping, the _target_ of a {spell(arguments[-1])} and its settings"
    return str(_NAMES.get(annotation) or getattr(annotation, "__name__", "a value"))


def _spell_rules(kind: Any, rules: Sequence[Any]) -> str:
    """A type with its range; words that came with it (``annotated_types.doc``) say it all."""
    for rule in rules:
        if words := getattr(rule, "documentation", None):
            return str(words)
    bounds = {type(rule): rule for rule in rules}
    if at.Gt in bounds and at.Lt in bounds:
        said = [f"between {bounds[at.Gt].gt} and {bounds[at.Lt].lt}"]
    else:
        words = {at.Ge: "{.ge} or more", at.Gt: "above {.gt}", at.Le: "at most {.le}",
                 at.Lt: "below {.lt}", at.MinLen: "{.min_length} or more of them"}  # fmt: skip
        said = [text.format(bounds[rule]) for rule, text in words.items() if rule in bounds]
    return f"{spell(kind)}, {' and '.join(said)}" if said else spell(kind)
