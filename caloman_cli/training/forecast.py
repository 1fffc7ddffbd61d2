"""What a training that has just begun will cost, said before its first stage."""

import logging
from dataclasses import replace

import numpy as np

from caloman_cli.config.check import trainer_settings
from caloman_cli.config.compose import compose
from caloman_cli.config.settings import TrainerSettings
from caloman_cli.config.stages import LEARNING
from caloman_cli.errors import UserError
from caloman_cli.models.two_step import TwoStep
from caloman_cli.runs.progress import duration
from caloman_cli.training.cost import HOURS, Cost, Sizes, enough, rehearse, steps_of
from caloman_cli.training.guard import Diverged
from caloman_cli.training.rows import ShowerRows
from caloman_cli.training.trainer import Trainer

log = logging.getLogger(__name__)

_MOMENT = 300  # steps of all stages
_MINUTES = 900.0  # seconds of a training that one waits for


def foretell(trainer: Trainer, model: TwoStep, train: ShowerRows, n_validation: int) -> None:
    """Say what a training that has just begun will cost, where that is more than a moment."""
    settings, sizes = trainer.settings, Sizes(len(train), n_validation)
    if any(trainer.run.stage(name).last.exists() for name in LEARNING):
        return  # it goes on: lines of progress say how long
    stages = [name for name in LEARNING if not trainer.run.stage(name).done]
    if steps_of(settings, sizes) < _MOMENT or not stages:
        return
    some = np.linspace(0, len(train) - 1, enough(settings, sizes)).astype(int)
    rows = ShowerRows(train.store, train.index[some])
    try:
        cost = rehearse(settings, model, rows, sizes, trainer.device, stages)
        say_cost(cost, settings, model, rows, sizes)
    except (UserError, Diverged) as error:  # of a few rows: all of them may do
        log.debug("the cost is not known: %s", error)


def say_cost(
    cost: Cost, settings: TrainerSettings, model: TwoStep, rows: ShowerRows, sizes: Sizes
) -> None:
    """Say what a training costs and, where that is hours, what would take minutes."""
    log.info("%s", cost)
    if cost.seconds < HOURS:
        return
    quick = trainer_settings(compose("train", ["trainer=quick"]).trainer)
    quick = replace(quick, latents=settings.latents)
    less = rehearse(quick, model, rows, sizes, cost.device, [s.stage for s in cost.stages]).seconds
    tries = []
    if less < 0.8 * cost.seconds:
        tries.append(f"trainer=quick (about {duration(less)})")
    if less > _MINUTES:
        n = max(500, 1000 * round(sum(sizes) * _MINUTES / less / 1000))
        tries.append(f"trainer=quick dataset.limit={n} (about {duration(less * n / sum(sizes))})")
    log.warning(
        "this takes hours; to see that everything works, not to publish: %s", " or ".join(tries)
    )
