"""Tab completion for bash, zsh and fish: verbs, options, keys and their values, files.

The shell asks with the line up to the cursor (``COMP_LINE``) and is told whole words. Hydra knows
keys of a config and options of groups; the rest is here.
"""

import os

from caloman_cli.cli.after import KEY as AFTER
from caloman_cli.cli.application import Application
from caloman_cli.cli.arguments import DRY, DRY_RUN, LOGGER, LOGGERS, SHOWN, spelled_out
from caloman_cli.cli.endings import OK
from caloman_cli.cli.shells import SHELLS
from caloman_cli.cli.verbs import CONFIG, VERBS, Verb
from caloman_cli.config.compose import groups, own_keys, path_keys, value_keys, word_keys
from caloman_cli.config.paths import PRETRAINED, expanded
from caloman_cli.errors import UserError
from caloman_cli.runs.console import say

_FIRST = ("--help", "--version", "--cite")
_RUN = "run"
_PLACES = (_RUN, "runs", "geometry")
"""Keys whose values are paths, or patterns of them."""
_DATASET = "dataset"
"""A group whose options are names, or runs."""


def complete(arguments: list[str]) -> int:
    """Answer ``caloman -sc install=SHELL`` and the shells' queries.

    Raises:
        UserError: It is not one of install, uninstall, query, or the shell is another one.
    """
    commands = [argument for argument in arguments if not argument.startswith("-")]
    what, _, shell = commands[0].partition("=") if len(commands) == 1 else ("", "", "")
    if what not in ("install", "uninstall", "query"):
        raise UserError(
            '-sc takes install=bash (zsh, fish) or uninstall=: eval "$(caloman -sc install=bash)"'
        )
    if shell not in SHELLS:
        raise UserError(f"-sc {commands[0]}: completion exists for {', '.join(SHELLS)}")
    if what != "query":
        say(getattr(SHELLS[shell], what))
        return OK
    found = candidates(os.environ.get("COMP_LINE", ""))
    say("\n".join(found) + "\n" if found else "")
    return OK


def candidates(line: str) -> list[str]:
    """The words that the last word of a command line may become.

    Args:
        line: From ``caloman`` to the cursor.
    """
    words = line.replace("\\", "").split()[1:]  # zsh and people quote brackets
    word = words.pop() if words and not line[-1:].isspace() else ""
    if not words:
        names = dict.fromkeys(name.split()[0] for name in (*VERBS, *CONFIG))
        return _beginning([*names, *(_FIRST if word.startswith("-") else ())], word)
    table = {**VERBS, **CONFIG}
    family = [name.split()[1] for name in table if name.startswith(f"{words[0]} ")]
    if family and len(words) == 1:
        own = _behind(VERBS[words[0]], [], word) if words[0] in VERBS else []
        return [*_beginning(family, word), *own]
    if words[0] == "config":
        return _configs(words[1:], word)
    for n in (2, 1):
        if (name := " ".join(words[:n])) in VERBS:
            return _behind(VERBS[name], words[n:], word)
    return []


def _configs(words: list[str], word: str) -> list[str]:
    """What may stand behind ``caloman config``."""
    what, *rest = words
    if what == "validate" and not rest:
        return _files(word)
    for n in (2, 1):
        verb = VERBS.get(" ".join(rest[:n]))
        if verb is not None:
            return _behind(verb, rest[n:], word)
    verbs = _beginning([*VERBS], word) if not rest or what == "validate" and len(rest) == 1 else []
    return verbs + ([] if what == "schema" else _behind(VERBS["train"], rest, word))


def _behind(verb: Verb, words: list[str], word: str) -> list[str]:
    """What may stand behind a verb."""
    if word.startswith("-"):
        options = SHOWN if verb.words in DRY else SHOWN - {DRY_RUN}
        return _beginning(sorted(options), word)
    key, equals, value = word.partition("=")
    known = path_keys(verb.config) | {*_PLACES} & {*own_keys(verb.config), "geometry"}
    if equals and key in known:
        done = max(value.rfind(sign) for sign in "[,") + 1
        names = _pretrained() if key == _RUN else []
        found = [*_files(value[done:]), *_beginning(names, value[done:])]
        return [f"{key}={value[:done]}{path}" for path in found]
    if equals and (names := _words(verb, key, value.startswith("["))):
        done = max(value.rfind(sign) for sign in "[,") + 1
        left = [name for name in names if name not in value[:done].strip("[").split(",")]
        return [f"{key}={value[:done]}{name}" for name in _beginning(left, value[done:])]
    overrides = [other for other in words if "=" in other or other in ("-m", "--multirun")]
    overrides = [_unread(other) for other in spelled_out(verb, overrides)]
    found = Application(verb).candidates(overrides, word)
    if not equals and "." not in word:
        found = _own(verb, found)
    if verb.argument and not words and not equals:
        found += _files(word)
    if key == _DATASET and value and key in groups(verb.config):
        # Hydra offers absolute paths itself, but folders without their slash.
        paths = [f"{key}={path}" for path in _files(value)]
        twice = {path.rstrip("/") for path in paths}
        found = [name for name in found if name not in twice] + paths
    return found


def _words(verb: Verb, key: str, listed: bool) -> list[str]:
    """The values of a key that are known words; those of groups where they are in a list."""
    if key == AFTER and key in own_keys(verb.config):
        return _options(VERBS["evaluate"], "evaluation")
    if key in groups(verb.config):
        many = listed and isinstance(groups(verb.config)[key], list)
        return list(LOGGERS) if listed and key == LOGGER else _options(verb, key) if many else []
    return word_keys(verb.config).get(key, [])


def _options(verb: Verb, group: str) -> list[str]:
    found = Application(verb).candidates([], f"{group}=")
    return [name.partition("=")[2] for name in found]


def _pretrained() -> list[str]:
    """Models that have a name."""
    from caloman_cli.runs.pretrained import registered, shipped

    try:
        return [f"{PRETRAINED}{name}" for name in dict.fromkeys([*shipped(), *registered()])]
    except UserError:
        return []  # a tab is no place for messages


def _unread(word: str) -> str:
    """The word, with a detector that has the same keys in the place of a run: no torch is read."""
    key, _, value = word.partition("=")
    return f"{_DATASET}=custom" if key == _DATASET and expanded(value).exists() else word


def _own(verb: Verb, names: list[str]) -> list[str]:
    """Of the names that Hydra offers those that the verb takes, each with the sign behind it."""
    chosen, values = groups(verb.config), value_keys(verb.config)
    found = []
    for name in names:
        sign, bare = name[: len(name) - len(name.lstrip("+~"))], name.strip("+~=.")
        if bare in values or bare in chosen and not name.endswith("."):
            found.append(f"{sign}{bare}=")
        elif name.endswith(".") and bare != "hydra":
            found.append(name)
    return list(dict.fromkeys(found))


def _beginning(names: list[str], word: str) -> list[str]:
    return [name for name in names if name.startswith(word)]


def _files(typed: str) -> list[str]:
    """Files and folders, these with a slash, that begin as typed; hidden ones where asked."""
    folder, _, begun = typed.rpartition("/")
    place = expanded(typed[: len(typed) - len(begun)] or ".")
    try:
        entries = sorted(place.iterdir())
    except OSError:
        return []
    start = typed[: len(typed) - len(begun)]
    return [
        f"{start}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in entries
        if entry.name.startswith(begun) and (begun or not entry.name.startswith("."))
    ]
