"""What version 0.1.0 wrote, under names that files had then, is read and gone on with."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from caloman_cli.cli.main import main
from caloman_cli.config.public import ROOMS, current, names
from caloman_cli.data.sources import open_dataset
from caloman_cli.models.noise import Noise
from caloman_cli.models.two_step import load_model
from caloman_cli.report.comparison import compare_runs
from caloman_cli.report.found import find_evaluations
from caloman_cli.report.tables import grid
from caloman_cli.runs.directory import RunDirectory

OLD = Path(__file__).parent / "assets/format8"


@pytest.fixture
def old_run(tmp_path):
    return Path(shutil.copytree(OLD / "run", tmp_path / "run"))


def test_a_model_file_is_read_under_todays_names():
    model, config = load_model(OLD / "model.pt")
    assert config["encoder"]["_target_"] == "caloman_cli.models.encoders.VAE"
    showers = model.sample(torch.tensor([[1e3], [1e4]]), Noise(1, 0, 2))
    assert showers.shape == (2, 368) and (showers.sum(dim=1) > 0).all()


def test_every_class_that_could_be_named_has_a_place():
    stored = torch.load(OLD / "model.pt", weights_only=True)["config"]
    assert stored["density"]["_target_"] == "caloman_cli.densities.flow.NSF"
    for old in ("caloman_cli.calibration.Unchanged", "caloman_cli.heads.cylinder.Cylinder",
                "caloman_cli.metrics.suite.Separation",
                "caloman_cli.preprocess.shares.LayerShare"):  # fmt: skip
        room, _, kind = current(old).rpartition(".")
        assert kind in names(room)
    assert current("mine.NSF") == "mine.NSF"


def test_a_stopped_run_goes_on_to_the_model_that_it_would_have_become(old_run, tmp_path):
    """The same command, as its config.yaml says it, ends with the same weights."""
    config = OmegaConf.load(old_run / "config.yaml")
    provenance = json.loads((old_run / "provenance.json").read_text())
    command = provenance["command"].split()[2:]
    # Built-in showers of another processor differ in their last bits: the run is told of these.
    built_in = open_dataset(config.dataset, None, None).train()
    provenance["data"]["fingerprint"] = built_in.fingerprint
    (old_run / "provenance.json").write_text(json.dumps(provenance))
    words = [word.strip("'") for word in command if not word.startswith("output=")]
    assert main(["train", *words, f"output={old_run}", "device=cpu"]) == 0
    assert "resuming after step" in (old_run / "train.log").read_text()
    assert "_target_" in config.encoder
    ended = torch.load(old_run / "model.pt", weights_only=True)["state"]
    expected = torch.load(OLD / "model.pt", weights_only=True)["state"]
    assert set(expected) - set(ended) == {"encoder.steps"}  # a counter that the loss kept
    for name, value in ended.items():
        if name.startswith(("energy", "encoder", "density")):
            assert torch.allclose(value, expected[name], rtol=1e-5, atol=1e-7), name


def test_a_run_tells_its_config_under_todays_names(old_run):
    config = RunDirectory(old_run).config
    assert config.density._target_ == "caloman_cli.models.densities.NSF"


def test_a_class_has_one_public_name_and_stands_in_one_file():
    for room in ROOMS:
        found = names(room)
        assert found, room
        for name, module in found.items():
            imported = getattr(__import__(module, fromlist=[name]), name)
            assert imported.__module__ == module


def test_a_report_reads_the_evaluation(caplog):
    (found,) = find_evaluations([OLD / "metrics.json"])
    assert (found.label, found.dataset, len(found.scores)) == ("run", "builtin_photons", 3)
    assert not caplog.messages
    (item,) = compare_runs([found])
    assert "run" in grid(item).markdown()
