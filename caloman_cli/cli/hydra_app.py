"""One verb as a Hydra application: compose, check, then run once, many times, or only show.

Hydra's own ``main`` prints errors over many lines, hides what jobs return and takes its arguments
from the process; its ``Hydra`` object, driven here, does none of that.
"""

import argparse
import copy
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.utils import configure_log, run_job
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import HydraContext, RunMode
from hydra.version import setbase
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from caloman_cli.cli.arguments import Arguments, check_groups
from caloman_cli.cli.main import OK, Verb, explain, report
from caloman_cli.cli.sweep import (
    Outcome,
    job_name,
    job_overrides,
    own_output,
    summarise,
    sweep_folder,
    varied_keys,
)
from caloman_cli.config import mistakes, targets
from caloman_cli.config.check import check_config
from caloman_cli.config.compose import (
    CONF,
    absolute_paths,
    refuse_misplaced,
    value_keys,
)
from caloman_cli.config.paths import expanded, readable
from caloman_cli.errors import UserError
from caloman_cli.runs.console import say

log = logging.getLogger(__name__)


_parsed: dict[str, ConfigResult | None] = {}


class _Repository(ConfigRepository):
    """The configs without the groups whose names the verb has for values of its own.

    ``energy=65536`` of ``sample`` is a number, though ``conf/energy`` holds models of ``train``.
    """

    def __init__(self, search_path: ConfigSearchPath, values: set[str]) -> None:
        super().__init__(search_path)
        self.values = values

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Files of the package and of Hydra are parsed once in a process."""
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or source.provider not in ("main", "hydra"):  # the user's own may change
            return super().load_config(config_path)
        if config_path not in _parsed:
            _parsed[config_path] = super().load_config(config_path)
        return copy.deepcopy(_parsed[config_path])

    def group_exists(self, config_path: str) -> bool:
        return config_path not in self.values and super().group_exists(config_path)

    def get_group_options(
        self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG
    ) -> list[str]:
        found = super().get_group_options(group_name, results_filter)
        return [name for name in found if group_name or name not in self.values]


class Application:
    """Everything that may follow a verb.

    Args:
        verb: The verb.
        debug: Whether tracebacks are shown.
    """

    def __init__(self, verb: Verb, debug: bool = False) -> None:
        self.verb, self.debug = verb, debug
        self.chosen: tuple[str, ...] = ()  # overrides that the user need not give

    def run(self, arguments: list[str]) -> int:
        """Do what the arguments behind the verb ask for.

        Returns:
            The exit status.

        Raises:
            UserError: An option, a key, a value or a line of the arguments is wrong.
        """
        given = Arguments(self.verb, arguments)
        options, overrides = given.options, given.overrides
        with self._hydra(options.config_dir) as hydra:
            try:
                self._check_groups(hydra, overrides, options.multirun)
                if not (options.help or options.hydra_help or options.info):
                    overrides = self._with_recipe(hydra, overrides, options.multirun)
                return self._answer(hydra, options, overrides)
            except (HydraException, OmegaConfBaseException) as error:
                raise self._mistake(hydra, error, overrides) from error

    def check(self, arguments: list[str]) -> None:
        """Compose and check what the arguments ask for, every job of it, and do no work.

        Raises:
            UserError: Something is wrong with them.
        """
        given = Arguments(self.verb, arguments)
        options, overrides = given.options, given.overrides
        with self._hydra(options.config_dir) as hydra:
            try:
                self._check_groups(hydra, overrides, options.multirun)
                overrides = self._with_recipe(hydra, overrides, options.multirun)
                self._check_jobs(hydra, overrides, options.multirun)
            except (HydraException, OmegaConfBaseException) as error:
                raise self._mistake(hydra, error, overrides) from error

    def complete(self, query: str) -> None:
        """Print what completes the command line that the shell shows (``COMP_LINE``)."""
        with self._hydra(None) as hydra:
            hydra.shell_completion(self.verb.config, [query])

    def _answer(self, hydra: Hydra, options: argparse.Namespace, overrides: list[str]) -> int:
        config = self.verb.config
        if options.help:
            from caloman_cli.cli.help import text

            say(text(hydra, self.verb, overrides))
        elif options.hydra_help:
            hydra.hydra_help(config, get_args_parser(), options)
        elif options.info:
            hydra.show_info(options.info, config, overrides)
        elif options.cfg:
            cfg = hydra.compose_config(config, overrides, RunMode.RUN)
            self._check(cfg, complete=False)
            hydra.show_cfg(config, overrides, options.cfg, options.package, options.resolve)
        elif options.multirun:
            return self._run_many(hydra, overrides)
        else:
            return self._run_once(hydra, overrides)
        return OK

    def _with_recipe(self, hydra: Hydra, overrides: list[str], many: bool) -> list[str]:
        """The overrides, with the recipe that suits the detector where none was chosen."""
        self.chosen = ()
        if self.verb.config != "train":
            return overrides
        from caloman_cli.cli.recipes import chosen_for

        jobs = job_overrides(hydra, self.verb.config, overrides) if many else [overrides]
        self.chosen = chosen_for(
            lambda job: hydra.compose_config(self.verb.config, list(job), RunMode.RUN),
            jobs or [overrides],
        )
        return [*overrides, *self.chosen]

    def _run_once(self, hydra: Hydra, overrides: list[str]) -> int:
        cfg = hydra.compose_config(self.verb.config, overrides, RunMode.RUN)
        _check_hydra(cfg, overrides)
        configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose)
        if cfg.hydra.mode == RunMode.MULTIRUN:  # an experiment may be a sweep
            return self._run_many(hydra, overrides)
        cfg.hydra.mode = RunMode.RUN
        callbacks = Callbacks(cfg)
        callbacks.on_run_start(config=cfg, config_name=self.verb.config)
        done = run_job(
            hydra_context=HydraContext(hydra.config_loader, callbacks),
            task_function=partial(_task, self.verb, self.debug, self.chosen),
            config=cfg,
            job_dir_key="hydra.run.dir",
            job_subdir_key=None,
        )
        callbacks.on_run_end(config=cfg, config_name=self.verb.config, job_return=done)
        outcome: Outcome = done.return_value
        return outcome.status

    def _run_many(self, hydra: Hydra, overrides: list[str]) -> int:
        varied = varied_keys(self._check_jobs(hydra, overrides, many=True))
        folder = sweep_folder(self.verb.config, overrides)
        settings = [*overrides, readable(f"hydra.sweep.dir={folder}"), "hydra.mode=MULTIRUN"]
        task = partial(_task, self.verb, self.debug, self.chosen, varied=varied)
        batches = hydra.multirun(self.verb.config, task, settings)
        return summarise([job for batch in batches or [] for job in batch])

    def _check_jobs(self, hydra: Hydra, overrides: list[str], many: bool) -> list[list[str]]:
        jobs = [overrides]
        if many:
            cfg = hydra.compose_config(
                self.verb.config, overrides, RunMode.MULTIRUN, validate_sweep_overrides=False
            )
            _check_hydra(cfg, overrides)
            jobs = job_overrides(hydra, self.verb.config, overrides)
        for job in jobs:
            cfg = hydra.compose_config(self.verb.config, job, RunMode.RUN)
            _check_hydra(cfg, overrides)
            self._check(cfg)
        return jobs

    def _check(self, cfg: DictConfig, complete: bool = True) -> None:
        HydraConfig.instance().set_config(cfg)  # so that ${hydra:...} resolves
        choices = OmegaConf.to_container(cfg.hydra.runtime.choices)
        assert isinstance(choices, dict)
        job = cfg.copy()
        with open_dict(job):
            del job["hydra"]
        check_config(job, self.verb.config, choices, complete=complete)  # type: ignore[arg-type]

    def _check_groups(self, hydra: Hydra, overrides: list[str], many: bool) -> None:
        loader = hydra.config_loader
        found = loader.get_group_options("", ObjectType.GROUP)
        options = {group: loader.get_group_options(group) for group in found if group != "hydra"}
        check_groups(self.verb, overrides, options, many)

    def _mistake(self, hydra: Hydra, error: Exception, overrides: list[str]) -> UserError:
        key = mistakes.unknown_key(error)
        if key is not None:
            names, everywhere = self._keys(hydra, key, overrides)
            found = [] if key in names else mistakes.elsewhere(key, everywhere)
            if found:
                return UserError(f"unknown key '{key}': is it {', '.join(found)}?")
            return UserError(f"unknown key '{key}': {mistakes.suggestion(key, names)}")
        group = mistakes.unchosen_group(error)
        if group is not None:
            return UserError(f"{group[0]}= is needed, one of: {', '.join(group[1])}")
        known = mistakes.unreadable(error) or mistakes.unknown_option(error)
        return known or UserError(mistakes.one_line(error))

    def _keys(self, hydra: Hydra, key: str, overrides: list[str]) -> tuple[list[str], list[str]]:
        """The keys that exist beside ``key``, or beside its nearest existing parent; and all.

        Of the options that the user chose, where each group has one and they exist.
        """
        cfg = compose_to_show(hydra, self.verb.config, [])
        choices = cfg.hydra.runtime.choices
        chosen = [o for o in overrides if o.partition("=")[0] in choices and "," not in o]
        with suppress(HydraException):
            cfg = compose_to_show(hydra, self.verb.config, chosen)
        parent = key.rpartition(".")[0]
        while parent and not OmegaConf.is_dict(OmegaConf.select(cfg, parent)):
            parent = parent.rpartition(".")[0]
        node = OmegaConf.select(cfg, parent) if parent else cfg
        groups = [] if parent else [g for g in cfg.hydra.runtime.choices if "/" not in g]
        names = [str(name) for name in node if name != "hydra" and not str(name).startswith("_")]
        beside = [f"{parent}.{name}" if parent else name for name in [*names, *groups]]
        return beside, [*_leaves(cfg)]

    @contextmanager
    def _hydra(self, config_dir: str | None) -> Iterator[Hydra]:
        search_path = create_config_search_path(str(CONF))
        if config_dir is not None:
            folder = expanded(config_dir).resolve()
            if not folder.is_dir():
                raise UserError(f"--config-dir {config_dir}: no such folder")
            search_path.prepend("command-line", f"file://{folder}", SearchPathQuery("schema"))
        # Hydra's inner reports would print many lines and exit; with this they raise.
        before = os.environ.get("HYDRA_FULL_ERROR")
        os.environ["HYDRA_FULL_ERROR"] = "1"
        setbase("1.3")
        GlobalHydra.instance().clear()
        try:
            hydra = Hydra.create_main_hydra2(self.verb.config, search_path)
            values = value_keys(self.verb.config)
            hydra.config_loader.repository = _Repository(search_path, values)  # type: ignore[attr-defined]
            yield hydra
        finally:
            GlobalHydra.instance().clear()
            if before is None:
                del os.environ["HYDRA_FULL_ERROR"]
            else:
                os.environ["HYDRA_FULL_ERROR"] = before


def _leaves(cfg: DictConfig, where: str = "") -> Iterator[str]:
    """Every key that has a value, with dots where nested; not Hydra's own."""
    for name in map(str, cfg):
        key = f"{where}.{name}" if where else name
        node = cfg._get_node(name)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            yield from _leaves(node, key) if key != "hydra" else ()
        elif not name.startswith("_"):
            yield key


