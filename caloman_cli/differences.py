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
    return [f"{key}: {stored} -> {asked}"]


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
