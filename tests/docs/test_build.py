"""The pages build, and Sphinx has nothing to complain about."""

import subprocess
import sys

import pytest

from tests.docs.pages import ROOT


def test_pages_build_without_a_warning(tmp_path):
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_parser")
    pytest.importorskip("furo")
    built = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"),
            *("-b", "dummy", "-d", str(tmp_path / "trees"), str(ROOT / "docs"), str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (built.returncode, built.stderr) == (0, "")
