"""``caloman train``: showers in, a run directory with a model out."""

import logging
import math
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from caloman_cli.config.check import trainer_settings
from caloman_cli.config.options import option_of
from caloman_cli.data.cache import default_cache_dir, voxel_array
from caloman_cli.data.files import load_state, replacing, save_state
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.scan import scan_array
from caloman_cli.data.showers import Showers, block_rows
from caloman_cli.data.sources import open_dataset, split_indices
from caloman_cli.data.spectrum import Spectrum
from caloman_cli.errors import UserError
from caloman_cli.loggers import make_logger
from caloman_cli.metrics.intrinsic_dimension import estimate_latent_dim
from caloman_cli.models.noise import mix
from caloman_cli.models.two_step import TwoStep, build, save_model
from caloman_cli.runs.device import resolve_device
from caloman_cli.runs.differences import RESOLVED
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.training.reuse import Reuse
from caloman_cli.training.rows import ShowerRows, VoxelRows, VoxelStore
from caloman_cli.training.seeds import DIMENSION, SPLIT, WEIGHTS
from caloman_cli.training.session import session
from caloman_cli.training.stages import Workshop, make_stages
from caloman_cli.training.takeover import with_part
from caloman_cli.training.trainer import Trainer

log = logging.getLogger(__name__)

_FEW = 200  # showers that no model learns from
_LOOKED_AT = 1000  # showers, for whether they differ
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
    cfg = with_part(cfg)
    model = build(_with_latent_dim(cfg, 1), dataset.geometry)
    if settings.latents == "mean" and model.encoder.head.moment_dim:
        raise UserError(
            f"trainer.latents=mean: head={option_of('head', model.encoder.head)} has its decoder "
            "told of moments with noise, which means lack: use trainer.latents=sample"
        )
    logger = make_logger(cfg.logger)
    showers, config = dataset.train(), _plain(cfg)
    _require_a_distribution(showers)
    complete = not cfg.overwrite and RunDirectory(cfg.output).is_complete()
    directory = RunDirectory(cfg.output)
    directory.refuse_strangers(config, cfg.overwrite)
    if len(showers) < 2:
        raise UserError(
            f"{showers.paths[0]} has one shower, which cannot be split into training and"
            " validation: give some thousands"
        )
    voxels = None if complete else voxel_array(showers, cache_dir)
    if voxels is not None and (cfg.overwrite or not directory.config_path.exists()):
        _look_through(showers, voxels, cfg.accept)
    if cfg.reuse is None or complete:
        reuse = None
    else:
        reuse = Reuse(Path(cfg.reuse), config, showers.fingerprint)
    with session(cfg, config, settings, device, logger) as trainer:
        if trainer is not None:
            if reuse is not None:
                reuse.give(trainer.run)
            # Complete a moment ago, and begun anew by another process since.
            voxels = voxel_array(showers, cache_dir) if voxels is None else voxels
            _train(cfg, trainer, showers, dataset.geometry, voxels)
    return Path(cfg.output)


def _require_a_distribution(showers: Showers) -> None:
    n = len(showers)
    energies, voxels = showers.read(0, min(n, _LOOKED_AT))
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


def _look_through(showers: Showers, voxels: np.ndarray, accept: str | list[str]) -> None:
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


def _train(
    cfg: DictConfig, trainer: Trainer, showers: Showers, geometry: Geometry, voxels: np.ndarray
) -> None:
    directory, device = trainer.run, trainer.device
    store = VoxelStore(voxels, showers.energies, device)
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
    make_stages(Workshop(trainer, model, train, validation))
    model.spectrum = Spectrum.measured(showers.energies[train_index])
    save_model(directory.model_path, model, cfg)
    directory.files.seal(directory.model_path)
    log.info("trained: %s", directory.model_path)


def _prepared_model(
    cfg: DictConfig, directory: RunDirectory, geometry: Geometry, train: ShowerRows
) -> tuple[DictConfig, TwoStep]:
    """The config and the model, with fitted preprocessing and a number for ``latent_dim=auto``."""
    device = train.store.device
    stored = directory.config
    if "auto" not in directory.files.read():
        directory.record(auto=list(RESOLVED) if _is_auto(cfg) else [])
    if _is_auto(cfg) and not _is_auto(stored):
        cfg = _with_latent_dim(cfg, stored.encoder.latent_dim)
    model = _built(cfg, geometry, device)

    def fit() -> None:
        model.preprocess.fit(train)
        save_state(directory.preprocess_path, model.preprocess.state_dict())

    directory.ensure_same(directory.preprocess_path, fit)
    model.preprocess.load_state_dict(load_state(directory.preprocess_path, device))
    if _is_auto(cfg):
        fitted = model.preprocess.state_dict()
        cfg = _with_latent_dim(cfg, _intrinsic_dimension(cfg, model, train))
        directory.write_config(_plain(cfg))
        model = _built(cfg, geometry, device)
        model.preprocess.load_state_dict(fitted)
    return cfg, model


def _built(cfg: DictConfig, geometry: Geometry, device: torch.device) -> TwoStep:
    torch.manual_seed(mix(cfg.seed, WEIGHTS))
    return build(_with_latent_dim(cfg, 1) if _is_auto(cfg) else cfg, geometry).to(device)


def _intrinsic_dimension(cfg: DictConfig, model: TwoStep, train: ShowerRows) -> int:
    """The number that ``latent_dim=auto`` becomes, from the training split as the encoder sees it.

    Every pair of showers is compared in every voxel, so the more voxels the fewer showers.
    """
    x_dim = model.preprocess.x_dim
    n = min(len(train), _DIMENSION_SHOWERS, math.isqrt(_DIMENSION_COMPARISONS // x_dim))
    seed = mix(cfg.seed, DIMENSION)
    chosen = np.sort(np.random.default_rng(seed).choice(len(train), n, replace=False))
    x, _ = VoxelRows(train, model.preprocess).rows(chosen)
    found = estimate_latent_dim(x.cpu().numpy())
    latent_dim = min(found, model.encoder.most_latents)
    log.info("encoder.latent_dim=auto is %d, estimated from %d showers", found, n)
    if latent_dim < found:
        log.warning("encoder.latent_dim=auto: %d, the most that this encoder has", latent_dim)
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


def _plain(cfg: DictConfig) -> dict:
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return plain
