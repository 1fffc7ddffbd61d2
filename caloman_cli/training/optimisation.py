r"""One player's optimiser, and the course of its learning rate."""

import logging
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from caloman_cli.config.settings import StageSettings
from caloman_cli.errors import UserError
from caloman_cli.models.trainable import Trainable

log = logging.getLogger(__name__)

_RISE, _START, _END = 0.3, 1 / 25, 1 / 25e4


def lr_factor(schedule: str, step: int, total: int, warmup: int = 0) -> float:
    r"""The learning rate of a step in units of its highest value.

    A pure function of the step: a resumed run needs no scheduler state. After a linear warm-up,
    with t in [0, 1) the part of the remaining steps that is done,

    - ``none``: 1,
    - ``cosine``: (1 + cos(pi t)) / 2,
    - ``one_cycle``: from 1/25 up to 1 over the first 30 % of the steps, then down to 4e-6, both
      along half a cosine.

    Args:
        schedule: One of the three.
        step: Steps done before this one.
        total: Steps of the whole stage.
        warmup: Steps of the warm-up.

    References:
        Loshchilov, Hutter (2016), SGDR: stochastic gradient descent with warm restarts,
        arXiv:1608.03983.
        Smith, Topin (2017), Super-convergence: very fast training of neural networks using large
        learning rates, arXiv:1708.07120.
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "cosine":
        return _between(1.0, 0.0, (step - warmup) / max(total - warmup, 1))
    if schedule == "one_cycle":
        top = max(_RISE * total - 1, 1e-9)
        if step <= top:
            return _between(_START, 1.0, step / top)
        return _between(1.0, _END, min((step - top) / max(total - 1 - top, 1e-9), 1.0))
    return 1.0


def _between(start: float, end: float, t: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * t)) / 2


class Player:
    """The parameters that are stepped together, and how.

    Args:
        name: The player's name in the model.
        parameters: What it may change.
        settings: The stage's settings.
        lr: Its learning rate at its highest.
        share: (m, n): it takes m steps in n batches.
    """

    def __init__(
        self,
        name: str,
        parameters: list[nn.Parameter],
        settings: StageSettings,
        lr: float,
        share: tuple[int, int] = (1, 1),
    ) -> None:
        self.name, self.parameters, self.lr, self.share = name, parameters, lr, share
        self.max_norm = math.inf if settings.clip is None else settings.clip
        kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = kind(parameters, lr=lr, weight_decay=settings.weight_decay, fused=True)

    def taken(self, batches: int) -> int:
        """Its steps in a number of batches from the beginning of the training."""
        steps, out_of = self.share
        return batches * steps // out_of

    def steps_on(self, batch: int) -> bool:
        """Whether a batch, counted from the beginning of the training, is one of its own."""
        return self.taken(batch + 1) > self.taken(batch)

    def backward(self, loss: Tensor) -> Tensor:
        """Gradients of the player's own parameters only; returns their norm before clipping."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=self.parameters)
        return nn.utils.clip_grad_norm_(self.parameters, self.max_norm)

    def update(self, factor: float) -> None:
        """Step with the learning rate ``factor * lr``."""
        for group in self.optimizer.param_groups:
            group["lr"] = factor * self.lr
        self.optimizer.step()

    def state_dict(self) -> dict:
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.optimizer.load_state_dict(state["optimizer"])


def players_of(model: Trainable, settings: StageSettings, stage: str) -> list[Player]:
    """The players of a model that have something to learn.

    Raises:
        UserError: ``player_lr`` names a player that the model has not, the players have no
            numbers of steps, or do not hold the model's parameters, all of them and no others.
    """
    if not isinstance(model.players, Mapping) or min(model.players.values(), default=0) < 1:
        raise UserError(
            f"{stage}: players of {type(model).__name__} must be names with their numbers of"
            f" steps, 1 or more, as in {{'critic': 5, 'model': 1}}; they are {model.players}"
        )
    unknown = set(settings.player_lr) - set(model.players)
    if unknown:
        raise UserError(
            f"trainer.{stage}.player_lr names {', '.join(sorted(unknown))}: the model's players"
            f" are {', '.join(model.players)}"
        )
    rates: Mapping[str, float] = {name: settings.lr for name in model.players} | settings.player_lr
    owned: dict[str, list[nn.Parameter]] = {
        name: model.player_parameters(name) for name in model.players
    }
    _require_all_held(model, stage, owned)
    most = max(model.players.values())
    return [
        Player(name, weights, settings, rates[name], (model.players[name], most))
        for name, weights in owned.items()
        if weights
    ]


def _require_all_held(
    model: Trainable, stage: str, owned: Mapping[str, list[nn.Parameter]]
) -> None:
    held = {id(weight) for weights in owned.values() for weight in weights}
    learned = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    kind = type(model).__name__
    idle = [name for key, name in learned.items() if key not in held]
    if idle:
        raise UserError(
            f"{stage}: no player of {kind} holds {', '.join(idle)}, which would stay as"
            " initialised: return them from its player_parameters, or make them buffers"
        )
    strange = [
        player
        for player, weights in owned.items()
        if any(id(weight) not in learned for weight in weights)
    ]
    if strange:
        raise UserError(
            f"{stage}: {', '.join(strange)} of {kind} holds parameters that are not the model's"
            " own: its player_parameters must return those that it has after prepare"
        )


def averaged_buffers(model: Trainable, stage: str) -> list[Tensor]:
    """Buffers of a model that are averaged with its weights.

    Raises:
        UserError: They are not the model's own, or not of floating point.
    """
    found, own = model.averaged_buffers(), {id(buffer) for buffer in model.buffers()}
    if any(id(buffer) not in own or not buffer.is_floating_point() for buffer in found):
        raise UserError(
            f"{stage}: averaged_buffers of {type(model).__name__} must be buffers of its own, of"
            " floating point"
        )
    return found


def precision_of(settings: StageSettings, device: torch.device, stage: str) -> torch.dtype:
    """What matrix products are computed in; the CPU knows float32 only."""
    if settings.precision != "float32" and device.type != "cuda":
        log.warning(
            "trainer.%s.precision=%s works on CUDA only: training in float32 on %s",
            stage,
            settings.precision,
            device.type,
        )
        return torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[settings.precision]
