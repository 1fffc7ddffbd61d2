"""Where evaluations lie: a folder each, whole or not at all, never in another's place."""

import json
import re
import shutil
from pathlib import Path

import pytest

from caloman_cli.config.compose import CONF
from caloman_cli.evaluation.comparison import Section
from caloman_cli.evaluation.style import figure
from caloman_cli.metrics.score import Score

QUICK = ["evaluation=histograms", "evaluation.separation.plots=none", "dataset=ds1_photons"]


@pytest.fixture
def measured(monkeypatch):
    """Evaluations whose one metric costs nothing; what they saw."""
    seen = []

    def separation(self, comparison):
        seen.append((str(comparison.generated.paths[0]), comparison.seed))
        score = Score(
            "separation power", "E_ratio", 0.1, key="S E_ratio", goal="lower", summary=True
        )
        return Section([score])

    monkeypatch.setattr("caloman_cli.evaluation.components.Separation.__call__", separation)
    return seen


def settings_of(folder):
    return json.loads((folder / "metrics.json").read_text())["settings"]


def test_a_sweep_of_files_of_one_name_keeps_a_folder_each(caloman, tmp_path, files, measured):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
    shutil.copy(files["generated"], tmp_path / "x/gen.hdf5")
    shutil.copy(files["truth"], tmp_path / "y/gen.hdf5")
    given = ["generated=x/gen.hdf5,y/gen.hdf5", f"reference={files['reference']}"]
    result = caloman("evaluate", "-m", *given, *QUICK)
    assert (result.status, "2 jobs: 2 done" in result.out) == (0, True), result.err + result.out
    folders = list((tmp_path / "outputs/sweep/evaluate").glob("*/"))
    assert {Path(settings_of(folder)["generated"]).parent.name for folder in folders} == {"x", "y"}
    one_by_one = [f"reference={files['reference']}", *QUICK]
    assert caloman("evaluate", "generated=x/gen.hdf5", *one_by_one).status == 0
    refused = caloman("evaluate", "generated=y/gen.hdf5", *one_by_one)
    assert refused.status == 2
    assert "outputs/evaluate/gen/histograms holds another evaluation" in refused.err
    assert "x/gen.hdf5" in refused.err
    assert "overwrite=true" in refused.err


def test_a_sweep_of_seeds_keeps_a_folder_each(caloman, tmp_path, run_dir, measured):
    before = sorted((run_dir / "evaluation").glob("*"))  # what other tests have left
    result = caloman("evaluate", "-m", f"run={run_dir}", *QUICK[:2], "seed=21,22")
    assert result.status == 0, result.err + result.out
    folders = list((tmp_path / "outputs/sweep/evaluate").glob("*/"))
    assert {settings_of(folder)["seed"] for folder in folders} == {21, 22}
    assert sorted((run_dir / "evaluation").glob("*")) == before


def test_a_sweep_of_suites_stays_in_the_run(caloman, tmp_path, run_dir, measured):
    (tmp_path / "mine/evaluation").mkdir(parents=True)
    for name in ("one", "two"):
        text = (CONF / "evaluation/histograms.yaml").read_text()
        text = re.sub(r"^name: .*$", f"name: {name}", text, flags=re.MULTILINE)
        (tmp_path / f"mine/evaluation/{name}.yaml").write_text(text)
    result = caloman(
        "evaluate", "-m", f"run={run_dir}", "--config-dir", "mine", "evaluation=one,two"
    )
    assert result.status == 0, result.err + result.out
    for name in ("one", "two"):
        assert (run_dir / f"evaluation/{name}/metrics.json").is_file()
        shutil.rmtree(run_dir / f"evaluation/{name}")
    assert not list(tmp_path.glob("outputs/sweep/evaluate/*/"))


def test_only_the_same_evaluation_takes_anothers_place(caloman, tmp_path, files, measured):
    given = [f"generated={files['generated']}", *QUICK, "output=out"]
    first = [*given, f"reference={files['reference']}"]
    assert caloman("evaluate", *first).status == 0
    (tmp_path / "out/notes.txt").write_text("mine")
    assert caloman("evaluate", *first, "device=cpu").status == 0
    before = (tmp_path / "out/metrics.json").read_bytes()
    for others, said in (
        ([*given, f"reference={files['truth']}"], "reference: "),
        ([*first, "seed=2"], "seed: 1 -> 2"),
        ([*first, "protocol=legacy2022"], "protocol: final -> legacy2022"),
        ([*first, "evaluation.separation.bins=10"], "evaluation.separation.bins"),
        ([*first, f"truth={files['truth']}"], "truth: None -> "),
    ):
        refused = caloman("evaluate", *others)
        if "unknown key" in refused.err:
            continue
        assert refused.status == 2
        assert said in refused.err
        assert refused.err.count("\n") == 1
        assert (tmp_path / "out/metrics.json").read_bytes() == before
    assert len(measured) == 2
    assert caloman("evaluate", *first, "seed=2", "overwrite=true").status == 0
    assert settings_of(tmp_path / "out")["seed"] == 2
    assert (tmp_path / "out/notes.txt").read_text() == "mine"


