"""``caloman distill`` on a tiny detector: what it takes over, makes, resumes and refuses."""

import json
import os
import signal
from functools import partial

import h5py
import hydra
import numpy as np
import pytest
import torch

from caloman_cli.config.compose import CONF
from caloman_cli.data.files import read_json
from caloman_cli.errors import UserError
from caloman_cli.models.densities.consistency import Consistency
from caloman_cli.models.densities.flow_map import FlowMap
from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import load_model
from caloman_cli.training.interruption import Preempted
from caloman_cli.verbs import distill, train
from tests.training.test_train_verb import SMALL, write_showers
from tests.training.test_train_verb import compose as compose_train

FLOW = [
    *(item for item in SMALL if not item.startswith("density")),
    "density=flow_matching",
    "density.hidden=8",
    "density.n_blocks=1",
    "density.steps=3",
]


def compose(folder, *overrides, output="student"):
    small = ["trainer.density.epochs=2", "trainer.density.warmup=0", "paths=100", "device=cpu"]
    where = [f"run={folder / 'teacher'}", f"output={folder / output}"]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("distill", [*where, *small, *overrides])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_geometry):
    """A teacher, and a student that nobody has disturbed."""
    path = tmp_path_factory.mktemp("distill")
    write_showers(path, tiny_geometry)
    train.run(compose_train(path, tiny_geometry, small=FLOW, output="teacher"))
    for name in ("train", "reference"):
        (path / f"{name}.hdf5").unlink()  # the student reads no showers
    distill.run(compose(path))
    return path


@pytest.fixture
def config(folder, tmp_path):
    return partial(compose, folder, output=tmp_path / "run")


def test_everything_but_the_density_is_the_teachers(folder):
    student, stored = load_model(folder / "student/model.pt")
    teacher, _ = load_model(folder / "teacher/model.pt")
    assert isinstance(student.density, FlowMap)
    theirs = teacher.state_dict()
    for name, value in student.state_dict().items():
        if not name.startswith("density.") or "scaler" in name:
            assert torch.equal(value, theirs[name]), name
    assert student.spectrum == teacher.spectrum is not None
    assert stored["dataset"]["name"] == "tiny"
    assert stored["density"]["net"]["hidden"] == 8
    assert stored["density"]["steps"] == 1
    with np.load(folder / "teacher/split.npz") as a, np.load(folder / "student/split.npz") as b:
        assert np.array_equal(a["train"], b["train"])


def test_a_distilled_run_generates_showers_and_has_no_density(folder):
    model, _ = load_model(folder / "student/model.pt")
    e_inc = torch.full((50, 1), 2.0e4)
    voxels = model.sample(e_inc, Noise(1, 0, 50))
    assert voxels.shape == (50, model.geometry.n_voxels)
    assert (voxels >= 0).all()
    assert torch.isfinite(voxels).all()
    with pytest.raises(UserError, match="no log_prob"):
        model.log_prob(voxels, e_inc)


def test_a_run_says_where_it_comes_from_and_how_far_it_is_from_its_teacher(folder):
    found = read_json(folder / "student/provenance.json")
    assert found["teacher"]["config"]["density"]["steps"] == 3
    assert found["teacher"]["provenance"]["stages"]["density"]["parameters"] > 0
    theirs = read_json(folder / "teacher/provenance.json")
    assert found["data"] == theirs["data"]
    assert found["stages"]["density"]["parameters"] > 0
    assert 0 < found["student"]["rms_error"] < 2
    assert read_json(folder / "student/status.json")["status"] == "ok"
    assert not (folder / "student/density/paths.h5").exists()


def test_a_preempted_run_goes_on_to_the_same_student(folder, config, monkeypatch):
    original, steps = FlowMap.loss, []

    def loss(self, batch, player="model"):
        steps.append(1)
        if len(steps) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, player)

    monkeypatch.setattr(FlowMap, "loss", loss)
    cfg = config()
    with pytest.raises(Preempted):
        distill.run(cfg)
    monkeypatch.undo()
    made = partial(pytest.fail, "the teacher's paths were solved again")
    monkeypatch.setattr(distill, "_write_paths", made)
    resumed = load_model(distill.run(cfg) / "model.pt")[0].state_dict()
    for name, value in load_model(folder / "student/model.pt")[0].state_dict().items():
        assert torch.equal(value, resumed[name]), name


