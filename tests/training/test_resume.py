"""A run that was killed ends exactly like one that was not."""

import os
import signal

import pytest
import torch

from caloman_cli.data.files import load_state
from caloman_cli.models.trainable import TensorRows
from caloman_cli.training.interruption import Interruption, Preempted
from tests.training.models import Duel, PowerCut, Regression

SETTINGS = {"schedule": "cosine", "warmup": 0.5, "ema": 0.9, "clip": 1.0, "epochs": 4}


class Interrupted:
    """Rows that do something at the n-th request."""

    def __init__(self, rows, at, action):
        self.source, self.at, self.action, self.asked = rows, at, action, 0

    def __len__(self):
        return len(self.source)

    def rows(self, index):
        self.asked += 1
        if self.asked == self.at:
            self.action()
        return self.source.rows(index)


def power_cut():
    raise PowerCut


def fresh(kind=Regression):
    torch.manual_seed(11)
    return kind()


def history(trainer):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in trainer.run.history.rows()]


def assert_same(left, right, model, other):
    assert history(left) == history(right)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    for file in ("last.pt", "best.pt"):
        a, b = (load_state(trainer.run.path / "encoder" / file) for trainer in (left, right))
        for part in ("model", "average", "players"):
            assert str(a.get(part)) == str(b.get(part))


@pytest.mark.parametrize("checkpoint_minutes", [10.0, 1e-9], ids=["per epoch", "per step"])
@pytest.mark.parametrize("at", [1, 2, 5, 12])
@pytest.mark.parametrize("where", ["train", "validation"])
def test_killed_run_resumes_bitwise(make_trainer, data, at, where, checkpoint_minutes):
    whole, model = make_trainer("whole", **SETTINGS), fresh()
    whole.fit("encoder", model, *data)

    options = {**SETTINGS, "checkpoint_minutes": checkpoint_minutes}
    train, validation = data
    broken = Interrupted(train if where == "train" else validation, at, power_cut)
    rows = (broken, validation) if where == "train" else (train, broken)
    try:
        make_trainer("cut", **options).fit("encoder", fresh(), *rows)
    except PowerCut:
        pass
    else:
        assert where == "validation" and at > 4
    again, resumed = make_trainer("cut", **options), fresh()
    again.fit("encoder", resumed, *data)
    assert_same(whole, again, model, resumed)


@pytest.mark.parametrize("stage", ["energy", "density"])
def test_several_kills_of_several_players(make_trainer, stage):
    rows = TensorRows(torch.randn(40, 1, generator=torch.Generator().manual_seed(1)))
    whole, model = make_trainer("whole", optimizer="adam", lr=0.1), fresh(Duel)
    whole.fit(stage, model, rows, rows)
    for at in (3, 4, 2):
        with pytest.raises(PowerCut):
            trainer = make_trainer("cut", optimizer="adam", lr=0.1, checkpoint_minutes=1e-9)
            trainer.fit(stage, fresh(Duel), Interrupted(rows, at, power_cut), rows)
    again, resumed = make_trainer("cut", optimizer="adam", lr=0.1), fresh(Duel)
    again.fit(stage, resumed, rows, rows)
    assert history(whole) == history(again)
    assert torch.equal(model.critic, resumed.critic)
    assert torch.equal(model.model, resumed.model)