@pytest.fixture
def drawn(monkeypatch):
    """Evaluations whose one metric draws a picture with a name of the reference in it."""

    def separation(self, comparison):
        image = figure(1, 1, None)
        image.suptitle(comparison.reference_label)
        comparison.draw("one", image, "One")
        return Section([Score("a", "b", 0.1, key="b", goal="lower", summary=True)])

    monkeypatch.setattr("caloman_cli.evaluation.components.Separation.__call__", separation)


def test_pictures_that_were_asked_for_stay(caloman, tmp_path, files, drawn):
    """The same evaluation again draws all formats anew, with the names that were given."""
    given = [f"generated={files['generated']}", f"reference={files['reference']}"]
    given += ["evaluation=histograms", "dataset=ds1_photons", "output=out"]
    looks = ["figures.format=[png,svg]", "figures.labels.reference=beam"]
    assert caloman("evaluate", *given, *looks).status == 0
    picture = tmp_path / "out/plots/one.svg"
    picture.write_text("old")
    for others, name in (([], "beam"), (["figures.labels.reference=test beam"], "test beam")):
        again = caloman("evaluate", *given, *others)
        assert again.status == 0, again.err
        assert "pictures are drawn in svg, too, as before" in again.out
        assert name in picture.read_text()
    assert {path.suffix for path in picture.parent.iterdir()} == {".png", ".svg"}
    replaced = caloman("evaluate", *given, "overwrite=true")
    assert "the pictures in svg go, figures.format=[png,svg]" in replaced.out + replaced.err
    assert {path.suffix for path in picture.parent.iterdir()} == {".png"}


def test_pictures_of_a_report_that_were_asked_for_stay(caloman, tmp_path, files, measured):
    given = [f"generated={files['generated']}", f"reference={files['reference']}", *QUICK]
    assert caloman("evaluate", *given, "output=out").status == 0
    assert caloman("report", "runs=out", "figures.format=[pdf]").status == 0
    kinds = sorted(path.name for path in (tmp_path / "outputs/report/plots").iterdir())
    assert any(name.endswith(".pdf") for name in kinds)
    assert caloman("report", "runs=out").status == 0
    again = sorted(path.name for path in (tmp_path / "outputs/report/plots").iterdir())
    assert again == kinds


def test_no_results_where_other_things_lie(caloman, tmp_path, files, measured):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").touch()
    given = [f"generated={files['generated']}", f"reference={files['reference']}", *QUICK]
    refused = caloman("evaluate", *given, "output=thesis")
    assert (refused.status, "files of something else" in refused.err) == (2, True)
    assert caloman("evaluate", *given, "output=out").status == 0
    report = caloman("report", "runs=out", "output=out")
    assert (report.status, "files of something else" in report.err) == (2, True)
    assert measured


def test_a_failed_evaluation_leaves_nothing(caloman, tmp_path, files, monkeypatch):
    def separation(self, comparison):
        comparison.draw("half", figure(1, 1, None), "Half")
        (comparison.output / "half").touch()
        raise RuntimeError("power cut")

    monkeypatch.setattr("caloman_cli.evaluation.components.Separation.__call__", separation)
    given = [f"generated={files['generated']}", f"reference={files['reference']}", *QUICK]
    assert caloman("evaluate", *given).status == 1
    assert not list(tmp_path.iterdir())


def test_an_evaluation_by_an_older_version_is_the_same_one(caloman, tmp_path, files, measured):
    given = [f"generated={files['generated']}", f"reference={files['reference']}", *QUICK]
    assert caloman("evaluate", *given, "output=out").status == 0
    path = tmp_path / "out/metrics.json"
    today = "caloman_cli.evaluation.components.Separation"
    assert today in path.read_text()
    path.write_text(path.read_text().replace(today, "caloman_cli.metrics.suite.Separation"))
    again = caloman("evaluate", *given, "output=out")
    assert again.status == 0, again.err
    assert today in path.read_text()
    path.write_text(path.read_text().replace(today, "caloman_cli.metrics.suite.Timing"))
    assert "differs in evaluation.separation" in caloman("evaluate", *given, "output=out").err