def test_the_same_command_again_does_nothing(folder, monkeypatch):
    monkeypatch.setattr(distill, "_distill", None)
    assert distill.run(compose(folder)) == folder / "student"


def test_a_teacher_that_has_moved_is_the_same_teacher(folder, monkeypatch):
    monkeypatch.setattr(distill, "_distill", None)
    (folder / "moved").symlink_to(folder / "teacher")
    distill.run(compose(folder, f"run={folder / 'moved'}"))


@pytest.mark.parametrize("fewest", [50, 300])
def test_paths_are_as_many_as_showers_that_the_teacher_learned_from(
    folder, config, monkeypatch, fewest
):
    """But no fewer than a student needs."""
    monkeypatch.setattr(distill, "_FEWEST", fewest)
    seen = []
    monkeypatch.setattr(distill, "_write_paths", lambda *args, **_: seen.append(args[3]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        distill.run(config("paths=null"))
    with h5py.File(folder / "teacher/latents.h5") as latents:
        learned = int(latents["train"][:].sum())
    assert 50 < learned < 300
    assert seen[0]["distill"]["paths"] == max(learned, fewest)


@pytest.mark.parametrize("method", ["cd", "direct"])
def test_a_consistency_student_of_a_flow(folder, config, method):
    path = distill.run(config(f"method={method}", "levels=4", "steps=2"))
    model, stored = load_model(path / "model.pt")
    teacher, _ = load_model(folder / "teacher/model.pt")
    assert isinstance(model.density, Consistency)
    assert stored["density"]["target"] == method
    assert stored["density"]["levels"] == 4
    assert stored["distill"]["teacher_steps"] == 4  # the teacher's own 3 do not end on 4 levels
    assert not any("copied" in name for name in model.density.state_dict())
    torch.testing.assert_close(model.density.share, torch.linspace(0, 1, 5))
    assert model.density.scaler.mean.equal(teacher.density.scaler.mean)
    found = read_json(path / "provenance.json")["student"]
    assert found["steps"] == 2
    assert 0 < found["rms_error"] < 2
    history = [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]
    assert all("ode_error" in str(row) for row in history if row["stage"] == "density")
    drawn = [model.sample(torch.full((5, 1), 2e4), Noise(1, 0, 5)) for _ in range(2)]
    assert torch.isfinite(drawn[0]).all()
    assert drawn[0].equal(drawn[1])


def test_a_diffusion_teaches_its_levels_of_noise(tmp_path, tiny_geometry):
    write_showers(tmp_path, tiny_geometry)
    small = ["density=diffusion" if item == "density=flow_matching" else item for item in FLOW]
    train.run(compose_train(tmp_path, tiny_geometry, small=small, output="teacher"))
    teacher, _ = load_model(tmp_path / "teacher/model.pt")
    path = distill.run(compose(tmp_path, "method=direct", "levels=3"))
    student, _ = load_model(path / "model.pt")
    t = teacher.density.time(torch.linspace(0, 1, 4))
    a, sigma = teacher.density.signal(t), teacher.density.sigma(t)
    torch.testing.assert_close(student.density.share, a / (a + sigma))
    torch.testing.assert_close(student.density.scale, a + sigma)
    assert torch.isfinite(student.sample(torch.full((5, 1), 2e4), Noise(1, 0, 5))).all()
    assert isinstance(
        load_model(distill.run(compose(tmp_path, output="map")) / "model.pt")[0].density, FlowMap
    )


def test_a_student_of_a_teacher_that_is_told_of_noise(tmp_path, tiny_geometry):
    write_showers(tmp_path, tiny_geometry)
    small = [*FLOW, "density.noise=conditional"]
    train.run(compose_train(tmp_path, tiny_geometry, small=small, output="teacher"))
    path = distill.run(compose(tmp_path))
    assert torch.isfinite(
        load_model(path / "model.pt")[0].sample(torch.full((5, 1), 2e4), Noise(1, 0, 5))
    ).all()


@pytest.mark.parametrize("steps", [2, 5])
def test_several_steps_and_another_size(config, steps):
    path = distill.run(config(f"steps={steps}", "student.hidden=16", "teacher_steps=4"))
    model, stored = load_model(path / "model.pt")
    assert model.density.steps == steps
    assert model.density.velocity.first.out_features == 16
    assert stored["distill"]["teacher_steps"] == {2: 4, 5: 5}[steps]
    assert torch.isfinite(model.sample(torch.full((5, 1), 2e4), Noise(1, 0, 5))).all()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["run={student}"], "FlowMap, which is no ODE: give a run of one that is"),
        (["run={nowhere}"], "does not exist"),
        (["run={unfinished}"], "has no model yet"),
        (["output={teacher}", "overwrite=true"], "is the teacher's own directory"),
        (["output={student}"], "holds another run; it differs in"),
    ],
)
def test_mistakes_are_one_line(folder, config, overrides, message):
    unfinished = folder / "unfinished"
    unfinished.mkdir(exist_ok=True)
    (unfinished / "config.yaml").write_text((folder / "teacher/config.yaml").read_text())
    places = {name: folder / name for name in ("student", "teacher", "nowhere", "unfinished")}
    arguments = ["paths=200", *(item.format(**places) for item in overrides)]
    with pytest.raises(UserError, match=message) as caught:
        distill.run(config(*arguments))
    assert "\n" not in str(caught.value)
    assert (folder / "teacher/model.pt").exists()


