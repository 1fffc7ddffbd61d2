"""Training of models with several players, in a loop as the trainer's."""

import torch
from torch import Tensor

from caloman_cli.config.settings import StageSettings
from caloman_cli.models.trainable import Step, TensorRows, Trainable
from caloman_cli.training.optimisation import lr_factor, players_of


def fit(
    model: Trainable,
    rows: tuple[Tensor, ...],
    steps: int,
    lr: float,
    batch: int = 256,
    only: str | None = None,
) -> Trainable:
    """Prepare a model and train it, or one of its players, with a cosine schedule."""
    model.prepare(TensorRows(*rows))
    settings = StageSettings(lr=lr, optimizer="adam", clip=10.0)
    players = players_of(model.train(), settings, "encoder")
    for number in range(steps):
        index = torch.randint(len(rows[0]), (batch,))
        model.step = Step(number, steps)
        for player in players:
            if player.steps_on(number) and only in (None, player.name):
                player.backward(model.loss(tuple(row[index] for row in rows), player.name))
                player.update(lr_factor("cosine", number, steps))
    return model.eval()
