"""What was typed behind a verb: Hydra's options and ``key=value``, each mistake one line."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from caloman_cli.cli.hydra_app import parser
from caloman_cli.cli.verbs import VERBS, Verb
from caloman_cli.config.compose import CONF, groups, own_keys, text_keys
from caloman_cli.config.mistakes import habit, suggestion
from caloman_cli.config.paths import quoted, read_value, readable
from caloman_cli.errors import UserError

SHOWN = {"--help", "--hydra-help", "--cfg", "--info", "--multirun", "--config-dir", "--debug",
          "--dry-run"}  # fmt: skip
_NOT_OURS = {
    "--version", "--config-path", "-cp", "--config-name", "-cn", "--experimental-rerun",
}  # fmt: skip
LOGGER = "logger"
LOGGERS = ("csv", "mlflow", "tensorboard", "wandb")
"""Options of the group that can be combined: the arguments of ``caloman_cli.loggers.Several``."""
DRY_RUN = "--dry-run"
DRY = ("train", "sample", "evaluate", "export")
"""The verbs that can say what they would do."""
_ROLES = ("train", "reference")
"""Files that have a key of their own beside that of the group ``dataset``."""
_FIXED = ("hydra.run.dir", "hydra.job.chdir", "hydra.output_subdir", "hydra.sweep.subdir")
_BARE = (
    ("evaluate", (".hdf5", ".h5"), "generated"),
    ("sample", (".hdf5", ".h5"), "energies"),
    ("data_generate", (".hdf5", ".h5"), "out"),
    ("sample", ("",), "run"),
    ("evaluate", ("",), "run"),
    ("distill", ("",), "run"),
    ("export", (".onnx", ".pt2"), "out"),
    ("export", ("",), "run"),
    ("report", ("",), "runs"),
    ("train", (".hdf5", ".h5"), "dataset.train"),
    ("train", ("",), "output"),
)
"""Verb, how a path ends -> the key that somebody means who types the path alone."""


class Arguments:
    """The options and overrides of one command.

    Args:
        verb: The verb.
        typed: What stands behind it.

    Raises:
        UserError: An option is unknown, or a word is not ``key=value``.
    """

    def __init__(self, verb: Verb, typed: list[str]) -> None:
        self.verb = verb
        self.dry = DRY_RUN in typed
        if self.dry and verb.words not in DRY:
            raise UserError(f"{DRY_RUN} belongs to {', '.join(DRY)}, not to {verb.words}")
        self.options = self._parse([word for word in typed if word != DRY_RUN])
        words = list(self.options.overrides)
        if words and verb.argument and not _is_override(words[0]):
            words = _argument(verb, words)
        for word in words:
            if not _is_override(word):
                raise UserError(
                    f"'{word}' is not key=value{self._meant(word)} "
                    f"(see: caloman {verb.words} --help)"
                )
            self._refuse_fixed(word)
        _refuse_twice(verb, words)
        texts = text_keys(verb.config)
        self.overrides = [readable(word, texts) for word in spelled_out(verb, words)]

    def _parse(self, typed: list[str]) -> argparse.Namespace:
        hydras = parser()
        hydras.error = _error  # type: ignore[method-assign]
        known = {name for action in hydras._actions for name in action.option_strings} - _NOT_OURS
        for word in typed:
            name, equals, value = word.partition("=")
            if word.startswith("-") and name not in known:
                raise UserError(f"unknown option '{name}': {self._no_option(name, known)}")
        options = hydras.parse_intermixed_args(typed)
        if not options.cfg and not options.help:
            for option in ("resolve", "package"):
                if getattr(options, option):
                    raise UserError(f"--{option} belongs to --cfg: write --cfg job --{option}")
        return options

    def _no_option(self, name: str, known: set[str]) -> str:
        key = name.lstrip("-").replace("-", "_")
        names = [*own_keys(self.verb.config), *groups(self.verb.config)]
        meant = key if key in names else habit(key, names)
        if meant is not None:
            return f"keys have no dashes: write {meant}=..."
        shown = sorted(option for option in {*known, DRY_RUN} if option.startswith("--"))
        return f"{suggestion(name, shown)}; keys have no dashes: key=value"

    def _meant(self, word: str) -> str:
        config = self.verb.config
        if word.isdigit() and "n" in own_keys(config):
            return f": did you mean n={word}?"
        if not ("/" in word or "." in word or Path(word).exists()):
            return ""
        for verb, ends, key in _BARE:
            if verb == config and word.endswith(ends):
                value = f"[{word}]" if key == "dataset.train" else word
                return f": did you mean {key}={value}?"
        return ""

    def _refuse_fixed(self, word: str) -> None:
        key = word.lstrip("+~").partition("=")[0]
        if key in _FIXED:
            where = "output=" if "output" in own_keys(self.verb.config) else "out="
            raise UserError(f"{key}= is fixed: {where} says where results go")


def _refuse_twice(verb: Verb, words: list[str]) -> None:
    """``reference=`` and ``dataset.reference=`` say one thing.

    Raises:
        UserError: Both were typed.
    """
    pairs = (word.lstrip("+").partition("=") for word in words)
    given = {key for key, _, value in pairs if value not in ("", "null")}
    for role in _ROLES:
        if role in own_keys(verb.config) and {role, f"dataset.{role}"} <= given:
            raise UserError(f"{role}= and dataset.{role}= were both given: give one of them")


def spelled_out(verb: Verb, words: list[str]) -> list[str]:
    """``geometry=FILE``, which stands for ``dataset=custom dataset.geometry_xml=FILE``."""
    detector = "dataset" in groups(verb.config)
    files = [word for word in words if word.startswith("geometry=") and not _is_detector(word)]
    if not detector or not files:
        return words
    own = own_keys(verb.config)
    key = "file" if verb.config == "data_geometry" else "dataset.geometry_xml"
    given = [f"{key}={word.partition('=')[2]}" if word in files else word for word in words]
    chosen = any(word.lstrip("+").startswith("dataset=") for word in words)
    return given if chosen or key in own else ["dataset=custom", *given]


def _argument(verb: Verb, words: list[str]) -> list[str]:
    """Leading words without ``=`` as the key that they stand for; a shell's ``*`` gives many."""
    n = next((i for i, word in enumerate(words) if _is_override(word)), len(words))
    if not verb.several or n == 1:
        return [f"{verb.argument}={words[0]}", *words[1:]]
    return [f"{verb.argument}=[{','.join(map(quoted, words[:n]))}]", *words[n:]]


