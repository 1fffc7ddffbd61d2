"""What every verb that trains does around its stages: claim a directory, log, stop cleanly."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from caloman_cli.config.settings import TrainerSettings
from caloman_cli.loggers import Logger, watching
from caloman_cli.models.trainable import RowSource, Trainable
from caloman_cli.runs.device import configure_cuda
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.runs.provenance import collect
from caloman_cli.training.interruption import Interruption, Preempted
from caloman_cli.training.trainer import Trainer

log = logging.getLogger(__name__)


@contextmanager
def session(
    cfg: DictConfig,
    config: dict,
    settings: TrainerSettings,
    device: torch.device,
    logger: Logger,
) -> Iterator[Trainer | None]:
    """A trainer for ``output``, which belongs to this process inside the block.

    Args:
        cfg: The verb's config; its ``output``, ``overwrite`` and ``seed`` count here.
        config: What the run directory keeps of it, plain types only.
        settings: The group ``trainer``, checked.
        device: Where models are trained.
        logger: Who is told about every epoch.

    Yields:
        The trainer, or None where the run is complete already.

    Raises:
        UserError: The directory belongs to another run or another process.
        Preempted: SIGTERM or Ctrl-C; the same command goes on.
    """
    directory = RunDirectory(cfg.output)
    with Interruption() as interruption, directory.claimed(config, overwrite=cfg.overwrite):
        if directory.is_complete():
            log.info("%s is complete already", directory.path)
            yield None
            return
        if directory.model_path.exists():
            log.warning("%s: a file is damaged; looking at every stage again", directory.path)
        configure_cuda(device, deterministic=settings.deterministic, tf32=settings.tf32)
        directory.record(**collect(config, device))
        with _log_file(directory.log_path) as kept, watching(logger, directory.path, config):
            try:
                yield Trainer(
                    directory,
                    settings,
                    seed=cfg.seed,
                    device=device,
                    logger=logger,
                    interruption=interruption,
                )
            except Preempted as stop:
                stop.advice = f"the same command with output={directory.path} goes on"
                # The console's line is that of the command line.
                kept.handle(log.makeRecord(log.name, logging.WARNING, "", 0, str(stop), (), None))
                raise


def fit_stage(
    trainer: Trainer, stage: str, part: Trainable, train: RowSource, validation: RowSource
) -> dict[str, Any]:
    """Fit one stage, record its cost in the run's provenance and say how it went."""
    complete = trainer.run.stage(stage).done
    summary = trainer.fit(stage, part, train, validation)
    trainer.run.record_stage(stage, summary)
    if not complete and not summary["parameters"]:
        facts = stage, summary["seconds"], summary["score"], summary["best_score"]
        log.info("%s: fitted in one go in %.1f s, %s %.4g", *facts)
    elif not complete:
        log.info(
            "%s: %s epochs in %.1f s, best %s %.4g at epoch %s",
            stage,
            summary["epochs"],
            summary["seconds"],
            summary["score"],
            summary["best_score"],
            summary["best_epoch"],
        )
    return summary


class _LogFile(logging.FileHandler):
    """What a full disk does to a log is not worth a word; the checkpoints will say it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass


@contextmanager
def _log_file(path: Path) -> Iterator[logging.Handler]:
    """What the package logs goes to a file too."""
    package = logging.getLogger("caloman_cli")
    level = package.level
    handler = _LogFile(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        with suppress(OSError):
            handler.close()
