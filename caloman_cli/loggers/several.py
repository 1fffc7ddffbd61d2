"""Several loggers at once."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from caloman_cli.loggers.base import Logger, Tolerant
from caloman_cli.loggers.evaluated import Evaluated


class Several(Logger):
    """Tells each of several loggers; one that fails leaves the others alone.

    Args:
        csv, mlflow, tensorboard, wandb: The loggers; null: not this one.
    """

    def __init__(
        self,
        csv: Logger | None = None,
        mlflow: Logger | None = None,
        tensorboard: Logger | None = None,
        wandb: Logger | None = None,
    ) -> None:
        given = (csv, mlflow, tensorboard, wandb)
        self.loggers = [Tolerant(logger) for logger in given if logger is not None]

    def open(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._each(lambda logger: logger.open(folder, config))

    def log(self, row: Mapping[str, object]) -> None:
        self._each(lambda logger: logger.log(row))

    def close(self, exit_code: int) -> None:
        self._each(lambda logger: logger.close(exit_code))

    def evaluated(self, evaluation: Evaluated) -> None:
        self._each(lambda logger: logger.evaluated(evaluation))

    def abandon(self) -> None:
        self._each(lambda logger: logger.abandon())

    def _each(self, tell: Callable[[Logger], None]) -> None:
        for logger in self.loggers:
            tell(logger)
