"""``--dry-run`` says what a command would do and cost, and leaves nothing."""

import logging
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from caloman_cli.cli.arguments import DRY
from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.evaluation import classifier_cost, cost
from caloman_cli.evaluation.classifier_cost import training_seconds
from caloman_cli.evaluation.cost import say_cost
from caloman_cli.metrics.classifier.training import ClassifierSettings
from caloman_cli.runs import pretrained, sampling
from tests.cli.evaluations import N
from tests.conftest import TINY


def listing(*folders):
    return {path for folder in folders for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sample", "n=5"], "5 showers of ds1_photons, "),
        (["sample", "n=5"], "368 voxels, 0 MiB before compression"),
        (["evaluate", "evaluation=histograms"], f"{N} showers are scored"),
        (["evaluate", "evaluation=histograms"], "evaluation=histograms: separation"),
        (["evaluate", "evaluation=timing"], "evaluation=timing: timing"),
    ],
)
def test_a_dry_run_opens_files_and_writes_none(caloman, tmp_path, run_dir, arguments, said):
    before = listing(tmp_path, run_dir)
    result = caloman(*arguments, f"run={run_dir}", "--dry-run")
    assert result.status == 0, result.err
    assert "dry run: nothing is written" in result.out
    assert said in result.out
    assert listing(tmp_path, run_dir) == before


def test_a_dry_run_of_a_training(caloman, tmp_path, files):
    wide = [f"trainer.{stage}.epochs=2" for stage in ("energy", "encoder", "density")]
    arguments = ["recipe=none", "encoder.hidden=[8]", "dataset=ds1_photons", *wide, "--dry-run"]
    result = caloman("train", f"dataset.train=[{files['truth']}]", "output=run", *arguments)
    assert result.status == 0, result.err
    assert f"showers: {N} of ds1_photons train" in result.out
    assert "about" in result.out.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["train", "dataset=builtin_photons", "recipe=none", "encoder=pca"],
        ["train", "-m", "dataset=builtin_photons", "recipe=none", "encoder=pca", "seed=1,2"],
        ["sample", "run=pretrained:photons", "n=5"],
        ["sample", "-m", "run=pretrained:photons", "n=5", "seed=1,2"],
        ["evaluate", "run=pretrained:photons", "evaluation=histograms"],
        ["evaluate", "-m", "run=pretrained:photons", "evaluation=histograms,timing"],
        ["export", "run=pretrained:photons", "out=x.onnx"],
        ["export", "-m", "run=pretrained:photons", "out=x.onnx,y.onnx"],
    ],
)
def test_a_dry_run_leaves_no_file_anywhere(caloman, tmp_path, monkeypatch, words):
    """Not in the folder, not in the cache, of one job or of several."""
    if words[0] == "export":
        pytest.importorskip("onnx")
    monkeypatch.setenv("CALOMAN_CACHE", str(tmp_path / "cache"))
    if words[0] == "train":
        words = [*words, *(f"trainer.{stage}.epochs=2" for stage in ("energy", "density"))]
    shipped = listing(pretrained.SHIPPED)
    result = caloman(*words, "--dry-run")
    assert result.status == 0, result.err
    assert not list(tmp_path.iterdir())
    assert listing(pretrained.SHIPPED) == shipped
    n = 2 if "-m" in words else 1
    assert result.out.count("dry run: nothing is written") == n
    assert n == 1 or "2 jobs: 2 done, 0 failed" in result.out
    if words[0] in ("sample", "evaluate"):
        assert "outputs/pretrained/photons/" in result.out  # where the results would lie


