"""The same command without ``output=`` goes on with its run that was cut, and with no other."""

import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from caloman_cli.run import RunDirectory
from caloman_cli.storage import write_json

TRAIN = ["train", "experiment=demo"]


@pytest.fixture
def train(caloman, monkeypatch):
    """Train without training; the output that each command was given."""

    def run(*more):
        seen = []
        monkeypatch.setattr("caloman_cli.verbs.train.run", seen.append)
        result = caloman(*TRAIN, *more)
        assert result.status == 0, result.err
        return seen[0], result.out

    return run


def begin(cfg, status, **facts):
    """What a training that was cut leaves behind; it cannot have begun in the same second."""
    folder = Path(cfg.output).with_name("2026-01-01_00-00-00")
    folder.mkdir(parents=True)
    run = RunDirectory(folder)
    run.write_config({**OmegaConf.to_container(cfg, resolve=True), "output": str(folder)})
    host = os.uname().nodename
    write_json(folder / "status.json", {"status": status, "host": host, "pid": 1, **facts})
    return str(folder)


def test_a_cut_run_is_found_and_said(train):
    cfg, _ = train()
    folder = begin(cfg, "interrupted")
    again, said = train()
    assert again.output == folder
    assert f"{folder} was cut: going on there (output=DIR begins another run)" in said


def test_a_killed_run_is_found(train):
    cfg, _ = train()
    folder = begin(cfg, "running", pid=2**22 + 1)
    assert train()[0].output == folder


@pytest.mark.parametrize("status", ["ok", "failed", "running"])
def test_other_runs_are_left_alone(train, status):
    cfg, _ = train()
    folder = begin(cfg, status, error={"message": "no"})
    assert train()[0].output != folder


@pytest.mark.parametrize("more", ["seed=2", "output=elsewhere", "overwrite=true"])
def test_another_command_is_another_run(train, more):
    cfg, _ = train()
    folder = begin(cfg, "interrupted")
    assert train(more)[0].output != folder
