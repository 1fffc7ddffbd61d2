"""``caloman data geometry``: print and draw what was understood of a detector."""

import logging
from pathlib import Path
from typing import get_args

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from caloman_cli.config.figures import Format
from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError

log = logging.getLogger(__name__)

_SUFFIXES = tuple(f".{kind}" for kind in get_args(Format))
_NO_NAMES = ("/", "..")  # of a path


def run(cfg: DictConfig) -> Path:
    """Show the detector of a binning file, of a dataset or of a run.

    Returns:
        The drawing, in the format that its name says.

    Raises:
        UserError: It is not clear which detector is meant, its file is not readable, or ``out``
            is no name of a drawing.
    """
    from caloman_cli.data.files import make_folder_of
    from caloman_cli.data.layout import summary, table
    from caloman_cli.evaluation.style import save_as
    from caloman_cli.report.detector import drawing

    geometry, warnings = _asked(cfg)
    out = _out(cfg, geometry)
    log.info("%s\n\n%s", summary(geometry), table(geometry))
    for text in warnings:
        log.warning("%s", text)
    make_folder_of(out)
    save_as(drawing(geometry), out)
    log.info("%s", out)
    return out


def _asked(cfg: DictConfig) -> tuple[Geometry, tuple[str, ...]]:
    """The detector, and what is odd in its binning file."""
    from caloman_cli.data.binning import read_binning
    from caloman_cli.data.detector import dataset_geometry, with_layers

    if (cfg.file is None) == ("name" not in cfg.dataset):
        raise UserError("say which detector: one of FILE.xml, dataset=NAME and dataset=RUN")
    if cfg.file is None:
        if cfg.particle is not None:
            raise UserError("particle= chooses from a binning file: leave it out beside dataset=")
        return dataset_geometry(cfg.dataset), ()
    path = Path(cfg.file)
    if path.is_dir() or path.suffix == ".pt":
        raise UserError(f"{path} is no binning file: write dataset={path} for a run's detector")
    binning = read_binning(path, cfg.particle)
    facts = {
        "name": path.stem, "threshold": 0.0, "max_response": 1.0,
        **dict.fromkeys(("incident_energies", "incident_weights", "incident_range")),
    }  # fmt: skip
    return with_layers(facts, binning), binning.warnings


def _out(cfg: DictConfig, geometry: Geometry) -> Path:
    """Another drawing for another file, particle, dataset or run, so that a multirun keeps all."""
    if cfg.out is not None:
        if Path(cfg.out).suffix.lower() not in _SUFFIXES:
            raise UserError(f"out={cfg.out}: a drawing's name ends in {', '.join(_SUFFIXES)}")
        return Path(cfg.out)
    if cfg.file is not None:
        file = Path(cfg.file)
        chosen = "" if cfg.particle is None else f"_{cfg.particle}"
        return file.parent / f"{file.stem}{chosen}_geometry.png"
    parts = Path(str(_chosen(geometry.name)).removesuffix("/model.pt")).parts
    return Path(f"{'-'.join(part for part in parts if part not in _NO_NAMES)}_geometry.png")


def _chosen(otherwise: str) -> str:
    """What ``dataset=`` named, which may be a run: those of one's own share the name custom."""
    if not HydraConfig.initialized():
        return otherwise
    return HydraConfig.get().runtime.choices.get("dataset") or otherwise
