"""``caloman sample``: draw showers from a trained run."""

import logging
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig

from caloman_cli.data.files import checksum
from caloman_cli.data.shards import INDEX, Shards, is_sharded
from caloman_cli.data.showers import read_energies
from caloman_cli.data.spectrum import Spectrum, draw_known, known_spectrum, warn_foreign
from caloman_cli.errors import UserError, counted
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
        The file of showers, or the folder of shards.

    Raises:
        UserError: The run is not finished, it is not clear which showers are wanted, the file
            exists, or the incident energies cannot be read.
    """
    asked = _understood(cfg)
    origin = provenance(asked.model_path, asked.trained, cfg.seed, asked.device)
    origin |= _origin(cfg, asked.model)
    if cfg.shards is None:
        _write(cfg, asked, (0, asked.n), asked.out, origin)
    else:
        shards = _shards(cfg, asked, origin)
        shards.write()
        wanted = _wanted(cfg, shards)
        if there := _asked_for(cfg) - len(wanted):
            log.info("%s in %s already", counted(there, "shard"), asked.out)
        for shard in wanted:
            _write(cfg, asked, shards.rows(shard), shards.file(shard), shards.attributes_of(shard))
    log.info("%s", asked.out)
    return asked.out


def _write(
    cfg: DictConfig,
    asked: "_Asked",
    rows: tuple[int, int],
    out: Path,
    attributes: dict[str, str | int | float],
) -> None:
    """Draw some rows of a sample, and say what that took."""
    energies, began = asked.energies(*rows), time.perf_counter()
    warn_foreign(asked.model, energies)
    with Usage(asked.device) as usage:
        write_sample(
            asked.model,
            energies,
            out,
            seed=cfg.seed,
            batch_size=_step(cfg, asked.n),
            attributes=attributes,
            compression=cfg.compression,
            first=rows[0],
        )
    seconds, n = time.perf_counter() - began, len(energies)
    peak = usage.peak_rss_mib if usage.peak_cuda_mib is None else usage.peak_cuda_mib
    log.info(
        "%s%d showers in %.1f s (%.4f ms per shower, file included) on %s, memory %.1f GiB",
        *("" if cfg.shards is None else f"{out.name}: ", n, seconds, 1e3 * seconds / n),
        *(asked.device, peak / 1024),
    )


def dry_run(cfg: DictConfig) -> None:
    """Say what the command would do and cost; nothing is written.

    Args:
        cfg: The checked config of ``conf/sample.yaml``.

    Raises:
        UserError: As :func:`run`.
    """
    asked = _understood(cfg)
    model, n = asked.model, asked.n
    log.info("dry run: nothing is written")
    if cfg.shards is None:
        energies = asked.energies(0, n)
        log.info("out: %s (%s)", asked.out, "replaced" if asked.out.exists() else "new")
    else:
        shards = _shards(cfg, asked, {})
        wanted = _wanted(cfg, shards)
        energies = asked.energies(*shards.rows(wanted[0] if wanted else 0))
        n = sum(stop - start for start, stop in map(shards.rows, wanted))
        log.info(
            "out: %s, %s of %s to draw",
            *(asked.out, counted(len(wanted), "shard"), f"{_asked_for(cfg):,}"),
        )
    warn_foreign(model, energies)
    log.info(
        "%d showers of %s, %g to %g MeV: %d voxels, %.0f MiB before compression",
        *(n, model.geometry.name, energies.min(), energies.max()),
        *(model.geometry.n_voxels, 4 * n * model.geometry.n_voxels / 2**20),
    )
    log.info("parameters that draw showers: %d", model.generating_parameters())
    found = pace(model, energies, seed=cfg.seed, batch_size=_step(cfg, asked.n))
    say_pace(found, n, asked.device)


class _Asked(NamedTuple):
    """What a command asks for.

    Args:
        model_path: The model's file.
        out: What is written.
        device: Where it is drawn.
        model: The model.
        trained: Its config.
        n: Showers.
        energies: (first row, row behind the last) -> incident energies [MeV], shape (B, 1).
    """

    model_path: Path
    out: Path
    device: torch.device
    model: TwoStep
    trained: dict
    n: int
    energies: Callable[[int, int], np.ndarray]


def _understood(cfg: DictConfig) -> _Asked:
    """What a command asks for, the model loaded and the energies read.

    Raises:
        UserError: See :func:`run`.
    """
    _check_choice(cfg)
    model_path = find_model(Path(cfg.run))
    out = Path(cfg.out) if cfg.out is not None else default_out(cfg, model_path)
    if cfg.shards is None and out.exists() and not cfg.overwrite:
        raise UserError(f"{out} exists: give another out=, or overwrite=true")
    if cfg.shards is None and out.suffix not in _SUFFIXES:
        log.warning("%s will be an HDF5 file, whatever its name says", out)
    device = resolve_device(cfg.device)
    given = None if cfg.energies is None else read_energies(Path(cfg.energies))
    n = cfg.n if given is None else len(given)
    _check_shards(cfg, n)
    model, trained = loaded(model_path, device)

    def energies(start: int, stop: int) -> np.ndarray:
        return _drawn(cfg, model, start, stop) if given is None else given[start:stop]

    return _Asked(model_path, out, device, model, trained, n, energies)


def _check_shards(cfg: DictConfig, n: int) -> None:
    """Whether n showers can be cut so."""
    if cfg.shards is None:
        if cfg.shard is not None:
            raise UserError(f"shard={cfg.shard} needs shards=, into how many the sample is cut")
        return
    if cfg.overwrite:
        raise UserError(
            "overwrite=true goes with one file: of shards remove those that are to be drawn again"
        )
    if cfg.shards > n:
        raise UserError(f"shards={cfg.shards} for {counted(n, 'shower')}: give {n} or fewer")
    if cfg.shard is not None and cfg.shard >= cfg.shards:
        raise UserError(
            f"shard={cfg.shard} of shards={cfg.shards}: shards are numbered from 0 to "
            f"{cfg.shards - 1}"
        )


def _shards(cfg: DictConfig, asked: _Asked, attributes: dict[str, str | int | float]) -> Shards:
    return Shards(asked.out, asked.n, cfg.shards, _step(cfg, asked.n), cfg.compression, attributes)


def _step(cfg: DictConfig, n: int) -> int:
    """Showers that are drawn at once, no more than a shard has."""
    return cfg.batch_size if cfg.shards is None else min(cfg.batch_size, n // cfg.shards)


def _asked_for(cfg: DictConfig) -> int:
    return cfg.shards if cfg.shard is None else 1


def _wanted(cfg: DictConfig, shards: Shards) -> list[int]:
    """Which shards are to be drawn: of those that are asked for the missing ones."""
    return [shard for shard in shards.missing() if cfg.shard in (None, shard)]


def default_out(cfg: DictConfig, model_path: Path) -> Path:
    """``RUN/samples/<energies file, or n and energy>_seed<seed>.hdf5``, or ``..._<K>shards``."""
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


def _drawn(cfg: DictConfig, model: TwoStep, start: int, stop: int) -> np.ndarray:
    """Incident energies of some rows [MeV], float64, shape (stop - start, 1)."""
    bits = np.random.PCG64(mix(cfg.seed, ENERGIES_STREAM)).advance(start)  # one number a row
    generator = np.random.Generator(bits)
    if cfg.energy is None:
        return draw_known(model, generator, stop - start)
    return Spectrum(_bounds(cfg.energy)).draw(generator, stop - start)


def _origin(cfg: DictConfig, model: TwoStep) -> dict[str, str | int | float]:
    """What the file says of its incident energies."""
    if cfg.energies is not None:
        path = Path(cfg.energies)
        known_by = path / INDEX if is_sharded(path) else path
        return {"energies_file": path.name, "energies_sha256": checksum(known_by)}
    if cfg.energy is not None:
        return {"energies_asked": f"{_asked(cfg.energy)} MeV"}
    return {"energies_drawn": str(known_spectrum(model))}


def _bounds(energy: float | Sequence[float]) -> tuple[float, ...]:
    return tuple(map(float, [energy] if isinstance(energy, int | float) else energy))


def _asked(energy: float | Sequence[float]) -> str:
    """``65536`` or ``1000-100000``: exact, so that other energies have another name."""
    return "-".join(repr(bound).removesuffix(".0") for bound in _bounds(energy))
