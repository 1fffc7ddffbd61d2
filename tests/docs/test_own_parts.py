"""The parts of a reader's own that the how-tos write: trained, sampled and scored as they say."""

import json
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, write_shown_files

TRAIN = [
    *("recipe=none", "encoder=pca", "head=gaussian", "encoder.latent_dim=5"),
    *("dataset.builtin.n_train=120", "dataset.builtin.n_reference=100"),
    *("trainer.energy.epochs=2", "trainer.density.epochs=2"),
]


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write the files that a page shows; what is imported of them is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda page: write_shown_files([ROOT / "docs/howto" / page], tmp_path)
    for module in [name for name in sys.modules if name.split(".")[0] == "my_package"]:
        del sys.modules[module]


def test_contracts_have_what_the_page_says_to_write():
    page = (ROOT / "docs/howto/own_model.md").read_text()
    rows = re.findall(
        r"^\| [^|]*\| `(caloman_cli[\w.]+)\.(\w+)` \| ([^|]*)\|$", page, re.MULTILINE
    )
    assert len(rows) == 6
    for room, contract, written in rows:
        made = getattr(import_module(room), contract)
        told = {*dir(made), *made.__annotations__}
        assert set(re.findall(r"`(\w+)`", written)) <= told, contract


def test_own_density(caloman, written):
    written("own_model.md")
    own = ["--config-dir", "mine", "density=conditional_normal", "dataset=builtin_photons"]
    assert caloman("train", *own, *TRAIN, "output=outputs/normal").status == 0
    trust = "trust=[my_package.densities.ConditionalNormal]"
    assert caloman("sample", "run=outputs/normal", "n=10", trust).status == 0
    refused = caloman("sample", "run=outputs/normal", "n=10", "seed=2")
    assert refused.status == 2
    assert trust in refused.err
    for mistake in ("density.hiden=256", "density.hidden=wide"):
        wrong = caloman("train", *own, mistake, "output=outputs/wrong")
        assert (wrong.status, wrong.err.count("\n")) == (2, 1)


def test_own_metric(caloman, written, files):
    written("own_metric.md")
    sides = [f"generated={files['generated']}", f"reference={files['reference']}"]
    done = caloman(
        "evaluate", "--config-dir", "mine", "evaluation=only", "metric=response",
        *sides, f"truth={files['truth']}", "dataset=ds1_photons", "output=outputs/scored",
    )  # fmt: skip
    assert done.status == 0, done.err
    page = (ROOT / "docs/howto/compare_files.md").read_text()
    for file in ("report.html", "report.md", "table.csv", "metrics.json"):
        assert f"`{file}`" in page
        assert (Path("outputs/scored") / file).exists()
    found = json.loads(Path("outputs/scored/metrics.json").read_text())
    score = {score["key"]: score for score in found["scores"]}["mean_response"]
    assert score["generated"] == pytest.approx(1.1, abs=3 * score["spread"])
    assert score["truth"] == pytest.approx(1, abs=3 * score["truth_spread"])
    assert score["conditions"]["lowest incident energy"] == 1000
