"""Evaluations are logged: every logger's own files, read back."""

import csv
import json
import shutil
from dataclasses import replace

import pytest
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from caloman_cli.evaluation.logged import evaluation_logger, read_evaluation
from caloman_cli.loggers import (
    Csv,
    NoLogger,
    TensorBoard,
    Tolerant,
    Wandb,
    make_logger,
    watching,
)
from caloman_cli.metrics.score import Score, write_scores
from tests.wandb_files import offline_runs

pytestmark = pytest.mark.usefixtures("wandb_alone")

SCORES = [
    Score("separation power", "E_ratio", 0.25, 0.01, 0.02, 0.02, spread=0.125, summary=True,
          key="E_ratio", goal="lower"),
    Score("separation power", "E_layer/3", 0.5, 0.02, 0.02, 0.02, key="E_layer_3", goal="lower"),
    Score("classifier", "AUC high", None, 0.5, note="too few", summary=True,
          key="auc_high", goal="half"),
]  # fmt: skip
POINTS = [
    {"measure": "generation", "batch_size": 1, "median": 8.0},
    {"measure": "generation", "batch_size": 100, "median": 0.5},
    {"measure": "end to end", "batch_size": 100, "median": 0.75},
    {"measure": "end to end", "batch_size": 1000, "median": None},
]


@pytest.fixture
def evaluation(tmp_path):
    """A small evaluation in ``RUN/evaluation/mine``."""
    output = tmp_path / "run/evaluation/mine"
    (output / "plots").mkdir(parents=True)
    Figure((0.5, 0.25)).savefig(output / "plots/roc.png")
    (output / "ranking.csv").write_text("model,measured,AUC low\nothers,published,0.75\n")
    details = {
        "settings": {"evaluation": {"name": "mine"}, "seed": 7},
        "metrics": {"timing": {"points": POINTS}, "separation": {}},
        "figures": ["plots/roc.png"],
        "label": "mine",
    }
    write_scores(output, SCORES, [], details)
    return read_evaluation(output, tmp_path / "run")


def test_wandb_has_all_of_an_evaluation_in_the_run_of_the_training(tmp_path, evaluation):
    folder, row = tmp_path / "run", {"stage": "density", "epoch": 0, "step": 5, "loss": 2.0}
    logger = Wandb(mode="offline", project="p", group="g")
    with watching(logger, folder, {"seed": 1}):
        logger.log(row)
    Wandb(mode="offline").evaluated(evaluation)
    trained, told = offline_runs(folder)
    assert (told.id, told.project, told.group) == (trained.id, "p", "g")
    assert told.resumes
    assert told.config["eval/mine/settings"]["seed"] == 7
    assert told.exit_code == trained.exit_code == 0
    assert trained.history[0]["density/loss"] == 2.0
    scalars = {key: value for key, value in told.summary.items() if isinstance(value, float)}
    assert scalars.items() >= {
        "eval/mine/E_ratio": 0.25,
        "eval/mine/E_ratio/truth": 0.01,
        "eval/mine/E_ratio/error": 0.125,
        "eval/mine/E_layer_3": 0.5,
        "eval/mine/E_layer_3/truth": 0.02,
        "eval/mine/auc_high/truth": 0.5,
    }.items()  # fmt: skip
    assert "eval/mine/auc_high" not in told.summary
    assert "eval/mine/E_layer_3" not in told.history[0]  # a panel for the headlines only
    table = told.table("eval/mine/tables/separation_power")
    column = dict(zip(table["columns"], zip(*table["data"], strict=True), strict=True))
    assert column["quantity"] == ("E_ratio", "E_layer/3")
    assert column["generated/floor"] == (12.5, 25.0)
    assert [line[0] for line in told.table("eval/mine/tables/summary")["data"]] == [
        "separation power", "classifier",
    ]  # fmt: skip
    ranking = told.table("eval/mine/tables/ranking")
    assert ranking["data"] == [["others", "published", 0.75]]
    picture = told.summary["eval/mine/plots/roc"]
    assert (picture["_type"], picture["width"] > 0) == ("image-file", True)
    assert (told.folder / "files" / picture["path"]).is_file()
    axis = "eval/mine/batch_size"
    assert told.metrics["eval/mine/ms_per_shower/*"] == axis
    curve = [row for row in told.history if axis in row]
    assert [(row[axis], row["eval/mine/ms_per_shower/generation"]) for row in curve] == [
        (1, 8.0), (100, 0.5),
    ]  # fmt: skip
    assert curve[1]["eval/mine/ms_per_shower/end_to_end"] == 0.75


def test_tensorboard_has_numbers_truth_pictures_tables_and_times(tmp_path, evaluation):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    TensorBoard().evaluated(evaluation)
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()

    def scalars(key):
        return [(event.step, event.value) for event in events.Scalars(f"eval/mine/{key}")]

    assert scalars("E_ratio") == [(0, 0.25)]
    assert scalars("E_layer_3/truth") == [(0, pytest.approx(0.02))]
    assert scalars("ms_per_shower/generation") == [(1, 8.0), (100, 0.5)]
    (picture,) = events.Images("eval/mine/plots/roc")
    assert picture.encoded_image_string.startswith(b"\x89PNG")
    assert picture.width == 2 * picture.height
    text = events.Tensors("eval/mine/tables/separation_power/text_summary")[0]
    assert b"E_layer/3 | 0.5 |" in text.tensor_proto.string_val[0]


