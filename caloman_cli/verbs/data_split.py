"""``caloman data split``: divide a file of showers into parts that share none."""

import logging
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from caloman_cli.errors import UserError

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> Path:
    """Write the parts of ``file`` to the folder ``out``; all of them or none.

    Returns:
        The folder.

    Raises:
        UserError: The shares are more than the whole, a part would be empty or exists, or the
            file cannot be used.
    """
    from caloman_cli.data.detector import asked_geometry
    from caloman_cli.data.table import Table, require_new

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
        require_new(path, [file], cfg.overwrite)
    showers = Table([file], asked_geometry(cfg.dataset))
    rows = divide(len(showers), shares, cfg.seed)
    for name, index in rows.items():
        if not len(index):
            raise UserError(f"parts.{name}={shares[name]:g} of {len(showers):,} showers is none")
    step = {"verb": "data split", "parts": shares, "seed": cfg.seed}
    showers.write({paths[name]: index for name, index in rows.items()}, step)
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
