"""The lower bounds that `make test-lowest` installs."""

import subprocess
import sys
import tomllib

from tests.conftest import ROOT

SCRIPT = ROOT / "scripts/tools/lowest.py"


def ask(*chosen):
    return subprocess.run([sys.executable, SCRIPT, *chosen], capture_output=True, text=True)


def test_every_direct_dependency_is_held_at_its_bound():
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = dict(line.split("==") for line in ask("test", "slurm").stdout.splitlines())
    direct = content["project"]["dependencies"] + content["dependency-groups"]["test"]
    assert len(found) == len(direct) + 1  # the launcher of the extra
    assert f"torch>={found['torch']}" in direct
    assert found["nflows"] == "0.14"  # an exact version is its own bound


def test_a_group_that_there_is_not_is_named():
    done = ask("tests")
    assert done.returncode != 0
    assert (
        "tests is no group or extra: dev, docs, fast, forest, lint, mlflow, onnx, parquet, root, "
        "slurm, tabdpt, tensorboard, test" in done.stderr
    )
