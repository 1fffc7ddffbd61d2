"""One plain loop for every Trainable, which a killed run resumes exactly.

Every step draws its random numbers from a seed of its own, mixed from (seed, stage, step), and an
epoch's permutation from (seed, stage, epoch). So ``last.pt`` needs no generator's state, and on a
CPU an interrupted run ends with the weights and the history of an uninterrupted one, bit for bit,
as long as the number of threads stays the same.
"""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from caloman_cli.config.settings import StageSettings
from caloman_cli.data.files import load_state, save_state
from caloman_cli.errors import UserError
from caloman_cli.models.trainable import RowSource, Step, Trainable, plain_state
from caloman_cli.runs.progress import ProgressLine
from caloman_cli.runs.stages import StageFolder
from caloman_cli.training.ema import MovingAverage
from caloman_cli.training.guard import Diverged, FiniteGuard
from caloman_cli.training.layers import layer_dimensions
from caloman_cli.training.optimisation import (
    averaged_buffers,
    lr_factor,
    players_of,
    precision_of,
)
from caloman_cli.training.profile import StepProfile
from caloman_cli.training.seeds import Seeds

if TYPE_CHECKING:
    from caloman_cli.training.trainer import Trainer

log = logging.getLogger(__name__)

_GUARD_INTERVAL = 50  # steps between two looks at a guard on CUDA


@dataclass
class _State:
    """Where a stage is; plain numbers, saved with every checkpoint."""

    epoch: int = 0  # complete epochs
    batch: int = 0  # complete batches of the epoch that runs
    step: int = 0
    best_epoch: int = 0
    best_score: float = math.inf
    seconds: float = 0.0


