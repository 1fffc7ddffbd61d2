"""``caloman train reuse=RUN``: stages of another run, taken over or trained anew."""

import shutil
from functools import partial

import pytest
import torch

from caloman_cli.data.files import load_state, read_json, save_state, write_json
from caloman_cli.errors import CannotWrite, UserError
from caloman_cli.models.calibrations.voxel_spectrum import VoxelSpectrum
from caloman_cli.models.two_step import load_model
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.training.interruption import Preempted
from caloman_cli.training.trainer import Trainer
from caloman_cli.verbs import train as verb
from caloman_cli.verbs.train import run
from tests.training.test_train_verb import SMALL, compose, write_showers


def no_room(path, *_):
    raise CannotWrite(f"{path}: no room")


OTHER = ["density.hidden=16", "trainer.density.epochs=1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_geometry):
    path = tmp_path_factory.mktemp("reuse")
    write_showers(path, tiny_geometry)
    run(compose(path, tiny_geometry, output="first"))
    return path


@pytest.fixture
def config(folder, tiny_geometry, tmp_path):
    first = f"reuse={folder / 'first'}"
    return partial(compose, folder, tiny_geometry, first, output=tmp_path / "run")


@pytest.fixture
def fitted(monkeypatch):
    """Names of the stages that took a step."""
    names, fit = [], Trainer.fit

    def watched(self, stage, *arguments):
        if not self.run.stage(stage).done:
            names.append(stage)
        return fit(self, stage, *arguments)

    monkeypatch.setattr(Trainer, "fit", watched)
    return names


def same(path, other):
    ours, theirs = (load_model(each / "model.pt")[0].state_dict() for each in (path, other))
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_another_second_step_is_that_of_a_run_from_scratch(config, folder, tiny_geometry, fitted):
    path = run(config(*OTHER))
    assert fitted == ["density"]
    alone = run(compose(folder, tiny_geometry, *OTHER, output="alone"))
    assert same(path, alone)
    assert not same(path, folder / "first")
    stages = [(row["stage"], row["epoch"]) for row in RunDirectory(path).history.rows()]
    assert stages == [(row["stage"], row["epoch"]) for row in RunDirectory(alone).history.rows()]
    found = read_json(path / "provenance.json")
    assert found["reused"] == {"run": str(folder / "first"), "stages": ["energy", "encoder"]}
    assert list(found["stages"]) == ["energy", "encoder", "density", "calibration"]


def test_another_calibration_trains_nothing(config, folder, fitted):
    assert same(run(config()), folder / "first")
    path = run(config("calibration=voxel_spectrum", "overwrite=true"))
    assert fitted == []
    reused = ["energy", "encoder", "density"]
    assert read_json(path / "provenance.json")["reused"]["stages"] == reused


@pytest.fixture
def measured(monkeypatch):
    """How often a calibration was measured."""
    calls, fit = [], VoxelSpectrum.fit

    def watched(self, *arguments):
        calls.append(1)
        fit(self, *arguments)
        self.shift += len(calls)  # so that one is told from the other

    monkeypatch.setattr(VoxelSpectrum, "fit", watched)
    return calls


def test_a_calibration_is_measured_once_and_again_with_another_model(
    folder, tiny_geometry, tmp_path, measured, monkeypatch
):
    calibrated = partial(compose, folder, tiny_geometry, "calibration=voxel_spectrum")
    cut = calibrated(output=tmp_path / "cut")
    with monkeypatch.context() as patch, pytest.raises(CannotWrite):
        patch.setattr(verb, "save_model", no_room)
        run(cut)
    path = run(cut)  # killed after the last stage, before the model file
    assert measured == [1]
    again = run(calibrated(f"reuse={path}", output=tmp_path / "again"))
    assert measured == [1]
    assert same(again, path)
    other = run(calibrated(f"reuse={path}", *OTHER, output=tmp_path / "other"))
    assert measured == [1, 1]
    assert read_json(other / "provenance.json")["reused"]["stages"] == ["energy", "encoder"]
    shift = load_model(other / "model.pt")[0].calibration.shift
    assert float(shift.min()) >= 1.5  # the second one's
    # As where the density of the first run was damaged and trained again, otherwise.
    (other / "model.pt").unlink()
    summary = read_json(other / "calibration/done.json")
    write_json(other / "calibration/done.json", {**summary, "of": {"energy": "another"}})
    run(calibrated(*OTHER, output=other))
    assert measured == [1, 1, 1]


def test_what_differs_is_trained_with_all_that_depends_on_it(config, fitted):
    run(config("encoder.hidden=[8]"))
    assert fitted == ["encoder", "density"]
    path = run(config("energy.hidden=4", "overwrite=true"))
    assert fitted[2:] == ["energy"]
    assert read_json(path / "provenance.json")["reused"]["stages"] == ["encoder", "density"]


def test_an_interrupted_run_goes_on(config, folder, tiny_geometry, preempt):
    with preempt("density", 1), pytest.raises(Preempted):
        run(config(*OTHER))
    path = run(config(*OTHER))
    rows = [(row["stage"], row["epoch"]) for row in RunDirectory(path).history.rows()]
    assert len(set(rows)) == len(rows) == 5
    # Where the stages came from does not make another run.
    assert run(compose(folder, tiny_geometry, *OTHER, output=path)) == path


def test_a_finished_run_does_not_need_its_source(config, folder):
    path = run(config(*OTHER))
    (folder / "first").rename(folder / "gone")
    try:
        assert run(config(*OTHER)) == path
        with pytest.raises(UserError, match="no run directory"):
            run(config(*OTHER, "overwrite=true"))
    finally:
        (folder / "gone").rename(folder / "first")
    assert (path / "model.pt").is_file()


def test_a_stage_of_another_version_is_refused_in_one_line(config, folder, tmp_path):
    """Whose networks had other parameters, under the same settings."""
    old = shutil.copytree(folder / "first", tmp_path / "old")
    state = load_state(old / "encoder/best.pt")
    state["model"].popitem()
    save_state(old / "encoder/best.pt", state)
    stage = RunDirectory(old).stage("encoder")
    stage.finish(stage.summary())
    with pytest.raises(UserError, match="another network than this version"):
        run(config(*OTHER, f"reuse={old}"))


def test_a_number_that_was_found_is_taken_over(folder, tiny_geometry, tmp_path, fitted):
    small = [item for item in SMALL if "latent_dim" not in item]
    auto = partial(compose, folder, tiny_geometry, "encoder.latent_dim=auto", small=small)
    first = run(auto(output=tmp_path / "auto"))
    path = run(auto(f"reuse={first}", *OTHER, output=tmp_path / "again"))
    assert fitted == ["energy", "encoder", "density", "density"]
    assert isinstance(RunDirectory(path).config.encoder.latent_dim, int)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["seed=2"], "seed: 1 -> 2"),
        (["preprocess=energy_shares"], "preprocess"),
        (["energy.hidden=4", "encoder.hidden=[8]"], "energy.hidden: 8 -> 4"),
        (["reuse=nowhere"], "no run directory"),
    ],
)
def test_what_cannot_serve_is_refused_before_anything_is_made(config, overrides, says):
    cfg = config(*overrides)
    with pytest.raises(UserError, match=says):
        run(cfg)
    assert not RunDirectory(cfg.output).path.exists()


def test_other_showers_are_refused(config, tmp_path, tiny_geometry):
    write_showers(tmp_path, tiny_geometry, seed=1)
    cfg = config()
    cfg.dataset.train = [str(tmp_path / "train.hdf5")]
    with pytest.raises(UserError, match="other showers"):
        run(cfg)


def test_a_run_cannot_reuse_itself(config, folder):
    cfg = config("overwrite=true")
    cfg.output = str(folder / "first")
    with pytest.raises(UserError, match="new output="):
        run(cfg)
    assert (folder / "first/model.pt").is_file()
