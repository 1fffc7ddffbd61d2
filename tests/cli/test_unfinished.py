"""The same command without ``output=`` goes on with its run that was cut, and with no other."""

import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from caloman_cli.config.compose import compose
from caloman_cli.data.files import write_json
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.runs.unfinished import go_on


@pytest.fixture(scope="module")
def asked():
    """What ``train seed=3`` composes."""
    cfg = compose("train", ["seed=3", "output=x", "dataset=ds1_photons"])
    return OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))


def begin(cfg, place, status, **facts):
    """What a training that was cut leaves behind; it cannot have begun in the same second."""
    folder = place / "2026-01-01_00-00-00"
    folder.mkdir(parents=True)
    run = RunDirectory(folder)
    run.write_config({**OmegaConf.to_container(cfg, resolve=True), "output": str(folder)})
    host = os.uname().nodename
    write_json(folder / "status.json", {"status": status, "host": host, "pid": 1, **facts})
    return str(folder)


def output(cfg, place):
    """Where the same command goes."""
    again = cfg.copy()
    again.output = str(place / "2026-01-02_00-00-00")
    go_on(again)
    return again.output


@pytest.mark.parametrize(
    ("status", "facts", "found"),
    [
        ("interrupted", {}, True),
        ("running", {"pid": 2**22 + 1}, True),  # of a process that is gone
        ("running", {}, False),
        ("ok", {}, False),
        ("failed", {"error": {"message": "no"}}, False),
    ],
)
def test_a_run_that_was_cut_is_found(asked, tmp_path, status, facts, found):
    folder = begin(asked, tmp_path, status, **facts)
    assert (output(asked, tmp_path) == folder) is found


def test_another_config_is_another_run(asked, tmp_path):
    folder = begin(asked, tmp_path, "interrupted")
    assert output(asked, tmp_path) == folder
    asked = asked.copy()
    asked.seed = 4
    assert output(asked, tmp_path) != folder


@pytest.mark.parametrize("more", [[], ["output=elsewhere"]])
def test_the_command_says_so(caloman, monkeypatch, more):
    seen = []
    monkeypatch.setattr("caloman_cli.verbs.train.run", seen.append)
    assert caloman("train", "experiment=demo").status == 0
    folder = begin(seen[0], Path(seen[0].output).parent, "interrupted")
    said = caloman("train", "experiment=demo", *more).out
    assert (seen[1].output == folder) is (not more)
    line = f"{folder} was cut: going on there (output=DIR begins another run)"
    assert (line in said) is (not more)
