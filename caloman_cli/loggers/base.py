"""What a logger is, and what holds for each: no error of it ends a training."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from caloman_cli.config.targets import PLACES, constructor
from caloman_cli.errors import reason
from caloman_cli.loggers.evaluated import Evaluated

log = logging.getLogger(__name__)


class Logger:
    """Told of every row of history, or of an evaluation."""

    def open(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Start, or go on, for the run in ``folder`` with a resolved config of plain types."""

    def log(self, row: Mapping[str, object]) -> None:
        """One epoch: ``stage``, ``epoch``, ``step`` and numbers."""

    def close(self, exit_code: int) -> None:
        """The run ends: 0 well, else its exit status."""

    def evaluated(self, evaluation: Evaluated) -> None:
        """An evaluation has ended; needs no :meth:`open`."""

    def abandon(self) -> None:
        """Something failed and nothing more will be told: let go of what is held."""


class NoLogger(Logger):
    """Nobody; ``history.jsonl`` and ``metrics.json`` have it all."""


class Tolerant(Logger):
    """Stands before a logger: its first error is a warning, and from then on it is left alone.

    Args:
        logger: The logger.
    """

    def __init__(self, logger: Logger) -> None:
        self.logger = logger
        self.works = True

    def open(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._try(self.logger.open, folder, config)

    def log(self, row: Mapping[str, object]) -> None:
        self._try(self.logger.log, row)

    def close(self, exit_code: int) -> None:
        self._try(self.logger.close, exit_code)

    def evaluated(self, evaluation: Evaluated) -> None:
        self._try(self.logger.evaluated, evaluation)

    def _try(self, call: Callable[..., None], *arguments: object) -> None:
        if not self.works:
            return
        try:
            call(*arguments)
        except Exception as error:  # noqa: BLE001  a service's failure must not be the run's
            self.works = False
            log.warning(
                "%s stops (%s): nothing more is logged there, the run's own files have it all",
                type(self.logger).__name__,
                reason(error),
            )
            log.debug("%s failed", type(self.logger).__name__, exc_info=error)
            with contextlib.suppress(Exception):
                self.logger.abandon()


def make_logger(node: DictConfig) -> Logger:
    """The logger of the group ``logger``, which no error ends a run any more.

    Raises:
        UserError: A setting is wrong, or the package behind the logger is not there.
    """
    settings = OmegaConf.to_container(node, resolve=True)
    return Tolerant(constructor(settings, PLACES["logger"], "logger")())


@contextlib.contextmanager
def watching(logger: Logger, folder: Path, config: Mapping[str, Any]) -> Iterator[None]:
    """The logger is open inside the block and learns how the block ended."""
    logger.open(folder, config)
    exit_code = 1
    try:
        yield
        exit_code = 0
    except SystemExit as stop:
        exit_code = stop.code if isinstance(stop.code, int) else 1
        raise
    finally:
        logger.close(exit_code)


def numbers(row: Mapping[str, object]) -> dict[str, float]:
    """The numbers of a row, named ``stage/...``; each stage counts its own epochs."""
    stage = row["stage"]
    return {
        f"{stage}/{name}": float(value)
        for name, value in row.items()
        if isinstance(value, (int, float)) and name not in ("step",)
    }


def flat(values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """A nested config as dotted keys and their values."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        place = f"{where}.{key}" if where else str(key)
        found |= flat(value, place) if isinstance(value, Mapping) and value else {place: value}
    return found


def said_name(config: Mapping[str, Any], folder: Path) -> str:
    """The name that the config gives the run, else that of its directory."""
    return str(config.get("name") or folder.name)


def said_tags(config: Mapping[str, Any]) -> list[str]:
    """The tags that the config gives the run."""
    tags = config.get("tags") or []
    return [tags] if isinstance(tags, str) else list(tags)


def multirun() -> str | None:
    """The folder of the multirun that this process works for, None outside of one."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return str(HydraConfig.get().sweep.dir)
