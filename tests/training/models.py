"""Small models whose training takes milliseconds."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from caloman_cli.models.trainable import Trainable


class Regression(Trainable):
    """y = a x, learned with dropout, so that every step needs random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 1))
        self.register_buffer("shift", torch.zeros(2))
        self.shift: torch.Tensor

    def prepare(self, train) -> None:
        x, _ = train.rows(np.arange(len(train)))
        self.shift.copy_(x.mean(0) + 1e-3 * torch.randn(2))

    def loss(self, batch, player="model"):
        x, y = batch
        return (self.net(x - self.shift) - y).square().mean()


class Duel(Trainable):
    """Two players with a parameter each; every loss names the other's too."""

    players = {"critic": 1, "model": 1}

    def __init__(self) -> None:
        super().__init__()
        self.critic, self.model = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        self.turns: list[str] = []

    def player_parameters(self, player):
        return [getattr(self, player)]

    def loss(self, batch, player="model"):
        self.turns.append(player)
        (x,) = batch
        gap = (x + self.model).mean() - self.critic.sum()
        return gap.square() if player == "critic" else (self.model - 3).square().sum() + gap * 0


class PowerCut(Exception):
    """What SIGKILL leaves behind is what is on the disk when this is raised."""


class Trained(NamedTuple):
    """A model, and the players of the steps that it took, one after the other."""

    model: Trainable
    players: list[str]


def trained_with_a_cut(make_trainer, make, rows, stop, **settings) -> tuple[Trained, Trained]:
    """A model trained at once, and one whose power was cut at a step and that went on.

    The latter is asserted to be the former, bit for bit, and not to have begun again.
    """

    def trained(name, stop=None):
        model, players = make(), []
        plain = model.loss

        def loss(batch, player="model"):
            players.append(player)
            if len(players) == stop:
                raise PowerCut
            return plain(batch, player)

        model.loss = loss
        settings_of_all = {"epochs": 2, "ema": 0.9, "checkpoint_minutes": 1e-9, **settings}
        make_trainer(name, **settings_of_all).fit("density", model, rows, rows)
        return Trained(model, players)

    whole = trained("whole")
    with pytest.raises(PowerCut):
        trained("cut", stop)
    resumed = trained("cut")
    assert 0 < len(resumed.players) < len(whole.players)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    return whole, resumed
