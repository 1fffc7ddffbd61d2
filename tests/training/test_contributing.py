"""What CONTRIBUTING says of a new model and a new metric, done in a copy of the package."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.docs.pages import write_shown_files

TRAIN = [
    *("train", "encoder=mine", "encoder.latent_dim=3", "density=mine", "recipe=none"),
    *("head=gaussian", "energy.hidden=8", "dataset.builtin.n_train=120", "output=run"),
    *("dataset.builtin.n_reference=10", "device=cpu"),
    *(f"trainer.{stage}.{key}" for stage in ("energy", "encoder", "density")
      for key in ("epochs=1", "warmup=0")),
]  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package, its configs and its tests, and the files that the page shows."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("caloman_cli", "conf", "tests"):
        rest = shutil.ignore_patterns("__pycache__", "golden", "assets")
        shutil.copytree(ROOT / name, folder / name, ignore=rest)
    shutil.copy(ROOT / "pyproject.toml", folder)
    write_shown_files([ROOT / "CONTRIBUTING.md"], folder)
    return folder


@pytest.fixture
def python(copy):
    """Run a module in the copy, which must go well."""
    here = {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "CALOMAN_CACHE": str(copy / "cache")}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=copy, env={**os.environ, **here},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    return run


@pytest.mark.slow
def test_the_files_that_it_shows_are_found_by_the_contract_tests(python):
    said = python("pytest", "-q", "tests/contracts", "-k", "mine", "-m", "not slow")
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None
    assert int(passed[1]) > 20, said[-500:]  # some of the encoder and of the density; all are slow


@pytest.mark.slow
def test_and_train(python, copy):
    python("caloman_cli", *TRAIN)
    assert (copy / "run/model.pt").is_file()
    stored = (copy / "run/config.yaml").read_text()
    assert "_target_: caloman_cli.models.densities.Laplace" in stored


@pytest.mark.slow
def test_a_metric_is_a_file_its_settings_and_a_test(python, copy):
    python("pytest", "-q", "tests/metrics/test_mine.py")
    generate = ["data", "generate", "dataset=builtin_photons", "n=120"]
    for seed in (1, 2):
        python("caloman_cli", *generate, f"seed={seed}", f"out={seed}.hdf5")
    sides = ["generated=2.hdf5", "reference=1.hdf5", "dataset=ds1_photons", "output=scores"]
    python("caloman_cli", "evaluate", *sides, "evaluation=only", "metric=mine")
    found = json.loads((copy / "scores/metrics.json").read_text())
    (score,) = found["scores"]
    assert (score["key"], score["goal"], found["figures"]) == (
        "empty_layers", "truth", ["plots/empty_layers.png"]
    )  # fmt: skip
    assert "![Layers without energy](plots/" in (copy / "scores/report.md").read_text()
    assert "empty" in python("caloman_cli", "report", "runs=scores", "sort=empty_layers")
    files = subprocess.run(
        ["grep", "-rl", "EmptyLayers", "caloman_cli", "conf", "tests"],
        cwd=copy, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    ours = {name for name in files if name.endswith((".py", ".yaml"))}
    assert ours - {"tests/training/test_contributing.py"} == {
        "caloman_cli/evaluation/components/mine.py", "conf/metric/mine.yaml",
        "tests/metrics/test_mine.py",
    }  # fmt: skip


@pytest.mark.slow
def test_and_are_as_the_house_has_its_files(copy):
    shown = [
        "caloman_cli/models/densities/mine.py", "caloman_cli/models/encoders/mine.py",
        "caloman_cli/evaluation/components/mine.py", "tests/metrics/test_mine.py",
    ]  # fmt: skip
    ruff = shutil.which("ruff") or str(ROOT / ".venv/bin/ruff")
    for check in (["check"], ["format", "--check"]):
        done = subprocess.run([ruff, *check, *shown], cwd=copy, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
