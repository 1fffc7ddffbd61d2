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
    from caloman_cli.data.sources import dataset_geometry
    from caloman_cli.storage import write_json

    path = Path(cfg.file).expanduser()
    report = check_file(path, dataset_geometry(cfg.dataset), cfg.chunk)
    if report.facts:
        log.info("%s", report.table())
    if cfg.out is not None:
        out = Path(cfg.out).expanduser()
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, report.to_dict())
    if report.errors:
        more = f" (and {len(report.errors) - 1} more errors)" if len(report.errors) > 1 else ""
        where = "" if str(path) in report.errors[0] else f"{path}: "
        raise UserError(f"{where}{report.errors[0]}{more}")
    return path
