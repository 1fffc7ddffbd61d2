"""Metrics that ask a run's density about latents, from the command line."""

import json

import pytest

from tests.cli.evaluations import N, check_keys

FEW = ("evaluation.lid.max_showers=50", "evaluation.lid.times=3", "evaluation.lid.draws=2")


@pytest.mark.slow
def test_local_dimensions_of_a_run(caloman, denoising_run, tmp_path):
    arguments = ["evaluate", f"run={denoising_run}", "evaluation=lid", *FEW, "output=out"]
    result = caloman(*arguments)
    assert result.status == 0, result.err
    scores = check_keys(tmp_path / "out")
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())["metrics"]["lid"]
    for key in ("flipd", "denoising"):
        score = scores[f"lid_{key}"]
        assert score["spread"] > 0 and score["truth_spread"] > 0
        for side, column in (("generated", "generated"), ("reference", "truth")):
            each = metrics["showers"][side][key]
            assert sum(each) / 50 == pytest.approx(score[column], abs=1e-3)
            assert metrics["showers"][side]["row"] == [i * N // 50 for i in range(50)]
    assert len(metrics["curves"]) == 3
    assert scores["lid_flipd"]["conditions"]["latents"] == 3
    assert (tmp_path / "out/plots/lid.png").stat().st_size > 1000
    assert "at given incident and layer energies" in (tmp_path / "out/report.md").read_text()


def test_a_run_without_a_denoiser_is_refused_in_one_line(caloman, run_dir, tmp_path):
    result = caloman("evaluate", f"run={run_dir}", "evaluation=lid", "output=out")
    assert result.status == 1
    (line,) = (line for line in result.err.splitlines() if line.startswith("caloman: "))
    assert "this run's StandardNormal does not: train with density=" in line
    assert "flow_matching" in line
    assert not (tmp_path / "out").exists()
