"""Several loggers at once, and MLflow, of which a stand-in keeps what it is told."""

import inspect
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import pytest
from omegaconf import OmegaConf

from caloman_cli.cli.arguments import LOGGERS, several_loggers
from caloman_cli.config.check import check_config
from caloman_cli.config.compose import compose
from caloman_cli.errors import UserError
from caloman_cli.loggers import Csv, Evaluated, Logger, MLflow, Several, make_logger, watching
from caloman_cli.loggers.base import flat
from caloman_cli.loggers.evaluated import Point, Scalar

ROW = {"stage": "encoder", "epoch": 2, "step": 6, "train/loss": 1.5}


class Told(Logger):
    def __init__(self):
        self.rows = []

    def log(self, row):
        self.rows.append(row)


class Broken(Logger):
    def log(self, row):
        raise OSError("gone")


def test_one_that_fails_leaves_the_others_alone(tmp_path, caplog):
    told = Told()
    both = Several(csv=Broken(), wandb=told)
    with watching(both, tmp_path, {}):
        both.log(ROW)
        both.log(ROW)
    assert told.rows == [ROW, ROW]
    assert caplog.text.count("Broken stops (OSError: gone)") == 1


def test_a_list_on_the_command_line_is_all_of_them(tmp_path):
    assert tuple(inspect.signature(Several).parameters) == LOGGERS
    typed = ["logger=[csv,tensorboard]", "logger.tensorboard=null", "seed=2"]
    overrides = several_loggers(typed)
    assert several_loggers(["logger=csv", "seed=2"]) == ["logger=csv", "seed=2"]
    assert overrides[:3] == [
        "logger=several", "+logger@logger.csv=csv", "+logger@logger.tensorboard=tensorboard"
    ]  # fmt: skip
    for verb, needed in (("train", ["output=x"]), ("evaluate", ["run=x"]), ("distill", ["run=x"])):
        cfg = compose(verb, [*overrides, *needed])
        check_config(cfg, verb)
        assert cfg.logger.tensorboard is None
        made = make_logger(cfg.logger).logger
        assert [type(one.logger) for one in made.loggers] == [Csv]
    with watching(made, tmp_path, {}):
        made.log(ROW)
    assert "encoder/train/loss,1.5" in (tmp_path / "scalars.csv").read_text()


def test_a_nested_config_is_flat():
    assert flat({"a": {"b": 1, "c": {"d": [2]}}, "e": {}}) == {"a.b": 1, "a.c.d": [2], "e": {}}


@dataclass
class Server:
    """What all clients of a stand-in for MLflow have told."""

    experiments: dict = field(default_factory=dict)
    runs: dict = field(default_factory=dict)
    uris: list = field(default_factory=list)


@pytest.fixture
def server(monkeypatch):
    kept = Server()

    class Client:
        def __init__(self, uri):
            kept.uris.append(uri)

        def get_experiment_by_name(self, name):
            found = kept.experiments.get(name)
            return found and SimpleNamespace(experiment_id=found)

        def create_experiment(self, name, artifact_location=None):
            kept.experiments[name] = str(len(kept.experiments) + 1)
            return kept.experiments[name]

        def create_run(self, experiment, run_name, tags):
            number = f"r{len(kept.runs)}"
            kept.runs[number] = {"name": run_name, "tags": tags, "metrics": [], "params": {}}
            return SimpleNamespace(info=SimpleNamespace(run_id=number))

        def update_run(self, run, status):
            kept.runs[run]["status"] = status

        def set_terminated(self, run, status):
            kept.runs[run]["status"] = status

        def log_batch(self, run, metrics=(), params=()):
            assert len(metrics) <= 100 and len(params) <= 100  # noqa: PT018
            kept.runs[run]["metrics"] += [(m.key, m.value, m.step) for m in metrics]
            for param in params:
                assert kept.runs[run]["params"].setdefault(param.key, param.value) == param.value

        def log_artifact(self, run, path, place):
            kept.runs[run].setdefault("files", []).append((path, place))

    modules = {name: ModuleType(name) for name in ("mlflow", "mlflow.tracking", "mlflow.entities")}
    modules["mlflow.tracking"].MlflowClient = Client
    modules["mlflow.entities"].Metric = lambda key, value, timestamp, step: SimpleNamespace(
        key=key, value=value, step=step
    )
    modules["mlflow.entities"].Param = lambda key, value: SimpleNamespace(key=key, value=value)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return kept


def test_mlflow_has_one_run_of_a_training_what_it_resumes_and_its_evaluations(server, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    config = {
        "seed": 1,
        "name": "third try",
        "tags": "draft",
        "encoder": {"hidden": [1, 2]},
        "long": "x" * 900,
    }
    first = MLflow(tags=["a"])
    with watching(first, folder, config):
        first.log(ROW)
    again = MLflow()
    with pytest.raises(RuntimeError), watching(again, folder, config):
        again.log({**ROW, "epoch": 3})
        raise RuntimeError
    picture = folder / "roc.png"
    picture.touch()
    scalars = [Scalar("auc", 0.6, 0.5, None)]
    MLflow().evaluated(
        Evaluated(
            "mine", "quick", folder, folder, scalars, {}, [Point("all", 10, 2.0)], [picture], {}
        )
    )
    assert [*server.runs] == ["r0"]
    told = server.runs["r0"]
    assert (told["name"], told["tags"], told["status"]) == (
        "third try", {"a": "true", "draft": "true"}, "FINISHED"
    )  # fmt: skip
    assert told["params"]["encoder.hidden"] == "[1, 2]"
    assert told["metrics"] == [
        ("encoder/train/loss", 1.5, 2),
        ("encoder/train/loss", 1.5, 3),
        ("eval/quick/auc", 0.6, 0),
        ("eval/quick/auc/truth", 0.5, 0),
        ("eval/quick/ms_per_shower/all", 2.0, 10),
    ]
    assert told["files"] == [(str(picture), "eval/quick/files")]
    assert server.uris[0] == f"sqlite:///{folder}/mlflow/mlflow.db"


def test_mlflow_goes_where_the_environment_says(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "group")
    MLflow().open(tmp_path, {})
    assert server.uris == ["http://tracking"]
    assert [*server.experiments] == ["group"]
    MLflow(uri="sqlite:///x.db", experiment="other").open(tmp_path, {})
    assert server.uris[1:] == ["sqlite:///x.db"]


def test_mlflow_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(UserError, match=r'pip install "caloman\[mlflow\]", or logger=none'):
        make_logger(OmegaConf.create({"_target_": "caloman_cli.loggers.MLflow"}))
