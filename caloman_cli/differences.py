"""In what two configs differ that makes them different runs."""

from typing import Any

IRRELEVANT = (
    "output",
    "overwrite",
    "device",
    "logger",
    "data_dir",
    "cache_dir",
    "dataset.train",
    "dataset.reference",
    "trainer.checkpoint_minutes",
    "distill.run",
    "reuse",
)
"""Keys that do not make another run: where it runs, who watches it, where its files lie.

That the files hold the same showers, and a teacher's folder the same teacher, is checked by their
content.
"""


_SHOWN = 5  # differences that one line names
_LONGEST = 60


def differences(stored: Any, asked: Any, key: str = "") -> list[str]:
    """Keys whose values differ, as ``key: stored -> asked``; not those of :data:`IRRELEVANT`."""
    if isinstance(stored, dict) and isinstance(asked, dict):
        found = []
        for name in dict.fromkeys([*stored, *asked]):
            place = f"{key}.{name}" if key else str(name)
            if place not in IRRELEVANT:
                found += differences(stored.get(name), asked.get(name), place)
        return found
    # `auto` was replaced by what it became.
    if stored == asked or asked == "auto":
        return []
    return [f"{key}: {_short(stored)} -> {_short(asked)}"]


def listed(found: list[str]) -> str:
    """Some of the differences, for one line."""
    more = len(found) - _SHOWN
    return "; ".join(found[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "a group of settings"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def only(config: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The parts of a nested config that dotted keys name."""
    found: dict[str, Any] = {}
    for key in keys:
        *groups, name = key.split(".")
        source, target = config, found
        for group in groups:
            source, target = source.get(group, {}), target.setdefault(group, {})
        target[name] = source.get(name)
    return found
