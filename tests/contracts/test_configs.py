"""Every YAML in ``conf/`` composes and passes the check; experiments are what they were.

The resolved experiments are kept in ``tests/golden_configs``; after a change that is meant::

    CALOMAN_WRITE_GOLDEN=1 pytest tests/contracts/test_configs.py
"""

import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from caloman_cli.config import CONF, check_config, compose

GOLDEN = Path(__file__).parents[1] / "golden_configs"
ELSEWHERE = {"geometry", "hydra"}  # geometry is composed by every dataset
SUITES = {"evaluation"}


def options(group: str = "**") -> list[tuple[str, str]]:
    return sorted(
        (path.parent.relative_to(CONF).as_posix(), path.stem)
        for path in CONF.glob(f"{group}/*.yaml")
        if path.parent != CONF and path.relative_to(CONF).parts[0] not in ELSEWHERE
    )


@pytest.mark.parametrize(("group", "option"), options(), ids=map("=".join, options()))
def test_every_option_composes_and_passes_the_check(group, option):
    verb, needed = ("evaluate", ["run=x"]) if group in SUITES else ("train", ["output=x"])
    cfg = compose(verb, [f"{group}={option}", *needed])
    check_config(cfg, verb, complete=False)


def test_no_option_is_empty_or_unused():
    used = {"dataset", "preprocess", "energy", "encoder", "head", "density", "trainer", "logger"}
    assert {group for group, _ in options()} <= used | SUITES | {"experiment"}


@pytest.mark.parametrize("experiment", [option for _, option in options("experiment")])
def test_resolved_experiments_are_what_they_were(experiment, monkeypatch):
    for variable in ("CALOMAN_DATA", "CALOMAN_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    cfg = compose("train", [f"experiment={experiment}", "output=x"])
    cfg.dataset.geometry = cfg.dataset.geometry.name  # its facts have tests of their own
    resolved = OmegaConf.to_yaml(cfg, resolve=True, sort_keys=True)
    golden = GOLDEN / f"{experiment}.yaml"
    if os.environ.get("CALOMAN_WRITE_GOLDEN"):
        golden.write_text(resolved)
    assert golden.is_file(), "write it: see the head of this file"
    assert resolved == golden.read_text()


def test_no_golden_config_has_lost_its_experiment():
    kept = {path.stem for path in GOLDEN.glob("*.yaml")}
    assert kept == {option for _, option in options("experiment")}
