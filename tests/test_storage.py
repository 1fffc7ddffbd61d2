"""Files appear whole, keep what they had when something goes wrong, and leave nothing behind."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import filelock
import h5py
import pytest

import caloman_cli
from caloman_cli.data.files import is_part, replacing, write_text
from caloman_cli.errors import CannotWrite

_KILLED = """
import os, sys
from pathlib import Path
from caloman_cli.data.files import replacing
with replacing(Path(sys.argv[1])) as part:
    part.write_text("half")
    if len(sys.argv) > 2:
        print("ready", flush=True)
        sys.stdin.readline()
    os._exit(9)
"""


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def killed(path, *words, **settings):
    command = [sys.executable, "-c", _KILLED, str(path), *words]
    return subprocess.Popen(command, text=True, **settings)


def test_what_a_killed_writer_left_goes_with_the_next_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    assert killed(path).wait() == 9
    assert path.read_text() == "old"
    assert len(names(tmp_path)) == 2
    write_text(tmp_path / "b.txt", "another file of that folder")
    assert names(tmp_path) == ["a.txt", "b.txt"]


def test_two_writers_of_one_file_never_meet(tmp_path):
    """Neither removes nor renames what the other is writing; the last one wins."""
    path = tmp_path / "a.txt"
    with killed(path, "wait", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        write_text(path, "whole")
        assert path.read_text() == "whole"
        assert [is_part(name) for name in names(tmp_path)] == [True, False]
        other.communicate("\n")
    with replacing(path) as outer, replacing(path) as inner:
        assert outer != inner
        inner.write_text("first")
        outer.write_text("last")
    assert path.read_text() == "last"
    assert names(tmp_path) == ["a.txt"]


def test_without_locks_only_old_leftovers_go(tmp_path, monkeypatch):
    def unknown(*_, **__):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(filelock, "lock_descriptor", unknown)
    old, young = (tmp_path / f".caloman-{digit * 12}.part" for digit in "ab")
    foreign = tmp_path / ".mine.part"
    for part in (old, young, foreign):
        part.write_text("")
    os.utime(old, (1, 1))
    os.utime(foreign, (1, 1))
    write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == sorted([young.name, foreign.name, "a.txt"])


def test_hdf5_can_be_written_under_the_lock(tmp_path):
    with replacing(tmp_path / "a.h5") as part, h5py.File(part, "w", locking=False) as file:
        file["x"] = [1, 2]
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file["x"]) == [1, 2]


def test_the_new_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "ours", "")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_name_as_long_as_the_system_allows(tmp_path):
    write_text(tmp_path / ("é" * 125 + ".json"), "x")
    assert len(names(tmp_path)) == 1


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(CannotWrite, match="a cannot be written: Is a directory"):
        write_text(tmp_path / "a", "x")
    assert names(tmp_path) == ["a"]


def test_no_module_needs_what_only_unix_has_to_be_imported():
    """Python has neither of these on Windows; inside a function they may be asked for."""
    unix = {"fcntl", "grp", "pwd", "resource", "termios"}
    for path in Path(caloman_cli.__file__).parent.rglob("*.py"):
        for line in ast.parse(path.read_text()).body:
            names = {name.name for name in getattr(line, "names", ())}
            names.add(getattr(line, "module", None))
            assert not (isinstance(line, ast.Import | ast.ImportFrom) and names & unix), path
