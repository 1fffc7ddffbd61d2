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
    check_distances(details, scores)
    axis = details["explained"]["axis"]
    gain = axis["latents"]["r2"] - axis["energies"]["r2"]
    assert scores["gain_axis"]["generated"] == pytest.approx(gain)
    assert details["latents"]["learned"] == 3
    assert details["without"]["other parts"] == ["density standard_normal -> flow_matching"]
    report = (tmp_path / "out/report.md").read_text()
    for words in ("latents replaced by their mean", "energies alone", "asked 0.10 or more",
                  "| FPD × 10³ ", "| S × 10³, layer energy "):  # fmt: skip
        assert words in report
    assert (tmp_path / "out/plots/ledger.png").is_file()


def check_distances(details, scores):
    """FPD and separation powers of the same showers that judges see."""
    rivals = ["truth", "model", "independent", "mean", "without"]
    assert list(details["fpd"]) == rivals
    for rival in rivals[2:]:
        assert scores[f"fpd_{rival}"]["generated"] == details["fpd"][rival]["value"]
    assert scores["fpd"]["truth"] == details["fpd"]["truth"]["value"]
    lost = scores["fpd_without"]["generated"] - scores["fpd"]["generated"]
    assert scores["lost_fpd"]["generated"] == pytest.approx(lost)
    layers = details["separation"]["E_layer"]
    assert list(layers) == rivals
    # The energies of layers are not the latents' business.
    for way in ("independent", "mean"):
        assert layers[way]["value"] == pytest.approx(layers["model"]["value"], abs=1e-3)
    widths = details["separation"]["width_eta"]
    assert widths["mean"]["value"] != pytest.approx(widths["model"]["value"], abs=1e-3)


def test_a_run_without_latents_that_is_not_there_is_refused(caloman, run_dir, tmp_path):
    result = caloman("evaluate", f"run={run_dir}", *ONLY, "evaluation.ledger.without=nowhere")
    assert result.status == 2
    assert "evaluation.ledger.without=nowhere" in result.err
    assert "does not exist" in result.err
    assert not (tmp_path / "out").exists()
