"""Learning rates against torch's schedulers, clipping against its definition."""

import math

import pytest
import torch
from torch import nn

from caloman_cli.config.settings import StageSettings
from caloman_cli.training.guard import FiniteGuard
from caloman_cli.training.optimisation import Player, lr_factor


def torchs(make):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = make(optimizer), []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_cosine_is_torchs():
    expected = torchs(lambda opt: torch.optim.lr_scheduler.CosineAnnealingLR(opt, 50))
    assert [lr_factor("cosine", step, 50) for step in range(50)] == pytest.approx(expected)


def test_one_cycle_is_torchs():
    expected = torchs(
        lambda opt: torch.optim.lr_scheduler.OneCycleLR(
            opt, 1.0, total_steps=51, cycle_momentum=False
        )
    )
    got = [lr_factor("one_cycle", step, 51) for step in range(50)]
    assert got == pytest.approx(expected, rel=1e-9)


def test_warmup_then_cosine():
    rates = [lr_factor("cosine", step, 20, 10) for step in range(20)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[10] == 1.0
    assert rates[15] == pytest.approx(0.5)
    assert min(rates) > 0
    assert lr_factor("none", 500, 20) == 1.0


@pytest.mark.parametrize("schedule", ["none", "cosine", "one_cycle"])
@pytest.mark.parametrize("total", [1, 2, 3])
def test_short_trainings(schedule, total):
    assert all(0 < lr_factor(schedule, step, total) <= 1 for step in range(total))


def test_gradient_is_clipped_and_its_norm_told():
    weight = nn.Parameter(torch.zeros(2))
    player = Player("model", [weight], StageSettings(clip=1.0), 0.1)
    norm = player.backward((weight * torch.tensor([30.0, 40.0])).sum())
    assert float(norm) == pytest.approx(50.0)
    assert weight.grad.norm() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_weight_decay_is_decoupled_for_adamw_only(name):
    weight = nn.Parameter(torch.tensor([2.0]))
    settings = StageSettings(optimizer=name, weight_decay=0.5)
    player = Player("model", [weight], settings, 0.1)
    player.backward(weight.sum() * 0.0)
    player.update(1.0)
    # AdamW shrinks by lr * decay; Adam sees a gradient and steps by lr.
    assert weight.item() == pytest.approx(2.0 * 0.95 if name == "adamw" else 1.9, abs=1e-4)


def test_guard_remembers_the_first_bad_step():
    guard = FiniteGuard(torch.device("cpu"))
    guard.watch("loss", torch.tensor(1.0), 0)
    assert guard.broken() is None
    guard.watch("gradient", torch.tensor(math.inf), 3)
    guard.watch("loss", torch.tensor(math.nan), 4)
    assert guard.broken() == ("gradient", 3)
