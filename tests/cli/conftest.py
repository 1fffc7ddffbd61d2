"""The command line in this process, in a folder of its own."""

import logging
from dataclasses import dataclass

import pytest
import torch

from caloman_cli.cli import main


@dataclass
class Result:
    """What a command left: exit status and what it said."""

    status: int
    out: str
    err: str


@pytest.fixture
def caloman(capsys, tmp_path, tmp_path_factory, monkeypatch):
    """Run ``caloman`` with arguments in an empty folder; logging and threads are put back."""
    monkeypatch.chdir(tmp_path)
    for variable in ("CALOMAN_DEBUG", "CALOMAN_DATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("CALOMAN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    root, threads = logging.getLogger(), torch.get_num_threads()
    handlers, level = list(root.handlers), root.level

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Result(status, said.out, said.err)

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)
    torch.set_num_threads(threads)
