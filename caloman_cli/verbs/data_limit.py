"""``caloman data limit``: at most so many showers of a file."""

import logging
from pathlib import Path

from omegaconf import DictConfig

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> Path:
    """Write at most ``n`` showers of ``file``, in their order, to ``out``; returns that file.

    Raises:
        UserError: The file cannot be used or ``out`` exists.
    """
    from caloman_cli.data.detector import asked_geometry
    from caloman_cli.data.showers import limited_rows
    from caloman_cli.data.table import Table, require_new

    file, out = Path(cfg.file).expanduser(), Path(cfg.out).expanduser()
    require_new(out, [file], cfg.overwrite)
    table = Table([file], asked_geometry(cfg.dataset))
    rows = limited_rows(len(table), cfg.n, cfg.seed)
    table.write({out: rows}, {"verb": "data limit", "n": cfg.n, "seed": cfg.seed})
    log.info("%s: %s showers of %s", out, f"{len(rows):,}", f"{len(table):,}")
    return out
