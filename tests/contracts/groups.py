"""What contract tests need to make every option of a config group."""

import pytest
from omegaconf import DictConfig, OmegaConf

from caloman_cli.data.geometry import Geometry
from caloman_cli.model import make
from tests.conftest import ROOT, load_geometry

SMALL = {"latent_dim": 3, "hidden": [16], "mask_hidden": 16, "n_blocks": 1, "n_layers": 2}


def options(group: str) -> list[str]:
    """The options of a group: the names of its YAML files."""
    return sorted(path.stem for path in (ROOT / f"conf/{group}").glob("*.yaml"))


def small(group: str, option: str) -> DictConfig:
    """An option's config with sizes that train in no time."""
    cfg = OmegaConf.load(ROOT / f"conf/{group}/{option}.yaml")
    assert isinstance(cfg, DictConfig)
    for key, value in SMALL.items():
        if key in cfg and not (isinstance(value, list) and isinstance(cfg[key], int)):
            cfg[key] = value
    if isinstance(cfg.get("hidden"), int):
        cfg.hidden = 16
    return cfg


def maker(group: str, option: str):
    """The constructor of an option, waiting for its build-time arguments."""
    return make(small(group, option))


@pytest.fixture(params=["tiny", "ds1_photons"])
def detector(request, tiny_geometry) -> Geometry:
    """The contract holds for any detector: a toy and an official one."""
    return tiny_geometry if request.param == "tiny" else load_geometry(request.param)
