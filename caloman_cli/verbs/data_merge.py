"""``caloman data merge``: join files of one detector."""

import logging
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> Path:
    """Write the showers of ``files``, one after the other, to ``out``; returns that file.

    Of a sample in shards it is the file that a single process would have written.

    Raises:
        UserError: A file cannot be used, the files are not alike or ``out`` exists.
    """
    from caloman_cli.data.detector import asked_geometry
    from caloman_cli.data.joining import join
    from caloman_cli.data.shards import is_sharded
    from caloman_cli.data.table import Table, require_new

    files = [cfg.files] if isinstance(cfg.files, str) else list(cfg.files)
    out, paths = Path(cfg.out).expanduser(), [Path(file).expanduser() for file in files]
    require_new(out, paths, cfg.overwrite)
    if len(paths) == 1 and is_sharded(paths[0]):
        n = join(paths[0], out)
        log.info("%s: %s showers of the shards in %s", out, f"{n:,}", paths[0])
        return out
    table = Table(paths, asked_geometry(cfg.dataset))
    table.write({out: np.arange(len(table))}, {"verb": "data merge"})
    log.info(
        "%s: %s showers of %s", out, f"{len(table):,}", ", ".join(path.name for path in paths)
    )
    return out
