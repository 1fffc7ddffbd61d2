"""``caloman config``: what is composed, whether a file is right, a schema for editors."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from caloman_cli.cli.application import Application
from caloman_cli.cli.endings import OK
from caloman_cli.cli.verbs import CONFIG, VERBS, Verb
from caloman_cli.config.compose import CONF, groups
from caloman_cli.config.mistakes import suggestion
from caloman_cli.config.paths import expanded
from caloman_cli.errors import UserError, reason
from caloman_cli.runs.console import say

_PACKAGE = "# @package _global_"
_DUMPED = "# caloman config dump"
_HELP = """usage: caloman config dump [VERB] [key=value ...]
       caloman config validate FILE.yaml [VERB] [key=value ...]
       caloman config schema [VERB]

{lines}

VERB is train where none is given. What dump prints is to look at, or to compare with diff; it is
no experiment. A file to validate is an experiment, which has the keys that differ and begins with
'# @package _global_'; an option of a group where it lies in a folder of the group's name,
encoder/mine.yaml. Nothing is trained and nothing is written.

  caloman config dump experiment=demo encoder.latent_dim=20
  caloman config validate mine.yaml dataset.train=[mine.hdf5]
  caloman config schema > caloman.schema.json

A comment behind the first line of an experiment tells an editor of it:
  # yaml-language-server: $schema=caloman.schema.json
"""


def answer(arguments: list[str], debug: bool = False) -> int:
    """Do what stands behind ``caloman config``.

    Returns:
        The exit status.

    Raises:
        UserError: It is not understood, or what it asks about is wrong.
    """
    asked = [words.split()[1] for words in CONFIG]
    if not arguments or {"-h", "--help"} & {*arguments}:
        width = max(map(len, CONFIG))
        say(_HELP.format(lines="\n".join(f"{n:{width}s}  {what}" for n, what in CONFIG.items())))
        return OK
    what, *rest = arguments
    if what not in asked:
        raise UserError(f"unknown verb 'config {what}': {suggestion(what, asked)}")
    if what == "validate":
        return _validate(rest, debug)
    verb, rest = _verb(rest)
    if what == "dump":
        cfg, _ = Application(verb, debug).composed(rest)
        say(f"{_DUMPED} {verb.words}: all keys, resolved\n{OmegaConf.to_yaml(cfg)}")
    elif rest:
        raise UserError(f"config schema takes a verb alone, not {' '.join(rest)}")
    else:
        from caloman_cli.config.json_schema import json_schema

        say(json.dumps(json_schema(verb.config), indent=1) + "\n")
    return OK


def _verb(arguments: list[str]) -> tuple[Verb, list[str]]:
    """The verb that stands in front, one word or two, else ``train``; and the rest."""
    for n in (2, 1):
        verb = VERBS.get(" ".join(arguments[:n]))
        if verb is not None:
            return verb, arguments[n:]
    if arguments and "=" not in arguments[0] and not arguments[0].startswith(("-", "~", "+")):
        raise UserError(f"unknown verb '{arguments[0]}': {suggestion(arguments[0], VERBS)}")
    return VERBS["train"], arguments


def _validate(arguments: list[str], debug: bool) -> int:
    if not arguments or "=" in arguments[0]:
        raise UserError("config validate needs the file: caloman config validate mine.yaml")
    file, (verb, rest) = expanded(arguments[0]), _verb(arguments[1:])
    values = _read(file)
    if "format" in values:
        raise UserError(f"{file} is the config that a run wrote, not an experiment to choose")
    group = _group(file, verb)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / group).mkdir()
        shutil.copy(file, Path(folder) / group / file.name)
        chosen = f"{group}={file.stem}"
        _, choices = Application(verb, debug).composed([chosen, *rest, "--config-dir", folder])
    shown = " ".join(f"{g}={o}" for g, o in choices.items() if not {"/", "@"} & {*g} and o)
    say(f"{file}: ok: {shown}\n")
    return OK


def _read(file: Path) -> dict[str, Any]:
    """The file as plain values, not resolved.

    Raises:
        UserError: It is not there, or no YAML mapping.
    """
    if file.suffix != ".yaml" or not file.is_file():
        raise UserError(f"{file}: no such YAML file (NAME.yaml)")
    try:
        values: Any = OmegaConf.to_container(OmegaConf.load(file))
    except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
        raise UserError(f"{file} is no YAML that can be read: {reason(error)}") from error
    if not isinstance(values, dict):
        raise UserError(f"{file} holds no keys")
    return values


def _group(file: Path, verb: Verb) -> str:
    """The group that a file is an option of.

    Raises:
        UserError: It is none, and no experiment either.
    """
    known = groups(verb.config)
    group = file.resolve().parent.name
    if group in known and group != "experiment":
        return group
    if "experiment" not in known:
        raise UserError(
            f"caloman {verb.words} has no experiments: {file} has to lie in a folder that is "
            f"called as a group, {', '.join(known)}"
        )
    first = file.read_text(encoding="utf-8").lstrip().partition("\n")[0]
    if first.startswith(_DUMPED):
        raise UserError(
            f"{file} is what config dump printed, to look at: an experiment has the keys that "
            f"differ, behind the line '{_PACKAGE}'"
        )
    if first.split() != _PACKAGE.split():
        raise UserError(
            f"{file}: an experiment begins with the line '{_PACKAGE}'; an option of a "
            f"group lies in a folder of the group's name, {CONF.name}/encoder/mine.yaml"
        )
    return "experiment"
