"""``caloman data download``: fetch the official files of a dataset."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from caloman_cli.errors import UserError

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> Path:
    """Fetch and verify the files of ``dataset`` into ``data_dir``; returns that folder.

    Raises:
        UserError: The dataset has no public files, or they could not be fetched.
    """
    from caloman_cli.data.download import download
    from caloman_cli.data.sources import official_files

    files = official_files(cfg.dataset)
    if files is None:
        raise UserError(
            f"dataset={cfg.dataset.name} has no public files, there is nothing to download: "
            "choose ds1_photons, ds1_pions, ds2 or ds3"
        )
    if cfg.data_dir is None:
        raise UserError("say where the files go: data_dir=DIR, or set CALOMAN_DATA")
    folder = Path(cfg.data_dir).expanduser()
    paths = download([file for role in files.values() for file in role], folder)
    log.info("%d files of %s are in %s", len(paths), cfg.dataset.name, folder)
    return folder
