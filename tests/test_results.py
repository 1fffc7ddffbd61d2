"""Folders of results appear whole, one process at a time, and take nothing of others away."""

import subprocess
import sys

import pytest

from caloman_cli.errors import UserError
from caloman_cli.runs.results import appearing

OWN = ("mark.json", "plots", "extra.md")


def fill(final, *names):
    with appearing(final, OWN, "mark.json") as part:
        for name in ("mark.json", *names):
            (part / name).write_text(name)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_nothing_is_there_before_the_end(tmp_path):
    final = tmp_path / "a" / "b"
    with appearing(final, OWN, "mark.json") as part:
        (part / "mark.json").touch()
        assert not final.exists()
    assert names(final) == ["mark.json"]
    assert names(final.parent) == ["b"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_nothing_and_the_old_folder_as_it_was(tmp_path, error):
    fill(tmp_path / "old", "extra.md")
    for final in (tmp_path / "old", tmp_path / "new" / "er"):
        with pytest.raises(error), appearing(final, OWN, "mark.json") as part:
            (part / "mark.json").write_text("half")
            raise error
    assert names(tmp_path) == ["old"]
    assert names(tmp_path / "old") == ["extra.md", "mark.json"]
    assert (tmp_path / "old/mark.json").read_text() == "mark.json"


def test_a_replaced_folder_keeps_what_others_put_there(tmp_path):
    fill(tmp_path / "a", "extra.md")
    (tmp_path / "a/notes.txt").write_text("mine")
    (tmp_path / "a/plots").mkdir()
    fill(tmp_path / "a")
    assert names(tmp_path / "a") == ["mark.json", "notes.txt"]


def test_other_folders_and_files_are_refused(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").touch()
    for name, said in (("file", "is a file"), ("thesis", "something else"), ("file/a", "output=")):
        with pytest.raises(UserError, match=said):
            fill(tmp_path / name)
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "empty")
    assert names(tmp_path) == ["empty", "file", "thesis"]


def test_two_at_a_time_do_not_mix(tmp_path):
    final = tmp_path / "a"
    with appearing(final, OWN, "mark.json") as part:
        (part / "mark.json").write_text("first")
        with pytest.raises(UserError, match="written by another process"):
            fill(final)
    assert (final / "mark.json").read_text() == "first"
    fill(final)


KILLED = """
import os, signal, sys
from pathlib import Path
from caloman_cli.runs.results import appearing

def work(final):
    with appearing(final, ("mark.json", "extra.md"), "mark.json") as part:
        for name in ("mark.json", "extra.md"):
            (part / name).write_text("new")

def killed(final, moment):
    seen = 0
    def watch(event, arguments):
        nonlocal seen
        changes = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
        if event in changes or event == "open" and arguments[1] == "w":
            seen += 1
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)
    if os.fork() == 0:
        sys.addaudithook(watch)
        work(final)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.wait()[1])

moment = 1
while killed(Path(sys.argv[1], str(moment)), moment):
    moment += 1
sys.stdout.write(str(moment))
"""


def test_killed_before_any_change_of_the_disk_the_next_one_ends_as_ever(tmp_path):
    """A folder to be replaced, with a stranger's file in it; at every moment of the work."""
    for moment in range(1, 30):
        fill(tmp_path / str(moment), "extra.md")
        (tmp_path / str(moment) / "notes.txt").touch()
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    moments = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert moments > 8
    for moment in range(1, moments):
        final = tmp_path / str(moment)
        fill(final)
        assert names(final) == ["mark.json", "notes.txt"], moment
        assert (final / "mark.json").read_text() == "mark.json"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
