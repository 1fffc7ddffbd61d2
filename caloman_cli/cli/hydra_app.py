"""Hydra's own object, driven from here; no other file knows what Hydra calls internal.

Hydra's own ``main`` prints errors over many lines, hides what jobs return and takes its arguments
from the process; its ``Hydra`` object does none of that.
"""

import argparse
import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.bash_completion import BashCompletion
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, configure_log, run_job
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import HydraContext, RunMode
from hydra.version import setbase
from omegaconf import DictConfig, open_dict

from caloman_cli.config import mistakes
from caloman_cli.config.compose import CONF, value_keys
from caloman_cli.config.paths import expanded
from caloman_cli.errors import UserError

log = logging.getLogger(__name__)

Task = Callable[[DictConfig], Any]
"""What a job does with its config."""

_parsed: dict[str, bytes] = {}


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
        if source is None and (run := _run_named(config_path)) is not None:
            return run
        if source is None or source.provider not in ("main", "hydra"):  # the user's own may change
            return _placed(config_path, super().load_config(config_path))
        if config_path not in _parsed:
            found = _placed(config_path, super().load_config(config_path))
            _parsed[config_path] = pickle.dumps(found)
        kept: ConfigResult | None = pickle.loads(_parsed[config_path])  # sooner than a deep copy
        return kept

    def group_exists(self, config_path: str) -> bool:
        return config_path not in self.values and super().group_exists(config_path)

    def get_group_options(
        self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG
    ) -> list[str]:
        found = super().get_group_options(group_name, results_filter)
        return [name for name in found if group_name or name not in self.values]


def _run_named(config_path: str) -> ConfigResult | None:
    """A run in the place of a dataset's name: the option has what the run says of its dataset."""
    group, _, name = config_path.partition("/")
    path = expanded(name.removesuffix(".yaml"))
    if group != "dataset" or not name or not path.exists():
        return None
    from caloman_cli.runs.detector import run_dataset

    found = ConfigResult("run", str(path), run_dataset(path), header={"package": None})
    found.defaults_list = []
    return found


def _placed(config_path: str, found: ConfigResult | None) -> ConfigResult | None:
    """A metric goes into the suite under its name, where its first line does not say otherwise."""
    group, _, name = config_path.removesuffix(".yaml").rpartition("/")
    if found is not None and group == "metric" and found.header["package"] is None:
        found.header["package"] = f"_global_.evaluation.{name}"
    return found


