"""The check of a composed config, before any work: each key and each value, in one line."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from caloman_cli.config import schema, targets
from caloman_cli.config.compose import joined, meanings, option_meanings
from caloman_cli.config.mistakes import one_line, suggestion
from caloman_cli.config.options import known_options
from caloman_cli.config.settings import StageSettings, TrainerSettings
from caloman_cli.config.stages import LEARNING
from caloman_cli.config.values import PARTIAL, fits, setting_types, spell
from caloman_cli.errors import UserError


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
        for group, option in (choices or {}).items():
            means |= option_meanings(group, option)
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


def trainer_settings(node: DictConfig) -> TrainerSettings:
    """The group ``trainer`` of a composed config; a key that is not there takes its default.

    Raises:
        UserError: A key is unknown, a value out of range, or values exclude each other.
    """
    values: Any = OmegaConf.to_container(node, resolve=True)
    _Check({}, set()).mapping(values, TrainerSettings, "trainer")
    stages = {name: StageSettings(**values[name]) for name in LEARNING if name in values}
    settings = TrainerSettings(**values | stages)
    settings.check()
    return settings


class _Check:
    """One pass over the values; ``where`` is the dotted path of what is looked at.

    Args:
        choices: Group -> chosen option.
        missing: Dotted keys that the user has yet to give.
    """

    def __init__(self, choices: dict[str, str], missing: set[str]) -> None:
        self.choices, self.missing = choices, missing

    def mapping(self, values: dict, described: type, where: str, partial: bool = False) -> None:
        """Check against a dataclass: all keys there, no other, each of its type."""
        hints = get_type_hints(described, include_extras=True)
        needed = [
            item.name
            for item in fields(described)
            if item.default is MISSING and item.default_factory is MISSING and not partial
        ]
        if (others := vars(described).get("OTHERS")) is not None:
            # What is neither null nor names a class is a slip of the pen.
            hints |= {
                key: others
                for key, value in values.items()
                if key not in hints
                and (value is None or (isinstance(value, dict) and targets.TARGET in value))
            }
        self._keys(values, list(hints), needed, where)
        for key, value in values.items():
            self._value(value, hints[key], joined(where, key))

    def target(self, values: dict, place: targets.Place, where: str, late: bool) -> None:
        """Check against the signature of the ``_target_``; keyword-only is given at build time."""
        try:
            found = targets.locate(values[targets.TARGET], place, where)
            if not late:
                targets.refuse_unfinished(found, where)
            known = setting_types(found)
        except UserError as error:
            raise UserError(f"{error}{self._inside(where)}") from error
        given = {key: value for key, value in values.items() if key != targets.TARGET}
        needed = [
            name for name, (parameter, _) in known.items() if parameter.default is parameter.empty
        ]
        self._keys(given, list(known), needed, where)
        for key, value in given.items():
            self._value(value, known[key][1], joined(where, key))

    def _value(self, value: Any, annotation: Any, where: str) -> None:
        if where in self.missing:
            return
        if value == "" or (isinstance(value, list) and "" in value):
            raise UserError(
                f"{where}= is empty: give {spell(annotation)}, or leave it out (is a variable of"
                f" the shell unset?){self._inside(where)}"
            )
        options = (annotation, *get_args(annotation))
        classes = (option for option in options if isinstance(option, type))  # ranges are none
        described = next((option for option in classes if is_dataclass(option)), None)
        place = self._place(annotation, where)
        if isinstance(value, dict) and place is not None and described in (None, schema.Target):
            if targets.TARGET not in value:
                raise UserError(f"{self._source(where)}: the group '{where}' has no _target_")
            self.target(value, place, where, described is not None or targets.is_late(annotation))
        elif isinstance(value, dict) and described is not None:
            self.mapping(value, described, where, PARTIAL in options)
        elif isinstance(value, list) and described is not None:
            for index, item in enumerate(value):
                self._value(item, described, f"{where}[{index}]")
        elif isinstance(value, list) and place is not None and targets.named(value):
            contract: Any = place.load()
            if targets.is_late(annotation):
                contract = Callable[..., contract]
            for index, item in enumerate(value):
                self._value(item, contract, f"{where}[{index}]")
        elif place is not None and isinstance(value, str) and value in _options(place):
            group = where.partition(".")[0]
            raise UserError(f"{where}={value}: write {group}@{where}={value}{self._inside(where)}")
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
                    f"unknown key '{joined(where, key)}': {suggestion(str(key), known)}"
                    f"{self._inside(where)}"
                )
        lacking = [key for key in needed if key not in values]
        if lacking:
            names = ", ".join(joined(where, key) for key in lacking)
            raise UserError(f"missing key {names}{self._inside(where)}")

    def _inside(self, where: str) -> str:
        source = self._source(where)
        return f" [{source}]" if source else ""

    def _source(self, where: str) -> str:
        """``encoder=vae`` for a key below a group, else nothing."""
        group = re.split(r"[.\[]", where, maxsplit=1)[0]
        return f"{group}={self.choices[group]}" if self.choices.get(group) else ""


def _options(place: targets.Place) -> Collection[str]:
    """The options that name classes of a place."""
    groups = (group for group, other in targets.PLACES.items() if other.room == place.room)
    return next((known_options(group) for group in groups), {})
