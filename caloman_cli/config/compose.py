"""Configs: where they live, how they are composed, and which keys each verb has."""

import os
import re
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf

from caloman_cli.config import schema
from caloman_cli.config.paths import PRETRAINED, expanded, matching
from caloman_cli.errors import UserError, shown

_HERE = Path(__file__).resolve().parents[1]
CONF = next(path for path in (_HERE / "conf", _HERE.parent / "conf") if path.is_dir())
"""The configs: inside the package when installed from a wheel, beside it in a checkout."""


def _environment(name: str) -> str | None:
    """A variable of the environment; one that is empty is unset."""
    return os.environ.get(name) or None


def _metrics_of(*, _parent_: DictConfig) -> str:
    """The name of a suite that has none of its own: those of its metrics."""
    found = (str(key) for key in _parent_ if OmegaConf.is_dict(_parent_._get_node(key)))
    return "-".join(found) or "none"


OmegaConf.register_new_resolver("environment", _environment, replace=True)
OmegaConf.register_new_resolver("metrics_of", _metrics_of, replace=True)


def compose(verb: str, overrides: list[str] | None = None) -> DictConfig:
    """The config of a verb, without Hydra's own part.

    Args:
        verb: Name of a primary config: ``train``, ``sample``, ``data_check``, ...
        overrides: What a user would write behind the verb.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    # Hydra is one for each process, and a command line has it already.
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra.compose(verb, overrides or [])
    finally:
        GlobalHydra.instance().hydra = outer


def meanings(verb: str) -> dict[str, str]:
    """What each key of a verb means: the comments in its primary config.

    Returns:
        Key, with dots where nested -> comment.
    """
    return _comments(CONF / f"{verb}.yaml")


def option_meanings(group: str, option: str) -> dict[str, str]:
    """The same of the keys of a group's option; nothing where the package has no such option."""
    path = CONF / group / f"{option}.yaml"
    found = _comments(path) if path.is_file() else {}
    return {f"{group}.{key}": meaning for key, meaning in found.items()}


def _comments(path: Path) -> dict[str, str]:
    found, parents = {}, [""]
    for line in path.read_text(encoding="utf-8").splitlines():
        match = re.match(r"( *)([A-Za-z_]\w*):(.*?)(?:\s+# (.*))?$", line)
        if match is None:
            continue
        depth = len(match[1]) // 2
        parents = [*parents[: depth + 1], match[2]]
        if match[4] is not None:
            found[".".join(parents[1:])] = match[4]
    return found


def groups(verb: str) -> dict[str, str | list[str] | None]:
    """The groups that a verb has -> the option that it takes by itself; ``???``: none.

    A list is that of a group of which several options may be chosen.
    """
    found: dict[str, str | list[str] | None] = {}
    primary = OmegaConf.to_container(OmegaConf.load(CONF / f"{verb}.yaml"))
    assert isinstance(primary, dict)
    for entry in primary["defaults"]:
        if isinstance(entry, dict):
            found |= {str(key): value for key, value in entry.items() if " " not in str(key)}
    return found


def own_keys(verb: str) -> list[str]:
    """The keys that a verb's own config has, beside its groups."""
    own = OmegaConf.load(CONF / f"{verb}.yaml")
    return [str(key) for key in own if key not in ("defaults", "hydra")]


def absolute_paths(cfg: DictConfig, verb: str) -> None:
    """Make every path of the config absolute, from the working directory; ``~`` is home.

    ``pretrained:NAME`` is none. In a list a pattern stands for the files that it matches; one that
    matches none is left to whoever opens it.
    """

    def absolute(value: Any) -> Any:
        if isinstance(value, list):
            found = [path for item in value for path in (_files(item) or [item])]
            return [absolute(item) for item in found]
        if not isinstance(value, str) or value.startswith(PRETRAINED):
            return value
        try:
            return str(expanded(value).resolve())
        except (OSError, RuntimeError, ValueError) as error:  # a link to itself, or no name at all
            raise UserError(f"{shown(value)} is no path: {shown(error)}") from error

    def walk(node: DictConfig, described: type) -> None:
        for key, annotation in get_type_hints(described).items():
            for option in (annotation, *get_args(annotation)):
                if key not in node or OmegaConf.is_missing(node, key) or node[key] is None:
                    continue
                if option is Path or (get_args(option) and get_args(option)[0] is Path):
                    node[key] = absolute(_unwrapped(node[key]))
                elif is_dataclass(option) and isinstance(node[key], DictConfig):
                    walk(node[key], option)  # type: ignore[arg-type]

    walk(cfg, schema.VERBS[verb])


def _files(item: Any) -> list[str]:
    """What an item of a list of paths matches."""
    return list(map(str, matching(item))) if isinstance(item, str) and item else []


def refuse_misplaced(cfg: DictConfig) -> None:
    """Refuse a directory of results that is a file, and a file to write that is a directory.

    Raises:
        UserError: One of them is.
    """
    if cfg.get("output") is not None and Path(cfg.output).is_file():
        raise UserError(f"output={cfg.output} is a file: give a directory")
    several = [key for key in ("parts", "shards") if cfg.get(key) is not None]
    if several:  # whose `out` is a folder
        if cfg.out is not None and Path(cfg.out).is_file():
            raise UserError(f"out={cfg.out} is a file: give a folder for the {several[0]}")
    elif cfg.get("out") is not None and Path(cfg.out).is_dir():
        raise UserError(f"out={cfg.out} is a directory: give the file to write")


def text_keys(verb: str) -> dict[str, bool]:
    """The keys of a verb whose values are texts or paths -> whether they may be lists of them."""
    found: dict[str, bool] = {}

    def walk(described: type, where: str) -> None:
        for key, annotation in get_type_hints(described).items():
            options = (annotation, *get_args(annotation))
            for option in options:
                if is_dataclass(option):
                    walk(option, joined(where, key))  # type: ignore[arg-type]
                elif option in (str, Path):
                    found.setdefault(joined(where, key), False)
                elif get_origin(option) is list and get_args(option)[0] in (str, Path):
                    found[joined(where, key)] = True

    walk(schema.VERBS[verb], "")
    return found


def path_keys(verb: str) -> set[str]:
    """The keys of a verb whose values are paths, or lists of them."""
    found: set[str] = set()

    def walk(described: type, where: str) -> None:
        for key, annotation in get_type_hints(described).items():
            for option in (annotation, *get_args(annotation)):
                if is_dataclass(option):
                    walk(option, joined(where, key))  # type: ignore[arg-type]
                elif option is Path or Path in get_args(option):
                    found.add(joined(where, key))

    walk(schema.VERBS[verb], "")
    return found


def word_keys(verb: str) -> dict[str, list[str]]:
    """The keys of a verb whose values are some words, or lists of them -> these words."""
    found: dict[str, list[str]] = {}

    def walk(described: Any, where: str) -> None:
        if is_dataclass(described):
            for key, annotation in get_type_hints(described).items():
                walk(annotation, joined(where, key))
        elif get_origin(described) is Literal:
            words = (word for word in get_args(described) if isinstance(word, str))
            found.setdefault(where, []).extend(words)
        else:
            for option in get_args(described):
                walk(option, where)

    walk(schema.VERBS[verb], "")
    return {key: list(dict.fromkeys(words)) for key, words in found.items()}


def value_keys(verb: str) -> set[str]:
    """The keys of a verb that hold values, not a group's option."""
    hints = get_type_hints(schema.VERBS[verb])
    return {
        key
        for key, hint in hints.items()
        if not any(is_dataclass(option) for option in (hint, *get_args(hint)))
    }


def _unwrapped(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def joined(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)
