"""Configs: where they live, how they are composed, and the check that comes before any work."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from caloman_cli.config import schema, targets
from caloman_cli.config.mistakes import one_line, suggestion
from caloman_cli.config.paths import expanded
from caloman_cli.config.settings import trainer_settings
from caloman_cli.config.typecheck import fits, spell
from caloman_cli.errors import UserError, shown

_HERE = Path(__file__).resolve().parents[1]
CONF = next(path for path in (_HERE / "conf", _HERE.parent / "conf") if path.is_dir())
"""The configs: inside the package when installed from a wheel, beside it in a checkout."""


def _environment(name: str) -> str | None:
    """A variable of the environment; one that is empty is unset."""
    return os.environ.get(name) or None


OmegaConf.register_new_resolver("environment", _environment, replace=True)


def compose(verb: str, overrides: list[str] | None = None) -> DictConfig:
    """The config of a verb, without Hydra's own part.

    Args:
        verb: Name of a primary config: ``train``, ``sample``, ``data_check``, ...
        overrides: What a user would write behind the verb.
    """
    import hydra

    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(verb, overrides or [])


def meanings(verb: str) -> dict[str, str]:
    """What each key of a verb means: the comments in its primary config.

    Returns:
        Key, with dots where nested -> comment.
    """
    found, parents = {}, [""]
    for line in (CONF / f"{verb}.yaml").read_text(encoding="utf-8").splitlines():
        match = re.match(r"( *)([A-Za-z_]\w*):(.*?)(?:\s+# (.*))?$", line)
        if match is None:
            continue
        depth = len(match[1]) // 2
        parents = [*parents[: depth + 1], match[2]]
        if match[4] is not None:
            found[".".join(parents[1:])] = match[4]
    return found


def groups(verb: str) -> dict[str, str | None]:
    """The groups that a verb has -> the option that it takes by itself; ``???``: none."""
    found: dict[str, str | None] = {}
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


def check_config(
    cfg: DictConfig, verb: str, choices: Mapping[str, str] | None = None, *, complete: bool = True
) -> None:
    """Check every key and value of a composed config, against the schema and the signatures.

    Args:
        cfg: The composed config.
        verb: Name of its primary config.
        choices: Group -> chosen option, for the messages.
        complete: Whether keys that the user must give have to be there.

    Raises:
        UserError: A key is unknown, missing or has a value that its type does not allow.
    """
    try:
        missing = sorted(OmegaConf.missing_keys(cfg))
        values = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"the config does not resolve: {one_line(error)}") from error
    if complete and missing:
        means = meanings(verb)
        raise UserError(
            "; ".join(
                f"{key}= is needed" + (f": {means[key]}" if key in means else "")
                for key in missing
            )
        )
    assert isinstance(values, dict)
    # All that is composed here, the package's configs apart, is what the command line names.
    with targets.trusting(targets.named(values)):
        _Check(dict(choices or {}), set(missing)).mapping(values, schema.VERBS[verb], "")
    if "trainer" in values:
        trainer_settings(cfg.trainer)


def absolute_paths(cfg: DictConfig, verb: str) -> None:
    """Make every path of the config absolute, from the working directory; ``~`` is home."""

    def absolute(value: Any, annotation: Any) -> Any:
        if isinstance(value, list):
            return [absolute(item, get_args(annotation)[0]) for item in value]
        if not isinstance(value, str):
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
                    node[key] = absolute(_unwrapped(node[key]), option)
                elif is_dataclass(option) and isinstance(node[key], DictConfig):
                    walk(node[key], option)  # type: ignore[arg-type]

    walk(cfg, schema.VERBS[verb])


def refuse_misplaced(cfg: DictConfig) -> None:
    """Refuse a directory of results that is a file, and a file to write that is a directory.

    Raises:
        UserError: One of them is.
    """
    if cfg.get("output") is not None and Path(cfg.output).is_file():
        raise UserError(f"output={cfg.output} is a file: give a directory")
    if cfg.get("out") is not None and Path(cfg.out).is_dir():
        raise UserError(f"out={cfg.out} is a directory: give the file to write")


def text_keys(verb: str) -> dict[str, bool]:
    """The keys of a verb whose values are texts or paths -> whether they may be lists of them."""
    found: dict[str, bool] = {}

    def walk(described: type, where: str) -> None:
        for key, annotation in get_type_hints(described).items():
            options = (annotation, *get_args(annotation))
            for option in options:
                if is_dataclass(option):
                    walk(option, _join(where, key))  # type: ignore[arg-type]
                elif option in (str, Path):
                    found.setdefault(_join(where, key), False)
                elif get_origin(option) is list and get_args(option)[0] in (str, Path):
                    found[_join(where, key)] = True

    walk(schema.VERBS[verb], "")
    return found


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


class _Check:
    """One pass over the values; ``where`` is the dotted path of what is looked at.

    Args:
        choices: Group -> chosen option.
        missing: Dotted keys that the user has yet to give.
    """

    def __init__(self, choices: dict[str, str], missing: set[str]) -> None:
        self.choices, self.missing = choices, missing

    def mapping(self, values: dict, described: type, where: str) -> None:
        """Check against a dataclass: all keys there, no other, each of its type."""
        hints = get_type_hints(described, include_extras=True)
        needed = [
            item.name
            for item in fields(described)
            if item.default is MISSING and item.default_factory is MISSING
        ]
        self._keys(values, list(hints), needed, where)
        for key, value in values.items():
            self._value(value, hints[key], _join(where, key))

    def target(self, values: dict, place: targets.Place, where: str, late: bool) -> None:
        """Check against the signature of the ``_target_``; keyword-only is given at build time."""
        try:
            found = targets.locate(values[targets.TARGET], place, where)
            if not late:
                targets.refuse_unfinished(found, where)
            known = targets.settings(found)
        except UserError as error:
            raise UserError(f"{error}{self._inside(where)}") from error
        given = {key: value for key, value in values.items() if key != targets.TARGET}
        needed = [
            name for name, (parameter, _) in known.items() if parameter.default is parameter.empty
        ]
        self._keys(given, list(known), needed, where)
        for key, value in given.items():
            self._value(value, known[key][1], _join(where, key))

    def _value(self, value: Any, annotation: Any, where: str) -> None:
        if where in self.missing:
            return
        if value == "" or (isinstance(value, list) and "" in value):
            raise UserError(
                f"{where}= is empty: give {spell(annotation)}, or leave it out (is a variable of"
                f" the shell unset?){self._inside(where)}"
            )
        options = (annotation, *get_args(annotation))
        described = next((option for option in options if is_dataclass(option)), None)
        place = self._place(annotation, where)
        if isinstance(value, dict) and place is not None and described in (None, schema.Target):
            if targets.TARGET not in value:
                raise UserError(f"{self._source(where)}: the group '{where}' has no _target_")
            self.target(value, place, where, described is not None or targets.is_late(annotation))
        elif isinstance(value, dict) and described is not None:
            self.mapping(value, described, where)  # type: ignore[arg-type]
        elif isinstance(value, list) and place is not None and targets.named(value):
            contract: Any = place.load()
            if targets.is_late(annotation):
                contract = Callable[..., contract]
            for index, item in enumerate(value):
                self._value(item, contract, f"{where}[{index}]")
        else:
            self._plain(value, annotation, where)

    def _plain(self, value: Any, annotation: Any, where: str) -> None:
        """Check what has no object in it."""
        try:
            targets.refuse_targets(value, where)
        except UserError as error:
            raise UserError(f"{error}{self._inside(where)}") from error
        if not fits(value, annotation):
            said = "null" if value is None else value
            raise UserError(f"{where}={said}: must be {spell(annotation)}{self._inside(where)}")

    def _place(self, annotation: Any, where: str) -> targets.Place | None:
        """What may be named at a key, or None where nothing may be."""
        if schema.Target in (annotation, *get_args(annotation)):
            return targets.PLACES[where.partition(".")[0]]
        if re.fullmatch(r"evaluation\.extra(\[\d+\])?", where):
            return targets.PLACES["evaluation"]
        return targets.nested_place(annotation)

    def _keys(self, values: dict, known: list[str], needed: list[str], where: str) -> None:
        for key in values:
            if key not in known:
                raise UserError(
                    f"unknown key '{_join(where, key)}': {suggestion(str(key), known)}"
                    f"{self._inside(where)}"
                )
        lacking = [key for key in needed if key not in values]
        if lacking:
            names = ", ".join(_join(where, key) for key in lacking)
            raise UserError(f"missing key {names}{self._inside(where)}")

    def _inside(self, where: str) -> str:
        source = self._source(where)
        return f" [{source}]" if source else ""

    def _source(self, where: str) -> str:
        """``encoder=vae`` for a key below a group, else nothing."""
        group = re.split(r"[.\[]", where, maxsplit=1)[0]
        return f"{group}={self.choices[group]}" if self.choices.get(group) else ""


def _join(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)
