"""``caloman data split``: divide a file of showers into parts that share none."""

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import DictConfig

from caloman_cli.errors import UserError

if TYPE_CHECKING:
    from caloman_cli.data.showers import Showers

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> Path:
    """Write the parts of ``file`` to the folder ``out``; all of them or none.

    Returns:
        The folder.

    Raises:
        UserError: The shares are more than the whole, a part would be empty or exists, or the
            file cannot be used.
    """
    from caloman_cli.data.detector import dataset_geometry
    from caloman_cli.data.showers import Showers

    file, out = Path(cfg.file).expanduser(), Path(cfg.out).expanduser()
    shares = {str(name): float(share) for name, share in cfg.parts.items() if share is not None}
    if not shares:
        raise UserError("parts names no part: give at least one a share, parts.train=0.8")
    if (total := sum(shares.values())) > 1 + 1e-9:
        raise UserError(
            f"parts add up to {total:g}, at most 1: lower a share, or leave a part out, "
            f"parts.{next(reversed(shares))}=null"
        )
    paths = {name: out / f"{name}.hdf5" for name in shares}
    for path in paths.values():
        if path.resolve() == file.resolve():
            raise UserError(f"{path} is the file to divide: give another out=FOLDER")
        if path.exists() and not cfg.overwrite:
            raise UserError(f"{path} exists: choose another out=FOLDER or say overwrite=true")
    showers = Showers.from_files([file], dataset_geometry(cfg.dataset))
    rows = divide(len(showers), shares, cfg.seed)
    for name, index in rows.items():
        if not len(index):
            raise UserError(f"parts.{name}={shares[name]:g} of {len(showers):,} showers is none")
    _write(showers, {paths[name]: index for name, index in rows.items()}, file, cfg.seed)
    log.info("%s", "\n".join(f"{paths[name]}: {len(rows[name]):,} showers" for name in rows))
    return out


def divide(n: int, shares: dict[str, float], seed: int | None) -> dict[str, np.ndarray]:
    """The rows of each part, rising; every row in one part at most.

    Args:
        n: Number of rows.
        shares: Name of each part and its share of the rows; together 1 or less.
        seed: Of the division; None takes the rows as they follow each other.
    """
    order = np.arange(n) if seed is None else np.random.default_rng(seed).permutation(n)
    edges = np.round(np.cumsum([0.0, *shares.values()]) * n).astype(int)
    return {
        name: np.sort(order[start:stop])
        for name, start, stop in zip(shares, edges[:-1], edges[1:], strict=True)
    }


def _write(showers: "Showers", rows: dict[Path, np.ndarray], file: Path, seed: int | None) -> None:
    """Write all files in one pass; none appears before all are whole."""
    from caloman_cli import __version__
    from caloman_cli.data.writer import ShowerWriter

    facts: dict[str, str | int | float] = {"source": file.name, "caloman_version": __version__}
    facts |= {} if seed is None else {"seed": seed}
    with ExitStack() as stack:
        writers = {
            path: stack.enter_context(ShowerWriter(path, len(index), showers.geometry, facts))
            for path, index in rows.items()
        }
        start = 0
        for energies, voxels in showers.iterate():
            for path, index in rows.items():
                here = index[(index >= start) & (index < start + len(voxels))] - start
                if len(here):
                    writers[path].write(energies[here], voxels[here])
            start += len(voxels)
