"""What contract tests need to make every option of a config group."""

import itertools
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor

from caloman_cli.config.targets import named, trusting
from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.errors import UserError
from caloman_cli.models.densities.base import Density
from caloman_cli.models.encoders.base import Encoder
from caloman_cli.models.heads.base import Head
from caloman_cli.models.latents import Latents, LayerLatents
from caloman_cli.models.preprocess.conditions import Conditions
from caloman_cli.models.preprocess.preprocess import Preprocess
from caloman_cli.models.trainable import TensorRows
from caloman_cli.models.two_step import make
from tests.conftest import ROOT, TINY, load_geometry

SMALL = {
    "latent_dim": 3,
    "hidden": [16],
    "mask_hidden": 16,
    "n_blocks": 1,
    "n_layers": 2,
    "state": 16,
    "width": 16,
}

# What else makes an option dear, if its YAML has it.
LIGHT = {
    "vqvae": {"n_codes": 8, "code_width": 2},
    "vae_cylinder": {"layer_latents": 1},  # the class is that of vae, which has none
    "forest": {"times": 2, "copies": 2, "trees": 3},
    "unconditional": {"part": {"n_layers": 1, "hidden": 16, "n_blocks": 1}},
    "levels": {"part": {"n_layers": 1, "hidden": 16, "n_blocks": 1}},
    "clustered": {
        "clusters": 2,
        "least": 20,
        "part": {"n_layers": 1, "hidden": 16, "n_blocks": 1},
    },  # fmt: skip
    "constrained_ebm": {"chains": 200, "walk": 2, "steps": 3},
    "implicit": {"function_hidden": [16], "chains": 200, "walk": 2},
    "ebm": {"chains": 200, "walk": 2, "steps": 5},
    "tr0n": {
        "hidden": [16],
        "width": 16,
        "steps": 5,
        "part": {"n_layers": 1, "hidden": 16, "n_blocks": 1},
    },  # fmt: skip
}

N_CODES = 5
TOYS = ROOT / "tests/toys/conf"


def options(group: str) -> list[str]:
    """The options of a group: the names of its YAML files."""
    return sorted(path.stem for path in (ROOT / f"conf/{group}").glob("*.yaml"))


def toys(group: str) -> list[str]:
    """The options that strangers add to a group."""
    return sorted(path.stem for path in (TOYS / group).glob("*.yaml"))


def folder(group: str, option: str) -> Path:
    """Where an option's YAML is."""
    return (TOYS if option in toys(group) else ROOT / "conf") / group


def target(group: str, option: str) -> str:
    """The class that an option names."""
    name: str = OmegaConf.load(folder(group, option) / f"{option}.yaml")._target_
    return name


def loaded(group: str, option: str) -> DictConfig:
    """An option's config, with the parts that its defaults name."""
    cfg = OmegaConf.load(folder(group, option) / f"{option}.yaml")
    assert isinstance(cfg, DictConfig)
    for entry in cfg.pop("defaults", []):
        if entry != "_self_":
            ((place, part),) = entry.items()
            cfg[place.partition("@")[2]] = loaded(group, part)
    return cfg


def small(group: str, option: str) -> DictConfig:
    """An option's config with sizes that train in no time."""
    return deepcopy(_small(group, option))


@cache
def _small(group: str, option: str) -> DictConfig:
    """The same, not to be changed: reading it takes longer than making the part."""
    cfg = loaded(group, option)
    cfg.merge_with(LIGHT.get(option, {}))
    for key, value in SMALL.items():
        if key in cfg and not (isinstance(value, list) and isinstance(cfg[key], int)):
            cfg[key] = value
    if isinstance(cfg.get("hidden"), int):
        cfg.hidden = 16
    return cfg


def maker(group: str, option: str):
    """The constructor of an option, waiting for its build-time arguments."""
    return made(group, option, small(group, option))


def made(group: str, option: str, cfg: DictConfig | ListConfig):
    """The same with a config of one's own."""
    values: Any = OmegaConf.to_container(cfg)
    with trusting(named(values) if option in toys(group) else ()):
        return make({group: values}, group)


def build_density(option: str, z_dim: int = 4, c_dim: int = 3, **settings) -> Density:
    """A small density of the latents that it learns, with some settings of one's own."""
    unmade = made("density", option, OmegaConf.merge(small("density", option), settings))
    codes = "real" not in unmade.func.accepts
    latents = Latents(z_dim, "codes", N_CODES)
    if not codes:
        latents = Latents(z_dim, constraint=plane, layers=layered(z_dim, c_dim))
    density: Density = unmade(latents=latents, c_dim=c_dim)
    return density


