"""Small models whose training takes milliseconds."""

import numpy as np
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
