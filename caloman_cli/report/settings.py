"""In which settings runs differ: a value for each run and key."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caloman_cli.config.options import option_named
from caloman_cli.config.targets import TARGET
from caloman_cli.report.jobs import Job
from caloman_cli.runs.differences import differing_keys

UNKNOWN = "–"
_LONGEST = 24
_FILES, _TAGS = "dataset.train", "tags"


@dataclass(frozen=True)
class Setting:
    """One key that differs.

    Args:
        key: With dots, ``encoder.latent_dim``; a group alone is its option.
        values: Of each run, as text.
    """

    key: str
    values: tuple[str, ...]

    @property
    def kinds(self) -> tuple[int, ...]:
        """Which runs have equal values: a number a value, in the order of first occurrence."""
        seen = list(dict.fromkeys(self.values))
        return tuple(map(seen.index, self.values))


def differing(jobs: Sequence[Job | None], but: Sequence[str] = ()) -> list[Setting]:
    """Every key whose value is not the same in all runs; groups first, the seed last.

    Where runs have other options of a group, keys of an option count only where they differ among
    the runs that have it.

    Args:
        jobs: The runs; None, or one without a config, has no values.
        but: Keys that do not count.
    """
    known = [job.config for job in jobs if job is not None and job.config is not None]
    keys = dict.fromkeys(_place(key, known) for key in differing_keys(known))
    found = [
        Setting(_shown_key(key), tuple(_value(job, key) for job in jobs))
        for key in keys
        if key not in but and _matters(key, known)
    ]
    if len({job.data.get("fingerprint") for job in jobs if job is not None and job.data}) > 1:
        found.append(Setting(_FILES, tuple(map(_files, jobs))))
    if len({*(tags := tuple(map(_tags, jobs)))}) > 1 and _TAGS not in but:
        found.append(Setting(_TAGS, tags))
    return sorted(found, key=lambda s: (s.key == "seed", s.key.count("."), s.key))


def _tags(job: Job | None) -> str:
    """Labels of a run, which make it no other one."""
    tags = (job.config or {}).get("tags") if job is not None else None
    return tags if isinstance(tags, str) else ", ".join(map(str, tags or [])) or UNKNOWN


def together(settings: Sequence[Setting]) -> dict[Setting, list[str]]:
    """Those that tell runs apart, each with the keys whose values change when its own does."""
    first: dict[tuple[int, ...], Setting] = {}
    found: dict[Setting, list[str]] = {}
    for setting in settings:
        leader = first.setdefault(setting.kinds, setting)
        found.setdefault(leader, [])
        if leader is not setting:
            found[leader].append(setting.key)
    return found


def _place(key: str, configs: Sequence[Mapping[str, Any]]) -> str:
    """A key without what stands within a list."""
    parts = key.split(".")
    for config in configs:
        node: Any = config
        for depth, part in enumerate(parts):
            if isinstance(node, list):
                return ".".join(parts[:depth])
            node = node.get(part) if isinstance(node, dict) else None
    return key


def _matters(key: str, configs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a key differs among runs that have the same class where it stands."""
    group = key.partition(".")[0]
    nodes = [config.get(group) for config in configs]
    classes = [node.get(TARGET) if isinstance(node, dict) else None for node in nodes]
    if len(set(classes)) == 1 or key == f"{group}.{TARGET}":
        return True
    values = [_lookup(config, key) for config in configs]
    return any(
        len({repr(v) for v, other in zip(values, classes, strict=True) if other == kind}) > 1
        for kind in set(classes)
    )


def _shown_key(key: str) -> str:
    return key.removesuffix(f".{TARGET}")


def _value(job: Job | None, key: str) -> str:
    if job is None or job.config is None:
        return UNKNOWN
    value = _lookup(job.config, key)
    if key.endswith(f".{TARGET}") and isinstance(value, str):
        group = key.partition(".")[0]
        return option_named(group, job.config.get(group)) or value.rpartition(".")[2]
    return _short(value)


def _lookup(config: Mapping[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return UNKNOWN
        node = node[part]
    return node


def _short(value: Any) -> str:
    """A value on one line; of a long one the beginning, and a hash that tells it from others."""
    if isinstance(value, list):
        text = f"[{','.join(map(str, value))}]"
    elif value is None or isinstance(value, bool):
        text = "null" if value is None else str(value).lower()
    else:
        text = str(value)
    if len(text) <= _LONGEST:
        return text
    digest = hashlib.blake2b(text.encode(), digest_size=2).hexdigest()
    return f"{text[: _LONGEST - 6]}…{digest}"


def _files(job: Job | None) -> str:
    if job is None or not job.data:
        return UNKNOWN
    names = ", ".join(Path(path).name for path in job.data.get("paths", []))
    return f"{names} ({job.data.get('n', 0):,}, {str(job.data.get('fingerprint'))[:4]})"