def test_what_is_scored_after_a_training_is_foretold_with_it(caloman, tmp_path, monkeypatch):
    monkeypatch.setenv("CALOMAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("caloman_cli.verbs.train.dry_run", lambda cfg: None)
    asked = ["train", "dataset=builtin_photons", "recipe=none", "--dry-run"]
    result = caloman(*asked, "evaluate_after=[classifier,timing]")
    assert result.status == 0, result.err
    said = (
        r"evaluate_after=classifier, besides drawing \d+ showers:\nabout .* on cpu for classifier"
    )
    assert re.search(said, result.out)
    assert not list(tmp_path.iterdir())
    result = caloman("train", "dataset=ds2", *asked[2:], "evaluate_after=quick")
    assert result.status == 2
    assert "evaluate_after=quick: dataset=ds2 needs dataset_2_2.hdf5" in result.err


def test_every_verb_with_dry_runs_is_tried():
    """Those of the test above."""
    assert set(DRY) == {"train", "sample", "evaluate", "export"}


def test_mistakes_are_mistakes_in_a_dry_run_too(caloman, run_dir, files):
    result = caloman("sample", f"run={run_dir}", "n=5", f"out={files['truth']}", "--dry-run")
    assert (result.status, "exists" in result.err) == (2, True)
    result = caloman("report", "runs=x", "--dry-run")
    assert (
        result.err
        == "caloman: --dry-run belongs to train, sample, evaluate, export, not to report\n"
    )
    assert "--dry-run" in caloman("train", "--help").out
    assert "--dry-run" not in caloman("report", "--help").out


def test_long_samples_are_foretold_and_short_ones_are_not(caloman, run_dir, monkeypatch):
    assert "about" not in caloman("sample", f"run={run_dir}", "n=30").out
    monkeypatch.setattr(sampling, "_MOMENT", 0)
    monkeypatch.setattr(sampling, "_HOURS", 0)
    said = caloman("sample", f"run={run_dir}", "n=30", "overwrite=true").out
    assert "for 30 showers on cpu" in said
    assert "this takes hours: n=" in said


def test_the_pace_is_that_of_the_largest_try(run_dir, monkeypatch):
    """Small batches cost more a shower; what is drawn here is no large part of the work."""
    model, _ = sampling.loaded(run_dir / "model.pt", torch.device("cpu"))
    tried, now = [], iter(np.cumsum([0, 8.0, 0, 0.64, 0, 0.512]))  # begin and end of each try
    monkeypatch.setattr(sampling.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(sampling, "Usage", lambda device: FakeUsage())
    monkeypatch.setattr(
        sampling, "drawn", lambda m, e, **_: tried.append(len(e)) or iter([(e, torch.ones(1))])
    )
    energies = np.full((20_000, 1), 1e3)
    assert sampling.pace(model, energies, seed=1, batch_size=10_000).each == 1.0
    assert tried == [8]  # it took longer than a second
    now = iter(np.cumsum([0, 0.8, 0, 0.64, 0, 0.512]))
    found = sampling.pace(model, energies, seed=1, batch_size=10_000)
    assert (tried, found.each) == ([8, 8, 64, 512], pytest.approx(0.001))
    assert found.memory == pytest.approx(100 + (12 * 4 * 10_000 * 368 + 8 * 20_000) / 2**20)


class FakeUsage:
    peak_rss_mib, peak_cuda_mib = 100.0, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


class Slow:
    needs = ("reference", "generated")

    def seconds(self, comparison, n):
        return n * 7.2


def test_who_scores_for_hours_is_told_what_takes_minutes(caplog):
    caplog.set_level(logging.INFO)
    tiny = Geometry.from_dict(TINY)
    comparison = SimpleNamespace(geometry=tiny, device=torch.device("cpu"))
    say_cost(comparison, {"slow": Slow(), "other": object()}, 20_000, "full")
    assert "about 40 h 0 min on cpu for slow, besides other; memory" in caplog.text
    assert "this takes hours; what takes minutes: evaluation=quick\n" in caplog.text
    caplog.clear()
    monkey = {"slow": SimpleNamespace(seconds=lambda comparison, n: n * 0.36)}
    say_cost(comparison, monkey, 20_000, "quick")
    assert "what takes minutes: dataset.limit=2000" in caplog.text
    caplog.clear()
    say_cost(comparison, {"slow": Slow()}, 2, "full")
    assert not caplog.text
    assert cost.foreseen(comparison, {"other": object()}, 2) == {}


def test_a_classifier_takes_repeats_times_epochs_times_steps(monkeypatch):
    """10,000 showers per class: 12,000 rows to train on are 12 steps, 4,000 to select by."""
    monkeypatch.setattr(classifier_cost, "_step", lambda *a: 0.5)
    settings = ClassifierSettings(
        "low", "small", None, 20, 2e-4, 1000, 3, None, False, "final"
    )  # fmt: skip
    found = training_seconds(settings, 10_000, Geometry.from_dict(TINY), torch.device("cpu"))
    assert found == pytest.approx(3 * 20 * (12 + 4 / 3) * 0.5)


@pytest.mark.parametrize("mode", ["low", "low_normed", "high", "resnet"])
def test_steps_of_every_network_are_timed(mode):
    """The inputs that are timed are as wide as those that the network takes."""
    layers = tuple(Layer(number, (0.0, 1.0, 2.0, 3.0), 4) for number in range(5))
    box = Geometry("box", "photon", layers, 0.1, 2.0, incident_range=(1e3, 1e5))
    settings = ClassifierSettings(
        mode, "small", None, 2, 2e-4, 40, 1, None, False, "final"
    )  # fmt: skip
    assert training_seconds(settings, 100, box, torch.device("cpu")) > 0
