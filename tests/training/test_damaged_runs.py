"""Every file of a run directory emptied, cut, flipped, replaced: one line or made again.

Never a table or a model from bytes that are not those that were written.
"""

import hashlib
import logging
import shutil
import subprocess

import numpy as np
import pytest
from omegaconf import OmegaConf

from caloman_cli.cli.endings import MISTAKE, explain
from caloman_cli.config.compose import compose as composed
from caloman_cli.data.files import read_json, write_json
from caloman_cli.errors import UserError
from caloman_cli.models.two_step import load_model
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.training.interruption import Preempted
from caloman_cli.verbs import sample, train
from tests.training.test_train_verb import compose, write_showers

FILES = (
    "config.yaml", "provenance.json", "status.json", "history.jsonl", "split.npz", "preprocess.pt",
    "latents.h5", "energy/done.json", "energy/best.pt", "encoder/done.json", "encoder/best.pt",
    "density/done.json", "density/best.pt", "density/last.pt", "model.pt",
)  # fmt: skip
DAMAGES = {
    "emptied": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "flipped": lambda content: flipped(content),
    "replaced": lambda content: b"this is not what was here\n",
    "binary": lambda content: np.random.default_rng(0).bytes(len(content)),
}
SOME = [
    pytest.param(damage, marks=() if damage in ("emptied", "flipped") else pytest.mark.slow)
    for damage in DAMAGES
]
AGAIN = {"status.json", "history.jsonl", "split.npz", "preprocess.pt", "latents.h5", "model.pt"}
"""What the run made and can make again; of the others, a person is told."""


def flipped(content):
    """64 bytes in the middle inverted."""
    middle = len(content) // 2
    part = bytes(255 - byte for byte in content[middle : middle + 64])
    return content[:middle] + part + content[middle + 64 :]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_geometry):
    """A finished run that nobody has touched."""
    path = tmp_path_factory.mktemp("damaged")
    write_showers(path, tiny_geometry)
    train.run(compose(path, tiny_geometry))
    return path


@pytest.fixture(scope="module")
def cfg(folder, tiny_geometry):
    return compose(folder, tiny_geometry)


@pytest.fixture
def unfinished(folder, cfg, tmp_path):
    """A copy whose model is still to be put together, and its config."""
    shutil.copytree(folder / "run", tmp_path / "run")
    (tmp_path / "run/model.pt").unlink()
    return tmp_path / "run", OmegaConf.merge(cfg, {"output": str(tmp_path / "run")})


def drawn(path, out):
    """The bytes of a sample but for its attributes."""
    import h5py

    asked = [f"run={path}", f"out={out}", "n=20", "batch_size=100", "device=cpu"]
    sample.run(composed("sample", [*asked, "overwrite=true"]))
    with h5py.File(out) as file:
        return file["showers"][:]


@pytest.mark.parametrize("damage", SOME)
@pytest.mark.parametrize("name", FILES)
def test_train_again(folder, unfinished, name, damage):
    path, cfg = unfinished
    good = folder / "run" / name
    (path / name).write_bytes(DAMAGES[damage](good.read_bytes()))
    try:
        train.run(cfg)
    except UserError as error:
        assert name not in AGAIN
        status, line = explain(error)
        assert status == MISTAKE
        assert name in line or "holds another run" in line
        assert len(line) < 300 + len(str(path)) * 3
        return
    # Nothing was wrong with what the result rests on, or it was made again.
    assert digest(path / "model.pt") == digest(folder / "run/model.pt") or same_model(
        path / "model.pt", folder / "run/model.pt"
    )
    if name in {"split.npz", "preprocess.pt", "latents.h5"}:
        assert digest(path / name) == digest(good)


def same_model(left, right):
    a, b = (load_model(path)[0].state_dict() for path in (left, right))
    return all((a[name] == b[name]).all() for name in a)


@pytest.mark.parametrize("name", ["energy/best.pt", "density/done.json"])
def test_the_advice_works(folder, unfinished, name):
    path, cfg = unfinished
    (path / name).write_bytes(b"")
    with pytest.raises(UserError, match="remove") as refused:
        train.run(cfg)
    named = str(refused.value).split("remove ")[1].split(",")[0]
    place = path / name if named == "it" else type(path)(named)
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    train.run(cfg)
    assert same_model(path / "model.pt", folder / "run/model.pt")


@pytest.mark.parametrize("damage", SOME)
def test_a_damaged_model_is_neither_complete_nor_sampled(folder, unfinished, damage, caplog):
    path, cfg = unfinished
    good = folder / "run/model.pt"
    (path / "model.pt").write_bytes(DAMAGES[damage](good.read_bytes()))
    with pytest.raises(UserError, match=r"model.pt is damaged: the same 'caloman train'"):
        drawn(path, path / "s.hdf5")
    alone = path.parent / "alone.pt"
    shutil.copy(path / "model.pt", alone)
    with pytest.raises(UserError, match=r"alone.pt is damaged or not a model file"):
        drawn(alone, path / "s.hdf5")
    assert not (path / "s.hdf5").exists()
    train.run(cfg)
    assert "is complete already" not in caplog.text
    assert same_model(path / "model.pt", good)
    with caplog.at_level(logging.INFO):
        train.run(cfg)
    assert "is complete already" in caplog.text
    shutil.copy(good, alone)
    np.testing.assert_array_equal(
        drawn(alone, path / "a.hdf5"), drawn(folder / "run", path / "b.hdf5")
    )


def test_no_flipped_byte_of_a_model_file_goes_unnoticed(folder, tmp_path):
    """Refused, or in a place that holds nothing."""
    content = (folder / "run/model.pt").read_bytes()
    whole, path = load_model(folder / "run/model.pt")[0].state_dict(), tmp_path / "model.pt"
    noticed = 0
    for place in np.linspace(0, len(content) - 1, 40).astype(int):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            found = load_model(path)[0].state_dict()
        except UserError:
            noticed += 1
        else:
            assert all((found[name] == whole[name]).all() for name in whole)
    assert noticed > 10


def test_what_the_encoder_has_become_counts(unfinished, caplog):
    """Other latents than those that the density learned from: it is trained again."""
    path, cfg = unfinished
    run = RunDirectory(path)
    run.files.seal(run.latents_path, of="another encoder")
    train.run(cfg)
    assert "latents.h5 is damaged or outdated: made again" in caplog.text
    assert "density: trained on other latents" not in caplog.text  # they are the same
    with (path / "latents.h5").open("ab") as file:
        file.write(b"other latents")
    run.files.seal(run.latents_path, of="another encoder")
    (path / "model.pt").unlink()
    train.run(cfg)
    assert "density: trained on other latents: trained again" in caplog.text
    assert not run.files.damaged()


def test_who_is_not_there_any_more(tmp_path):
    run = RunDirectory(tmp_path)
    config = {"seed": 1, "output": str(tmp_path)}
    with pytest.raises(Preempted), run.claimed(config):
        assert run.status.text().startswith("running, process")
        before = read_json(run.status.path)
        raise Preempted(15)
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    write_json(run.status.path, {**before, "pid": gone.pid})
    with pytest.raises(
        UserError, match=r"no model yet \(training: cut off, process \d+ on \S+ is gone\)"
    ):
        run.require_model()
    run.status.path.write_bytes(b"{")
    with pytest.raises(UserError, match=r"no model yet \(training: unknown\)"):
        run.require_model()
