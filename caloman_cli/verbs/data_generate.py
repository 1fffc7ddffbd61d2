"""``caloman data generate``: make showers with the built-in parametrised generator."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from caloman_cli.errors import UserError

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> Path:
    """Write ``n`` showers of ``dataset``, or one per row of ``energies``, to ``out``.

    Returns:
        The file.

    Raises:
        UserError: The numbers disagree, the file exists or the detector has no generator.
    """
    from caloman_cli.data.detector import dataset_geometry
    from caloman_cli.data.showers import read_energies
    from caloman_cli.data.sources import write_generated

    out = Path(cfg.out).expanduser()
    if out.exists() and not cfg.overwrite:
        raise UserError(f"{out} exists: choose another out=FILE or say overwrite=true")
    energies = None if cfg.energies is None else read_energies(Path(cfg.energies).expanduser())
    if energies is None and cfg.n is None:
        raise UserError("say how many showers, n=NUMBER, or for which energies, energies=FILE")
    n = cfg.n if energies is None else len(energies)
    if cfg.n is not None and cfg.n != n:
        raise UserError(f"n={cfg.n}, but {cfg.energies} has {n} energies: leave n out")
    geometry = dataset_geometry(cfg.dataset)
    write_generated(out, geometry, n, cfg.seed, energies)
    log.info("%d showers of %s are in %s", n, geometry.name, out)
    return out
