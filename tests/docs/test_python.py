"""What pages and the notebook say in Python runs."""

import json
import re

import matplotlib.pyplot as plt
import pytest

import caloman_cli
from tests.api.conftest import run  # noqa: F401
from tests.docs.pages import ROOT, blocks


def replaced(code: str, run) -> str:  # noqa: F811
    """The same with the run at hand and what is written in a folder of the test."""
    return code.replace("outputs/demo", str(run)).replace("outputs/figures", str(run / "figures"))


@pytest.fixture(autouse=True)
def _quiet(monkeypatch, tmp_path):
    monkeypatch.setattr("caloman_cli.api.scores.default_cache_dir", lambda: tmp_path)
    yield
    plt.close("all")


def test_the_page_on_python_runs(run, capsys):  # noqa: F811
    code = "\n".join(text for kind, text in blocks(ROOT / "docs/api.md") if kind == "python")
    names: dict = {}
    exec(compile(replaced(code, run), "api.md", "exec"), names)
    assert names["voxels"].shape == (500, 368)
    assert (names["first"] == names["voxels"][:100]).mean() > 0.9  # others up to rounding
    out = capsys.readouterr().out
    assert "| metric" in out and "incident energy -5 MeV" in out


def test_the_page_on_python_has_every_public_name():
    page = (ROOT / "docs/api.md").read_text()
    rows = re.findall(r"^\| `(\w+)", page, re.MULTILINE)
    assert sorted(rows) == dir(caloman_cli)


def test_the_notebook_runs(run):  # noqa: F811
    cells = json.loads((ROOT / "docs/from_a_run_to_plots.ipynb").read_text())["cells"]
    assert not any(cell.get("outputs") for cell in cells), "clear the outputs"
    names: dict = {}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            code = replaced("".join(cell["source"]), run)
            exec(compile(code, f"cell {number}", "exec"), names)
    assert names["showers"].shape == (100, 368)
    assert len(plt.get_fignums()) == 2
