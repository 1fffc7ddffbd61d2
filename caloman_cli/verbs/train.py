"""``caloman train``: showers in, a run directory with a model out."""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig

from caloman_cli.config.check import trainer_settings
from caloman_cli.config.options import option_of
from caloman_cli.config.settings import TrainerSettings
from caloman_cli.data.cache import default_cache_dir, voxel_array
from caloman_cli.data.files import replacing
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.scan import Report, scan_array
from caloman_cli.data.showers import Showers, block_rows
from caloman_cli.data.sources import Dataset, open_dataset, split_indices
from caloman_cli.data.spectrum import Spectrum
from caloman_cli.errors import UserError
from caloman_cli.loggers import Logger, make_logger
from caloman_cli.models.noise import mix
from caloman_cli.models.two_step import build, save_model
from caloman_cli.runs.device import resolve_device
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.training.cost import Sizes, enough, rehearse
from caloman_cli.training.forecast import foretell, say_cost
from caloman_cli.training.reuse import Reuse
from caloman_cli.training.rows import ShowerRows, VoxelStore
from caloman_cli.training.seeds import SPLIT
from caloman_cli.training.session import session
from caloman_cli.training.stages import Workshop, make_stages
from caloman_cli.training.takeover import with_part
from caloman_cli.training.trainer import Trainer
from caloman_cli.training.untrained import (
    built,
    is_auto,
    plain,
    prepared_model,
    with_dimension,
    with_latent_dim,
)

log = logging.getLogger(__name__)

_FEW = 200  # showers that no model learns from
_LOOKED_AT = 1000  # showers, for whether they differ


def run(cfg: DictConfig) -> Path:
    """Train the energy model, the encoder and the density model; resume what is there.

    Everything that can be wrong with the command is found before the run directory is made.
    The reference file is never opened.

    Args:
        cfg: The resolved config of ``conf/train.yaml``.

    Returns:
        The run directory.

    Raises:
        UserError: The data, the model, the settings or the directory do not serve.
        Preempted: SIGTERM or Ctrl-C; the same command goes on.
    """
    cfg, asked = _understood(cfg)
    showers, config = asked.dataset.train(), plain(cfg)
    _require_a_distribution(showers)
    complete = not cfg.overwrite and RunDirectory(cfg.output).is_complete()
    directory = RunDirectory(cfg.output)
    directory.refuse_strangers(config, cfg.overwrite)
    _require_two(showers, len(showers))
    voxels = None if complete else voxel_array(showers, asked.cache_dir)
    if voxels is not None and (cfg.overwrite or not directory.config_path.exists()):
        _look_through(showers, voxels, cfg.accept, asked.turning)
    if cfg.reuse is None or complete:
        reuse = None
    else:
        reuse = Reuse(Path(cfg.reuse), config, showers.fingerprint)
    with session(cfg, config, asked.settings, asked.device, asked.logger) as trainer:
        if trainer is not None:
            if reuse is not None:
                reuse.give(trainer.run)
            # Complete a moment ago, and begun anew by another process since.
            voxels = voxel_array(showers, asked.cache_dir) if voxels is None else voxels
            _train(cfg, trainer, showers, asked.dataset.geometry, voxels)
    return Path(cfg.output)


