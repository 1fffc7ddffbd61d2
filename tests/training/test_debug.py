"""``debug=one_batch|overfit|profile``: what they change, whatever else was chosen."""

import re

import pytest
import torch

from caloman_cli.config.check import check_config, trainer_settings
from caloman_cli.config.compose import CONF
from caloman_cli.config.compose import compose as composed
from caloman_cli.verbs.train import run
from tests.training.models import Regression
from tests.training.test_train_verb import compose, write_showers

STAGES = ("energy", "encoder", "density")


@pytest.mark.parametrize("option", [path.stem for path in (CONF / "debug").glob("*.yaml")])
def test_a_debug_option_has_the_last_word(option):
    cfg = composed("train", ["experiment=flagship_photons", f"debug={option}"])
    settings = trainer_settings(cfg.trainer)
    assert cfg.encoder.latent_dim == 10
    assert cfg._get_node("output")._value().startswith(f"outputs/debug/{option}/")
    cfg.output = "x"
    check_config(cfg, "train", complete=False)
    for stage in map(settings.stage, STAGES):
        assert stage.epochs == (300 if option == "overfit" else 1)
        assert stage.batch_size == (64 if option != "profile" else stage.batch_size)
    assert (settings.profile > 0) == (option == "profile")


def test_the_command_line_has_a_later_one():
    cfg = composed("train", ["debug=one_batch", "dataset.limit=9", "output=here"])
    assert (cfg.dataset.limit, cfg.output) == (9, "here")


def test_one_batch_is_one_step_of_each_stage(tmp_path, tiny_geometry):
    write_showers(tmp_path, tiny_geometry)
    cfg = compose(tmp_path, tiny_geometry, "debug=one_batch", small=SMALLEST)
    cfg.dataset.limit = 64
    path = run(cfg)
    history = (path / "history.jsonl").read_text().splitlines()
    assert [re.search(r'"stage": "(\w+)".*"step": (\d+)', row).groups() for row in history] == [
        (stage, "1") for stage in STAGES
    ]


@pytest.mark.parametrize(("steps", "watched"), [(0, None), (2, 2), (99, 12)])
def test_the_profiler_watches_as_many_steps_as_asked(make_trainer, data, steps, watched):
    """The first of the 12 is left out; where fewer are left: those, and what follows."""
    trainer = make_trainer()
    trainer.settings.profile = steps
    torch.manual_seed(0)
    model = Regression()
    trainer.fit("encoder", model, *data)
    table = trainer.run.path / "profile/encoder.txt"
    assert table.exists() == (steps > 0)
    if steps:
        row = next(line for line in table.read_text().splitlines() if "ProfilerStep" in line)
        assert int(row.split()[-1]) == watched
        other = make_trainer("other")
        torch.manual_seed(0)
        same = Regression()
        other.fit("encoder", same, *data)
        assert all(map(torch.equal, model.parameters(), same.parameters()))


SMALLEST = [
    "density=nsf", "density.n_layers=1", "density.hidden=8", "density.n_blocks=1",
    "energy.n_layers=1", "energy.hidden=8", "energy.n_blocks=1", "energy.mask_hidden=8",
    "encoder.latent_dim=3", "encoder.hidden=[16]",
]  # fmt: skip
