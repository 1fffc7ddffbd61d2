"""What a training will cost: told from a few steps that leave no trace."""

from functools import partial

import numpy as np
import pytest
import torch

from caloman_cli.config.compose import compose as compose_config
from caloman_cli.config.settings import StageSettings, TrainerSettings
from caloman_cli.data.files import read_json
from caloman_cli.models.two_step import build, load_model
from caloman_cli.training import cost, forecast
from caloman_cli.training.cost import Sizes, enough, rehearse, steps_of
from caloman_cli.training.rows import ShowerRows, VoxelStore
from caloman_cli.verbs.train import dry_run, run
from tests.training.test_train_verb import SMALL, compose, weights, write_showers


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_geometry):
    path = tmp_path_factory.mktemp("cost")
    write_showers(path, tiny_geometry)
    return path


@pytest.fixture(scope="module")
def config(folder, tiny_geometry):
    return partial(compose, folder, tiny_geometry)


@pytest.fixture(scope="module")
def plain(config):
    """A run that was told nothing: its few steps take a moment."""
    return run(config(output="plain"))


@pytest.fixture
def model(config, tiny_geometry):
    """An untrained model, and some showers."""
    energies = np.geomspace(1e3, 1e5, 40)[:, None]
    voxels = np.random.default_rng(0).dirichlet(np.ones(12), 40).astype(np.float32) * energies
    rows = ShowerRows(
        VoxelStore(voxels.astype(np.float32), energies, torch.device("cpu")), np.arange(40)
    )
    made = build(config(), tiny_geometry)
    made.preprocess.fit(rows)
    return made, rows


def listing(folder):
    return {(path, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_epochs_times_steps_times_seconds(model, monkeypatch):
    """Of 1000 showers in batches of 300 at most: 4 steps of 250 rows an epoch."""
    stage = StageSettings(epochs=10, batch_size=300)
    settings = TrainerSettings(stage, stage, StageSettings(epochs=5, batch_size=1000))
    sizes = Sizes(1000, 100)
    monkeypatch.setattr(
        cost._Rehearsal, "_timed", lambda self, index: 0.5 if len(index) == 40 else 9
    )
    monkeypatch.setattr(cost._Rehearsal, "_validation", lambda self, n: n / 100)
    found = rehearse(settings, *model, sizes, torch.device("cpu"))
    assert [(s.epochs, s.steps) for s in found.stages] == [(10, 4), (10, 4), (5, 1)]
    # 40 showers are there: 0.5 s for them, 250 / 40 as long for a step; then a second to validate.
    assert found.stages[0].seconds == pytest.approx(10 * (4 * 0.5 * 250 / 40 + 1), rel=0.1)
    assert (steps_of(settings, sizes), enough(settings, sizes)) == (85, 1000)
    assert "energy 2 min (10 epochs of 4 steps, 3.1 s each)" in str(found)
    assert found.seconds >= sum(stage.seconds for stage in found.stages)


def test_a_rehearsal_leaves_the_model_and_the_generator(model):
    made, rows = model
    before = {name: value.clone() for name, value in made.state_dict().items()}
    state = torch.get_rng_state()
    found = rehearse(TrainerSettings(), made, rows, Sizes(72, 18), torch.device("cpu"))
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert [s.parameters > 0 for s in found.stages] == [True] * 3


def test_who_trains_for_hours_is_told_what_takes_minutes(config, plain, monkeypatch, caplog):
    """And the weights are those of a run that was told nothing, bit for bit."""
    monkeypatch.setattr(forecast, "_MOMENT", 0)
    monkeypatch.setattr(forecast, "HOURS", 0)
    monkeypatch.setattr(forecast, "_MINUTES", 1e-6)
    path = run(config(output="told"))
    said = [record.message for record in caplog.records]
    told = next(n for n, line in enumerate(said) if line.startswith("about "))
    assert "at most on cpu with" in said[told]
    assert "trainer=quick dataset.limit=500 " in said[told + 1]
    assert said.index(next(line for line in said if line.startswith("energy: "))) > told
    ours, theirs = weights(path), weights(plain)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    caplog.clear()
    monkeypatch.undo()
    run(config(output="moment"))
    assert "at most on cpu" not in caplog.text


def test_a_dry_run_says_sizes_and_leaves_nothing(config, folder, plain, caplog):
    caplog.set_level("INFO")
    before = listing(folder)
    dry_run(config(output="dry"))
    assert listing(folder) == before
    n = sum(p.numel() for p in load_model(plain / "model.pt")[0].parameters())
    for line in (
        "dry run: nothing is written",
        f"output: {folder / 'dry'} (new)",
        "72 to learn from, 18 to validate with; 12 voxels",
        f"parameters: {n}, of which",
        "epochs of 3 steps",
    ):
        assert line in caplog.text, line
    stages = read_json(plain / "provenance.json")["stages"]
    assert "GiB are free" in caplog.text
    assert stages["energy"]["steps"] == 2 * 3


def test_a_dry_run_makes_no_built_in_showers(tmp_path, caplog):
    caplog.set_level("INFO")
    places = [f"cache_dir={tmp_path}", f"output={tmp_path / 'run'}"]
    dry_run(compose_config("train", [*SMALL, "recipe=none", *places]))
    assert not list(tmp_path.iterdir())
    assert "20000 of builtin_photons train (yet to be generated): 16000 to learn" in caplog.text