class Fit:
    """One stage of one run."""

    def __init__(
        self,
        trainer: "Trainer",
        stage: str,
        folder: StageFolder,
        model: Trainable,
        train: RowSource,
        validation: RowSource,
    ) -> None:
        self._began = time.monotonic()
        self.trainer, self.stage, self.folder, self.model = trainer, stage, folder, model
        self.train, self.validation = train, validation
        self.settings: StageSettings = trainer.settings.stage(stage)
        self.device = trainer.device
        self.seeds = Seeds(trainer.seed, stage)
        self.state = _State()
        self.n_batches = math.ceil(len(train) / self.settings.batch_size)
        self.total = self.n_batches * self.settings.epochs
        self.precision = precision_of(self.settings, self.device, stage)
        # Both may replace networks, so nothing takes hold of weights before.
        saved = None
        if folder.last.exists():
            saved = load_state(folder.last, self.device, folder.remedy)
        if saved is None:
            self.seeds.prepare()
            for name, part in model.named_modules():
                if isinstance(part, Trainable):
                    part.kept = folder.prepared / name
            with trainer.interruption.at_once():  # nothing of the stage is there to be saved
                model.prepare(train)
        else:
            with self._foreign():
                model.load_state_dict(saved["model"])
        self.players = players_of(model, self.settings, stage)
        weights = [weight for player in self.players for weight in player.parameters]
        self.n_parameters = sum(weight.numel() for weight in weights)
        self.buffers = averaged_buffers(model, stage)
        followed = [*dict.fromkeys(weights), *self.buffers]
        self.average = MovingAverage(followed, self.settings.ema)
        self.told = [part for part in model.modules() if isinstance(part, Trainable)]
        self.guard = FiniteGuard(self.device)
        self.sums = self._zeros()
        self.saved_step = 0
        if saved is not None:
            with self._foreign():
                self._resume(saved)
            if self.state.best_epoch:  # better now than at the end of the stage
                load_state(folder.best, remedy=folder.remedy)

    def run(self) -> None:
        history = self.trainer.run.history
        history.keep(lambda row: row["stage"] != self.stage or row["epoch"] <= self.state.epoch)
        self._clock = self._saved_at = time.monotonic()
        if not self.n_parameters:
            self._without_parameters()
            return
        line = ProgressLine(self.stage, self.state.step, self.total)
        table = self.trainer.run.path / "profile" / f"{self.stage}.txt"
        self.profile = StepProfile(table, self.trainer.settings.profile, self.device)
        try:
            while self.state.epoch < self.settings.epochs and not self._out_of_patience():
                self._epoch(line)
        finally:
            line.close()
            self.profile.close()
        if not math.isfinite(self.state.best_score) and self.settings.select == "best":
            raise Diverged(
                f"{self.stage}: '{self.settings.score}' was never finite on the validation split;"
                f" lower trainer.{self.stage}.lr or check the data with 'caloman data check'"
            )

    def summary(self) -> dict[str, object]:
        state = self.state
        return {
            "stage": self.stage,
            "parameters": self.n_parameters,
            "epochs": state.epoch,
            "steps": state.step,
            "stopped": "patience" if state.epoch < self.settings.epochs else "epochs",
            "score": self.settings.score,
            "best_epoch": state.best_epoch,
            "best_score": _json_number(state.best_score),
            "seconds": round(state.seconds, 3),
        }

    def _epoch(self, line: ProgressLine) -> None:
        """What is left of the epoch that runs, its validation and its row of history."""
        batches = self.seeds.batches(self.state.epoch, len(self.train), self.n_batches)
        self.model.train()
        for batch in range(self.state.batch, self.n_batches):
            self._step(batches[batch])
            self.state.batch, self.state.step = batch + 1, self.state.step + 1
            line.step()
            self.profile.step()
            minutes = (time.monotonic() - self._saved_at) / 60
            stop = self.trainer.interruption.noted is not None
            if stop or minutes > self.trainer.settings.checkpoint_minutes:
                self._checkpoint()
                self.trainer.interruption.check()
        self._check_finite()
        train = self._train_losses()
        scores = self._scores()
        self.state.epoch, self.state.batch = self.state.epoch + 1, 0
        self.sums = self._zeros()
        self._keep_best(scores[self.settings.score])
        row = self._row(train, scores) | self._layers()
        self.trainer.run.history.append(row)
        self._checkpoint()
        final = self.state.epoch == self.settings.epochs or self._out_of_patience()
        line.epoch(self.state.epoch, self.settings.epochs, row, final)
        self.trainer.logger.log(row)
        self.trainer.interruption.check()

    def _step(self, index: np.ndarray) -> None:
        """Every player whose turn it is on one batch."""
        number = self.state.step
        self.seeds.step(number)
        batch = self.train.rows(index)
        factor = self._lr_factor()
        for part in self.told:
            part.step = Step(number, self.total)
        for place, player in enumerate(self.players):
            if not player.steps_on(number):
                continue
            with self._autocast():
                loss = self.model.loss(batch, player.name)
            norm = player.backward(loss)
            self.guard.watch("loss", loss, number)
            self.guard.watch("gradient", norm, number)
            if self.device.type == "cpu" or number % _GUARD_INTERVAL == 0:
                self._check_finite()
            player.update(factor)
            self.sums[place] += loss.detach()
        self.average.update()

    def _scores(self) -> dict[str, float]:
        """Validation; it is cut short where a signal arrives, for it can be done again."""
        while (scores := self._validate()) is None:
            self._checkpoint()
            self.trainer.interruption.check()
        return scores

    def _validate(self) -> dict[str, float] | None:
        """Means over the validation split, with the averaged weights and the same noise always.

        None where a signal came before the end.
        """
        sums: dict[str, Tensor] = {}
        size = self.settings.batch_size
        self.model.eval()
        self._check_buffers()
        with self.average.applied(), torch.no_grad():
            for number, start in enumerate(range(0, len(self.validation), size)):
                if self.trainer.interruption.noted is not None:
                    return None
                self.seeds.validation(number)
                index = np.arange(start, min(start + size, len(self.validation)))
                with self._autocast():
                    scores = self.model.scores(self.validation.rows(index))
                for name, value in scores.items():
                    sums[name] = sums.get(name, 0.0) + value.double() * len(index)
        if self.settings.score not in sums:
            raise UserError(
                f"trainer.{self.stage}.score={self.settings.score}: the model's scores are"
                f" {', '.join(sums)}"
            )
        return {name: float(value) / len(self.validation) for name, value in sums.items()}

    def _keep_best(self, score: float) -> None:
        if not math.isfinite(score):
            log.warning("%s: validation %s is %s", self.stage, self.settings.score, score)
        if score < self.state.best_score or self.settings.select == "last":
            self.state.best_score, self.state.best_epoch = score, self.state.epoch
            with self.average.applied():
                self._write_best()

    def _write_best(self) -> None:
        state = {
            "model": plain_state(self.model),
            "epoch": self.state.best_epoch,
            "score": self.state.best_score,
        }
        save_state(self.folder.best, state)

    def _without_parameters(self) -> None:
        """A model that :meth:`Trainable.prepare` has completed."""
        self.state.best_score = self._scores()[self.settings.score]
        self.state.seconds = time.monotonic() - self._began
        self._write_best()

    def _out_of_patience(self) -> bool:
        patience = self.settings.patience
        return patience is not None and self.state.epoch - self.state.best_epoch >= patience

    def _train_losses(self) -> dict[str, float]:
        """Means over the epoch's steps; NaN for a player that had none."""
        done, losses = self.state.step, {}
        for player, total in zip(self.players, self.sums.tolist(), strict=True):
            steps = player.taken(done) - player.taken(done - self.n_batches)
            losses[player.name] = total / steps if steps else math.nan
        return losses

    def _row(self, train: dict[str, float], scores: dict[str, float]) -> dict[str, object]:
        self._take_time()
        rates = {player.name: player.optimizer.param_groups[0]["lr"] for player in self.players}
        if len(self.players) == 1:
            own = {"lr": rates.popitem()[1], "train/loss": train.popitem()[1]}
        else:
            own = {f"lr/{name}": rate for name, rate in rates.items()}
            own |= {f"train/{name}": _json_number(loss) for name, loss in train.items()}
        return {
            "stage": self.stage,
            "epoch": self.state.epoch,
            "step": self.state.step,
            **own,
            **{f"validation/{name}": _json_number(value) for name, value in scores.items()},
            "seconds": round(self.state.seconds, 3),
        }

    def _layers(self) -> dict[str, object]:
        """Dimensions of hidden layers, where they are asked for."""
        if not self.trainer.settings.layer_dimensions:
            return {}
        self.seeds.validation(0)
        self.model.eval()
        with self.average.applied():
            found = layer_dimensions(self.model, self.validation, self.settings.batch_size)
        return {f"layers/{name}": value for name, value in found.items()}

    def _checkpoint(self) -> None:
        self._check_finite()
        self._take_time()
        state = {
            "state": asdict(self.state),
            "sums": self.sums,
            "model": plain_state(self.model),
            "average": self.average.state_dict(),
            "players": {player.name: player.state_dict() for player in self.players},
        }
        save_state(self.folder.last, state)
        self._saved_at, self.saved_step = time.monotonic(), self.state.step

    def _resume(self, saved: dict) -> None:
        """Go on where ``last.pt`` was written; the model has its weights already."""
        self.average.load_state_dict(saved["average"])
        for player in self.players:
            player.load_state_dict(saved["players"][player.name])
        self.sums = saved["sums"]
        self.state = _State(**saved["state"])
        self.saved_step = self.state.step
        log.info("%s: resuming after step %d of %d", self.stage, self.state.step, self.total)

    def _check_buffers(self) -> None:
        """A buffer that was replaced is no longer the one that the average follows."""
        now = self.model.averaged_buffers()
        if len(now) != len(self.buffers) or any(
            a is not b for a, b in zip(now, self.buffers, strict=True)
        ):
            raise UserError(
                f"{self.stage}: averaged_buffers of {type(self.model).__name__} are other tensors"
                " than before the first step: change them in place, with copy_ or lerp_"
            )

    @contextmanager
    def _foreign(self) -> Iterator[None]:
        """Whatever a checkpoint of something else makes go wrong."""
        try:
            yield
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(
                f"{self.folder.last} holds another training than this version of caloman does:"
                f" {self.folder.remedy}"
            ) from error

    def _check_finite(self) -> None:
        broken = self.guard.broken()
        if broken is None:
            return
        what, step = broken
        lr = ", ".join(f"{player.optimizer.param_groups[0]['lr']:.3g}" for player in self.players)
        kept = (
            f"the last good checkpoint is {self.folder.last} (step {self.saved_step})"
            if self.folder.last.exists()
            else "there is no earlier checkpoint"
        )
        raise Diverged(
            f"{self.stage}: the {what} became NaN or infinite at step {step} (epoch"
            f" {self.state.epoch + 1}, learning rate {lr}); {kept}. Lower trainer.{self.stage}.lr,"
            f" set trainer.{self.stage}.clip, or check the data with 'caloman data check'"
        )

    def _lr_factor(self) -> float:
        warmup = round(self.settings.warmup * self.n_batches)
        return lr_factor(self.settings.schedule, self.state.step, self.total, warmup)

    def _autocast(self) -> AbstractContextManager:
        enabled = self.precision != torch.float32
        return torch.autocast(self.device.type, self.precision, enabled=enabled)

    def _zeros(self) -> Tensor:
        return torch.zeros(len(self.players), dtype=torch.float64, device=self.device)

    def _take_time(self) -> None:
        now = time.monotonic()
        self.state.seconds += now - self._clock
        self._clock = now


def _json_number(value: float) -> float | None:
    return value if math.isfinite(value) else None
