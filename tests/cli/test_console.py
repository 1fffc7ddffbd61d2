"""What is said: warnings marked and once, and a standard output that cannot be written."""

import errno
import io
import logging
import sys

import pytest

from caloman_cli.runs import progress

log = logging.getLogger("caloman_cli.verbs.data_check")


class Full(io.TextIOBase):
    """A standard output on a full disk, or whose reader has gone."""

    def __init__(self, error):
        self.error = error

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error


@pytest.fixture
def saying(monkeypatch):
    """A verb that says what the test wants."""

    def says(work):
        monkeypatch.setattr("caloman_cli.verbs.data_check.run", lambda cfg: work())

    return says


COMMAND = ("data", "check", "x", "dataset=ds2")


def test_warnings_are_marked_and_come_once(caloman, saying):
    def work():
        log.info("a table\nof two lines")
        for number in (1, 1, 2):
            log.warning("%d of 5 latents\n are active", number)
        log.error("no more paper")
        logging.getLogger("matplotlib.font_manager").info("generated new fontManager")

    saying(work)
    assert caloman(*COMMAND).out.splitlines() == [
        "a table",
        "of two lines",
        "warning: 1 of 5 latents are active",
        "warning: 2 of 5 latents are active",
        "error: no more paper",
    ]


def test_every_job_may_warn(caloman, saying):
    saying(lambda: log.warning("again"))
    result = caloman("data", "check", "-m", "file=x", "dataset=ds2,ds3")
    assert result.out.count("warning: again\n") == 2


@pytest.mark.parametrize("arguments", [COMMAND, ("--help",), ("sample", "--help")])
def test_a_full_disk_behind_the_output_is_one_line(caloman, saying, monkeypatch, arguments):
    saying(lambda: log.info("the report"))
    monkeypatch.setattr(sys, "stdout", Full(OSError(errno.ENOSPC, "No space left on device")))
    result = caloman(*arguments)
    assert result.status != 0
    assert result.err.count("\n") == 1, result.err
    assert "No space left" in result.err or "no room left" in result.err


def test_a_reader_that_has_gone_is_no_failure(caloman, saying, monkeypatch):
    saying(lambda: log.info("the report"))
    monkeypatch.setattr(sys, "stdout", Full(BrokenPipeError()))
    result = caloman(*COMMAND)
    assert (result.status, result.err) == (0, "")


def test_on_a_terminal_the_log_has_epochs_and_the_console_a_bar(caloman, saying, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    kept = []

    class Keep(logging.Handler):
        def emit(self, record):
            kept.append(record.getMessage())

    def work():
        package = logging.getLogger("caloman_cli")
        handler = Keep()
        package.addHandler(handler)
        monkeypatch.setattr(sys, "stderr", Terminal())
        line = progress.ProgressLine("encoder", 0, 4)
        for number in (1, 2):
            line.step()
            line.step()
            line.epoch(number, 2, {"train/loss": 1.23456}, final=number == 2)
        line.close()
        package.removeHandler(handler)

    saying(work)
    out = caloman(*COMMAND).out
    assert "epoch" not in out
    assert kept[0].startswith("encoder: epoch 1 of 2  train/loss 1.235  about ")
    assert kept[1] == "encoder: epoch 2 of 2  train/loss 1.235"


@pytest.mark.parametrize("name", ["fontTools.subset", "matplotlib.font_manager"])
def test_other_packages_do_not_tell_of_their_work(caloman, saying, name):
    """A picture as PDF came with a hundred lines about the tables of its fonts."""
    saying(lambda: logging.getLogger(name).info("glyf pruned"))
    assert "pruned" not in caloman("data", "check", "x", "dataset=ds2").out
