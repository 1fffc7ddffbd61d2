"""``evaluation=manifold`` of a run."""

import json

import pytest

FEW = ["evaluation.manifold.max_showers=60"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run_dir", "denoising_run"])
def test_geometry_of_a_run(caloman, request, tmp_path, kind):
    run = request.getfixturevalue(kind)
    result = caloman("evaluate", f"run={run}", "evaluation=manifold", *FEW, "output=out")
    assert result.status == 0, result.err
    found = json.loads((tmp_path / "out/metrics.json").read_text())
    scores = {score["key"].removeprefix("manifold_"): score for score in found["scores"]}
    values = {key: score["generated"] for key, score in scores.items()}
    told = found["metrics"]["manifold"]
    assert values["w1_bound"] == pytest.approx(
        values["distance"] + values["lipschitz"] * values["latent_w1"]
    )
    assert told["certified"] == (scores["w1_bound"]["note"] == "certified")
    assert values["lipschitz"] >= told["steepest slope seen"]
    assert 0 < values["directions"] <= 1
    assert 0 < values["narrowest"] <= 1
    thin = {"score_slope", "thin_directions"} if kind == "denoising_run" else {"width"}
    assert thin <= set(values)
    assert (tmp_path / "out/plots/manifold.png").is_file()