def dry_run(cfg: DictConfig) -> None:
    """Say what the command would do and cost: files are opened, nothing is written.

    Args:
        cfg: The resolved config of ``conf/train.yaml``.

    Raises:
        UserError: As :func:`run`, but for what only all showers together can show.
    """
    cfg, asked = _understood(cfg)
    directory = RunDirectory(cfg.output)
    directory.refuse_strangers(plain(cfg), cfg.overwrite)
    settings, geometry = asked.settings, asked.dataset.geometry
    most = Sizes(10**9, 1)
    showers, total = asked.dataset.trial(enough(settings, most))
    _require_two(showers, total)
    _require_a_distribution(showers, total)
    if cfg.reuse is not None and showers.paths:
        Reuse(Path(cfg.reuse), plain(cfg), asked.dataset.train().fingerprint)
    parts = split_indices(total, cfg.dataset.validation_fraction, 0)
    sizes = Sizes(*map(len, parts))
    energies, voxels = showers.read(0, len(showers))
    looked_at = scan_array(energies, voxels, geometry, block_rows(geometry.n_voxels))
    _say_asymmetric(looked_at, asked.turning, f"{len(showers)} of {showers.name}")
    rows = ShowerRows(VoxelStore(voxels, energies, asked.device), np.arange(len(showers)))
    model = built(cfg, geometry, asked.device)
    model.preprocess.fit(rows)
    if is_auto(cfg):
        _, model = with_dimension(cfg, model, rows)
    size = 4 * total * geometry.n_voxels / 2**20
    files = ", ".join(str(path) for path in showers.paths) or "yet to be generated"
    state = directory.status.text() if directory.config_path.exists() else "new"
    log.info("dry run: nothing is written, and not all showers are looked at (caloman data check)")
    log.info("output: %s (%s)", directory.path, state)
    log.info(
        "showers: %d of %s (%s): %d to learn from, %d to validate with; %d voxels, %.0f MiB",
        *(total, showers.name, files, *sizes, geometry.n_voxels, size),
    )
    log.info(
        "parameters: %d, of which %d draw showers",
        *(sum(p.numel() for p in model.parameters()), model.generating_parameters()),
    )
    cost = rehearse(settings, model, rows, sizes, asked.device)
    say_cost(cost._replace(memory=cost.memory + size), settings, model, rows, sizes)


class _Asked(NamedTuple):
    """What a command asks for, opened as far as nothing has to be read."""

    settings: TrainerSettings
    device: torch.device
    cache_dir: Path
    dataset: Dataset
    logger: Logger
    turning: tuple[str, str] | None  # the key that makes all orientations alike: as it is, as not


def _understood(cfg: DictConfig) -> tuple[DictConfig, _Asked]:
    """The config with what it takes over from elsewhere, and what it asks for.

    Raises:
        UserError: The model, the settings or the device do not serve.
    """
    settings = trainer_settings(cfg.trainer)
    device = resolve_device(cfg.device)
    cache_dir = default_cache_dir() if cfg.cache_dir is None else Path(cfg.cache_dir)
    dataset = open_dataset(cfg.dataset, _path(cfg.data_dir), cache_dir)
    cfg = with_part(cfg)
    model = build(with_latent_dim(cfg, 1), dataset.geometry)
    if settings.latents == "mean" and model.encoder.head.moment_dim:
        raise UserError(
            f"trainer.latents=mean: head={option_of('head', model.encoder.head)} has its decoder "
            "told of moments with noise, which means lack: use trainer.latents=sample"
        )
    logger, turning = make_logger(cfg.logger), None
    if model.encoder.n_turns > 1:
        turning = "encoder.augment=true", "encoder.augment=false"
    elif model.preprocess.orientation is not None:
        turning = "preprocess.orientation=canonical", "preprocess.orientation=none"
    return cfg, _Asked(settings, device, cache_dir, dataset, logger, turning)


def _require_two(showers: Showers, n: int) -> None:
    if n < 2:
        name = showers.paths[0] if showers.paths else showers.name
        raise UserError(
            f"{name} has one shower, which cannot be split into training and"
            " validation: give some thousands"
        )


def _require_a_distribution(showers: Showers, total: int | None = None) -> None:
    n = len(showers) if total is None else total
    energies, voxels = showers.read(0, min(len(showers), _LOOKED_AT))
    if n > 1 and (energies == energies[0]).all() and (voxels == voxels[0]).all():
        many = f"all {n}" if n <= _LOOKED_AT else f"the first {_LOOKED_AT} of {n}"
        raise UserError(
            f"{showers.name}: {many} showers are the same, so there is no distribution to learn:"
            " give showers that differ"
        )
    if n < _FEW:
        log.warning(
            "%s: %d showers are enough to see that everything works, not to learn what showers"
            " look like: give some thousands",
            *(showers.name, n),
        )