@pytest.fixture
def ctrl_c_counts():
    """Jobs that a shell starts in the background ignore it, and so would the tests."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("ctrl_c_counts")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_saves_in_mid_epoch_and_exits_with_its_status(make_trainer, data, number, status):
    whole, model = make_trainer("whole", **SETTINGS), fresh()
    whole.fit("encoder", model, *data)
    train, validation = data
    before = signal.getsignal(number)
    with Interruption() as interruption:
        trainer = make_trainer("cut", interruption=interruption, **SETTINGS)
        rows = Interrupted(train, 7, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Preempted) as stopped:
            trainer.fit("encoder", fresh(), rows, validation)
    assert stopped.value.code == status
    assert signal.getsignal(number) is before
    # prepare() asks once, so request 7 is step 6 of an epoch of 3: the step was finished.
    assert load_state(trainer.run.path / "encoder/last.pt")["state"]["step"] == 6
    again, resumed = make_trainer("cut", **SETTINGS), fresh()
    again.fit("encoder", resumed, *data)
    assert_same(whole, again, model, resumed)


def test_a_launchers_own_sigterm_handler_is_left_alone():
    calls = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    try:
        with Interruption() as interruption, interruption.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            interruption.check()
        assert calls == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, previous)


@pytest.mark.usefixtures("ctrl_c_counts")
def test_a_second_ctrl_c_does_not_wait():
    with Interruption() as interruption, interruption.deferred():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Preempted):
            os.kill(os.getpid(), signal.SIGINT)


def test_complete_stage_is_skipped_and_has_its_weights(make_trainer, data):
    first, model = make_trainer(), fresh()
    summary = first.fit("encoder", model, *data)
    again = Interrupted(data[0], 1, power_cut)
    other = Regression()
    assert make_trainer().fit("encoder", other, again, again) == summary
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)
    )
    assert len(first.run.history.rows()) == 4


def test_seed_decides_the_result(make_trainer, data):
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        model = fresh()
        make_trainer(name, seed=seed).fit("encoder", model, *data)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_torn_line_of_history_is_written_again(make_trainer, data):
    trainer = make_trainer()
    with pytest.raises(PowerCut):
        trainer.fit("encoder", fresh(), Interrupted(data[0], 6, power_cut), data[1])
    with trainer.run.history.path.open("a") as file:
        file.write('{"stage": "encoder", "epo')
    make_trainer().fit("encoder", fresh(), *data)
    assert [row["epoch"] for row in trainer.run.history.rows()] == [1, 2, 3, 4]


@pytest.fixture
def launcher():
    """Handlers like submitit's: SIGTERM is passed over, SIGUSR2 requeues the job and ends it."""
    calls = []

    def requeue(number, frame):
        calls.append(number)
        raise SystemExit(-1)

    handlers = {
        signal.SIGTERM: lambda number, frame: calls.append(number),
        signal.SIGUSR2: requeue,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield calls
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("where", ["train", "validation"])
def test_a_launcher_requeues_when_the_last_step_is_saved(make_trainer, data, launcher, where):
    whole, model = make_trainer("whole", **SETTINGS), fresh()
    whole.fit("encoder", model, *data)
    rows = dict(zip(("train", "validation"), data, strict=True))
    at = 7 if where == "train" else 2
    rows[where] = Interrupted(rows[where], at, lambda: os.kill(os.getpid(), signal.SIGUSR2))
    with Interruption() as interruption:
        trainer = make_trainer("cut", interruption=interruption, **SETTINGS)
        with pytest.raises(SystemExit) as ended:
            trainer.fit("encoder", fresh(), rows["train"], rows["validation"])
    assert ended.value.code == -1
    assert launcher == [signal.SIGUSR2]
    assert load_state(trainer.run.path / "encoder/last.pt")["state"]["step"] == 6
    again, resumed = make_trainer("cut", **SETTINGS), fresh()
    again.fit("encoder", resumed, *data)
    assert_same(whole, again, model, resumed)


def test_what_a_launcher_passes_over_is_saved_and_training_goes_on(make_trainer, data, launcher):
    """Slurm sends SIGTERM and, after KillWait, SIGKILL: the step before is on the disk."""
    saved = []
    train, validation = data

    def look():
        saved.append(load_state(trainer.run.path / "encoder/last.pt")["state"]["step"])

    rows = Interrupted(train, 7, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with Interruption() as interruption:
        trainer = make_trainer("cut", interruption=interruption, **SETTINGS)
        trainer.fit("encoder", fresh(), Interrupted(rows, 8, look), validation)
    assert launcher == [signal.SIGTERM]
    assert saved == [6]


def test_preparation_does_not_make_a_signal_wait(make_trainer, data):
    train, validation = data
    with Interruption() as interruption:
        trainer = make_trainer("cut", interruption=interruption, **SETTINGS)
        rows = Interrupted(train, 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Preempted):
            trainer.fit("encoder", fresh(), rows, validation)
    assert rows.asked == 1
    assert not (trainer.run.path / "encoder/last.pt").exists()


def test_what_was_prepared_before_a_cut_is_found_again(make_trainer, data):
    class Careful(Regression):
        found = None

        def prepare(self, train):
            note = self.kept / "note"
            self.found = note.exists()
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()
            if not self.found:
                power_cut()

    with pytest.raises(PowerCut):
        make_trainer("cut", **SETTINGS).fit("encoder", fresh(Careful), *data)
    again, model = make_trainer("cut", **SETTINGS), fresh(Careful)
    again.fit("encoder", model, *data)
    assert model.found
    assert not (again.run.path / "encoder/prepared").exists()
