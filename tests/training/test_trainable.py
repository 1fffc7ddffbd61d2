"""What a model may ask of the loop: players, where the training is, buffers, bytes."""

import json

import pytest
import torch
from torch import nn

from caloman_cli.data.files import load_state
from caloman_cli.errors import UserError
from caloman_cli.models.trainable import Step, TensorRows, Trainable, plain_state
from tests.training.models import Duel, PowerCut
from tests.training.test_resume import Interrupted, history, power_cut

ONES = TensorRows(torch.ones(12, 1))


class Turns(Duel):
    """Notes who learned, not who was scored."""

    def loss(self, batch, player="model"):
        loss = super().loss(batch, player)
        if not self.training:
            self.turns.pop()
        return loss


def duel(**players) -> Turns:
    model = Turns()
    model.players = players
    return model


@pytest.mark.parametrize(
    ("players", "turns"),
    [
        ({"critic": 1, "model": 1}, "cm cm cm cm cm cm"),
        ({"critic": 3, "model": 1}, "c c cm c c cm"),
        ({"critic": 1, "model": 2}, "m cm m cm m cm"),
        ({"critic": 3, "model": 2}, "c cm cm c cm cm"),
    ],
)
def test_players_have_numbers_of_steps(make_trainer, players, turns):
    model = duel(**players)
    trainer = make_trainer(epochs=2, batch_size=4, lr=0.1, player_lr={"critic": 0.0125})
    trainer.fit("encoder", model, ONES, ONES)
    assert "".join(turn[0] for turn in model.turns) == turns.replace(" ", "")
    row = trainer.run.history.rows()[-1]
    assert (row["lr/critic"], row["lr/model"]) == (0.0125, 0.1)


def test_losses_are_means_over_the_steps_that_were_taken(make_trainer):
    class Known(Duel):
        def loss(self, batch, player="model"):
            weight = getattr(self, player)
            return 0 * weight.sum() + {"critic": 2.0, "model": 5.0}[player]

    model = Known()
    model.players = {"critic": 4, "model": 1}
    trainer = make_trainer(epochs=3, batch_size=4)
    trainer.fit("encoder", model, ONES, ONES)
    rows = trainer.run.history.rows()
    assert [row["train/critic"] for row in rows] == [2.0] * 3
    assert [row["train/model"] for row in rows] == [None, 5.0, 5.0]  # batches 3 and 7 are its own


def test_a_kill_between_the_steps_of_a_player(make_trainer):
    def fit(name, rows=ONES):
        torch.manual_seed(3)
        model = duel(critic=3, model=1)
        trainer = make_trainer(name, epochs=3, batch_size=4, lr=0.1, checkpoint_minutes=1e-9)
        trainer.fit("encoder", model, rows, ONES)
        return trainer, model

    whole, model = fit("whole")
    for at in (2, 3):
        with pytest.raises(PowerCut):
            fit("cut", Interrupted(ONES, at, power_cut))
    again, resumed = fit("cut")
    assert history(whole) == history(again)
    assert torch.equal(model.critic, resumed.critic)
    assert torch.equal(model.model, resumed.model)


@pytest.mark.parametrize("players", [("critic", "model"), {"critic": 0, "model": 1}, {}])
def test_players_without_steps_are_refused(make_trainer, players):
    model = Duel()
    model.players = players
    with pytest.raises(UserError, match="numbers of steps, 1 or more") as caught:
        make_trainer().fit("encoder", model, ONES, ONES)
    assert "\n" not in str(caught.value)


class Told(Trainable):
    """Notes where the training is; so does the part of it."""

    def __init__(self, depth=1) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.part = nn.ModuleList([Told(0)] if depth else [])
        self.seen: list[Step] = []

    def loss(self, batch, player="model"):
        if self.training:
            self.seen.append(self.step)
        return self.w.sum() + sum(part.loss(batch) for part in self.part)


def test_losses_know_where_the_training_is(make_trainer):
    model = Told()
    rows = Interrupted(ONES, 5, power_cut)
    options = {"epochs": 2, "batch_size": 4, "checkpoint_minutes": 1e-9}
    with pytest.raises(PowerCut):
        make_trainer(**options).fit("encoder", model, rows, ONES)
    assert model.seen == [Step(number, 6) for number in range(4)]
    resumed = Told()
    make_trainer(**options).fit("encoder", resumed, ONES, ONES)
    assert resumed.seen == [Step(4, 6), Step(5, 6)] == resumed.part[0].seen
    assert [step.progress for step in resumed.seen] == pytest.approx([4 / 6, 5 / 6])


