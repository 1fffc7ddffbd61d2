"""What the loop promises about steps, scores and weights."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from caloman_cli.config.settings import StageSettings
from caloman_cli.data.files import load_state
from caloman_cli.errors import UserError
from caloman_cli.loggers import Logger
from caloman_cli.models.trainable import TensorRows, Trainable
from caloman_cli.training.ema import MovingAverage
from caloman_cli.training.guard import Diverged
from caloman_cli.training.seeds import Seeds
from tests.training.models import Duel, Regression


class Quadratic(Trainable):
    """(w - mean x)^2; the validation score is whatever the test says."""

    def __init__(self, scores=None) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.script = scores
        self.seen: list[float] = []

    def loss(self, batch, player="model"):
        return (self.w - batch[0].mean()).square().sum()

    def scores(self, batch):
        self.seen.append(self.w.item())
        if self.script is None:
            return super().scores(batch)
        return {"loss": torch.tensor(self.script[len(self.seen) - 1])}


ONES = TensorRows(torch.ones(8, 1))


def test_it_finds_the_minimum(make_trainer):
    model = Quadratic()
    summary = make_trainer(epochs=25, batch_size=1, lr=0.1, schedule="cosine").fit(
        "energy", model, ONES, ONES
    )
    assert model.w.item() == pytest.approx(1.0, abs=1e-3)
    assert summary["parameters"] == 1
    assert not model.training


def test_patience_stops_and_the_best_weights_are_kept(make_trainer):
    model = Quadratic([5.0, 3.0, 4.0, 3.5, 3.0, 1.0])
    summary = make_trainer(epochs=6, patience=3).fit("energy", model, ONES, ONES)
    assert (summary["epochs"], summary["stopped"], summary["best_epoch"]) == (5, "patience", 2)
    assert model.w.item() == model.seen[1]


def test_last_weights_on_request(make_trainer):
    model = Quadratic([5.0, 3.0, 4.0])
    summary = make_trainer(epochs=3, select="last").fit("energy", model, ONES, ONES)
    assert summary["best_epoch"] == 3
    assert model.w.item() == model.seen[2]


def test_another_score_may_decide(make_trainer):
    class TwoScores(Quadratic):
        def scores(self, batch):
            return {**super().scores(batch), "reconstruction": self.w.detach().square().sum()}

    model = TwoScores()
    summary = make_trainer(epochs=4, score="reconstruction").fit("encoder", model, ONES, ONES)
    assert summary["best_epoch"] == 1  # w leaves zero, where this score is lowest
    with pytest.raises(UserError, match="score=psnr: the model's scores are loss, reconstruction"):
        make_trainer("other", score="psnr").fit("encoder", TwoScores(), ONES, ONES)


def test_average_follows_its_recursion():
    weight = nn.Parameter(torch.zeros(1))
    average, expected = MovingAverage([weight], 0.9), 0.0
    for step in range(100):
        with torch.no_grad():
            weight += 1.0
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (step + 1)
    with average.applied():
        assert weight.item() == pytest.approx(expected, rel=1e-5)
    assert weight.item() == 100.0


def test_averaged_weights_are_scored_saved_and_kept(make_trainer):
    model = Quadratic()
    trainer = make_trainer(epochs=3, ema=0.9, lr=0.1)
    trainer.fit("energy", model, ONES, ONES)
    raw = load_state(trainer.run.path / "energy/last.pt")["model"]["w"]
    assert model.w.item() == model.seen[2]
    assert model.w.item() < float(raw)  # the average lags behind on the way from 0 to 1


def test_players_alternate_and_change_only_what_is_theirs(make_trainer):
    model = Duel()
    rows = TensorRows(torch.ones(8, 1))
    trainer = make_trainer(epochs=1, batch_size=4, lr=0.1, player_lr={"critic": 0.0125})
    before = model.model.detach().clone()
    trainer.fit("encoder", model, rows, rows)
    training = model.turns[:4]
    assert training == ["critic", "model", "critic", "model"]
    # Adam's first steps have the size of the learning rate, so they tell the players apart.
    assert model.critic.item() == pytest.approx(2 * 0.0125, rel=0.05)
    assert (model.model - before).item() == pytest.approx(2 * 0.1, rel=0.05)
    row = trainer.run.history.rows()[0]
    assert {"train/critic", "train/model", "validation/loss"} <= set(row)


def test_unknown_player(make_trainer):
    with pytest.raises(UserError, match="generator: the model's players are critic, model"):
        make_trainer(player_lr={"generator": 0.1}).fit("encoder", Duel(), ONES, ONES)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_nan_stops_with_a_message_and_overwrites_nothing(make_trainer, data, what):
    class Breaks(Regression):
        steps = 0

        def loss(self, batch, player="model"):
            loss = super().loss(batch)
            if self.training:
                self.steps += 1
            if self.steps != 5:
                return loss
            # sqrt has an infinite slope at zero.
            return loss * math.nan if what == "loss" else loss + (loss * 0).sqrt()

    trainer = make_trainer(lr=0.002)
    with pytest.raises(Diverged) as error:
        trainer.fit("encoder", Breaks(), *data)
    message = str(error.value)
    assert f"encoder: the {what} became NaN or infinite at step 4 (epoch 2" in message
    assert "learning rate 0.002" in message
    assert "last.pt (step 3)" in message
    assert "\n" not in message
    state = load_state(trainer.run.path / "encoder/last.pt")
    assert state["state"]["step"] == 3
    assert all(torch.isfinite(value).all() for value in state["model"].values())
    assert [row["epoch"] for row in trainer.run.history.rows()] == [1]


def test_a_validation_score_that_is_never_finite(make_trainer):
    trainer = make_trainer(epochs=2)
    with pytest.raises(Diverged, match="never finite"):
        trainer.fit("energy", Quadratic([math.nan, math.inf]), ONES, ONES)
    assert [row["validation/loss"] for row in trainer.run.history.rows()] == [None, None]


def test_a_model_without_parameters_is_prepared_and_scored(make_trainer):
    class Mean(Trainable):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(1))

        def prepare(self, train):
            self.mean.copy_(train.rows(np.arange(len(train)))[0].mean(0))

        def loss(self, batch, player="model"):
            return (batch[0] - self.mean).square().mean()

    model = Mean()
    trainer = make_trainer()
    summary = trainer.fit("density", model, ONES, ONES)
    assert (summary["steps"], summary["best_score"], float(model.mean)) == (0, 0.0, 1.0)
    loaded = Mean()
    trainer.fit("density", loaded, ONES, ONES)
    assert float(loaded.mean) == 1.0


def test_every_row_once_per_epoch_in_batches_of_equal_size():
    batches = Seeds(1, "encoder").batches(0, 103, 7)
    assert sorted(np.concatenate(batches)) == list(range(103))
    assert {len(batch) for batch in batches} == {14, 15}
    assert not np.array_equal(batches[0], Seeds(1, "encoder").batches(1, 103, 7)[0])
    assert not np.array_equal(batches[0], Seeds(1, "density").batches(0, 103, 7)[0])


def test_history_has_what_a_plot_needs(make_trainer, data):
    class Listener(Logger):
        def __init__(self):
            self.rows = []

        def log(self, row):
            self.rows.append(dict(row))

    listener = Listener()
    trainer = make_trainer(logger=listener, lr=0.01)
    trainer.fit("encoder", Regression(), *data)
    rows = [json.loads(line) for line in trainer.run.history.path.read_text().splitlines()]
    assert rows == listener.rows
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["step"] for row in rows] == [3, 6, 9, 12]
    for row in rows:
        assert set(row) == {
            "stage",
            "epoch",
            "step",
            "lr",
            "train/loss",
            "validation/loss",
            "seconds",
        }
        assert row["lr"] == 0.01


def test_validation_draws_the_same_numbers_in_every_epoch(make_trainer):
    """Else the lucky epoch is chosen; a split of several batches has different ones in each."""

    class Noisy(Quadratic):
        def scores(self, batch):
            return {"loss": torch.rand(()) + 0 * self.loss(batch)}

    trainer = make_trainer(epochs=3, batch_size=4)
    trainer.fit("energy", Noisy(), ONES, ONES)
    scores = [row["validation/loss"] for row in trainer.run.history.rows()]
    assert scores == [scores[0]] * 3
    seeds, draws = Seeds(7, "energy"), []
    for batch in range(2):
        seeds.validation(batch)
        draws.append(float(torch.rand(())))
    assert scores[0] == pytest.approx(sum(draws) / 2)
    assert draws[0] != draws[1]


def test_mixed_precision_without_cuda_is_said_and_not_done(make_trainer, data, caplog):
    trainer = make_trainer(precision="bfloat16")
    trainer.fit("encoder", Regression(), *data)
    assert "works on CUDA only" in caplog.text


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_trains_on_cuda(make_trainer, data, precision):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    rows = [TensorRows(*source.tensors, device="cuda") for source in data]
    trainer = make_trainer(precision=precision, epochs=20, lr=0.01)
    trainer.device = torch.device("cuda")
    trainer.fit("encoder", Regression(), *rows)
    losses = [row["validation/loss"] for row in trainer.run.history.rows()]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"optimizer": "sgd"}, "optimizer=sgd: must be adam, adamw"),
        ({"schedule": "step"}, "schedule=step: must be none, cosine, one_cycle"),
        ({"epochs": 0}, "epochs=0: must be an integer, 1 or more"),
        ({"lr": -1.0}, "lr=-1.0: must be a number, above 0"),
        ({"ema": 1.0}, "ema=1.0: must be a number, between 0 and 1, or null"),
        ({"schedule": "one_cycle", "warmup": 1.0}, "warm-up of its own"),
        ({"select": "last", "patience": 3}, "set patience=null"),
        ({"epochs": 1, "warmup": 1}, "encoder.epochs=1: set trainer.encoder.warmup=0 with it"),
        ({"precision": "float16"}, "precision=float16: must be float32, bfloat16"),
    ],
)
def test_settings_out_of_range(setting, message):
    with pytest.raises(UserError, match=message):
        StageSettings(**setting).check("trainer.encoder")


def test_every_epoch_is_scored_with_the_same_noise(make_trainer):
    """Else the epoch with the luckiest noise would be kept as the best."""

    class Noisy(Quadratic):
        def scores(self, batch):
            return {"loss": torch.rand(())}

    trainer = make_trainer(epochs=3, batch_size=4)
    trainer.fit("energy", Noisy(), ONES, ONES)
    found = [row["validation/loss"] for row in trainer.run.history.rows()]
    assert len(found) == 3
    assert len(set(found)) == 1
