"""kill -9 before any file event of any verb: the same command again ends as an undisturbed one.

Bitwise, with no half-written file under a final name and nothing of the killed one left.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kills import COMMANDS


def trials(*wanted):
    done = subprocess.run(
        [sys.executable, "-m", "tests.kills", *wanted],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("verb", COMMANDS)
def test_killed_before_its_file_events(verb):
    """The first ten and every ninth; all of them: ``python -m tests.kills train:1:0``."""
    (found,) = trials(f"{verb}:9:10")
    assert found["tried"] >= min(found["events"], 10)
    assert found["wrong"] == {}, found