def test_csv_has_a_line_per_number(evaluation):
    Csv().evaluated(evaluation)
    with (evaluation.output / "scalars.csv").open() as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    assert rows == [
        ("", "eval/mine/E_ratio", "0.25", "0.01", "0.125"),
        ("", "eval/mine/E_layer_3", "0.5", "0.02", ""),
        ("", "eval/mine/auc_high", "", "0.5", ""),
        ("1", "eval/mine/ms_per_shower/generation", "8.0", "", ""),
        ("100", "eval/mine/ms_per_shower/generation", "0.5", "", ""),
        ("100", "eval/mine/ms_per_shower/end_to_end", "0.75", "", ""),
    ]


TIMING = (
    "evaluation=timing", "evaluation.timing.batch_sizes=[1,4]", "evaluation.timing.repeats=1",
    "evaluation.timing.warmup=0", "evaluation.timing.min_showers=1",
)  # fmt: skip


def test_a_run_that_was_trained_with_wandb_goes_on_with_it(caloman, tmp_path, run_dir):
    run = tmp_path / "mine"
    shutil.copytree(run_dir, run)
    config = OmegaConf.load(run / "config.yaml")
    target = "caloman_cli.loggers.Wandb"
    config.logger = {"_target_": target, "project": "p", "mode": "offline"}
    OmegaConf.save(config, run / "config.yaml")
    with watching(Wandb(project="p", mode="offline"), run, {}):
        pass
    result = caloman("evaluate", "run=mine", *TIMING)
    assert result.status == 0, result.err
    trained, told = offline_runs(run)
    assert told.id == trained.id
    sizes = [row["eval/timing/batch_size"] for row in told.history[1:]]
    assert sizes == [1, 4]
    assert "eval/timing/plots/timing" in told.summary


@pytest.mark.parametrize(
    ("trained_with", "asked", "told"),
    [
        ("caloman_cli.loggers.TensorBoard", None, TensorBoard),
        ("caloman_cli.loggers.TensorBoard", "caloman_cli.loggers.Csv", Csv),
        ("caloman_cli.loggers.TensorBoard", "caloman_cli.loggers.NoLogger", NoLogger),
        ("os.getcwd", None, NoLogger),
        ("caloman_cli.loggers.Wandb", None, Wandb),
        (None, None, NoLogger),
    ],
)
def test_the_command_line_comes_before_the_run(tmp_path, trained_with, asked, told):
    """And a run names a logger of the package, or none is called."""
    (tmp_path / "model.pt").touch()
    config = {} if trained_with is None else {"logger": {"_target_": trained_with}}
    OmegaConf.save(OmegaConf.create({"output": "x", **config}), tmp_path / "config.yaml")
    logger = None if asked is None else {"_target_": asked}
    made = evaluation_logger(OmegaConf.create({"logger": logger, "run": str(tmp_path)}))
    assert type(made.logger if isinstance(made, Tolerant) else made) is told


def test_files_have_no_logger_of_their_own():
    cfg = OmegaConf.create({"logger": None, "run": None})
    assert type(evaluation_logger(cfg)) is NoLogger


def test_every_job_of_a_multirun_is_a_wandb_run_of_the_sweeps_group(caloman, tmp_path, files):
    for name in ("a", "b"):
        shutil.copy(files["generated"], tmp_path / f"{name}.hdf5")
    result = caloman(
        "evaluate", "-m", "generated=a.hdf5,b.hdf5", f"reference={files['reference']}",
        "dataset=ds1_photons", "evaluation=histograms", "evaluation.separation.plots=none",
        "logger=wandb", "logger.mode=offline",
    )  # fmt: skip
    assert result.status == 0, result.err
    folders = [path.parent for path in tmp_path.glob("outputs/**/wandb")]
    found = [run for folder in folders for run in offline_runs(folder)]
    assert len(found) == len({run.id for run in found}) == 2
    assert {run.name for run in found} == {"a histograms", "b histograms"}
    assert {run.group for run in found} == {"outputs/sweep/evaluate"}
    for run, folder in zip(found, folders, strict=True):
        known = json.loads((folder / "wandb/run.json").read_text())
        assert known["id"] == run.id
        assert "eval/histograms/E_ratio" in run.summary


def test_an_evaluation_outlives_its_logger(evaluation, tmp_path, caplog):
    logger = make_logger(OmegaConf.create({"_target_": "caloman_cli.loggers.TensorBoard"}))
    logger.evaluated(replace(evaluation, figures=[tmp_path / "no.png"]))
    assert "TensorBoard stops (FileNotFoundError" in caplog.text
