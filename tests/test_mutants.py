"""The lists of mutants fit the code as it is."""

import subprocess
import sys

from tests.conftest import ROOT


def test_every_mutant_changes_one_place_of_the_code():
    command = [sys.executable, "scripts/tools/mutants.py", "--show"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "AUC on the rows" in done.stdout
