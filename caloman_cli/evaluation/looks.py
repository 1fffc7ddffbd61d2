"""The looks of pictures that were asked for once: they stay when results are made again."""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from omegaconf import DictConfig

from caloman_cli.config.figures import Format

log = logging.getLogger(__name__)


def keep_looks(folder: Path, cfg: DictConfig) -> None:
    """Give an evaluation the formats and labels of the same one that it replaces.

    Labels that are given now go first. With ``overwrite=true`` it looks as is asked for now. What
    is kept and what goes is said.

    Args:
        folder: Where the results go; it need not exist.
        cfg: The verb's config, whose keys ``figures`` change.
    """
    if cfg.overwrite:
        gone = [kind for kind in _drawn(folder) if kind not in cfg.figures.format]
        if gone:
            log.warning(
                "overwrite=true: the pictures in %s go, figures.format=[%s] draws them again",
                *(" and ".join(gone), ",".join([*cfg.figures.format, *gone])),
            )
        return
    cfg.figures.format = formats_beside(folder, cfg.figures.format)
    before = _settings(folder)
    for name, label in (before.get("labels") or {}).items():
        if name in cfg.figures.labels and cfg.figures.labels[name] is None and label is not None:
            cfg.figures.labels[name] = label
            log.info("figures.labels.%s='%s', as before (overwrite=true: not)", name, label)
    if before.get("dpi", cfg.figures.dpi) != cfg.figures.dpi:
        log.info("figures.dpi was %s, is %s now", before["dpi"], cfg.figures.dpi)


def formats_beside(folder: Path, asked: Iterable[Format]) -> list[Format]:
    """The formats that are asked for, and those of the pictures that will be replaced.

    Args:
        folder: The results', with ``plots/`` where they have pictures.
        asked: For the new ones.
    """
    found = list(asked)
    kept = [kind for kind in _drawn(folder) if kind not in found]
    if kept:
        log.info("pictures are drawn in %s, too, as before", " and ".join(kept))
    return [*found, *kept]


def _drawn(folder: Path) -> list[Format]:
    """Formats of the pictures there, without PNG, which every picture has."""
    kinds: tuple[Format, ...] = get_args(Format)
    return [k for k in kinds if k != "png" and any((folder / "plots").glob(f"*.{k}"))]


def _settings(folder: Path) -> dict[str, Any]:
    """The keys ``figures`` of the evaluation there; none where it is not there or damaged."""
    try:
        stored = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        return dict(stored["settings"]["figures"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
