"""The run that a command without ``output=`` began and that was cut: it goes on there."""

import logging
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from caloman_cli.errors import UserError
from caloman_cli.runs.differences import differences
from caloman_cli.runs.directory import RunDirectory

log = logging.getLogger(__name__)


def go_on(cfg: DictConfig) -> None:
    """Point ``output``, where it is the default's new directory, to the same run, cut before.

    Args:
        cfg: The checked config of ``train``; ``output`` was not given by the user.
    """
    asked = OmegaConf.to_container(cfg, resolve=True)
    for folder in sorted(Path(cfg.output).parent.glob("*/"), reverse=True):
        run = RunDirectory(folder)
        if run.config_path.is_file() and run.status.cut and not _differs(run, asked):
            log.info("%s was cut: going on there (output=DIR begins another run)", folder)
            cfg.output = str(folder)
            return


def _differs(run: RunDirectory, asked: object) -> bool:
    try:
        return bool(differences(OmegaConf.to_container(run.config), asked, run.resolved))
    except UserError:
        return True
