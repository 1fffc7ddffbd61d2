"""What users install: the built wheel and sdist, from another folder, without the checkout."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import caloman_cli
from tests.conftest import ROOT

CONFIGS = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")}


def run(*command: object, **options) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=600, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel made from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Runs ``caloman`` of the wheel in an environment of its own.

    It sees this environment's other packages as plain paths, so that the checkout, which is
    installed here in editable mode, is not found.
    """
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin/python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(site, "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    run(*pip, "--ignore-installed", built[1])
    away = tmp_path_factory.mktemp("away")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def caloman(*arguments: str) -> str:
        return run(folder / "bin/caloman", *arguments, cwd=away, env=environment)

    where = run(
        python, "-c", "import caloman_cli; print(caloman_cli.__file__)", cwd=away, env=environment
    )
    assert where.startswith(str(folder))
    return caloman


@pytest.mark.slow
def test_wheel_and_sdist_have_every_config(built):
    sdist, wheel = built
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    assert {f"caloman_cli/{path}" for path in CONFIGS} <= in_wheel
    assert not [name for name in in_wheel if name.startswith(("tests/", "conf/"))]
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    assert CONFIGS | {"LICENSE", "README.md", "constraints.txt"} <= in_sdist


@pytest.mark.slow
def test_the_wheel_works_anywhere(installed):
    assert installed("--version") == f"caloman {caloman_cli.__version__}\n"
    assert "@software{caloman" in installed("--cite")
    assert "train" in installed("--help")
    assert "experiment=demo" in installed("train", "--help")
    assert "latent_dim" in installed("train", "--cfg", "job", "experiment=demo")
    made = installed("data", "generate", "dataset=builtin_photons", "n=10", "out=a/b.hdf5")
    assert "a/b.hdf5" in made
    assert "368" in installed("data", "check", "a/b.hdf5", "dataset=ds1_photons")


def test_the_project_says_one_version_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert project["dynamic"] == ["version"]
    assert f"version: {caloman_cli.__version__}\n" in citation
    assert re.search(r'^date-released: "\d{4}-\d\d-\d\d"$', citation, re.MULTILINE)


def test_every_dependency_is_pinned_in_the_constraints():
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, groups = content["project"], content["dependency-groups"].values()
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    wanted = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    wanted += [name for group in groups for name in group if isinstance(name, str)]
    names = {name.split(">")[0].split("=")[0].split("[")[0].lower() for name in wanted}
    assert names <= pinned
    assert not [line for line in pinned if "+" in line]
