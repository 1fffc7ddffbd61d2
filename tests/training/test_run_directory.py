"""A run directory belongs to one run, one process, and is never half-written."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from caloman_cli.data.files import load_state, read_json, replacing, save_state, write_json
from caloman_cli.errors import CannotWrite, UserError
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.training.interruption import Preempted

CONFIG = {
    "seed": 1,
    "output": "x",
    "device": "cpu",
    "dataset": {"name": "mine", "train": ["/here/showers.hdf5"]},
    "encoder": {"latent_dim": 20, "beta": 1.0},
}


def claim(path, config=CONFIG, **options):
    with RunDirectory(path).claimed(config, **options):
        pass


def test_config_and_status_are_written(tmp_path):
    path = tmp_path / "a/b"
    with RunDirectory(path).claimed(CONFIG):
        assert read_json(path / "status.json")["status"] == "running"
    assert read_json(path / "status.json")["status"] == "ok"
    assert RunDirectory(path).config == CONFIG


def test_a_name_is_what_the_run_is_called_and_makes_no_other_one(tmp_path):
    for folder, label in (("flow/2026-11-30", "flow"), ("mine", "mine")):
        claim(tmp_path / folder)
        assert RunDirectory(tmp_path / folder).label == label
    claim(tmp_path / "a", {**CONFIG, "name": "third try", "tags": ["draft"]})
    assert RunDirectory(tmp_path / "a").label == "third try"
    claim(tmp_path / "a", {**CONFIG, "name": "fourth try", "tags": []})
    run = RunDirectory(tmp_path / "a")
    assert (run.label, run.config.tags) == ("fourth try", ["draft"])  # what was given is new
    claim(tmp_path / "a", {**CONFIG, "name": None, "tags": ["good", "final"]})
    assert (run.label, run.config.tags) == ("fourth try", ["good", "final"])
    run.write_config({**CONFIG, "name": None, "tags": []})  # `auto` became a number
    assert (run.label, run.config.tags) == ("fourth try", ["good", "final"])
    assert RunDirectory(tmp_path / "none").label == "none"


def test_same_config_elsewhere_and_otherwise_watched_is_the_same_run(tmp_path):
    claim(tmp_path)
    moved = {"name": "mine", "train": ["/there/showers.hdf5"]}
    claim(tmp_path, {**CONFIG, "output": "y", "device": "cuda", "dataset": moved})
    claim(tmp_path, {**CONFIG, "logger": {"mode": "offline"}})


def test_other_config_is_refused_with_what_differs(tmp_path):
    claim(tmp_path)
    other = {**CONFIG, "seed": 2, "encoder": {"latent_dim": 20, "beta": 0.5}}
    with pytest.raises(UserError, match=r"seed: 1 -> 2; encoder.beta: 1.0 -> 0.5.*overwrite=true"):
        claim(tmp_path, other)
    assert RunDirectory(tmp_path).config == CONFIG


def test_auto_is_the_same_as_what_it_became(tmp_path):
    claim(tmp_path)
    claim(tmp_path, {**CONFIG, "encoder": {"latent_dim": "auto", "beta": 1.0}})


def test_auto_is_not_a_number_that_was_given(tmp_path):
    claim(tmp_path)
    RunDirectory(tmp_path).record(auto=[])
    asked = {**CONFIG, "encoder": {"latent_dim": "auto", "beta": 1.0}}
    with pytest.raises(UserError, match="encoder.latent_dim: 20 -> auto"):
        claim(tmp_path, asked)
    RunDirectory(tmp_path).record(auto=["encoder.latent_dim"])
    claim(tmp_path, asked)


def test_overwrite_removes_the_other_run_and_nothing_else(tmp_path):
    claim(tmp_path)
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder/done.json").write_text("{}")
    (tmp_path / "model.pt").write_text("")
    (tmp_path / "notes.txt").write_text("mine")
    claim(tmp_path, {**CONFIG, "seed": 2}, overwrite=True)
    assert RunDirectory(tmp_path).config.seed == 2
    assert not (tmp_path / "encoder").exists()
    assert not (tmp_path / "model.pt").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_of_something_else_is_never_touched(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="holds files of something else"):
        claim(tmp_path, overwrite=overwrite)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_second_process_is_refused(tmp_path):
    script = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
        "f.write('process 12 on node3'); f.flush(); print('locked', flush=True); time.sleep(60)"
    )
    claim(tmp_path)
    command = [sys.executable, "-c", script, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        try:
            with pytest.raises(UserError, match="in use by process 12 on node3"):
                claim(tmp_path)
        finally:
            holder.kill()
            holder.wait()
    claim(tmp_path)  # the dead holder's lock is gone


def test_failure_is_recorded_with_its_traceback(tmp_path):
    with pytest.raises(ValueError, match="boom"), RunDirectory(tmp_path).claimed(CONFIG):
        raise ValueError("boom")
    status = read_json(tmp_path / "status.json")
    assert (status["status"], status["error"]["type"]) == ("failed", "ValueError")
    assert "raise ValueError" in status["error"]["traceback"]


def test_preemption_is_no_failure(tmp_path):
    with pytest.raises(Preempted), RunDirectory(tmp_path).claimed(CONFIG):
        raise Preempted(15)
    assert read_json(tmp_path / "status.json")["status"] == "interrupted"


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"value": 1})
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.json") as part:
        part.write_text('{"val')
        raise KeyboardInterrupt
    assert read_json(tmp_path / "a.json") == {"value": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_is_one_clear_line_and_the_old_checkpoint_stays(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_state(path, {"step": 1})

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CannotWrite, match=r"last.pt: no room left on the disk"):
        save_state(path, {"step": 2})
    assert load_state(path) == {"step": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


def test_checkpoints_run_no_code_and_damage_is_said(tmp_path):
    torch.save({"path": tmp_path}, tmp_path / "foreign.pt")
    with pytest.raises(UserError, match=r"foreign.pt is damaged or not a checkpoint"):
        load_state(tmp_path / "foreign.pt")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UserError, match=r"cut.pt is damaged"):
        load_state(tmp_path / "cut.pt")
    with pytest.raises(UserError, match="does not exist"):
        load_state(tmp_path / "none.pt")


def test_not_a_run_directory(tmp_path):
    with pytest.raises(UserError, match="is no run directory"):
        RunDirectory(tmp_path).require_model()
    claim(tmp_path)
    with pytest.raises(UserError, match=r"has no model yet \(training: ok\)"):
        RunDirectory(tmp_path).require_model()


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make output="):
        claim(tmp_path / "file/run")


def test_older_formats_are_read_and_newer_ones_refused_in_one_line(tmp_path):
    run = RunDirectory(tmp_path / "run")
    with run.claimed(CONFIG):
        pass
    path, text = run.config_path, run.config_path.read_text()
    assert text.startswith("format: 2\n")
    assert "format" not in run.config  # of the file, not of the run
    path.write_text(text.removeprefix("format: 2\n"))  # as 0.1 wrote it
    assert RunDirectory(run.path).config == run.config
    with run.claimed(CONFIG):
        pass
    for number in ("3", "0", "new"):
        path.write_text(text.replace("format: 2", f"format: {number}"))
        with pytest.raises(UserError, match=f"format {number}, .* reads up to 2") as refused:
            _ = run.config
        assert "\n" not in str(refused.value)
    status = read_json(run.status.path)
    assert (status["format"], run.status.text()) == (2, "ok")
    write_json(run.status.path, {"status": "ok"})
    assert run.status.text() == "ok"
    write_json(run.status.path, {"format": 3, "status": {"ok": True}})
    assert run.status.text() == "unknown"
