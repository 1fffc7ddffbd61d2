"""In what two configs differ that makes them different runs."""

import inspect
import sys
from collections.abc import Collection, Sequence
from typing import Any

from omegaconf import OmegaConf

from caloman_cli.data.detector import settled
from caloman_cli.data.geometry import spelled_out
from caloman_cli.errors import UserError

IRRELEVANT = (
    "output",
    "overwrite",
    "name",
    "tags",
    "device",
    "logger",
    "data_dir",
    "cache_dir",
    "dataset.train",
    "dataset.reference",
    "trainer.checkpoint_minutes",
    "trainer.layer_dimensions",
    "trainer.profile",
    "distill.run",
    "reuse",
    "evaluate_after",
)
"""Keys that do not make another run: where it runs, who watches it, where its files lie.

That the files hold the same showers, and a teacher's folder the same teacher, is checked by their
content.
"""
_SHOWN = 5  # differences that one line names
_LONGEST = 60
_BEFORE = {"calibration": {"_target_": "caloman_cli.models.calibrations.Unchanged"}}
"""What was done before a group existed, where that is not the verb's default."""
RESOLVED = ("encoder.latent_dim",)
"""Keys whose ``auto`` a run replaces by what it became."""


def differences(stored: Any, asked: Any, resolved: Collection[str] = RESOLVED) -> list[str]:
    """Keys whose values differ, as ``key: stored -> asked``; not those of :data:`IRRELEVANT`.

    A key that the stored config lacks did not exist when it was written: it makes no other run as
    long as its value is the one that stands for what was done then, the default of the
    constructor whose argument it is, or else of the verb.

    Args:
        stored: A run's config, plain types only.
        asked: The config of a command.
        resolved: Keys where the run had ``auto``, so that its number answers ``auto``.
    """
    pair = _layers_alone(stored), _layers_alone(asked)
    return _differences(*pair, resolved, "", _verb_of(asked))


def differing_keys(configs: Sequence[Any]) -> list[str]:
    """The keys, dotted, that make some of the runs with these configs different runs."""
    found: dict[str, None] = {}
    for config in configs[1:]:
        one_way = differences(configs[0], config, resolved=())
        found |= dict.fromkeys(text.partition(": ")[0] for text in one_way)
    return list(found)


def listed(found: list[str]) -> str:
    """Some of the differences, for one line."""
    more = len(found) - _SHOWN
    return "; ".join(found[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def only(config: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The parts of a nested config that dotted keys name; nothing of those that it lacks."""
    found: dict[str, Any] = {}
    for key in keys:
        *groups, name = key.split(".")
        source, target = config, found
        for group in groups:
            source, target = source.get(group, {}), target.setdefault(group, {})
        if name in source:
            target[name] = source[name]
    return found


def _differences(
    stored: Any, asked: Any, resolved: Collection[str], key: str, verb: str
) -> list[str]:
    if isinstance(stored, dict) and isinstance(asked, dict):
        found = []
        for name in dict.fromkeys([*stored, *asked]):
            place = f"{key}.{name}" if key else str(name)
            new = name not in stored and _neutral(asked, name, place, verb)
            if place not in IRRELEVANT and not new:
                pair = stored.get(name), asked.get(name)
                found += _differences(*pair, resolved, place, verb)
        return found
    if isinstance(stored, list) and isinstance(asked, list) and len(stored) == len(asked):
        return [
            difference
            for number, pair in enumerate(zip(stored, asked, strict=True))
            for difference in _differences(*pair, resolved, f"{key}.{number}", verb)
        ]
    if stored == asked or (asked == "auto" and key in resolved):
        return []
    return [f"{key}: {_short(stored)} -> {_short(asked)}"]


def _layers_alone(config: Any) -> Any:
    """The config with every layer of its detector by itself, as runs had them before ``repeat``.

    Those of a binning file too, which older runs name where newer ones have its layers. Layers
    that are not understood stay as they are: who reads them says what is wrong.
    """
    try:
        dataset = settled(config["dataset"])
        layers = spelled_out(dataset["geometry"]["layers"])
    except (TypeError, KeyError, UserError):
        return config
    geometry = {**dataset["geometry"], "layers": layers}
    return {**config, "dataset": {**dataset, "geometry": geometry}}


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "a group of settings"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _verb_of(config: Any) -> str:
    return "distill" if isinstance(config, dict) and "distill" in config else "train"


def _neutral(node: dict[str, Any], name: str, place: str, verb: str) -> bool:
    """Whether a value is the default of the constructor or of the verb."""
    if "_target_" in node:
        module, _, kind = str(node["_target_"]).rpartition(".")
        # What a config names has been built before; nothing is imported here.
        made = getattr(sys.modules.get(module), kind, None)
        parameters = inspect.signature(made).parameters if callable(made) else {}
        if name not in parameters:
            return False
        default = parameters[name].default  # a config has lists where Python has tuples
        return bool((list(default) if isinstance(default, tuple) else default) == node[name])
    if place in _BEFORE:
        return bool(_BEFORE[place] == node[name])
    from caloman_cli.config.compose import compose

    value: Any = OmegaConf.to_container(compose(verb))
    for part in place.split("."):
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return bool(value == node[name])
