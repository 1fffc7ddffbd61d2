"""Every file that cannot be used ends every verb in one line with status 2 and leaves nothing.

The default run composes the config of a verb once and gives the verb one file after the other;
the slow one types every command.
"""

import json
import logging
from importlib import import_module

import pytest
import torch
from omegaconf import OmegaConf

from caloman_cli.cli.endings import explain
from caloman_cli.config.compose import absolute_paths, compose
from caloman_cli.data.binning import read_binning
from caloman_cli.data.detector import dataset_geometry
from caloman_cli.data.geometry import Geometry
from caloman_cli.models.trainable import TensorRows
from caloman_cli.models.two_step import build, save_model
from caloman_cli.runs.directory import RunDirectory
from tests import corpus

UNUSABLE = {**corpus.BROKEN, **corpus.BAD_VOXELS}
DETECTOR = [
    "dataset=custom", "dataset.geometry.particle=electron", "dataset.geometry.threshold=0.1",
    "dataset.geometry.max_response=2", "dataset.geometry.incident_range=[1e3,1e5]",
]  # fmt: skip
SMALL = [
    "preprocess=shares", "energy=nsf", "energy.hidden=8", "encoder=ae", "encoder.hidden=[8]",
    "encoder.latent_dim=2", "head=gaussian", "density=standard_normal", "trainer=quick",
    *(f"trainer.{stage}.epochs=1" for stage in ("energy", "encoder", "density")),
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the detector, a good file, another detector's run, and a model to sample."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "tiny.xml").write_text(corpus.XML)
    good = corpus.make(folder, corpus.UNUSUAL, "plain")
    detector = [*DETECTOR, f"dataset.geometry_xml={folder / 'tiny.xml'}"]
    cfg = compose("train", [*detector, *SMALL, "output=x", f"dataset.train=[{good}]"])
    model = build(cfg, dataset_geometry(cfg.dataset))
    e_inc, voxels = (torch.as_tensor(part).float() for part in corpus.good())
    model.preprocess.fit(TensorRows(voxels, e_inc))
    x, c = model.preprocess(voxels, e_inc)
    model.energy.prepare(TensorRows(model.preprocess.context(voxels, e_inc).layers, e_inc))
    model.encoder.prepare(TensorRows(x, c))
    model.density.prepare(TensorRows(model.encoder.encode(x, c).detach(), c))
    (folder / "run").mkdir()
    save_model(folder / "run/model.pt", model, cfg)
    RunDirectory(folder / "run").write_config(OmegaConf.to_container(cfg, resolve=True))
    return folder, good, detector


def words(verb, home, path, out):
    """What a user types, with the file in the place that the verb has for it."""
    folder, good, detector = home
    return {
        "data_check": [*detector, f"file={path}"],
        "train": [*detector, *SMALL, f"dataset.train=['{path}']", f"output={out}"],
        "evaluate": [
            *detector, f"generated={path}", f"reference={good}", "evaluation=histograms",
            "evaluation.separation.plots=none", f"output={out}",
        ],
        "sample": [f"run={folder / 'run'}", f"energies={path}", f"out={out}/x.hdf5"],
    }[verb]  # fmt: skip


@pytest.fixture(scope="module")
def composed(home):
    """The checked config of a verb, for a file whose name is put in later."""
    return {
        verb: compose(verb, words(verb, home, "FILE", "OUT"))
        for verb in ("data_check", "train", "evaluate", "sample")
    }


@pytest.fixture
def run(composed, tmp_path, tmp_path_factory, monkeypatch):
    """Status and line of a verb for a file, as ``caloman`` would end."""
    monkeypatch.setenv("CALOMAN_CACHE", str(tmp_path_factory.getbasetemp() / "corpus-cache"))
    monkeypatch.chdir(tmp_path)
    level = logging.getLogger("caloman_cli").level

    def outcome(verb, path):
        text = json.dumps(OmegaConf.to_container(composed[verb]))
        cfg = OmegaConf.create(
            json.loads(text.replace('"FILE"', json.dumps(str(path))).replace('"OUT', '"left'))
        )
        try:
            absolute_paths(cfg, verb)
            import_module(f"caloman_cli.verbs.{verb}").run(cfg)
        except Exception as error:  # noqa: BLE001  what the command line makes of it is the test
            return explain(error)
        return 0, ""

    yield outcome
    logging.getLogger("caloman_cli").setLevel(level)


def expect(answer, path, tmp_path, before):
    status, line = answer
    assert status == 2, line
    assert "failed:" not in line
    assert "\n" not in line
    assert len(line) < 400 + 2 * len(str(path))
    assert path.is_symlink() or path.name in line or "no distribution" in line
    assert {entry.name for entry in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", list(UNUSABLE))
def test_an_unusable_file(run, tmp_path, name):
    path = corpus.make(tmp_path, UNUSABLE, name)
    before = {entry.name for entry in tmp_path.iterdir()}
    for verb in ("data_check", "train", "evaluate"):
        expect(run(verb, path), path, tmp_path, before)
    if name in corpus.BROKEN:
        expect(run("sample", path), path, tmp_path, before)


@pytest.mark.parametrize("name", list(corpus.NOT_OK))
def test_nothing_is_learned_from_what_is_not_ok(run, tmp_path, name):
    path = corpus.make(tmp_path, corpus.NOT_OK, name)
    for verb in ("data_check", "train"):
        answer = run(verb, path)
        expect(answer, path, tmp_path, {path.name})
        assert "not ok: " in answer[1] or "there is no distribution to learn" in answer[1]
    assert "accept=[" in answer[1] or "no distribution" in answer[1]


@pytest.mark.parametrize("name", list(corpus.UNUSUAL))
def test_an_unusual_file_is_a_file(run, tmp_path, name):
    path = corpus.make(tmp_path, corpus.UNUSUAL, name)
    assert run("data_check", path) == (0, "")


def test_sampling_needs_energies_only(run, tmp_path):
    for name in ("voxel NaN", "no showers", "stored in /etc/passwd"):
        path = corpus.make(tmp_path, corpus.BAD_VOXELS, name)
        assert run("sample", path) == (0, "")
        (tmp_path / "left/x.hdf5").unlink()


def test_one_may_go_on_all_the_same(caloman, home, tmp_path):
    path = corpus.make(tmp_path, corpus.NOT_OK, "few showers, many times")
    done = caloman("train", *words("train", home, path, "out"), "accept=[copies]")
    assert done.status == 0, done.err
    assert "95 of 100 showers are exact copies" in done.out + done.err


def test_a_single_shower_is_too_few(run, tmp_path):
    e, v = corpus.good(n=1)
    corpus.write(tmp_path / "one.hdf5", e, v)
    expect(run("train", tmp_path / "one.hdf5"), tmp_path / "one.hdf5", tmp_path, {"one.hdf5"})


@pytest.mark.slow
@pytest.mark.parametrize("name", list(UNUSABLE))
@pytest.mark.parametrize("verb", ["data check", "train", "evaluate", "sample"])
def test_the_same_as_typed(caloman, home, tmp_path, name, verb):
    path = corpus.make(tmp_path, UNUSABLE, name)
    before = {entry.name for entry in tmp_path.iterdir()}
    done = caloman(*verb.split(), *words(verb.replace(" ", "_"), home, path, "left"))
    if verb == "sample" and name in corpus.BAD_VOXELS:
        assert done.status == 0, done.err
        return
    assert done.err.count("\n") == 1
    assert done.err.startswith("caloman: ")
    expect((done.status, done.err.strip()), path, tmp_path, before)


def test_the_binning_of_the_corpus_is_the_tiny_detector(home, tiny_geometry):
    layers = read_binning(home[0] / "tiny.xml", "electron").layers
    assert Geometry.from_dict({**tiny_geometry.to_dict(), "layers": []}).n_voxels == 0
    assert layers == tiny_geometry.layers