def compose_to_show(hydra: Hydra, config: str, overrides: list[str]) -> DictConfig:
    """Compose to look at; a group that the user has yet to choose gets its first option."""
    try:
        cfg = hydra.compose_config(config, overrides, RunMode.RUN)
        HydraConfig.instance().set_config(cfg)  # so that ${hydra:...} resolves
        return cfg
    except HydraException as error:
        group = mistakes.unchosen_group(error)
        if group is None:
            raise
        return compose_to_show(hydra, config, [*overrides, f"{group[0]}={group[1][0]}"])


def _task(
    verb: Verb,
    debug: bool,
    chosen: tuple[str, ...],
    cfg: DictConfig,
    varied: frozenset[str] = frozenset(),
) -> Outcome:
    """One job, in this process or on a cluster's node: check, then work.

    Failures are returned, not raised, so that the jobs of a multirun do not stop each other.
    """
    hydra_cfg = HydraConfig.get()
    choices = OmegaConf.to_container(hydra_cfg.runtime.choices)
    many = hydra_cfg.mode == RunMode.MULTIRUN
    overrides = OmegaConf.to_container(hydra_cfg.overrides.task, resolve=False)
    assert isinstance(overrides, list)
    # What caloman chose is no part of what the user asked for.
    typed = [str(override) for override in overrides if override not in chosen]
    name = job_name(typed, varied) if many else verb.words
    try:
        check_config(cfg, verb.config, choices)  # type: ignore[arg-type]
        if many:
            own_output(cfg, hydra_cfg.sweep.dir, name, typed, varied)
        absolute_paths(cfg, verb.config)
        refuse_misplaced(cfg)
        if verb.config == "train" and not many and not _names_a_place(typed):
            from caloman_cli.runs.unfinished import go_on

            go_on(cfg)
        from caloman_cli.runs.device import configure_threads

        configure_threads()
        if chosen:
            from caloman_cli.cli.recipes import said

            log.info(said(chosen[0].partition("=")[2], cfg.dataset.name, choices))  # type: ignore[arg-type]
        with targets.trusting(_named(cfg)):
            path = import_module(f"caloman_cli.verbs.{verb.config}").run(cfg)
    except Exception as error:  # noqa: BLE001  a job's failure is its result
        return Outcome(name, report(error, debug), explain(error)[1], None)
    return Outcome(name, OK, "", None if path is None else str(path))


def _names_a_place(overrides: list[str]) -> bool:
    keys = {override.lstrip("+").partition("=")[0] for override in overrides}
    return bool(keys & {"output", "overwrite"})


def _named(cfg: DictConfig) -> set[str]:
    """The classes that the command line names: in the configs that it chose, and as ``trust``."""
    values = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(values, dict)
    trust = values.get("trust") or []
    return targets.named(values) | set([trust] if isinstance(trust, str) else trust)


def _check_hydra(cfg: DictConfig, overrides: list[str]) -> None:
    """Before any of Hydra's own part is made: its callbacks, plugins and logging."""
    values = OmegaConf.to_container(cfg.hydra, resolve=False)
    assert isinstance(values, dict)
    targets.check_hydra(values, overrides)
