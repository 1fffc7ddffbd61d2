"""Does a plain value fit an annotation? The check of configs against signatures and schemas."""

import inspect
import types
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value from YAML or the command line may be passed where the annotation stands.

    An int is a float, a bool is not an int, a string is a path; annotations that YAML cannot
    express (a class) accept a mapping, which is checked where its ``_target_`` is known.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in (Any, inspect.Parameter.empty):
        return True
    if origin is Annotated:
        return fits(value, arguments[0]) and all(rule.accepts(value) for rule in arguments[1:])
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is Literal:
        return any(value == option and type(value) is type(option) for option in arguments)
    if annotation in (None, type(None)):
        return value is None
    if annotation is bool:
        return isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation in (str, Path):
        return isinstance(value, str)
    return _container_fits(value, origin or annotation, arguments)


def _container_fits(value: Any, kind: Any, arguments: tuple[Any, ...]) -> bool:
    if not isinstance(kind, type):
        return True
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        return (
            isinstance(value, list)
            and len(value) == len(arguments)
            and all(fits(item, part) for item, part in zip(value, arguments, strict=True))
        )
    if issubclass(kind, Mapping):
        return isinstance(value, dict) and all(
            fits(item, arguments[1]) for item in value.values() if len(arguments) == 2
        )
    if issubclass(kind, Sequence):
        return isinstance(value, list) and all(
            fits(item, arguments[0]) for item in value if arguments
        )
    return isinstance(value, dict)


def spell(annotation: Any) -> str:
    """What an annotation allows, in words for a message."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        rules = " and ".join(rule.says for rule in arguments[1:])
        return rules if arguments[0] in (str, Any) else f"{spell(arguments[0])}, {rules}"
    if origin in (Union, types.UnionType):
        parts = [spell(option) for option in arguments]
        return (", or " if any("," in part for part in parts) else " or ").join(parts)
    if origin is Literal:
        return ", ".join(str(option) for option in arguments)
    if origin in (list, tuple, Sequence):
        inner = [spell(part) for part in arguments if part is not Ellipsis]
        if origin is tuple and Ellipsis not in arguments:
            return f"[{', '.join(inner)}]"
        return f"a list [{inner[0]}, ...]" if inner else "a list"
    if is_dataclass(annotation) or origin is dict:
        return "a mapping"
    names = {
        int: "an integer", float: "a number", bool: "true or false", str: "a text",
        Path: "a path", type(None): "null", None: "null", list: "a list", dict: "a mapping",
    }  # fmt: skip
    return names[annotation] if annotation in names else getattr(annotation, "__name__", "a value")
