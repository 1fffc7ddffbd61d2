"""Loggers watch; they never stop a training and never wait for a network."""

import socket
import warnings

import pytest
from omegaconf import OmegaConf

from caloman_cli.errors import UserError
from caloman_cli.loggers import Logger, NoLogger, Wandb, make_logger, numbers, watching

ROW = {"stage": "encoder", "epoch": 2, "step": 6, "lr": 0.1, "train/loss": 1.5, "x": None}


@pytest.fixture(autouse=True)
def _no_network_no_key(monkeypatch, tmp_path):
    """No key to be found, and no address but this machine's to be reached."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    connect = socket.socket.connect

    def local_only(self, address):
        if self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "localhost", "::1"):
            return connect(self, address)
        raise AssertionError(f"a test reached for the network: {address}")

    monkeypatch.setattr(socket.socket, "connect", local_only)
    # The library's own habits are not what is tested.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class FakeRun:
    """What wandb.init returns."""

    def __init__(self, events):
        self.events, self.url = events, None

    def define_metric(self, *_, **__):
        pass

    def log(self, values):
        self.events.append(("log", values))

    def finish(self, exit_code):
        self.events.append(("finish", exit_code))


@pytest.fixture
def events(monkeypatch):
    """Calls of a wandb that is not there."""
    import wandb

    happened: list = []

    def init(**options):
        happened.append(("init", options["mode"]))
        if options["mode"] == "online":
            raise wandb.errors.CommError("no route to host")
        return FakeRun(happened)

    monkeypatch.setattr(wandb, "init", init)
    return happened


def test_numbers_are_named_by_stage():
    assert numbers(ROW) == {"encoder/epoch": 2.0, "encoder/lr": 0.1, "encoder/train/loss": 1.5}


def test_online_without_a_key_logs_offline_with_one_warning(tmp_path, events, caplog):
    with watching(Wandb(), tmp_path, {}):
        pass
    assert events == [("init", "offline"), ("finish", 0)]
    assert len(caplog.records) == 1
    assert "no key" in caplog.text


def test_online_without_a_network_logs_offline_with_one_warning(
    tmp_path, events, caplog, monkeypatch
):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    logger = Wandb()
    with watching(logger, tmp_path, {}):
        logger.log(ROW)
    assert [kind for kind, _ in events] == ["init", "init", "log", "finish"]
    assert [record.message for record in caplog.records] == [
        "wandb cannot be reached (no route to host): logging offline"
    ]


@pytest.mark.parametrize(
    ("error", "code"), [(ValueError(), 1), (SystemExit(143), 143), (SystemExit("x"), 1)]
)
def test_a_job_is_closed_with_its_exit_code(tmp_path, events, error, code):
    with pytest.raises(type(error)), watching(Wandb(mode="offline"), tmp_path, {}):
        raise error
    assert events[-1] == ("finish", code)


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_wandb_itself(tmp_path, mode):
    logger = Wandb(mode=mode, tags=["a"])
    with watching(logger, tmp_path, {"seed": 1}):
        logger.log(ROW)
    assert bool(list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))) == (mode == "offline")


def test_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = make_logger(OmegaConf.create({"_target_": "caloman_cli.loggers.TensorBoard"}))
    with watching(logger, tmp_path, {}):
        logger.log(ROW)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (scalar,) = events.Scalars("encoder/train/loss")
    assert (scalar.step, scalar.value) == (2, 1.5)


def test_making_loggers():
    assert isinstance(
        make_logger(OmegaConf.create({"_target_": "caloman_cli.loggers.NoLogger"})), NoLogger
    )
    with pytest.raises(UserError, match=r"logger.mode=on, must be one of online, offline"):
        Wandb(mode="on")


def test_nobody_is_told_nothing(tmp_path):
    with watching(NoLogger(), tmp_path, {}):
        Logger().log(ROW)
    assert not list(tmp_path.iterdir())
