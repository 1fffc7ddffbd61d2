"""One list of stages: what they are called, what they rest on, how they are made."""

from dataclasses import fields

from caloman_cli.config.settings import StageSettings, TrainerSettings
from caloman_cli.config.stages import EVERY, LEARNING, STAGES
from caloman_cli.training.stages import MAKERS
from tests.conftest import ROOT


def test_every_stage_has_a_maker_and_those_that_learn_their_settings():
    assert list(MAKERS) == [stage.name for stage in STAGES]
    blocks = [item.name for item in fields(TrainerSettings) if item.type is StageSettings]
    assert tuple(blocks) == LEARNING
    settings = TrainerSettings()
    assert all(settings.stage(name) is getattr(settings, name) for name in LEARNING)


def test_a_stage_rests_on_what_those_before_it_rest_on():
    keys = {stage.name: stage.keys for stage in STAGES}
    assert keys["density"] == (
        "encoder", "head", "trainer.encoder", "density", "trainer.density", "trainer.latents",
    )  # fmt: skip
    assert set(keys["calibration"]) == {*keys["energy"], *keys["density"], "calibration"}
    for number, stage in enumerate(STAGES):
        assert set(stage.after) <= {earlier.name for earlier in STAGES[:number]}


def test_no_group_of_a_training_is_forgotten():
    """A setting that no stage rests on would be taken over from a run that had another one."""
    said = {key.partition(".")[0] for stage in STAGES for key in (*stage.keys, *EVERY)}
    groups = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()}
    apart = {
        "debug",
        "evaluation",
        "experiment",
        "geometry",
        "hydra",
        "logger",
        "metric",
        "recipe",
    }
    assert groups - apart <= said
