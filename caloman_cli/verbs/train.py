"""``caloman train``: showers in, a run directory with a model out."""

import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from caloman_cli.data.cache import default_cache_dir, voxel_array
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.showers import Showers
from caloman_cli.data.sources import open_dataset, split_indices
from caloman_cli.device import resolve_device
from caloman_cli.latents import active_dimensions, read_latents, write_latents
from caloman_cli.loggers import make_logger, watching
from caloman_cli.metrics.intrinsic_dimension import estimate_latent_dim
from caloman_cli.model import TwoStep, build, save_model
from caloman_cli.noise import mix
from caloman_cli.provenance import collect
from caloman_cli.run import RunDirectory
from caloman_cli.storage import load_state, replacing, save_state
from caloman_cli.trainer import Trainer
from caloman_cli.training.interruption import Interruption, Preempted
from caloman_cli.training.rows import ShowerRows, VoxelRows, VoxelStore, layer_rows
from caloman_cli.training.settings import TrainerSettings, trainer_settings

log = logging.getLogger(__name__)

_SPLIT, _WEIGHTS, _DIMENSION = range(3)  # what a seed is for
_DIMENSION_SHOWERS = 10_000
_DIMENSION_COMPARISONS = 2 * 10**11  # a few minutes on one core


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
    settings = trainer_settings(cfg.trainer)
    device = resolve_device(cfg.device)
    cache_dir = default_cache_dir() if cfg.cache_dir is None else Path(cfg.cache_dir)
    dataset = open_dataset(cfg.dataset, _path(cfg.data_dir), cache_dir)
    build(_with_latent_dim(cfg, 1), dataset.geometry)
    logger = make_logger(cfg.logger)
    showers = dataset.train()
    directory = RunDirectory(cfg.output)
    config = _plain(cfg)
    with Interruption() as interruption, directory.claimed(config, overwrite=cfg.overwrite):
        if directory.model_path.exists():
            log.info("%s is complete already", directory.path)
            return directory.path
        _configure_cuda(device, settings)
        directory.record(**collect(config, device))
        with _log_file(directory.log_path), watching(logger, directory.path, config):
            try:
                trainer = Trainer(
                    directory,
                    settings,
                    seed=cfg.seed,
                    device=device,
                    logger=logger,
                    interruption=interruption,
                )
                _train(cfg, trainer, showers, dataset.geometry, cache_dir)
            except Preempted as stop:
                log.warning(
                    "stopped by %s; the same command with output=%s goes on",
                    stop.signal,
                    directory.path,
                )
                raise
    return directory.path


def _train(
    cfg: DictConfig, trainer: Trainer, showers: Showers, geometry: Geometry, cache_dir: Path
) -> None:
    directory, device = trainer.run, trainer.device
    store = VoxelStore(voxel_array(showers, cache_dir), showers.energies, device)
    train_index, validation_index = _split(cfg, directory, len(showers))
    train, validation = ShowerRows(store, train_index), ShowerRows(store, validation_index)
    _record_data(directory, showers, train_index, validation_index)
    cfg, model = _prepared_model(cfg, directory, geometry, train)
    log.info(
        "%s: %d showers to learn from, %d to validate with, on %s",
        directory.path,
        len(train),
        len(validation),
        device,
    )
    preprocess = model.preprocess
    if directory.stage("energy").done:
        _fit(trainer, "energy", model, train, validation)
    else:
        layers = layer_rows(train, preprocess), layer_rows(validation, preprocess)
        _fit(trainer, "energy", model, *layers)
    x_train, x_validation = VoxelRows(train, preprocess), VoxelRows(validation, preprocess)
    _fit(trainer, "encoder", model, x_train, x_validation)
    if not directory.latents_path.exists():
        everything = VoxelRows(ShowerRows(store, np.arange(len(store))), preprocess)
        write_latents(directory.latents_path, model.encoder, everything, train_index)
        log.info(
            "%d of %d latents are active",
            active_dimensions(directory.latents_path),
            model.encoder.latent_dim,
        )
    latents = read_latents(directory.latents_path, trainer.settings.latents, device)
    _fit(trainer, "density", model, *latents)
    save_model(directory.model_path, model, cfg)
    log.info("trained: %s", directory.model_path)


