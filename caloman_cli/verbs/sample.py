"""``caloman sample``: draw showers from a trained run."""

import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig

from caloman_cli.data.files import checksum
from caloman_cli.data.showers import read_energies
from caloman_cli.data.spectrum import Spectrum, draw_known, known_spectrum, warn_foreign
from caloman_cli.errors import UserError
from caloman_cli.models.noise import mix
from caloman_cli.models.two_step import TwoStep
from caloman_cli.runs.device import resolve_device
from caloman_cli.runs.directory import find_model
from caloman_cli.runs.pretrained import results_of
from caloman_cli.runs.provenance import Usage
from caloman_cli.runs.sampling import (
    ENERGIES_STREAM,
    loaded,
    pace,
    provenance,
    say_pace,
    write_sample,
)

log = logging.getLogger(__name__)

_SUFFIXES = (".hdf5", ".h5", ".hdf")


def run(cfg: DictConfig) -> Path:
    """Sample a run.

    Args:
        cfg: The checked config of ``conf/sample.yaml``.

    Returns:
        The file of showers.

    Raises:
        UserError: The run is not finished, it is not clear which showers are wanted, the file
            exists, or the incident energies cannot be read.
    """
    asked = _understood(cfg)
    model, energies = asked.model, asked.energies
    origin = provenance(asked.model_path, asked.trained, cfg.seed, asked.device)
    began = time.perf_counter()
    with Usage(asked.device) as usage:
        write_sample(
            model,
            energies,
            asked.out,
            seed=cfg.seed,
            batch_size=cfg.batch_size,
            attributes=origin | _origin(cfg, model),
            compression=cfg.compression,
        )
    seconds, n = time.perf_counter() - began, len(energies)
    peak = usage.peak_rss_mib if usage.peak_cuda_mib is None else usage.peak_cuda_mib
    log.info(
        "%d showers in %.1f s (%.4f ms per shower, file included) on %s, memory %.1f GiB",
        *(n, seconds, 1e3 * seconds / n, asked.device, peak / 1024),
    )
    log.info("%s", asked.out)
    return asked.out


def dry_run(cfg: DictConfig) -> None:
    """Say what the command would do and cost; nothing is written.

    Args:
        cfg: The checked config of ``conf/sample.yaml``.

    Raises:
        UserError: As :func:`run`.
    """
    asked = _understood(cfg)
    model, energies, n = asked.model, asked.energies, len(asked.energies)
    size = 4 * n * model.geometry.n_voxels / 2**20
    log.info("dry run: nothing is written")
    log.info("out: %s (%s)", asked.out, "replaced" if asked.out.exists() else "new")
    log.info(
        "%d showers of %s, %g to %g MeV: %d voxels, %.0f MiB before compression",
        *(n, model.geometry.name, energies.min(), energies.max()),
        *(model.geometry.n_voxels, size),
    )
    log.info("parameters that draw showers: %d", model.generating_parameters())
    found = pace(model, energies, seed=cfg.seed, batch_size=cfg.batch_size)
    say_pace(found, n, asked.device)


class _Asked(NamedTuple):
    """What a command asks for."""

    model_path: Path
    out: Path
    device: torch.device
    model: TwoStep
    trained: dict
    energies: np.ndarray


def _understood(cfg: DictConfig) -> _Asked:
    """What a command asks for, the model loaded and the energies read or drawn.

    Raises:
        UserError: See :func:`run`.
    """
    _check_choice(cfg)
    model_path = find_model(Path(cfg.run))
    out = Path(cfg.out) if cfg.out is not None else default_out(cfg, model_path)
    if out.exists() and not cfg.overwrite:
        raise UserError(f"{out} exists: give another out=, or overwrite=true")
    if out.suffix not in _SUFFIXES:
        log.warning("%s will be an HDF5 file, whatever its name says", out)
    device = resolve_device(cfg.device)
    given = None if cfg.energies is None else read_energies(Path(cfg.energies))
    model, trained = loaded(model_path, device)
    energies = _drawn(cfg, model) if given is None else given
    warn_foreign(model, energies)
    return _Asked(model_path, out, device, model, trained, energies)


def default_out(cfg: DictConfig, model_path: Path) -> Path:
    """``RUN/samples/<energies file, or n and energy>_seed<seed>.hdf5``: a name for a sample."""
    if cfg.energies is not None:
        source = Path(cfg.energies).stem
    else:
        source = f"n{cfg.n}" + ("" if cfg.energy is None else f"_energy{_asked(cfg.energy)}")
    folder = results_of(Path(cfg.run), model_path)
    return folder / "samples" / f"{source}_seed{cfg.seed}.hdf5"


def _check_choice(cfg: DictConfig) -> None:
    """What to sample is said once.

    Raises:
        UserError: It is said twice or not at all.
    """
    if cfg.energies is not None and _is_number(Path(cfg.energies)):
        n, energy = cfg.n or "NUMBER", Path(cfg.energies).name
        raise UserError(
            f"energies= is a file: for one incident energy write n={n} energy={energy}"
        )
    if cfg.energy is not None and (cfg.n is None or cfg.energies is not None):
        raise UserError(
            "energy= needs n= (how many showers)"
            + ("" if cfg.energies is None else " instead of energies= (an energy for each shower)")
        )
    if (cfg.n is None) == (cfg.energies is None):
        raise UserError(
            "give one of n= (how many showers) and energies= (file of incident energies)"
        )


def _is_number(path: Path) -> bool:
    """Whether no file was meant."""
    return not path.exists() and bool(re.fullmatch(r"[\d.]+(e[+-]?\d+)?", path.name, re.I))


def _drawn(cfg: DictConfig, model: TwoStep) -> np.ndarray:
    """Incident energies of ``n`` showers [MeV], float64, shape (n, 1)."""
    generator = np.random.default_rng(mix(cfg.seed, ENERGIES_STREAM))
    if cfg.energy is None:
        return draw_known(model, generator, cfg.n)
    return Spectrum(_bounds(cfg.energy)).draw(generator, cfg.n)


def _origin(cfg: DictConfig, model: TwoStep) -> dict[str, str | int | float]:
    """What the file says of its incident energies."""
    if cfg.energies is not None:
        path = Path(cfg.energies)
        return {"energies_file": path.name, "energies_sha256": checksum(path)}
    if cfg.energy is not None:
        return {"energies_asked": f"{_asked(cfg.energy)} MeV"}
    return {"energies_drawn": str(known_spectrum(model))}


def _bounds(energy: float | Sequence[float]) -> tuple[float, ...]:
    return tuple(map(float, [energy] if isinstance(energy, int | float) else energy))


def _asked(energy: float | Sequence[float]) -> str:
    """``65536`` or ``1000-100000``: exact, so that other energies have another name."""
    return "-".join(repr(bound).removesuffix(".0") for bound in _bounds(energy))
