"""What ``caloman VERB --help`` shows: examples, groups and keys, read from the configs."""

import textwrap

from omegaconf import DictConfig, OmegaConf

from caloman_cli.cli.arguments import DRY, DRY_RUN
from caloman_cli.cli.hydra_app import HydraApp
from caloman_cli.cli.verbs import Verb
from caloman_cli.config.compose import groups, meanings, option_meanings

_WIDTH = 99
_OPTIONS = {
    "--cfg job": "show the config instead of working; with --package encoder one group of it",
    "-m, --multirun": "one job for every value: seed=1,2,3",
    "--config-dir DIR": "a folder with configs of your own: --config-dir mine encoder=mine",
    "--info defaults": "where the config comes from; also: config, plugins, searchpath, all",
    "--hydra-help": "Hydra's own settings",
    "--debug": "full tracebacks",
}
_DRY = "open the files and say sizes, parameters, time and memory; nothing is written"


def text(app: HydraApp, verb: Verb, overrides: list[str]) -> str:
    """The help of a verb with the groups that its arguments choose.

    Args:
        app: The verb's Hydra.
        verb: The verb.
        overrides: ``key=value`` arguments beside ``--help``.
    """
    cfg = app.compose_to_show(overrides)
    argument = f" [{verb.argument.upper()}]" if verb.argument else ""
    parts = [
        str(cfg.hydra.help.header).strip(),
        f"usage: caloman {verb.words}{argument} [key=value ...] [options]",
        _section("examples", str(cfg.hydra.help.footer).strip().splitlines()),
    ]
    found = _groups(app, cfg, verb.config, overrides)
    if found:
        parts.append(_section("groups (group=option, * is chosen)", _table(found)))
    parts.append(_section("keys (key=value)", _table(_keys(cfg, verb.config, set(found)))))
    parts += [
        _section(f"keys of {group}={option}", _table(rows))
        for group, option in _chosen(overrides)
        if group in found and (rows := _keys_of(cfg, group, option))
    ]
    options = _OPTIONS | ({DRY_RUN: _DRY} if verb.words in DRY else {})
    parts.append(_section("options", _table(options)))
    return "\n\n".join(parts) + "\n"


def _groups(app: HydraApp, cfg: DictConfig, config: str, overrides: list[str]) -> dict[str, str]:
    """Group -> its options; no star where the user has yet to choose."""
    found, choices = {}, cfg.hydra.runtime.choices
    typed = {override.partition("=")[0] for override in overrides}
    open_ = {name for name, default in groups(config).items() if default == "???"} - typed
    for group, chosen in ((str(name), choices[name]) for name in reversed(list(choices))):
        if group.startswith("hydra/") or "@" in group:
            continue
        options = app.options(group)
        if group in open_:
            found[group] = f"{', '.join(options)} (needed)"
            continue
        found[group] = ", ".join(f"{name}*" if name == chosen else name for name in options)
    for group, default in groups(config).items():
        if isinstance(default, list):
            options = app.options(group)
            found[group] = f"{', '.join(options)} (any number of them: [a,b])"
    return found


def _keys(cfg: DictConfig, config: str, groups: set[str]) -> dict[str, str]:
    """``key=default`` -> meaning, of the keys that belong to the verb itself."""
    means = meanings(config)
    rows = {}
    for key in map(str, cfg):
        if key == "hydra" or key in groups:
            continue
        nested = [name for name in means if name.startswith(f"{key}.")]
        for name in nested or [key]:
            missing = OmegaConf.is_missing(cfg, name) if "." not in name else False
            value = None if missing else OmegaConf.select(cfg, name)
            shown = "???" if missing else "null" if value is None else _shown(value)
            meaning = means[name] if name in means else ""  # noqa: SIM401  a gap is visible
            rows[f"{name}={shown}"] = meaning
    return rows


def _chosen(overrides: list[str]) -> list[tuple[str, str]]:
    """The groups and options that the user asks about, beside ``--help``."""
    pairs = (override.partition("=") for override in overrides)
    return [(group, option) for group, _, option in pairs]


def _keys_of(cfg: DictConfig, group: str, option: str) -> dict[str, str]:
    """``group.key=default`` -> meaning, of the keys of an option that its file explains."""
    rows = {}
    for key, meaning in option_meanings(group, option).items():
        missing = OmegaConf.is_missing(OmegaConf.select(cfg, key.rpartition(".")[0]),
                                       key.rpartition(".")[2])  # fmt: skip
        value = None if missing else OmegaConf.select(cfg, key)
        rows[f"{key}={'???' if missing else 'null' if value is None else _shown(value)}"] = meaning
    return rows


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _table(rows: dict[str, str]) -> list[str]:
    width = min(max(len(name) for name in rows), 30)
    lines = []
    for name, meaning in rows.items():
        wrapped = textwrap.wrap(meaning, _WIDTH - width - 4) or [""]
        if len(name) > width:
            wrapped.insert(0, "")
        lines.append(f"{name:{width}s}  {wrapped[0]}".rstrip())
        lines += [" " * (width + 2) + more for more in wrapped[1:]]
    return lines


def _section(title: str, lines: list[str]) -> str:
    return "\n".join([f"{title}:", *(f"  {line}" for line in lines)])