def check_groups(verb: Verb, overrides: list[str], options: Mapping[str, list[str]],
                 many: bool) -> None:  # fmt: skip
    """Look at the overrides that choose an option of a group, or seem to.

    Args:
        verb: The verb.
        overrides: ``key=value``.
        options: Every group that there is -> its options.
        many: Whether it is a multirun.

    Raises:
        UserError: An option cannot be chosen so.
    """
    ours, keys = groups(verb.config), own_keys(verb.config)
    for override in overrides:
        typed, equals, value = override.partition("=")
        group = typed.lstrip("+").partition("@")[0]
        if typed.startswith("~") or not equals:
            continue
        if group in ours and group in options:
            if typed.startswith("+"):
                raise UserError(f"{override}: write {override.lstrip('+')}, without the +")
            if group == LOGGER and value.startswith("["):
                several_loggers([override])
            else:
                _check_choice(override, value, options[group], ours[group], many)
        elif group in options and group not in keys:
            raise UserError(f"unknown key '{group}': {_elsewhere(verb, group)}")


def several_loggers(overrides: list[str]) -> list[str]:
    """The overrides, with ``logger=[csv,wandb]`` as Hydra has it: each under its own name.

    Raises:
        UserError: The list names no logger, one twice, or one that cannot stand in a list.
    """
    found: list[str] = []
    for override in overrides:
        key, _, value = override.partition("=")
        if key != LOGGER or not value.startswith("["):
            found.append(override)
            continue
        names = read_value(override)
        names = names if isinstance(names, list) else [names]
        wrong = [str(name) for name in names if name not in LOGGERS]
        if wrong or not names or len({*names}) < len(names):
            raise UserError(
                f"{override}: must list some of {', '.join(LOGGERS)}, each once"
                + (f", not {', '.join(wrong)}" if wrong else "")
            )
        found += [f"{LOGGER}=several", *(f"+{LOGGER}@{LOGGER}.{name}={name}" for name in names)]
    return found


def _check_choice(
    override: str,
    value: str,
    options: list[str],
    default: str | list[str] | None,
    many: bool,
) -> None:
    group, chosen = override.partition("=")[0], read_value(override)
    listed = ", ".join(options)
    if not value:
        raise UserError(f"{group}= is empty: give one of: {listed}")
    if isinstance(default, list) and isinstance(chosen, list) and value.startswith("["):
        strange = [str(item) for item in chosen if item not in options]
        if strange:
            raise UserError(f"{group}={strange[0]} does not exist: there is: {listed}")
        return
    if isinstance(default, list) and isinstance(chosen, list) and not many:
        raise UserError(f"{override}: write {group}=[{value}] for all of them")
    if isinstance(chosen, list):
        many_values = not value.startswith("[")
        if many_values and many:
            if any(isinstance(item, list) for item in chosen):
                raise UserError(f"{override}: one option each: {group}=a,b without brackets")
            return
        more = "" if many else "; write -m for one job per option"
        raise UserError(f"{override}: one option only, of: {listed}{more if many_values else ''}")
    if chosen is None:
        if "none" in options:
            raise UserError(f"{override}: write {group}=none")
        if default is None:
            raise UserError(f"{override}: leave it out, or give one of: {listed}")
    if not isinstance(chosen, str):
        raise UserError(f"{group}={value} does not exist: there is: {listed}")


def _elsewhere(verb: Verb, group: str) -> str:
    if group == "geometry" and "dataset" in groups(verb.config):
        return "the geometry comes with dataset=NAME, or is a binning file, geometry=FILE"
    if group in ("dataset", "geometry") and "run" in own_keys(verb.config):
        return f"caloman {verb.words} needs none, the run knows its detector: write run=RUN alone"
    if group == "evaluation" and "evaluate_after" in own_keys(verb.config):
        return f"write evaluate_after=SUITE to score what {verb.words} has made"
    takers = [other for other in VERBS if group in groups(VERBS[other].config)]
    if not takers:
        return f"caloman {verb.words} has no such group"
    return f"caloman {verb.words} has no such group, only: {', '.join(takers)}"


def _error(message: str) -> NoReturn:
    raise UserError(f"{message} (options: {', '.join(sorted(SHOWN))})")


def _is_detector(word: str) -> bool:
    """Whether ``geometry=NAME`` names one that the package has, which comes with its dataset."""
    return (CONF / "geometry" / f"{word.partition('=')[2]}.yaml").is_file()


def _is_override(argument: str) -> bool:
    return "=" in argument or argument.startswith("~")
