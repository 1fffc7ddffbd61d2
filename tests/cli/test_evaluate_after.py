"""``evaluate_after=SUITE``: each run is scored as soon as it is trained."""

import json
from pathlib import Path

import pytest

from caloman_cli.config.compose import CONF
from caloman_cli.data.files import checksum
from caloman_cli.errors import Failure

QUICK = ["dataset=builtin_photons", "dataset.builtin.n_reference=5", "recipe=none"]
FILES = ["dataset=ds2", "dataset.train=[x.hdf5]", "recipe=none"]


@pytest.fixture
def done(monkeypatch):
    """Trainings and evaluations that cost nothing; what was done, in turn."""
    seen = []

    def train(cfg):
        folder = Path(cfg.output)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.pt").write_text(str(cfg.seed))
        seen.append(("train", cfg.seed))
        return folder

    def evaluate(cfg):
        if cfg.evaluation.name == "likelihood":
            raise Failure("nothing could be computed")
        seen.append((cfg.evaluation.name, Path(cfg.run).name, cfg.device))
        folder = Path(cfg.run) / "evaluation" / cfg.evaluation.name
        folder.mkdir(parents=True, exist_ok=True)
        content = {"model_sha256": checksum(Path(cfg.run) / "model.pt")}
        (folder / "metrics.json").write_text(json.dumps(content))
        return folder

    monkeypatch.setattr("caloman_cli.verbs.train.run", train)
    monkeypatch.setattr("caloman_cli.verbs.evaluate.run", evaluate)
    return seen


def test_each_job_is_scored_as_it_ends_and_once(caloman, done):
    result = caloman("train", "-m", *QUICK, "seed=1,2", "device=cpu", "evaluate_after=histograms")
    assert result.status == 0, result.err
    assert done == [
        ("train", 1), ("histograms", "seed-1", "cpu"),
        ("train", 2), ("histograms", "seed-2", "cpu"),
    ]  # fmt: skip
    done.clear()
    one = [*QUICK, "output=outputs/sweep/train/seed-1", "evaluate_after=[histograms,timing]"]
    caloman("train", *one)
    assert [name for name, *_ in done] == ["train", "timing"]
    done.clear()
    caloman("train", *one[:-1], "seed=7", "evaluate_after=timing")
    assert [name for name, *_ in done] == ["train", "timing"]  # of another model


def test_a_suite_of_ones_own(caloman, done, tmp_path):
    (tmp_path / "mine/evaluation").mkdir(parents=True)
    text = (
        (CONF / "evaluation/histograms.yaml").read_text().replace("name: histo", "name: my_histo")
    )
    (tmp_path / "mine/evaluation/my.yaml").write_text(text)
    result = caloman("train", "--config-dir", "mine", *QUICK, "evaluate_after=my", "output=x")
    assert result.status == 0, result.err
    assert done[1][0] == "my_histograms"
    caloman("train", "--config-dir", "mine", *QUICK, "evaluate_after=my", "output=x")
    assert len(done) == 3  # trained, not scored again


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate_after=quik"], "evaluate_after=quik does not exist: there is: challenge"),
        (["evaluate_after=[histograms,no]"], "evaluate_after=no does not exist"),
        (["-m", "seed=1,2", "evaluate_after=quik"], "evaluate_after=quik does not exist"),
        ([*FILES, "evaluate_after=quick"], "evaluate_after=quick: dataset=ds2 needs dataset_2_2"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_told_before_the_training(caloman, done, arguments, said):
    dataset = [] if "dataset=ds2" in arguments else QUICK
    result = caloman("train", *dataset, "output=x", *arguments)
    assert result.status == 2
    assert said in result.err
    assert result.err.count("\n") == 1
    assert done == []


def test_timing_needs_no_reference(caloman, done):
    assert caloman("train", *FILES, "output=x", "evaluate_after=timing").status == 0
    assert [name for name, *_ in done] == ["train", "timing"]


def test_a_job_whose_evaluation_fails_is_trained(caloman, done):
    result = caloman("train", "-m", *QUICK, "seed=1,2", "evaluate_after=likelihood")
    assert result.status == 1
    assert [entry[0] for entry in done] == ["train", "train"]
    said = "trained, but evaluate_after=likelihood: nothing could be computed"
    assert f"failed: seed-1: {said}" in result.out
    assert f"failed: seed-2: {said}" in result.out
