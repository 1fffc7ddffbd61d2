"""One verb as an application: compose, check, then run once, many times, or only show."""

import argparse
import logging
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from caloman_cli.cli.after import KEY as AFTER
from caloman_cli.cli.after import check_suites
from caloman_cli.cli.arguments import Arguments, check_groups, several_loggers
from caloman_cli.cli.endings import OK
from caloman_cli.cli.hydra_app import HydraApp, log_as, opened
from caloman_cli.cli.job import do_job
from caloman_cli.cli.places import (
    assigned,
    keeps_folders,
    refuse_one_file,
    sweep_folder,
    varied_keys,
)
from caloman_cli.cli.runs import each_run
from caloman_cli.cli.sweep import Outcome, Sweep, show_table, summarise
from caloman_cli.cli.verbs import Verb
from caloman_cli.config import mistakes
from caloman_cli.config.check import check_config
from caloman_cli.config.compose import value_keys
from caloman_cli.config.paths import readable
from caloman_cli.config.plugins import check_hydra
from caloman_cli.errors import UserError
from caloman_cli.runs.console import say

log = logging.getLogger(__name__)

_SLURM = "submitit_slurm"


class Application:
    """Everything that may follow a verb.

    Args:
        verb: The verb.
        debug: Whether tracebacks are shown.
    """

    def __init__(self, verb: Verb, debug: bool = False) -> None:
        self.verb, self.debug = verb, debug
        self.chosen: tuple[str, ...] = ()  # overrides that the user need not give
        self.dry = self.many = False
        self.passed_over: list[str] = []  # runs that a pattern matches and that are not finished

    def run(self, arguments: list[str]) -> int:
        """Do what the arguments behind the verb ask for.

        Returns:
            The exit status.

        Raises:
            UserError: An option, a key, a value or a line of the arguments is wrong.
        """
        given = Arguments(self.verb, arguments)
        options, overrides = given.options, given.overrides
        self.dry, self.many = given.dry, options.multirun
        with opened(self.verb.config, options.config_dir) as app:
            try:
                self._check_groups(app, overrides, options.multirun)
                overrides = several_loggers(overrides)
                if not (options.help or options.hydra_help or options.info):
                    overrides = self._with_recipe(app, overrides, options.multirun)
                    if not options.cfg:
                        runs = each_run(self.verb.config, overrides, options.multirun)
                        overrides, options.multirun, self.passed_over = runs
                return self._answer(app, options, overrides)
            except (HydraException, OmegaConfBaseException) as error:
                raise self._mistake(app, error, overrides) from error

    def check(self, arguments: list[str]) -> None:
        """Compose and check what the arguments ask for, every job of it, and do no work.

        Raises:
            UserError: Something is wrong with them.
        """
        given = Arguments(self.verb, arguments)
        options, overrides = given.options, given.overrides
        with opened(self.verb.config, options.config_dir) as app:
            try:
                self._check_groups(app, overrides, options.multirun)
                overrides = several_loggers(overrides)
                overrides = self._with_recipe(app, overrides, options.multirun)
                self._check_jobs(app, overrides, options.multirun)
            except (HydraException, OmegaConfBaseException) as error:
                raise self._mistake(app, error, overrides) from error

    def composed(self, arguments: list[str]) -> tuple[DictConfig, dict[str, str]]:
        """What the arguments compose to, checked and resolved, and the options of the groups.

        Keys that have yet to be given stay ``???``.

        Raises:
            UserError: Something is wrong with them, or they are a sweep.
        """
        given = Arguments(self.verb, arguments)
        options, overrides = given.options, given.overrides
        if options.multirun:
            raise UserError("a sweep has a config for each job: leave -m out")
        with opened(self.verb.config, options.config_dir) as app:
            try:
                self._check_groups(app, overrides, False)
                overrides = self._with_recipe(app, several_loggers(overrides), False)
                cfg = app.compose(overrides)
                _check_hydra(cfg, overrides)
                self._check(cfg, complete=False)
                choices: Any = OmegaConf.to_container(cfg.hydra.runtime.choices)
                with open_dict(cfg):
                    del cfg["hydra"]
                OmegaConf.resolve(cfg)
                return cfg, choices
            except (HydraException, OmegaConfBaseException) as error:
                raise self._mistake(app, error, overrides) from error

    def candidates(self, overrides: list[str], word: str) -> list[str]:
        """What a word behind some overrides may become: keys, options and values."""
        try:
            with opened(self.verb.config) as app:
                return app.candidates(overrides, word)
        except (HydraException, OmegaConfBaseException, UserError):
            return []  # a tab is no place for messages

    def _answer(self, app: HydraApp, options: argparse.Namespace, overrides: list[str]) -> int:
        if options.help:
            from caloman_cli.cli.help import text

            say(text(app, self.verb, overrides))
        elif options.hydra_help:
            app.show_hydra(options)
        elif options.info:
            app.show_info(options, overrides)
        elif options.cfg:
            self._check(app.compose(overrides), complete=False)
            app.show_config(options, overrides)
        elif options.multirun:
            return self._run_many(app, overrides)
        else:
            return self._run_once(app, overrides)
        return OK

    def _with_recipe(self, app: HydraApp, overrides: list[str], many: bool) -> list[str]:
        """The overrides, with the recipe that suits the detector where none was chosen."""
        self.chosen = ()
        if self.verb.config != "train":
            return overrides
        from caloman_cli.cli.recipes import chosen_for

        jobs = app.jobs(overrides) if many else [overrides]
        self.chosen = chosen_for(app.compose, jobs or [overrides])
        return [*overrides, *self.chosen]

    def _run_once(self, app: HydraApp, overrides: list[str]) -> int:
        cfg = app.compose(overrides)
        _check_hydra(cfg, overrides)
        log_as(cfg)
        if cfg.hydra.mode == RunMode.MULTIRUN:  # an experiment may be a sweep
            return self._run_many(app, overrides)
        outcome: Outcome = app.run(cfg, self._task())
        return outcome.status

    def _run_many(self, app: HydraApp, overrides: list[str]) -> int:
        if not self.dry:
            _refuse_without_slurm(app.compose(overrides, many=True))
        jobs = [self._typed(job) for job in self._check_jobs(app, overrides, many=True)]
        sweep = Sweep(sweep_folder(self.verb.config, overrides), varied_keys(jobs), {})
        refuse_one_file(jobs, sweep.varied)
        if jobs and keeps_folders(app.compose(jobs[0]), sweep.folder, jobs[0], sweep.varied):
            sweep.names.update(assigned(Path(sweep.folder), jobs, sweep.varied, keep=not self.dry))
        task, place = (
            partial(self._task(), sweep=sweep),
            readable(f"hydra.sweep.dir={sweep.folder}"),
        )
        if self.dry:
            done = app.run_here([[*job, *self.chosen, place] for job in jobs], task)
            return summarise(done, self.passed_over)
        jobs_done = app.run_many([*overrides, place, "hydra.mode=MULTIRUN"], task)
        outcomes: list[Outcome] = [job.return_value for job in jobs_done]
        show_table(outcomes, self.verb.config)
        return summarise(outcomes, self.passed_over)

    def _task(self) -> partial[Outcome]:
        return partial(do_job, self.verb, self.debug, self.chosen, dry=self.dry)

    def _typed(self, job: list[str]) -> list[str]:
        """A job's overrides without what caloman chose, which is no part of what was asked for."""
        return [override for override in job if override not in self.chosen]

    def _check_jobs(self, app: HydraApp, overrides: list[str], many: bool) -> list[list[str]]:
        jobs = [overrides]
        if many:
            _check_hydra(app.compose(overrides, many=True), overrides)
            jobs = app.jobs(overrides)
        for job in jobs:
            cfg = app.compose(job)
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
        check_suites(job)

    def _check_groups(self, app: HydraApp, overrides: list[str], many: bool) -> None:
        options = {group: app.options(group) for group in app.groups()}
        check_groups(self.verb, overrides, options, many)

    def _mistake(self, app: HydraApp, error: Exception, overrides: list[str]) -> UserError:
        key = mistakes.unknown_key(error)
        if key is not None:
            if key.startswith("evaluation.") and AFTER in value_keys(self.verb.config):
                return UserError(
                    f"unknown key '{key}': {AFTER}=SUITE takes a suite as it is: write one of your"
                    " own, evaluation/NAME.yaml below --config-dir, or score afterwards, caloman"
                    f" evaluate run=RUN {key}=..."
                )
            names, everywhere = self._keys(app, key, overrides)
            found = [] if key in names else mistakes.elsewhere(key, everywhere)
            if found:
                return UserError(f"unknown key '{key}': is it {', '.join(found)}?")
            return UserError(f"unknown key '{key}': {mistakes.suggestion(key, names)}")
        group = mistakes.unchosen_group(error)
        if group is not None:
            return UserError(f"{group[0]}= is needed, one of: {', '.join(group[1])}")
        readers = (
            partial(mistakes.unreadable, many=self.many), mistakes.unknown_option,
            mistakes.without_part, mistakes.no_mapping,
        )  # fmt: skip
        known = next((said for read in readers if (said := read(error))), None)
        return known or UserError(mistakes.one_line(error))

    def _keys(self, app: HydraApp, key: str, overrides: list[str]) -> tuple[list[str], list[str]]:
        """The keys that exist beside ``key``, or beside its nearest existing parent; and all.

        Of the options that the user chose, where each group has one and they exist.
        """
        cfg = app.compose_to_show([])
        choices = cfg.hydra.runtime.choices
        chosen = [o for o in overrides if o.partition("=")[0] in choices and "," not in o]
        with suppress(HydraException):
            cfg = app.compose_to_show(chosen)
        parent = key.rpartition(".")[0]
        while parent and not OmegaConf.is_dict(OmegaConf.select(cfg, parent)):
            parent = parent.rpartition(".")[0]
        node = OmegaConf.select(cfg, parent) if parent else cfg
        groups = [] if parent else [g for g in cfg.hydra.runtime.choices if "/" not in g]
        names = [str(name) for name in node if name != "hydra" and not str(name).startswith("_")]
        beside = [f"{parent}.{name}" if parent else name for name in [*names, *groups]]
        return beside, [*_leaves(cfg)]


def _leaves(cfg: DictConfig, where: str = "") -> Iterator[str]:
    """Every key that has a value, with dots where nested; not Hydra's own."""
    for name in map(str, cfg):
        key = f"{where}.{name}" if where else name
        node = cfg._get_node(name)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            yield from _leaves(node, key) if key != "hydra" else ()
        elif not name.startswith("_"):
            yield key


def _refuse_without_slurm(cfg: DictConfig) -> None:
    if cfg.hydra.runtime.choices["hydra/launcher"] == _SLURM and shutil.which("srun") is None:
        raise UserError(
            f"hydra/launcher={_SLURM}: no srun is found here: submit where Slurm is, or take"
            " hydra/launcher=submitit_local, the same jobs as processes of this machine"
        )


def _check_hydra(cfg: DictConfig, overrides: list[str]) -> None:
    """Before any of Hydra's own part is made: its callbacks, plugins and logging."""
    values = OmegaConf.to_container(cfg.hydra, resolve=False)
    assert isinstance(values, dict)
    check_hydra(values, overrides)
