"""``caloman data check``: look through a file of showers for problems."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from caloman_cli.errors import UserError

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> Path:
    """Report on ``file`` as showers of ``dataset``; returns the file.

    Raises:
        UserError: The file cannot be used; the report has been shown by then.
    """
    from caloman_cli.data.check import check_file
    from caloman_cli.data.detector import dataset_geometry
    from caloman_cli.data.files import make_folder_of, write_json

    path = Path(cfg.file).expanduser()
    report = check_file(path, dataset_geometry(cfg.dataset), cfg.chunk)
    if report.facts:
        log.info("%s", report.table())
    if cfg.out is not None:
        out = Path(cfg.out).expanduser()
        make_folder_of(out)
        write_json(out, report.to_dict())
    if not report.facts:
        raise UserError("; ".join(report.errors))
    if report.errors or report.faults:
        raise UserError(f"{path} is {report.verdict}")
    return path