class HydraApp:
    """Hydra, set up for one primary config.

    Args:
        hydra: Hydra's object.
        config: Name of the primary config.
    """

    def __init__(self, hydra: Hydra, config: str) -> None:
        self._hydra, self.config = hydra, config

    @property
    def _repository(self) -> ConfigRepository:
        """The loader's own, which copies all of it for each question that it is asked."""
        return self._hydra.config_loader.repository  # type: ignore[attr-defined]

    def compose(self, overrides: Sequence[str], *, many: bool = False) -> DictConfig:
        """The config with Hydra's own part; ``many``: that of a multirun, values not split."""
        if many:
            return self._hydra.compose_config(
                self.config, list(overrides), RunMode.MULTIRUN, validate_sweep_overrides=False
            )
        return self._hydra.compose_config(self.config, list(overrides), RunMode.RUN)

    def compose_to_show(self, overrides: Sequence[str]) -> DictConfig:
        """Compose to look at; a group that the user has yet to choose gets its first option."""
        try:
            cfg = self.compose(overrides)
            HydraConfig.instance().set_config(cfg)  # so that ${hydra:...} resolves
            return cfg
        except HydraException as error:
            group = mistakes.unchosen_group(error)
            if group is None:
                raise
            return self.compose_to_show([*overrides, f"{group[0]}={group[1][0]}"])

    def groups(self) -> list[str]:
        """The groups that exist, Hydra's own apart."""
        found = self._repository.get_group_options("", ObjectType.GROUP)
        return [group for group in found if group != "hydra"]

    def options(self, group: str) -> list[str]:
        """The options of a group."""
        return self._repository.get_group_options(group, ObjectType.CONFIG)

    def jobs(self, overrides: Sequence[str]) -> list[list[str]]:
        """The overrides of each job of a multirun, where they are known before the first runs.

        A sweeper that searches (Optuna) chooses them on the way: the list is empty then.
        """
        cfg = self.compose(overrides, many=True)
        if not str(cfg.hydra.sweeper._target_).endswith("BasicSweeper"):
            return []
        params = [f"{key}={value}" for key, value in (cfg.hydra.sweeper.params or {}).items()]
        parser = OverridesParser.create(config_loader=self._hydra.config_loader)
        batches = BasicSweeper.split_arguments(
            parser.parse_overrides([*params, *cfg.hydra.overrides.task]), None
        )
        fixed = list(cfg.hydra.overrides.hydra)
        return [[*fixed, *job] for batch in batches for job in batch]

    def run(self, cfg: DictConfig, task: Task) -> Any:
        """Do one job in this process, and return what it returned."""
        cfg.hydra.mode = RunMode.RUN
        callbacks = Callbacks(cfg)
        callbacks.on_run_start(config=cfg, config_name=self.config)
        done = run_job(
            hydra_context=HydraContext(self._hydra.config_loader, callbacks),
            task_function=task,
            config=cfg,
            job_dir_key="hydra.run.dir",
            job_subdir_key=None,
        )
        callbacks.on_run_end(config=cfg, config_name=self.config, job_return=done)
        return done.return_value

    def run_many(self, overrides: Sequence[str], task: Task) -> list[JobReturn]:
        """Do the jobs of a multirun, here or on a cluster."""
        batches = self._hydra.multirun(self.config, task, list(overrides))
        return [job for batch in batches or [] for job in batch]

    def run_here(self, jobs: Sequence[Sequence[str]], task: Task) -> list[Any]:
        """Do jobs in this process, without a launcher; no file of Hydra's own is left.

        Args:
            jobs: The overrides of each.
            task: What to do.

        Returns:
            What each returned.
        """
        found = []
        for number, job in enumerate(jobs):
            cfg = self.compose(job)
            with open_dict(cfg):
                cfg.hydra.job.id = cfg.hydra.job.num = number
            log_as(cfg)
            log.info("\t#%d : %s", number, " ".join(cfg.hydra.overrides.task))
            found.append(self.run(cfg, task))
        return found

    def show_config(self, options: argparse.Namespace, overrides: list[str]) -> None:
        """Answer ``--cfg``."""
        self._hydra.show_cfg(self.config, overrides, options.cfg, options.package, options.resolve)

    def show_info(self, options: argparse.Namespace, overrides: list[str]) -> None:
        """Answer ``--info``."""
        self._hydra.show_info(options.info, self.config, overrides)

    def show_hydra(self, options: argparse.Namespace) -> None:
        """Answer ``--hydra-help``."""
        self._hydra.hydra_help(self.config, parser(), options)

    def candidates(self, overrides: Sequence[str], word: str) -> list[str]:
        """What a word behind some overrides may become."""
        plugin = BashCompletion(self._hydra.config_loader)
        return plugin._query(config_name=self.config, line=" ".join([*overrides, word]))


def parser() -> argparse.ArgumentParser:
    """Hydra's options, those that are not offered here included."""
    found: argparse.ArgumentParser = get_args_parser()
    return found


def log_as(cfg: DictConfig) -> None:
    """Set logging up as the config's own part says."""
    configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose)


@contextmanager
def opened(config: str, config_dir: str | None = None) -> Iterator[HydraApp]:
    """Hydra for a primary config, the one of this process while the block lasts.

    Args:
        config: Name of the primary config.
        config_dir: A folder with the user's own configs.

    Raises:
        UserError: There is no such folder.
    """
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
        hydra = Hydra.create_main_hydra2(config, search_path)
        repository = _Repository(search_path, value_keys(config))
        hydra.config_loader.repository = repository  # type: ignore[attr-defined]
        yield HydraApp(hydra, config)
    finally:
        GlobalHydra.instance().clear()
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before
