"""Loggers watch; they never stop a training and never wait for a network."""

import csv
import json
import sys

import pytest
from omegaconf import OmegaConf

from caloman_cli.config.check import check_config
from caloman_cli.config.compose import compose
from caloman_cli.errors import UserError
from caloman_cli.loggers import Csv, Logger, NoLogger, Tolerant, Wandb, make_logger, watching
from caloman_cli.loggers.base import numbers
from tests.wandb_files import offline_runs
from tests.wandb_service import service

ROW = {"stage": "encoder", "epoch": 2, "step": 6, "lr": 0.1, "train/loss": 1.5, "x": None}

pytestmark = pytest.mark.usefixtures("wandb_alone")


class FakeRun:
    """What wandb.init returns."""

    id, project, entity, url = "i", "p", "", None

    def __init__(self, events):
        self.events = events
        self.settings = OmegaConf.create({"sync_dir": "somewhere"})

    def define_metric(self, *_, **__):
        pass

    def log(self, values):
        self.events.append(("log", values))

    def finish(self, exit_code):
        self.events.append(("finish", exit_code))


def warned(caplog):
    """The package's warnings."""
    return [
        record.message
        for record in caplog.records
        if record.name.startswith("caloman_cli") and record.levelname == "WARNING"
    ]


@pytest.fixture
def events(monkeypatch):
    """Calls of a wandb that is not there."""
    import wandb

    happened: list = []

    def init(**options):
        happened.append(("init", options["mode"]))
        return FakeRun(happened)

    monkeypatch.setattr(wandb, "init", init)
    return happened


def test_numbers_are_named_by_stage():
    assert numbers(ROW) == {"encoder/epoch": 2.0, "encoder/lr": 0.1, "encoder/train/loss": 1.5}


def test_a_run_has_the_name_and_the_tags_of_its_config(tmp_path, events, monkeypatch):
    import wandb

    asked = {}
    monkeypatch.setattr(wandb, "init", lambda **options: asked.update(options) or FakeRun(events))
    config = {"name": "third try", "tags": "draft"}
    Wandb(mode="offline", tags=["mine"]).open(tmp_path, config)
    assert (asked["name"], asked["tags"]) == ("third try", ["mine", "draft"])


def test_online_without_a_key_logs_offline_with_one_warning(tmp_path, events, caplog):
    with watching(Wandb(), tmp_path, {}):
        pass
    assert events == [("init", "offline"), ("finish", 0)]
    assert warned(caplog) == ["wandb has no key here ('wandb login' stores one): logging offline"]


def test_a_key_without_a_network_logs_offline_under_the_same_id(tmp_path, caplog, monkeypatch):
    """Nothing is feigned: the service's own process finds a port that refuses."""
    monkeypatch.setenv("WANDB_API_KEY", 40 * "a")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    logger = Wandb(init_timeout=0.5, tags=["a"])
    with watching(logger, tmp_path, {"seed": 1}):
        logger.log(ROW)
    (warning,) = warned(caplog)
    assert warning.startswith("wandb cannot be reached (")
    assert warning.endswith("): logging offline")
    (run,) = offline_runs(tmp_path)
    assert run.id == json.loads((tmp_path / "wandb/run.json").read_text())["id"]
    assert run.config["seed"] == 1
    assert run.history[0]["encoder/train/loss"] == 1.5
    # The same directory again is the same run, here and where it is uploaded.
    with watching(Wandb(mode="offline"), tmp_path, {"seed": 1}):
        pass
    first, second = offline_runs(tmp_path)
    assert first.id == second.id == run.id
    assert second.resumes


@pytest.mark.parametrize(
    ("environment", "mode", "asked"),
    [
        ("offline", None, ["offline"]),
        ("dryrun", None, ["offline"]),
        ("disabled", None, []),
        ("online", None, ["online"]),
        (None, None, ["online"]),
        ("offline", "online", ["online"]),
        ("online", "disabled", []),
    ],
)
def test_the_environment_counts_where_no_mode_was_given(
    tmp_path, events, monkeypatch, environment, mode, asked
):
    monkeypatch.setenv("WANDB_API_KEY", 40 * "a")
    if environment is not None:
        monkeypatch.setenv("WANDB_MODE", environment)
    with watching(Wandb(mode=mode), tmp_path, {}):
        pass
    assert [what for kind, what in events if kind == "init"] == asked
    assert (tmp_path / "wandb").exists() == bool(asked)


