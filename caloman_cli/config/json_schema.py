"""A JSON schema of the YAML that ``caloman train`` reads, for editors: names, types, options."""

from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from caloman_cli.config import schema, targets
from caloman_cli.config.compose import CONF, groups, meanings
from caloman_cli.config.public import names
from caloman_cli.config.targets import TARGET
from caloman_cli.config.values import setting_types
from caloman_cli.errors import UserError

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_INTERPOLATION = {"type": "string", "pattern": r"\$\{"}


def json_schema(verb: str) -> dict[str, Any]:
    """Of a file that changes the config of a verb, an experiment: no key has to be there.

    Args:
        verb: Name of a primary config, ``train``.
    """
    found = _of_dataclass(schema.VERBS[verb], "")
    for key, meaning in meanings(verb).items():
        if key in found["properties"]:
            found["properties"][key] = {**found["properties"][key], "description": meaning}
    found["properties"] |= {"defaults": _defaults(verb), "hydra": {"type": "object"}}
    return {"$schema": DRAFT, "title": f"caloman {verb}", **found}


def _of_dataclass(described: type, where: str) -> dict[str, Any]:
    hints = get_type_hints(described, include_extras=True)
    known = {item.name: item for item in fields(described)}
    properties = {}
    for key, annotation in hints.items():
        if key not in known:
            continue
        properties[key] = _of(annotation, f"{where}.{key}" if where else key)
        default = known[key].default
        if default is not MISSING and isinstance(default, bool | int | float | str):
            properties[key] = {**properties[key], "default": default}
    closed = "OTHERS" not in vars(described)
    return {"type": "object", "properties": properties, "additionalProperties": not closed}


def _of(annotation: Any, where: str) -> dict[str, Any]:
    """What an annotation allows, or an interpolation in its place."""
    options = (annotation, *get_args(annotation))
    described = next((o for o in options if isinstance(o, type) and is_dataclass(o)), None)
    group = where.partition(".")[0]
    if described is schema.Target:
        return _nullable(_of_place(group), annotation)
    if described is not None:
        return _nullable(_of_dataclass(described, where), annotation)
    if targets.nested_place(annotation) is not None:
        return {}
    try:
        return {"anyOf": [TypeAdapter(annotation).json_schema(), _INTERPOLATION]}
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
        return {}


def _nullable(found: dict[str, Any], annotation: Any) -> dict[str, Any]:
    if type(None) in get_args(annotation):
        return {"anyOf": [found, {"type": "null"}]}
    return found


@cache
def _of_place(group: str) -> dict[str, Any]:
    """Any class of a group's room with its settings; those of all, where none is named."""
    place = targets.PLACES[group]
    contract, known = place.load(), []
    properties: dict[str, Any] = {}
    for name in names(place.room):
        try:
            found = targets.locate(f"{place.room}.{name}", place, group)
        except (UserError, AttributeError):  # no part of this group, or not offered
            continue
        if found is contract and group != "preprocess":
            continue
        known.append(f"{place.room}.{name}")
        for key, (_, annotation) in setting_types(found).items():
            allowed = _of(annotation, f"{group}.{key}")
            before = properties.setdefault(key, allowed)
            if before != allowed:  # others mean something else by it
                either = [*before.get("anyOf", [before]), *allowed.get("anyOf", [allowed])]
                properties[key] = {"anyOf": either}
    target = {"anyOf": [{"enum": known}, {"type": "string"}], "description": "the class"}
    return {
        "type": "object",
        "properties": {TARGET: target, **properties},
        "additionalProperties": False,
    }


def _defaults(verb: str) -> dict[str, Any]:
    """The list of options that a file chooses."""
    chosen: dict[str, Any] = {}
    for group in groups(verb):
        options = {"anyOf": [{"enum": _options(group)}, {"type": "string"}, {"type": "null"}]}
        chosen |= {f"override /{group}": options, f"/{group}": options}
    items = {"anyOf": [{"type": "string"}, {"type": "object", "properties": chosen}]}
    return {"type": "array", "items": items, "description": "options of groups, in their order"}


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))