class Follows(Trainable):
    """A codebook that follows the weight at once, which training changes but does not learn."""

    averaged = True

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.register_buffer("book", torch.zeros(1))
        self.seen: list[tuple[float, float]] = []

    def averaged_buffers(self):
        return [self.book] if self.averaged else []

    def loss(self, batch, player="model"):
        if not self.training:
            self.seen.append((self.w.item(), self.book.item()))
        else:
            self.book.copy_(self.w.detach())  # so it always lags one step behind
        return (self.w - 1).square().sum()


def test_buffers_are_averaged_where_the_model_says_so(make_trainer):
    for averaged in (True, False):
        model = Follows()
        model.averaged = averaged
        trainer = make_trainer(f"{averaged}", epochs=2, batch_size=1, ema=0.9, lr=0.1)
        trainer.fit("encoder", model, ONES, ONES)
        best = load_state(trainer.run.path / "encoder/best.pt")["model"]
        raw = load_state(trainer.run.path / "encoder/last.pt")["model"]
        # On the way up the average is lower than the weight, and so must be what follows it.
        assert float(best["w"]) < float(raw["w"]) - 0.1
        assert (float(best["book"]) < float(best["w"])) is averaged
        assert (model.seen[0][1] < model.seen[0][0]) is averaged
        assert model.book.item() == float(best["book"])


def test_averaged_buffers_go_on_after_a_kill(make_trainer):
    def fit(name, rows=ONES):
        options = {"epochs": 2, "batch_size": 4, "ema": 0.9, "lr": 0.1}
        make_trainer(name, **options).fit("encoder", model := Follows(), rows, ONES)
        return model

    whole = fit("whole")
    with pytest.raises(PowerCut):
        fit("cut", Interrupted(ONES, 5, power_cut))
    resumed = plain_state(fit("cut"))
    assert all(torch.equal(value, resumed[name]) for name, value in plain_state(whole).items())


def test_averaged_buffers_are_the_models_own_and_changed_in_place(make_trainer):
    class Strange(Follows):
        def averaged_buffers(self):
            return [torch.zeros(1)]

    class Replaces(Follows):
        def loss(self, batch, player="model"):
            self.book = self.w.detach().clone()
            return self.w.square().sum()

    for kind, message in ((Strange, "buffers of its own"), (Replaces, "change them in place")):
        with pytest.raises(UserError, match=message) as caught:
            make_trainer(kind.__name__, ema=0.9).fit("encoder", kind(), ONES, ONES)
        assert "\n" not in str(caught.value)


class Table(nn.Module):
    """No torch module at heart: what it knows is a JSON text."""

    known: dict | None = None

    def get_extra_state(self):
        return json.dumps(self.known).encode()

    def set_extra_state(self, state):
        self.known = json.loads(state)


class Counts(Trainable):
    """Learns a weight, and keeps a table beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.table = nn.Parameter(torch.zeros(1)), Table()

    def prepare(self, train):
        self.table.known = {"rows": len(train), "text": "\x00 \xff \u20ac"}

    def loss(self, batch, player="model"):
        return (self.w - 1).square().sum()


def test_bytes_travel_in_checkpoints_and_are_not_averaged(make_trainer):
    def fit(rows):
        trainer = make_trainer(epochs=2, batch_size=4, ema=0.9, checkpoint_minutes=1e-9)
        trainer.fit("encoder", model := Counts(), rows, ONES)
        return trainer, model

    with pytest.raises(PowerCut):
        fit(Interrupted(ONES, 3, power_cut))
    trainer, model = fit(ONES)
    assert model.table.known == {"rows": 12, "text": "\x00 \xff \u20ac"}
    for file in ("last.pt", "best.pt"):
        state = load_state(trainer.run.path / "encoder" / file)["model"]
        assert isinstance(state["table._extra_state"], bytes)


def test_a_state_of_anything_else_is_refused_before_it_is_written(make_trainer):
    class Object(Table):
        def get_extra_state(self):
            return object()

    model = Counts()
    model.table = Object()
    with pytest.raises(TypeError, match=r"table\._extra_state of Counts is of type object"):
        make_trainer(ema=None).fit("encoder", model, ONES, ONES)
