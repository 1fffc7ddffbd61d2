"""A small task and a trainer for it."""

import os
import signal
from contextlib import contextmanager

import pytest
import torch

from caloman_cli.config.settings import StageSettings, TrainerSettings
from caloman_cli.models.trainable import TensorRows
from caloman_cli.runs.directory import RunDirectory
from caloman_cli.training.trainer import Trainer


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


@pytest.fixture
def preempt():
    """``with preempt(stage, at)``: SIGTERM when a stage computes its at-th loss."""

    @contextmanager
    def preempted(stage, at):
        fit, steps = Trainer.fit, []

        def interrupted(self, name, model, train, validation):
            if name == stage:
                original = model.loss

                def loss(batch, player="model"):
                    steps.append(name)
                    if len(steps) == at:
                        os.kill(os.getpid(), signal.SIGTERM)
                    return original(batch, player)

                patch.setattr(model, "loss", loss)
            return fit(self, name, model, train, validation)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "fit", interrupted)
            yield
        assert len(steps) >= at

    return preempted
