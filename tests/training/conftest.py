"""A small task and a trainer for it."""

import pytest
import torch

from caloman_cli.run import RunDirectory
from caloman_cli.trainable import TensorRows
from caloman_cli.trainer import Trainer
from caloman_cli.training.settings import StageSettings, TrainerSettings


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(50, 2, generator=generator)
    y = x[:, :1] - 2 * x[:, 1:]
    return TensorRows(x[:40], y[:40]), TensorRows(x[40:], y[40:])


@pytest.fixture
def make_trainer(tmp_path):
    """A trainer in a run directory of its own; keywords are settings of every stage."""

    def make(name="run", *, seed=7, checkpoint_minutes=10.0, logger=None, interruption=None, **kw):
        (tmp_path / name).mkdir(exist_ok=True)
        stage = StageSettings(**{"epochs": 4, "batch_size": 16, **kw})
        stage.check("trainer.encoder")
        settings = TrainerSettings(
            energy=stage, encoder=stage, density=stage, checkpoint_minutes=checkpoint_minutes
        )
        return Trainer(
            RunDirectory(tmp_path / name),
            settings,
            seed=seed,
            logger=logger,
            interruption=interruption,
        )

    return make