@pytest.mark.parametrize("place", ["netrc", "settings file"])
def test_wandb_itself_is_asked_for_its_key_and_its_address(tmp_path, events, monkeypatch, place):
    """The address may stand in a settings file, and the key at that address in a netrc."""
    host = "wandb.example.org"
    config = tmp_path / "config"
    config.mkdir()
    (config / "settings").write_text(f"[default]\nbase_url = https://{host}\n")
    if place == "netrc":
        netrc = tmp_path / "netrc"
        netrc.write_text(f"machine {host}\n  login user\n  password {40 * 'b'}\n")
        netrc.chmod(0o600)
    else:
        with (config / "settings").open("a") as file:
            file.write(f"api_key = {40 * 'b'}\n")
    with watching(Wandb(), tmp_path, {}):
        pass
    assert events[0] == ("init", "online")


@pytest.mark.parametrize(
    "failure", [RuntimeError("run ID i is in use"), OSError(), TypeError("x")]
)
def test_no_error_of_the_service_ends_a_training(tmp_path, events, caplog, monkeypatch, failure):
    import wandb

    def init(**_):
        raise failure

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setenv("WANDB_API_KEY", 40 * "a")
    logger = make_logger(OmegaConf.create({"_target_": "caloman_cli.loggers.Wandb"}))
    with watching(logger, tmp_path, {}):
        logger.log(ROW)
        logger.log(ROW)
    first, second = warned(caplog)
    assert "logging offline" in first
    assert second.startswith(f"Wandb stops ({type(failure).__name__}")


@pytest.mark.parametrize("step", ["log", "finish"])
def test_a_service_that_dies_on_the_way_is_one_warning(
    tmp_path, events, caplog, monkeypatch, step
):
    def fail(*_, **__):
        raise BrokenPipeError("the service has gone")

    monkeypatch.setattr(FakeRun, step, fail)
    logger = make_logger(
        OmegaConf.create({"_target_": "caloman_cli.loggers.Wandb", "mode": "offline"})
    )
    with watching(logger, tmp_path, {}):
        logger.log(ROW)
        logger.log(ROW)
    (warning,) = warned(caplog)
    assert "the service has gone" in warning
    assert logger.logger._run is None  # nothing is left to complain when Python exits


@pytest.mark.slow
@pytest.mark.parametrize("goes", ["away", "silent from the start"])
def test_a_network_that_goes_away_does_not_hold_a_training(tmp_path, caplog, monkeypatch, goes):
    with service() as server:
        monkeypatch.setenv("WANDB_API_KEY", 40 * "a")
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        server.reachable = goes == "away"
        logger = Wandb(init_timeout=20.0 if server.reachable else 1.0, finish_timeout=1.0)
        with watching(logger, tmp_path, {}):
            logger.log(ROW)
            server.reachable = False
        (warning,) = warned(caplog)
    if goes == "away":
        assert "has not taken everything within 1 s: 'wandb sync " in warning
        assert json.loads((tmp_path / "wandb/run.json").read_text())["entity"] == "team"
        assert [name for name, _ in server.asked][:2] == ["RunResumeStatus", "UpsertBucket"]
    else:
        assert warning.endswith("logging offline")
        (run,) = offline_runs(tmp_path)
        assert run.history[0]["encoder/train/loss"] == 1.5


def test_a_logger_that_fails_is_asked_once(tmp_path, caplog):
    class Full(Logger):
        rows = 0

        def log(self, row):
            self.rows += 1
            raise OSError("no room left")

    logger = Full()
    with watching(tolerant := Tolerant(logger), tmp_path, {}):
        tolerant.log(ROW)
        tolerant.log(ROW)
    assert logger.rows == 1
    assert warned(caplog) == [
        "Full stops (OSError: no room left): nothing more is logged there, the run's own files "
        "have it all"
    ]


