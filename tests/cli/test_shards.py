"""A sample in shards is the sample, whoever draws which of them and however often it is killed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest


@pytest.fixture
def run(denoising_run):
    """A run whose density and head both draw."""
    return f"run={denoising_run}"


ASKED = {
    "spectrum": ["n=57"],
    "one energy": ["n=57", "energy=4096"],
    "a range": ["n=57", "energy=[1e3,1e5]"],
    "a file": ["energies=FILE"],
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_shards_in_any_order_are_the_bytes_of_one_file(caloman, run, files, asked):
    words = [run, *(word.replace("FILE", str(files["reference"])) for word in asked), "seed=3"]
    words.append("batch_size=9")
    assert caloman("sample", *words, "out=whole.hdf5").status == 0
    for shard in (2, 0, 3, 1):
        made = caloman("sample", *words, "shards=4", f"shard={shard}", "out=parts")
        assert made.status == 0, made.err
    assert caloman("data", "merge", "parts", "out=merged.hdf5").status == 0
    assert Path("whole.hdf5").read_bytes() == Path("merged.hdf5").read_bytes()


@pytest.mark.parametrize("compression", ["fast", "none"])
def test_shards_are_packed_as_the_whole(caloman, run, compression):
    words = [run, "n=20", "batch_size=5", f"compression={compression}"]
    caloman("sample", *words, "out=whole.hdf5")
    caloman("sample", *words, "shards=3", "out=parts")
    caloman("data", "merge", "parts", "out=merged.hdf5")
    assert Path("whole.hdf5").read_bytes() == Path("merged.hdf5").read_bytes()


def test_what_is_there_is_not_drawn_again(caloman, run, tmp_path):
    words = [run, "n=50", "shards=5", "out=parts"]
    caloman("sample", *words, "shard=1")
    before = (tmp_path / "parts" / "shard-1.hdf5").stat().st_mtime_ns
    dry = caloman("sample", *words, "--dry-run")
    assert "4 shards of 5 to draw" in dry.out and "40 showers" in dry.out
    again = caloman("sample", *words)
    assert "1 shard in" in again.out
    assert (tmp_path / "parts" / "shard-1.hdf5").stat().st_mtime_ns == before
    assert "5 shards in" in caloman("sample", *words).out
    with h5py.File("parts/shard-1.hdf5") as file:
        assert file.attrs["rows"] == "10:20" and file.attrs["shard"] == "1 of 5"


def test_a_folder_of_shards_is_read_as_a_file(caloman, run, files):
    words = [run, f"energies={files['reference']}", "seed=2", "batch_size=7"]
    caloman("sample", *words, "out=whole.hdf5")
    caloman("sample", *words, "shards=3", "out=parts")
    scores = []
    for generated in ("whole.hdf5", "parts"):
        done = caloman(
            "evaluate", f"generated={generated}", f"reference={files['reference']}",
            "dataset=ds1_photons", "evaluation=only", "metric=separation",
            f"output=scores_{generated}",
        )  # fmt: skip
        assert done.status == 0, done.err
        scores.append(json.loads(Path(f"scores_{generated}/metrics.json").read_text())["scores"])
    assert scores[0] == scores[1]
    checked = caloman("data", "check", "parts", "dataset=ds1_photons")
    assert checked.status == 0 and "shards" in checked.out + checked.err
    assert caloman("sample", run, "energies=parts", "out=again.hdf5").status == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["n=20", "shard=1"], "shard=1 needs shards="),
        (["n=20", "shards=4", "shard=4"], "shards are numbered from 0 to 3"),
        (["n=3", "shards=4"], "shards=4 for 3 showers"),
        (["n=20", "shards=4", "overwrite=true"], "overwrite=true goes with one file"),
        (["n=20", "shards=4", "out=showers"], "has other files in it"),
        (["n=20", "shards=4", "out=showers/a"], "is a file: give a folder for the shards"),
    ],
)
def test_what_is_no_cut_of_a_sample_is_refused(caloman, run, words, said, tmp_path):
    (tmp_path / "showers").mkdir()
    (tmp_path / "showers" / "a").write_text("mine")
    done = caloman("sample", run, *words)
    assert done.status == 2 and said in done.err
    assert (tmp_path / "showers" / "a").read_text() == "mine"


def test_shards_of_another_sample_are_refused(caloman, run):
    caloman("sample", run, "n=20", "shards=4", "shard=0", "out=parts")
    for other in (
        ["n=20", "seed=2"],
        ["n=21"],
        ["n=20", "energy=1e4"],
        ["n=20", "compression=none"],
    ):
        done = caloman("sample", run, "n=20", *other, "shards=4", "shard=1", "out=parts")
        assert done.status == 2 and "holds another sample" in done.err, other


def test_missing_shards_are_named(caloman, run, files):
    caloman("sample", run, "n=20", "shards=4", "shard=2", "out=parts")
    for words in (
        ["data", "merge", "parts", "out=merged.hdf5"],
        ["data", "check", "parts", "dataset=ds1_photons"],
        ["evaluate", "generated=parts", f"reference={files['reference']}", "dataset=ds1_photons"],
    ):
        done = caloman(*words)
        assert done.status == 2 and "lacks 3 shards of 4 (0, 1, 3)" in done.err, words


def test_a_shard_that_was_exchanged_is_refused(caloman, run, tmp_path):
    caloman("sample", run, "n=20", "shards=2", "out=parts")
    first, second = tmp_path / "parts" / "shard-0.hdf5", tmp_path / "parts" / "shard-1.hdf5"
    first.write_bytes(second.read_bytes())
    done = caloman("data", "merge", "parts", "out=merged.hdf5")
    assert done.status == 2 and "is not shard 0 of its sample, rows 0:10" in done.err
    assert not (tmp_path / "merged.hdf5").exists()


@pytest.mark.slow
def test_twenty_kills_cost_a_shard_each(caloman, run, tmp_path):
    """SIGKILL at twenty moments of a production; the merged file is that of one process."""
    words = [run, "n=3000", "seed=5", "batch_size=50"]
    caloman("sample", *words, "out=whole.hdf5")
    command = [sys.executable, "-m", "caloman_cli", "sample", *words, "shards=60", "out=parts"]
    for kill in range(20):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        before = _there(tmp_path)
        while process.poll() is None and _there(tmp_path) < before + 2:
            time.sleep(0.002)
        time.sleep(0.003 * kill)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    caloman("data", "merge", "parts", "out=merged.hdf5")
    assert (tmp_path / "whole.hdf5").read_bytes() == (tmp_path / "merged.hdf5").read_bytes()
    assert sorted(path.name for path in (tmp_path / "parts").iterdir())[-1] == "shard-59.hdf5"
    assert len(list((tmp_path / "parts").iterdir())) == 61


def _there(folder):
    return len(list(folder.glob("parts/shard-*.hdf5")))
