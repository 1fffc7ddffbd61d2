"""Metrics that ask a run's density about latents, from the command line."""

import json

import pytest

from caloman_cli.data.generator import generate
from caloman_cli.data.writer import ShowerWriter
from tests.cli.evaluations import N, check_keys
from tests.conftest import load_geometry

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


@pytest.mark.parametrize("suite", ["lid", "ood"])
def test_a_run_without_a_denoiser_is_refused_in_one_line(caloman, run_dir, tmp_path, suite):
    """Which comes before showers are drawn, and once."""
    before = {*run_dir.glob("samples/*")}
    result = caloman("evaluate", f"run={run_dir}", f"evaluation={suite}", "output=out", "seed=77")
    assert result.status == 1
    assert {*run_dir.glob("samples/*")} == before
    assert (result.out + result.err).count("takes noise off latents") == 1
    (line,) = (line for line in result.err.splitlines() if line.startswith("caloman: "))
    assert "this run's density=standard_normal does not: train with density=" in line
    assert "flow_matching" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_foreign_showers_of_a_run(caloman, denoising_run, files, tmp_path):
    arguments = ["evaluate", f"run={denoising_run}", "evaluation=ood", "output=out"]
    arguments += ["evaluation.ood.max_showers=40", "evaluation.ood.draws=1"]
    result = caloman(*arguments, f"evaluation.ood.files=[{files['generated']}]")
    assert result.status == 0, result.err
    scores = check_keys(tmp_path / "out")
    sets = ("energy", "dead_layer", "hot_layer", "rolled", "swapped", "generated")
    for name in sets:
        for kind in ("dual", "both_sides", "log_prob", "lid", "reconstruction"):
            assert 0 <= scores[f"ood_{kind}_{name}"]["generated"] <= 1
            assert scores[f"ood_{kind}_{name}"]["spread"] >= 0
        for kind in ("pair", "triple", "both_sides"):
            assert 0 <= scores[f"ood_false_positive_{kind}_{name}"]["generated"] <= 1
        assert "where nothing differs" in scores[f"ood_dual_{name}"]["note"]
    assert scores["ood_true_positive_pair"]["generated"] > 0.5
    each = json.loads((tmp_path / "out/metrics.json").read_text())["metrics"]["ood"]["showers"]
    assert set(each) == {"reference", *sets}
    assert {len(column) for found in each.values() for column in found.values()} == {40}
    assert (tmp_path / "out/plots/ood.png").stat().st_size > 1000


def test_another_particle_needs_the_same_voxels(caloman, denoising_run, tmp_path):
    energies, voxels = generate(load_geometry("ds1_pions"), 3, seed=1)
    with ShowerWriter(tmp_path / "pions.hdf5", 3, load_geometry("ds1_pions"), {}) as writer:
        writer.write(energies, voxels)
    arguments = ["evaluate", f"run={denoising_run}", "evaluation=ood", "output=out"]
    result = caloman(*arguments, f"evaluation.ood.files=[{tmp_path / 'pions.hdf5'}]")
    assert result.status == 2
    (line,) = (line for line in result.err.splitlines() if line.startswith("caloman: "))
    assert "pions.hdf5" in line and "533" in line and "in its own voxels, those of ds1" in line


@pytest.mark.slow
def test_memorisation_looks_at_each_shower_of_a_run(caloman, denoising_run, tmp_path):
    arguments = ["evaluate", f"run={denoising_run}", "evaluation=memorisation", "output=out"]
    result = caloman(*arguments, "evaluation.manifold_memorisation.max_showers=150")
    assert result.status == 0, result.err
    scores = check_keys(tmp_path / "out")
    assert "copies" in scores
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())["metrics"]
    each = metrics["manifold_memorisation"]["showers"]
    assert each["row"] == [i * N // 150 for i in range(150)]
    for name in ("overfitted", "duplicated"):
        score = scores[f"memorised_{name}"]
        assert score["generated"] == pytest.approx(sum(each[name]) / 150)
        assert 0 <= score["truth"] < 0.1
    assert len(each["model"]) == len(each["data"]) == 150
    assert (tmp_path / "out/plots/manifold_memorisation.png").stat().st_size > 1000


@pytest.mark.slow
def test_memorisation_of_a_run_without_a_denoiser_says_what_it_lacks(caloman, run_dir, files):
    arguments = ["evaluate", f"run={run_dir}", "evaluation=memorisation", "output=out"]
    result = caloman(*arguments, f"train={files['truth']}")
    assert result.status == 0, result.err
    said = (
        "manifold_memorisation could not be computed: metric=manifold_memorisation asks a density"
    )
    assert said in result.out