def test_paths_go_with_conditions_of_the_whole_split(folder, tmp_path):
    """Files may be sorted by energy, and there may be fewer paths than showers, or more."""
    flow = load_model(folder / "teacher/model.pt")[0].density
    c = torch.arange(1000.0)[:, None].expand(-1, flow.c_dim)
    settings = {"distill": {"paths": 200, "teacher_steps": 4}}
    distill._write_paths(tmp_path / "paths.h5", flow, (c, c[:7]), settings, keep=2, seed=1)
    rows, validation = distill._read_paths(tmp_path / "paths.h5", torch.device("cpu"))
    states, condition = rows.rows(np.arange(200))
    assert states.shape == (200, 3, flow.scaler.n_active)
    torch.testing.assert_close(flow.path(states[:, 0], condition, 4, 2).detach(), states)
    assert len(condition[:, 0].unique()) == 200
    assert 400 < condition[:, 0].mean() < 600
    assert condition[:, 0].max() > 900
    assert len(validation.rows(np.arange(20))[1][:, 0].unique()) == 7


def test_a_student_of_a_version_that_had_sizes_among_its_settings(folder, tmp_path):
    content = torch.load(folder / "student/model.pt", weights_only=True)
    net = content["config"]["density"].pop("net")
    content["config"]["density"] |= {key: net[key] for key in ("hidden", "n_blocks")}
    content["config"]["density"]["n_frequencies"] = net["n_frequencies"]
    torch.save(content, tmp_path / "old.pt")
    model, stored = load_model(tmp_path / "old.pt")
    assert stored["density"]["net"] == net
    new = load_model(folder / "student/model.pt")[0]
    e_inc = torch.full((5, 1), 2e4)
    drawn = (each.sample(e_inc, Noise(1, 0, 5)) for each in (model, new))
    assert torch.equal(*drawn)


def test_a_model_file_alone_cannot_teach(folder, config, tmp_path):
    (tmp_path / "model.pt").write_bytes((folder / "teacher/model.pt").read_bytes())
    with pytest.raises(UserError, match="latents.h5 is missing"):
        distill.run(config(f"run={tmp_path / 'model.pt'}"))
