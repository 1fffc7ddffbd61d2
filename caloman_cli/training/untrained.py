"""The model before its training: built, its preprocessing fitted, ``auto`` made a number."""

import logging
import math

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from caloman_cli.data.files import load_state, save_state
from caloman_cli.data.geometry import Geometry
from caloman_cli.metrics.intrinsic_dimension import estimate_latent_dim
from caloman_cli.models.noise import mix
from caloman_cli.models.two_step import TwoStep, build
from caloman_cli.runs.differences import RESOLVED
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.training.rows import ShowerRows, VoxelRows
from caloman_cli.training.seeds import DIMENSION, WEIGHTS

log = logging.getLogger(__name__)

_DIMENSION_SHOWERS = 10_000
_DIMENSION_COMPARISONS = 2 * 10**11  # a few minutes on one core


def prepared_model(
    cfg: DictConfig, directory: RunDirectory, geometry: Geometry, train: ShowerRows
) -> tuple[DictConfig, TwoStep]:
    """The config and the model, with fitted preprocessing and a number for ``latent_dim=auto``."""
    device = train.store.device
    stored = directory.config
    if "auto" not in directory.files.read():
        directory.record(auto=list(RESOLVED) if is_auto(cfg) else [])
    if is_auto(cfg) and not is_auto(stored):
        cfg = with_latent_dim(cfg, stored.encoder.latent_dim)
    model = built(cfg, geometry, device)

    def fit() -> None:
        model.preprocess.fit(train)
        save_state(directory.preprocess_path, model.preprocess.state_dict())

    directory.ensure_same(directory.preprocess_path, fit)
    model.preprocess.load_state_dict(load_state(directory.preprocess_path, device))
    if is_auto(cfg):
        cfg, model = with_dimension(cfg, model, train)
        directory.write_config(plain(cfg))
    return cfg, model


def with_dimension(
    cfg: DictConfig, model: TwoStep, train: ShowerRows
) -> tuple[DictConfig, TwoStep]:
    """Both with what ``latent_dim=auto`` becomes for these showers.

    Args:
        cfg: The verb's config.
        model: Of any dimension, with fitted preprocessing.
        train: The showers to learn from.
    """
    cfg = with_latent_dim(cfg, _dimension(cfg, model, train))
    other = built(cfg, model.geometry, train.store.device)
    other.preprocess.load_state_dict(model.preprocess.state_dict())
    return cfg, other


def built(cfg: DictConfig, geometry: Geometry, device: torch.device) -> TwoStep:
    torch.manual_seed(mix(cfg.seed, WEIGHTS))
    return build(with_latent_dim(cfg, 1) if is_auto(cfg) else cfg, geometry).to(device)


def _dimension(cfg: DictConfig, model: TwoStep, train: ShowerRows) -> int:
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


def is_auto(cfg: DictConfig) -> bool:
    return "latent_dim" in cfg.encoder and cfg.encoder.latent_dim == "auto"


def with_latent_dim(cfg: DictConfig, latent_dim: int) -> DictConfig:
    """A copy of the config with a number in the place of ``encoder.latent_dim=auto``."""
    copy = OmegaConf.create(plain(cfg))
    if is_auto(copy):
        copy.encoder.latent_dim = latent_dim
    return copy


def plain(cfg: DictConfig) -> dict:
    """The config as plain types."""
    values = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(values, dict)
    return values