def layered(z_dim: int, c_dim: int) -> LayerLatents:
    """All but the first and the last of latents are those of layers, one of each."""
    told = (min(i, c_dim) - 1 for i in range(2, z_dim))
    return LayerLatents(1, 1, tuple((i,) if c_dim else () for i in told))


def plane(z: Tensor, c: Tensor) -> Tensor:
    """A manifold for densities that walk on one."""
    return z[:, :1] - z[:, 1:2] if z.shape[1] > 1 else z


def flat(n: int) -> dict:
    """Build-time arguments of a head of n voxels, for tests that want no detector: C = 3."""
    layers = (Layer(0, tuple(float(edge) for edge in range(n + 1)), 1),)
    geometry = Geometry("flat", "photon", layers, threshold=0.1, max_response=2.0)
    conditions = Conditions()
    conditions.bind(geometry)
    return {"geometry": geometry, "conditions": conditions}


def image_geometry() -> Geometry:
    """Layers of one shape, as in datasets 2 and 3."""
    layers = tuple(Layer(i, (0.0, 5.0, 10.0, 20.0), 8) for i in range(5))
    span = (1e3, 1e5)
    return Geometry("image", "electron", layers, 0.015, 2.0, incident_range=span)


@pytest.fixture(params=["tiny", "ds1_photons", "image"])
def detector(request, tiny_geometry) -> Geometry:
    """The contract holds for any detector: a toy, an official one, one of equal layers."""
    return detectors(tiny_geometry)[request.param]


def toy_for(head: str, tiny: Geometry) -> Geometry:
    """The smallest detector that a head serves, for what does not depend on the detector."""
    return image_geometry() if head.startswith("cylinder") else tiny


def detectors(tiny: Geometry) -> dict[str, Geometry]:
    """The detectors of the contract tests, by name."""
    return {"tiny": tiny, "ds1_photons": load_geometry("ds1_photons"), "image": image_geometry()}


def showers(geometry: Geometry, n: int = 80) -> tuple[Tensor, Tensor]:
    """Plausible voxels (n, V) and incident energies (n, 1) [MeV]: always the same first n.

    Exact zeros, readout cut, energies that fall with the radius, and a first and last layer that
    are empty in some showers.
    """
    generator = torch.Generator().manual_seed(1)
    e_inc = torch.logspace(3.5, 5, 80)[torch.randperm(80, generator=generator)][:n, None]
    profile = torch.cat(
        [
            torch.exp(-2.0 * torch.arange(layer.n_r) / layer.n_r).repeat(layer.n_alpha)
            for layer in geometry.layers
        ]
    )
    size = (80, geometry.n_voxels)
    voxels = profile * torch.empty(size).exponential_(generator=generator)
    voxels *= torch.rand(size, generator=generator) < 0.3 + 0.6 * profile
    voxels[::5, geometry.slices[0]] = 0.0
    voxels[3::7, geometry.slices[-1]] = 0.0
    voxels = voxels[:n] * e_inc / geometry.n_voxels
    return torch.where(voxels >= geometry.threshold, voxels, 0.0), e_inc


@cache
def shares(geometry: Geometry) -> Preprocess:
    """``preprocess=shares`` as fitted on :func:`showers`; not to be changed."""
    preprocess = maker("preprocess", "shares")(geometry=geometry)
    preprocess.fit(TensorRows(*showers(geometry)))
    return preprocess


def share_rows(geometry: Geometry, n: int = 80) -> tuple[Tensor, Tensor]:
    """x (n, V) and c (n, C) of :func:`showers`."""
    x, c = shares(geometry)(*showers(geometry, n))
    return x, c


def make_head(option: str, geometry: Geometry) -> Head:
    """A small head for ``preprocess=shares``.

    Raises:
        UserError: The head refuses the detector.
    """
    made: Head = maker("head", option)(geometry=geometry, conditions=shares(geometry).conditions)
    return made


def make_encoder(option: str, head: str, geometry: Geometry) -> Encoder:
    """A small encoder with a head.

    Raises:
        UserError: One of them refuses the other.
    """
    dims = {"x_dim": geometry.n_voxels, "c_dim": shares(geometry).c_dim}
    made: Encoder = maker("encoder", option)(**dims, head=make_head(head, geometry))
    return made


def serves(head: str, geometry: Geometry) -> bool:
    """Whether a head takes a detector."""
    try:
        make_head(head, geometry)
    except UserError:
        return False
    return True


def served() -> list[tuple[str, str]]:
    """Heads with the names of the detectors that they take."""
    every = itertools.product(options("head"), detectors(tiny()).items())
    return [(head, name) for head, (name, geometry) in every if serves(head, geometry)]


def tiny() -> Geometry:
    """The fixture ``tiny_geometry``, for what is decided before there are fixtures."""
    return Geometry.from_dict(TINY)