def test_uploads_that_take_too_long_are_said(tmp_path, events, caplog, monkeypatch):
    def late(*_, **__):
        raise TimeoutError

    monkeypatch.setattr(FakeRun, "finish", late)
    with watching(Wandb(mode="offline"), tmp_path, {}):
        pass
    assert "'wandb sync somewhere' sends the rest" in caplog.text


@pytest.mark.parametrize(
    ("error", "code"), [(ValueError(), 1), (SystemExit(143), 143), (SystemExit("x"), 1)]
)
def test_a_job_is_closed_with_its_exit_code(tmp_path, events, error, code):
    with pytest.raises(type(error)), watching(Wandb(mode="offline"), tmp_path, {}):
        raise error
    assert events[-1] == ("finish", code)


def test_a_damaged_record_begins_a_new_run(tmp_path, events, caplog):
    with watching(Wandb(mode="offline"), tmp_path, {}):
        pass
    record = tmp_path / "wandb/run.json"
    record.write_text("{")
    with watching(Wandb(mode="offline"), tmp_path, {}):
        pass
    assert "run.json is damaged" in caplog.text
    assert json.loads(record.read_text())["id"]


def test_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = make_logger(OmegaConf.create({"_target_": "caloman_cli.loggers.TensorBoard"}))
    with watching(logger, tmp_path, {}):
        logger.log(ROW)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (scalar,) = events.Scalars("encoder/train/loss")
    assert (scalar.step, scalar.value) == (2, 1.5)


def test_csv_keeps_one_line_per_epoch_and_number_however_often_it_resumes(tmp_path):
    def told(*epochs):
        logger = Csv()
        with watching(logger, tmp_path, {}):
            for stage, epoch, loss in epochs:
                logger.log({"stage": stage, "epoch": epoch, "step": 9, "loss": loss})

    told(("energy", 0, 5.0), ("encoder", 0, 4.0), ("encoder", 1, 3.0), ("encoder", 2, 2.0))
    path = tmp_path / "scalars.csv"
    path.write_text(path.read_text() + "3,encoder/lo")  # a kill in the middle of a line
    told(("encoder", 1, 3.5), ("encoder", 2, 2.5))
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", "key", "value", "truth", "error"]
    assert [(int(row["step"]), row["key"], float(row["value"])) for row in rows] == [
        (0, "energy/loss", 5.0),
        (0, "encoder/loss", 4.0),
        (1, "encoder/loss", 3.5),
        (2, "encoder/loss", 2.5),
    ]


def test_making_loggers():
    made = make_logger(OmegaConf.create({"_target_": "caloman_cli.loggers.NoLogger"}))
    assert isinstance(made, Tolerant)
    assert isinstance(made.logger, NoLogger)
    with pytest.raises(UserError, match=r"init_timeout=-1: must be a number, above 0"):
        Wandb(init_timeout=-1)
    cfg = compose("train", ["logger=wandb", "logger.mode=on", "output=x"])
    with pytest.raises(UserError, match=r"logger.mode=on: must be online, offline, disabled"):
        check_config(cfg, "train", {"logger": "wandb"}, complete=False)


@pytest.mark.parametrize(
    ("name", "module", "wanted"),
    [
        ("Wandb", "wandb", "wandb"),
        ("TensorBoard", "torch.utils.tensorboard", r'"caloman\[tensorboard\]"'),
    ],
)
def test_a_missing_package_is_one_line(monkeypatch, name, module, wanted):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"pip install {wanted}, or logger=none") as mistake:
        make_logger(OmegaConf.create({"_target_": f"caloman_cli.loggers.{name}"}))
    assert "\n" not in str(mistake.value)


def test_nobody_is_told_nothing(tmp_path):
    with watching(NoLogger(), tmp_path, {}):
        Logger().log(ROW)
    assert not list(tmp_path.iterdir())