def _fit(trainer: Trainer, stage: str, model: TwoStep, train: Any, validation: Any) -> None:
    part = {"energy": model.energy, "encoder": model.encoder, "density": model.density}[stage]
    complete = trainer.run.stage(stage).done
    summary = trainer.fit(stage, part, train, validation)
    trainer.run.record_stage(stage, summary)
    if not complete:
        log.info(
            "%s: %s epochs in %.1f s, best %s %s at epoch %s",
            stage,
            summary["epochs"],
            summary["seconds"],
            summary["score"],
            summary["best_score"],
            summary["best_epoch"],
        )


def _prepared_model(
    cfg: DictConfig, directory: RunDirectory, geometry: Geometry, train: ShowerRows
) -> tuple[DictConfig, TwoStep]:
    """The config and the model, with fitted preprocessing and a number for ``latent_dim=auto``."""
    device = train.store.device
    stored = directory.config
    if _is_auto(cfg) and not _is_auto(stored):
        cfg = _with_latent_dim(cfg, stored.encoder.latent_dim)
    model = _built(cfg, geometry, device)
    if directory.preprocess_path.exists():
        model.preprocess.load_state_dict(load_state(directory.preprocess_path, device))
    else:
        model.preprocess.fit(train)
        save_state(directory.preprocess_path, model.preprocess.state_dict())
    if _is_auto(cfg):
        fitted = model.preprocess.state_dict()
        cfg = _with_latent_dim(cfg, _intrinsic_dimension(cfg, model, train))
        directory.write_config(_plain(cfg))
        model = _built(cfg, geometry, device)
        model.preprocess.load_state_dict(fitted)
    return cfg, model


def _built(cfg: DictConfig, geometry: Geometry, device: torch.device) -> TwoStep:
    torch.manual_seed(mix(cfg.seed, _WEIGHTS))
    return build(_with_latent_dim(cfg, 1) if _is_auto(cfg) else cfg, geometry).to(device)


def _intrinsic_dimension(cfg: DictConfig, model: TwoStep, train: ShowerRows) -> int:
    """The number that ``latent_dim=auto`` becomes, from the training split as the encoder sees it.

    Every pair of showers is compared in every voxel, so the more voxels the fewer showers.
    """
    x_dim = model.preprocess.x_dim
    n = min(len(train), _DIMENSION_SHOWERS, math.isqrt(_DIMENSION_COMPARISONS // x_dim))
    seed = mix(cfg.seed, _DIMENSION)
    chosen = np.sort(np.random.default_rng(seed).choice(len(train), n, replace=False))
    x, _ = VoxelRows(train, model.preprocess).rows(chosen)
    latent_dim = estimate_latent_dim(x.cpu().numpy())
    log.info("encoder.latent_dim=auto is %d, estimated from %d showers", latent_dim, n)
    return latent_dim


def _is_auto(cfg: DictConfig) -> bool:
    return "latent_dim" in cfg.encoder and cfg.encoder.latent_dim == "auto"


def _with_latent_dim(cfg: DictConfig, latent_dim: int) -> DictConfig:
    """A copy of the config with a number in the place of ``encoder.latent_dim=auto``."""
    copy = OmegaConf.create(_plain(cfg))
    if _is_auto(copy):
        copy.encoder.latent_dim = latent_dim
    return copy


def _split(cfg: DictConfig, directory: RunDirectory, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the training and the validation split, kept in ``split.npz``."""
    if not directory.split_path.exists():
        seed = mix(cfg.seed, _SPLIT)
        train, validation = split_indices(n, cfg.dataset.validation_fraction, seed)
        with replacing(directory.split_path) as part, part.open("wb") as file:
            np.savez(file, train=train, validation=validation)
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


def _configure_cuda(device: torch.device, settings: TrainerSettings) -> None:
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Kernels without a deterministic form are used all the same, and say so once.
    torch.use_deterministic_algorithms(settings.deterministic, warn_only=True)
    warnings.filterwarnings("once", message=".*deterministic.*", category=UserWarning)
    torch.backends.cuda.matmul.allow_tf32 = settings.tf32


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """What the package logs goes to a file too."""
    package = logging.getLogger("caloman_cli")
    level = package.level
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        handler.close()


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value)


def _plain(cfg: DictConfig) -> dict:
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return plain
