"""Signals end every verb in one line, with its status, and leave nothing half-written."""

import os
import signal
import sys
import threading
import time

import pytest

from caloman_cli.cli import main as cli
from caloman_cli.data.writer import ShowerWriter
from caloman_cli.training.interruption import Interruption


@pytest.fixture
def while_writing(monkeypatch):
    """A signal when the writer is given its first showers."""

    def when(number):
        write = ShowerWriter.write

        def interrupted(self, energies, voxels):
            os.kill(os.getpid(), number)
            write(self, energies, voxels)

        monkeypatch.setattr(ShowerWriter, "write", interrupted)

    return when


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_one_line_and_nothing_left(tmp_path, while_writing, capsys, monkeypatch, number, status):
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(number)
    while_writing(number)
    words = ["data", "generate", "dataset=ds1_photons", "n=20", "out=g.hdf5"]
    assert cli.main(words) == status
    assert capsys.readouterr().err == f"caloman: stopped by {signal.Signals(number).name}\n"
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(number) is before


def test_nohup_is_obeyed(tmp_path, while_writing, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        while_writing(signal.SIGHUP)
        words = ["data", "generate", "dataset=ds1_photons", "n=20", "out=g.hdf5"]
        assert cli.main(words) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_sigterm_leaves_the_cleaning_alone():
    cleaned = []
    with pytest.raises(SystemExit), Interruption():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            cleaned.append(True)
    assert cleaned


def test_a_full_disk_is_one_line_wherever_it_is_met(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr(cli, "_dispatch", full)
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err == (
        "caloman: somewhere: no room left on the disk: free some or write elsewhere\n"
    )


def test_handlers_in_another_thread_are_not_touched():
    found = []
    thread = threading.Thread(target=lambda: found.append(cli.main(["--version"])))
    thread.start()
    thread.join()
    assert found == [0]
    assert sys.exc_info() == (None, None, None)
