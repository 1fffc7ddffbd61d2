"""``caloman data select``: showers by incident energy or by row."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from caloman_cli.errors import UserError

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> Path:
    """Write the showers of ``file`` with ``energy`` and of ``rows``, in their order, to ``out``.

    Returns:
        That file.

    Raises:
        UserError: The file cannot be used, no shower is meant or ``out`` exists.
    """
    from caloman_cli.data.detector import asked_geometry
    from caloman_cli.data.table import Table, require_new

    file, out = Path(cfg.file).expanduser(), Path(cfg.out).expanduser()
    asked: Any = OmegaConf.to_container(cfg)
    energy, rows = asked["energy"], asked["rows"]
    if energy is None and rows is None:
        raise UserError("say which showers: energy=[LOW,HIGH] in MeV, rows=START:STOP, or both")
    require_new(out, [file], cfg.overwrite)
    table = Table([file], asked_geometry(cfg.dataset))
    kept = np.ones(len(table), bool) if rows is None else chosen(rows, len(table))
    if energy is not None:
        kept &= within(table.energies[:, 0], energy)
    if not kept.any():
        energies = table.energies
        raise UserError(
            f"no shower of {file} is meant: it has rows 0 to {len(table) - 1} and incident "
            f"energies from {energies.min():g} to {energies.max():g} MeV"
        )
    step = {"verb": "data select", "energy": energy, "rows": rows}
    table.write({out: np.flatnonzero(kept)}, step)
    log.info("%s: %s showers of %s", out, f"{int(kept.sum()):,}", f"{len(table):,}")
    return out


def within(energies: np.ndarray, asked: float | list[float]) -> np.ndarray:
    """Which incident energies [MeV] are asked for, bool, shape (N,).

    Args:
        energies: Shape (N,).
        asked: One energy, which those of a file in float32 meet, too, or the lowest and the
            highest, both included.
    """
    if isinstance(asked, list):
        return (energies >= asked[0]) & (energies <= asked[1])
    return np.isclose(energies, asked, rtol=1e-6, atol=0)


def chosen(rows: str | list[int], n: int) -> np.ndarray:
    """Which of n rows are asked for, bool, shape (n,).

    Args:
        rows: ``START:STOP``, ``START:STOP:STEP`` as Python has it, or numbers of rows.
        n: How many there are.

    Raises:
        UserError: A row does not exist, or is named twice.
    """
    kept = np.zeros(n, bool)
    if isinstance(rows, str):
        bounds: list[Any] = [int(part) if part else None for part in rows.split(":")]
        kept[slice(*bounds)] = True
        return kept
    for row in rows:
        if not 0 <= row < n:
            raise UserError(f"rows={row} does not exist: the file has rows 0 to {n - 1}")
        if kept[row]:
            raise UserError(f"rows names {row} twice: its shower would count double")
        kept[row] = True
    return kept
