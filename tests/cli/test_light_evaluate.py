"""What ``caloman evaluate generated= reference=`` loads: no model, no generator."""

import json
import subprocess
import sys

import pytest

LOADED = """
import json, sys
from caloman_cli.cli.main import main
status = main(sys.argv[1:])
ours = sorted(name for name in sys.modules if name.startswith("caloman_cli."))
print(json.dumps([status, ours]), file=sys.stderr)
"""


@pytest.mark.parametrize("suite", ["histograms", pytest.param("quick", marks=pytest.mark.slow)])
def test_two_files_are_scored_without_a_model_and_the_generator(tmp_path, files, suite):
    """With every metric of the suite; timing, which needs a model, is left out."""
    done = subprocess.run(
        [
            sys.executable, "-c", LOADED, "evaluate", f"generated={files['generated']}",
            f"reference={files['reference']}", "dataset=ds1_photons", "output=out",
            "evaluation.separation.plots=none", f"evaluation={suite}",
            *(["evaluation.classifier.epochs=1"] if suite == "quick" else []),
        ],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    status, loaded = json.loads(done.stderr.splitlines()[-1])
    assert status == 0
    assert (tmp_path / "out/metrics.json").is_file()
    assert "caloman_cli.evaluation.components.separation" in loaded
    rooms = ("caloman_cli.models", "caloman_cli.data.generator", "caloman_cli.training")
    # What stops a process in order belongs to the training's room and is all that is needed of it.
    heavy = {name for name in loaded if name.startswith(rooms)}
    assert heavy <= {"caloman_cli.training", "caloman_cli.training.interruption"}
    others = {name for name in loaded if name.startswith("caloman_cli.evaluation.components.")}
    assert "caloman_cli.evaluation.components.memorisation" not in others
