"""``metric=ledger`` of a run."""

import json

import pytest

ONLY = ["evaluation=only", "metric=ledger", "evaluation.ledger.max_showers=300", "output=out"]


@pytest.mark.slow
def test_the_ledger_of_a_run(caloman, run_dir, denoising_run, tmp_path):
    """Of points; the other run stands for one without latents."""
    other = f"evaluation.ledger.without={denoising_run}"
    result = caloman("evaluate", f"run={run_dir}", *ONLY, other)
    assert result.status == 0, result.err
    found = json.loads((tmp_path / "out/metrics.json").read_text())
    scores = {score["key"].removeprefix("ledger_"): score for score in found["scores"]}
    assert scores["nats"]["generated"] is None
    assert scores["nats"]["note"] == "none: encoder=ae encodes to a point"
    assert scores["active"]["note"] == "of 3"
    assert {"r2_axis", "r2_tilt", "r2_depth_of_maximum", "r2_widths"} <= set(scores)
    auc = {key: score["generated"] for key, score in scores.items() if key.startswith("auc_high")}
    assert set(auc) == {f"auc_high{way}" for way in ("", "_independent", "_mean", "_without")}
    lost = auc["auc_high_without"] - auc["auc_high"]
    assert scores["lost_high"]["generated"] == pytest.approx(lost)
    assert scores["auc_trees"]["truth"] is not None
    assert scores["auc_trees_around_axis_without"]["generated"] is not None
    details = found["metrics"]["ledger"]
    axis = details["explained"]["axis"]
    gain = axis["latents"]["r2"] - axis["energies"]["r2"]
    assert scores["gain_axis"]["generated"] == pytest.approx(gain)
    assert details["latents"]["learned"] == 3
    assert details["without"]["other parts"] == ["density standard_normal -> flow_matching"]
    report = (tmp_path / "out/report.md").read_text()
    for words in ("latents replaced by their mean", "energies alone", "asked 0.10 or more"):
        assert words in report
    assert (tmp_path / "out/plots/ledger.png").is_file()


def test_a_run_without_latents_that_is_not_there_is_refused(caloman, run_dir, tmp_path):
    result = caloman("evaluate", f"run={run_dir}", *ONLY, "evaluation.ledger.without=nowhere")
    assert result.status == 2
    assert "evaluation.ledger.without=nowhere" in result.err
    assert "does not exist" in result.err
    assert not (tmp_path / "out").exists()
