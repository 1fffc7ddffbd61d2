"""Every YAML in ``conf/`` composes and passes the check; experiments are what they were.

The resolved experiments are kept in ``tests/golden_configs``; after a change that is meant::

    CALOMAN_WRITE_GOLDEN=1 pytest tests/contracts/test_configs.py
"""

import os
from functools import cache
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from caloman_cli.config.compose import CONF, check_config, compose
from caloman_cli.data.geometry import Geometry
from caloman_cli.model import build

GOLDEN = Path(__file__).parents[1] / "golden_configs"
ELSEWHERE = {"geometry", "hydra"}  # geometry is composed by every dataset
SUITES = {"evaluation"}


def options(group: str = "**") -> list[tuple[str, str]]:
    return sorted(
        (path.parent.relative_to(CONF).as_posix(), path.stem)
        for path in CONF.glob(f"{group}/*.yaml")
        if path.parent != CONF and path.relative_to(CONF).parts[0] not in ELSEWHERE
    )


EXPERIMENTS = [option for _, option in options("experiment")]


def together() -> list[list[str]]:
    """Every option of every group of ``caloman train`` at least once, one of each group a time.

    Composing takes a tenth of a second, whatever the overrides.
    """
    groups: dict[str, list[str]] = {}
    for group, option in options():
        if group not in SUITES | {"experiment"}:
            groups.setdefault(group, []).append(option)
    turns = range(max(map(len, groups.values())))
    return [[f"{g}={known[i % len(known)]}" for g, known in groups.items()] for i in turns]


@cache
def experiment(name: str) -> DictConfig:
    """The config of ``caloman train experiment=NAME``; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("CALOMAN_DATA", "CALOMAN_CACHE"):
            patch.delenv(variable, raising=False)
        cfg = compose("train", [f"experiment={name}", "output=x"])
        check_config(cfg, "train", complete=False)
        OmegaConf.resolve(cfg)
    return cfg


@pytest.mark.parametrize("chosen", together(), ids=" ".join)
def test_every_option_of_a_training_composes_and_passes_the_check(chosen):
    check_config(compose("train", [*chosen, "output=x"]), "train", complete=False)


@pytest.mark.parametrize(("group", "option"), [o for group in SUITES for o in options(group)])
def test_every_suite_composes_and_passes_the_check(group, option):
    cfg = compose("evaluate", [f"{group}={option}", "run=x"])
    check_config(cfg, "evaluate", complete=False)


def test_no_option_is_empty_or_unused():
    used = {"dataset", "preprocess", "energy", "encoder", "head", "density", "calibration"}
    used |= {"trainer", "logger", "recipe"}
    assert {group for group, _ in options()} <= used | SUITES | {"experiment"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_resolved_experiments_are_what_they_were(name):
    cfg = experiment(name).copy()
    cfg.dataset.geometry = cfg.dataset.geometry.name  # its facts have tests of their own
    resolved = OmegaConf.to_yaml(cfg, resolve=True, sort_keys=True)
    golden = GOLDEN / f"{name}.yaml"
    if os.environ.get("CALOMAN_WRITE_GOLDEN"):
        golden.write_text(resolved)
    assert golden.is_file(), "write it: see the head of this file"
    assert resolved == golden.read_text()


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name.startswith("flagship_")])
def test_flagships_build_and_stay_small(name):
    """What draws showers: everything but the network that only training needs."""
    cfg = experiment(name)
    geometry = Geometry.from_dict(OmegaConf.to_container(cfg.dataset.geometry))
    model = build(cfg, geometry)
    recognition = sum(p.numel() for p in model.encoder.encoder.parameters())
    everything = sum(p.numel() for p in model.parameters())
    assert 0 < model.generating_parameters() == everything - recognition < 30e6


def test_no_golden_config_has_lost_its_experiment():
    kept = {path.stem for path in GOLDEN.glob("*.yaml")}
    assert kept == set(EXPERIMENTS)
