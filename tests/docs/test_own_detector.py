"""The page on a detector of one's own: its example goes from the XML to scores."""

import json
import re
import runpy

import pytest

from tests.docs.pages import ROOT, blocks, write_shown_files

PAGE = ROOT / "docs/howto/own_detector.md"


@pytest.fixture
def written(tmp_path):
    """What the reader writes: the binning file and the script."""
    (binning,) = (text for language, text in blocks(PAGE) if language == "xml")
    (tmp_path / "binning.xml").write_text(binning)
    write_shown_files([PAGE], tmp_path)


def example():
    """The commands of the example, each a list of words, with little to do."""
    page = PAGE.read_text().split("\n## An example")[1]
    less = {
        "train": [f"trainer.{stage}.epochs=1" for stage in ("energy", "encoder", "density")],
        "evaluate": ["evaluation.timing=null", "evaluation.separation.plots=none"],
    }
    (lines,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    for line in lines.replace("\\\n", " ").splitlines():
        words = line.replace("n=8000", "n=400").replace("n=1000", "n=100").split()
        yield [*words, *less.get(words[1], [])]


def test_the_page_shows_what_the_command_says(caloman, written):
    said = caloman("data", "geometry", "binning.xml").out
    (shown,) = (text for language, text in blocks(PAGE) if language == "text")
    assert shown.strip().splitlines()[:-1] == said.strip().splitlines()[:-1]


def test_the_script_makes_showers_of_the_detector(caloman, written, tmp_path):
    assert caloman("data", "generate", "dataset=builtin_ds2", "n=20", "out=mesh.hdf5").status == 0
    runpy.run_path("merge.py")
    checked = caloman("data", "check", "mine.hdf5", "geometry=binning.xml",
                      "dataset.geometry.threshold=0", "out=report.json")  # fmt: skip
    assert checked.status == 0, checked.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["facts"]["voxels"], report["verdict"]) == (43, "ok")


@pytest.mark.slow
def test_from_the_xml_to_scores(caloman, written, tmp_path):
    done = []
    for program, *words in example():
        if program == "python":
            runpy.run_path(words[0])
            continue
        result = caloman(*words)
        assert result.status == 0, result.err
        done.append(words[0] if words[0] != "data" else " ".join(words[:2]))
    assert done == ["data generate", "data check", "data split", "train", "sample", "data check",
                    "evaluate"]  # fmt: skip
    (scores,) = (tmp_path / "outputs/detector/evaluation").glob("*/metrics.json")
    assert any(score["truth"] is not None for score in json.loads(scores.read_text())["scores"])