def _look_through(
    showers: Showers,
    voxels: np.ndarray,
    accept: str | list[str],
    turning: tuple[str, str] | None,
) -> None:
    """Say what ``data check`` would say; refuse what it calls not ok."""
    geometry = showers.geometry
    rows = block_rows(geometry.n_voxels)
    report = scan_array(showers.energies, voxels, geometry, rows)
    accepted = [accept] if isinstance(accept, str) else list(accept)
    wrong = {rule: text for rule, text in report.faults.items() if rule not in accepted}
    if wrong:
        raise UserError(
            f"{', '.join(str(path) for path in showers.paths)}: not ok: "
            f"{'; '.join(wrong.values())}; nothing can be learned from that, see 'caloman data "
            f"check', or go on all the same with accept=[{','.join(wrong)}]"
        )
    for text in (*report.faults.values(), *report.warnings):
        log.warning("%s: %s", showers.name, text)
    _say_asymmetric(report, turning, showers.name)


def _say_asymmetric(report: Report, turning: tuple[str, str] | None, name: str) -> None:
    """Warn where showers are turned about an axis that they are not symmetric about."""
    if turning is None or not report.asymmetric:
        return
    (key, instead), (first, *others) = turning, report.asymmetric
    log.warning(
        "%s: %s turns and mirrors showers, but layer %d is not symmetric about the axis: %s%s;"
        " what is drawn will be: give %s",
        *(name, key, first.layer, first, f" ({len(others)} more)" if others else "", instead),
    )


def _train(
    cfg: DictConfig, trainer: Trainer, showers: Showers, geometry: Geometry, voxels: np.ndarray
) -> None:
    directory, device = trainer.run, trainer.device
    store = VoxelStore(voxels, showers.energies, device)
    train_index, validation_index = _split(cfg, directory, len(showers))
    train, validation = ShowerRows(store, train_index), ShowerRows(store, validation_index)
    _record_data(directory, showers, train_index, validation_index)
    cfg, model = prepared_model(cfg, directory, geometry, train)
    log.info(
        "%s: %d showers to learn from, %d to validate with, on %s",
        directory.path,
        len(train),
        len(validation),
        device,
    )
    foretell(trainer, model, train, len(validation))
    make_stages(Workshop(trainer, model, train, validation))
    model.spectrum = Spectrum.measured(showers.energies[train_index])
    from caloman_cli.report.training import write_curves  # nothing else here draws

    write_curves(directory)  # before the model, whose seal ends the run
    save_model(directory.model_path, model, cfg)
    directory.files.seal(directory.model_path)
    log.info("trained: %s", directory.model_path)


def _split(cfg: DictConfig, directory: RunDirectory, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the training and the validation split, kept in ``split.npz``."""

    def divide() -> None:
        seed = mix(cfg.seed, SPLIT)
        train, validation = split_indices(n, cfg.dataset.validation_fraction, seed)
        with replacing(directory.split_path) as part, part.open("wb") as file:
            np.savez(file, train=train, validation=validation)

    directory.ensure_same(directory.split_path, divide)
    with np.load(directory.split_path) as split:
        return split["train"], split["validation"]


def _record_data(
    directory: RunDirectory, showers: Showers, train: np.ndarray, validation: np.ndarray
) -> None:
    """Refuses to go on with other showers than those a resumed run began with."""
    data = {
        "name": showers.name,
        "paths": [str(path) for path in showers.paths],
        "n": len(showers),
        "n_train": len(train),
        "n_validation": len(validation),
        "fingerprint": showers.fingerprint,
    }
    directory.record_data(data)


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value)
