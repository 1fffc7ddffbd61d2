"""What ``caloman evaluate`` measures, ranks and reports, suite by suite."""

import hashlib
import json
import re
import shutil

import h5py
import numpy as np
import pytest

from caloman_cli.data.generator import generate
from caloman_cli.metrics.classifier.tree_table import in_words
from caloman_cli.models.two_step import load_model
from caloman_cli.published import load
from caloman_cli.published.official import REFERENCE
from caloman_cli.published.quantities import QUANTITIES
from tests.cli.evaluations import FAST, N, check_keys, scores_of, write
from tests.cli.test_report import check_page
from tests.conftest import load_geometry
from tests.docs.test_format import described, keys, pattern


def test_the_report_shows_the_whole_and_needs_nothing_else(
    caloman, tmp_path, on_files, monkeypatch
):
    monkeypatch.setattr("caloman_cli.metrics.classifier.bands.FEWEST", 20)
    result = caloman(
        "evaluate", *on_files, *FAST, "evaluation.separation.plots=none", "output=out",
        "evaluation.distances=null", "evaluation.correlation.resamplings=5",
    )  # fmt: skip
    assert result.status == 0, result.err
    out = tmp_path / "out"
    figures = sorted(path.name for path in (out / "plots").iterdir())
    assert figures == [
        "auc_by_energy.png", "correlation.png", "roc.png", "telling_features.png",
    ]  # fmt: skip
    page = check_page((out / "report.html").read_text(), len(figures))
    markdown = (out / "report.md").read_text()
    linked = re.findall(r"\]\((plots/[^)]+)\)", markdown)
    assert sorted(linked) == [f"plots/{name}" for name in figures]
    for text in (page.words, markdown):
        assert "not comparable" in text
        assert "reference is reference.hdf5" in text
        assert "CaloDiffusion" in text
        assert "SHA-256 of the settings" in text
    assert "AUC high" in (out / "ranking.csv").read_text()
    assert r"\begin{tabular}" in (out / "ranking.tex").read_text()
    places = json.loads((out / "metrics.json").read_text())["ranking"]["places"]
    assert places["AUC high"]["place"] is None
    assert "preset small" in (out / "ranking.md").read_text()
    assert "Not comparable with the submissions of ds1_photons" in result.out + result.err
    check_trees(out)


def check_trees(folder):
    """Boosted trees stand beside the networks, marked as unofficial, and say what they see."""
    rows = {row["key"]: row for row in scores_of(folder).values()}
    groups = ("challenge", "around_axis", "across_layers")
    for key in ("auc_trees", *(f"auc_trees_{group}" for group in groups), "auc_one_feature"):
        assert 0 <= float(rows[key]["generated"]) <= 1, key
        assert 0 <= float(rows[key]["truth"]) <= 1, key
        assert rows[key]["note"].startswith("not a score of the challenge"), key
    metrics = json.loads((folder / "metrics.json").read_text())
    found = metrics["metrics"]["classifier"]["trees"]
    bands = found["generated"]["bands"]
    assert len(bands) > 1
    assert [one["band"] for one in bands] == [one["band"] for one in found["truth"]["bands"]]
    for place, one in enumerate(bands, 1):
        row = rows[f"auc_trees_band_{place}"]
        assert row["quantity"] == f"AUC trees, {one['band']}"
        assert 0 <= float(row["truth"]) <= 1
    assert "in bands of incident energy" in (folder / "report.md").read_text()
    told = in_words(found["generated"]["telling"][0]["feature"])
    assert rows["auc_one_feature"]["note"].endswith(told)
    assert told in (folder / "report.md").read_text()
    for side in found.values():
        assert {one["group"] for one in side["telling"]} == set(groups)
        assert [one["feature"] for one in side["telling"]] == [
            one["feature"] for one in found["generated"]["telling"]
        ]
    known = [key for key in described("metrics.json") if key.startswith("metrics.classifier.")]
    there = list(keys(found, "metrics.classifier.trees"))
    for one in known:
        assert any(pattern(one).fullmatch(key) for key in there), f"{one} is not there"
    # A detector's number of features is a condition, the settings of networks are none.
    conditions = {score["key"]: score["conditions"] for score in metrics["scores"]}
    assert conditions["auc_trees"]["features"] > conditions["auc_trees_around_axis"]["features"]
    assert "learning rate" not in conditions["auc_trees"]
    assert "trees" not in (folder / "ranking.md").read_text()


@pytest.fixture
def histograms(caloman, tmp_path, files):
    """Evaluate histograms; gives ranking.md's text and the places of ``metrics.json``."""

    def run(*arguments):
        result = caloman(
            "evaluate", f"reference={files['reference']}", "dataset=ds1_photons", "output=out",
            "evaluation=histograms", "evaluation.separation.plots=none", *arguments,
        )  # fmt: skip
        assert result.status == 0, result.err
        found = json.loads((tmp_path / "out/metrics.json").read_text())["ranking"]["places"]
        return (tmp_path / "out/ranking.md").read_text(), found, result.out + result.err

    return run


@pytest.fixture
def passes_for_official(files, monkeypatch):
    """The reference of these tests stands for the official one; what is tested comes after."""
    digest = hashlib.md5(files["reference"].read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(REFERENCE, "ds1_photons", {"reference.hdf5": digest})


def test_places_among_the_submissions_with_the_official_reference(
    histograms, files, passes_for_official
):
    _, places, said = histograms(f"generated={files['generated']}")
    assert re.search(r"\| E_ratio ×10³ .*\d of \d+", said)
    assert places["S E_ratio"]["place"] > 1


@pytest.mark.parametrize("copied", [N, 1])
def test_copies_of_the_reference_have_no_place(
    histograms, files, passes_for_official, tmp_path, copied
):
    with h5py.File(files["reference"]) as real, h5py.File(files["generated"]) as made:
        energies, voxels = real["incident_energies"][:], made["showers"][:]
        voxels[:copied] = real["showers"][:copied]
    copy = write(tmp_path / "copy.hdf5", energies, voxels)
    text, places, said = histograms(f"generated={copy}")
    assert {place["place"] for place in places.values()} == {None}
    for where in (text, said, (tmp_path / "out/report.md").read_text()):
        assert re.search(r"\d+ of 300 generated showers are the reference's own", where)


def test_other_energies_have_no_place(histograms, passes_for_official, tmp_path):
    energies, voxels = generate(load_geometry("ds1_photons"), N, seed=9)
    other = write(tmp_path / "other.hdf5", energies, voxels)
    text, places, _ = histograms(f"generated={other}")
    assert {place["place"] for place in places.values()} == {None}
    assert "Not comparable: the incident energies are not the reference's" in text


def test_no_override_makes_a_file_official(histograms, files, tmp_path):
    digest = hashlib.md5(files["reference"].read_bytes(), usedforsecurity=False).hexdigest()
    text, places, _ = histograms(
        f"generated={files['generated']}",
        f"dataset.files.reference=[{{name: reference.hdf5, md5: {digest}}}]",
    )
    assert {place["place"] for place in places.values()} == {None}
    assert "Not comparable: reference is reference.hdf5 (300 showers)" in text


def test_every_metric_on_files(caloman, tmp_path, files):
    """The suite `full`, as small as it goes; nothing may be missing, and all have a truth."""
    result = caloman(
        "evaluate", f"generated={files['generated']}", f"reference={files['reference']}",
        f"train={files['truth']}", "dataset=ds1_photons", "evaluation=full", "output=out",
        "evaluation.separation.plots=none", *FAST, "evaluation.classifier.modes=[low,resnet]",
        "evaluation.intrinsic_dimension.by_energy=false", "evaluation.intrinsic_dimension.k=[5]",
        "evaluation.quality.n_subsets=5", "evaluation.correlation.resamplings=5",
        "evaluation.sliced.directions=5", "evaluation.sliced.permutations=10",
    )  # fmt: skip
    assert result.status == 0, result.err
    scores = scores_of(tmp_path / "out")
    assert "not computed" not in {quantity for _, quantity in scores}
    wanted = {
        ("distance of high-level features", "FPD"),
        ("distance of high-level features", "KPD"),
        ("neighbours of voxels", "precision"),
        ("neighbours of voxels", "coverage, corrected"),
        ("correlation of layer energies", "correlation, rms difference"),
        ("sample quality", "feature likelihood score"),
        ("memorisation", "C_T"),
        ("classifier", "AUC low"),
        ("intrinsic dimension", "all, k = 5"),
        ("sliced distances", "sliced KS"),
    }
    assert wanted <= set(scores)
    for where in wanted:
        for column in ("generated", "spread", "truth", "truth spread"):
            assert scores[where][column], (where, column)
    places = json.loads((tmp_path / "out/metrics.json").read_text())["ranking"]["places"]
    keys = check_keys(tmp_path / "out")
    assert keys["auc_low"]["conditions"].items() >= {"units": 8, "epochs": 2}.items()
    assert keys["kpd"]["conditions"]["batch"] == N
    assert keys["recall"]["conditions"]["neighbours"] == 5
    assert all(
        score["conditions"]["generated showers"] == N
        for score in keys.values()
        if score["key"].partition("_")[0] != "dimension"
    )
    for quantity in QUANTITIES.values():
        if quantity.score in keys:
            assert keys[quantity.score]["goal"] == quantity.goal, quantity
    published = set(load("ds1_photons")[0].values)  # what the challenge measured of Geant4
    assert set(places) == published - {"AUC high"}
    table = (tmp_path / "out/report.md").read_text()
    assert "No ResNet classifier: the layers of ds1_photons differ in shape" in table
    assert "FPD ×10³ is not comparable" in (tmp_path / "out/ranking.md").read_text()


def test_a_copy_of_the_training_file_is_told(caloman, tmp_path, files):
    result = caloman(
        "evaluate", f"generated={files['truth']}", f"reference={files['reference']}",
        f"train={files['truth']}", "dataset=ds1_photons", "evaluation=memorisation", "output=out",
    )  # fmt: skip
    assert result.status == 0, result.err
    scores = scores_of(tmp_path / "out")
    assert float(scores["memorisation", "exact copies"]["generated"]) > 0.99
    assert float(scores["memorisation", "exact copies"]["truth"]) == 0
    assert float(scores["memorisation", "C_T"]["generated"]) < -3
    assert float(scores["memorisation", "authentic [%]"]["generated"]) < 1


def test_showers_are_counted_in_those_that_a_run_learned_from(
    caloman, tmp_path, files, denoising_run
):
    run = tmp_path / "run"
    shutil.copytree(denoising_run, run)
    np.savez(run / "split.npz", train=np.arange(240), validation=np.arange(240, N))
    result = caloman(
        "evaluate", f"run={run}", f"truth={files['truth']}", "evaluation=only",
        "metric=equivalent", "output=out",
    )  # fmt: skip
    assert result.status == 0, result.err
    rows = check_keys(tmp_path / "out")
    every, ratio = rows["equivalent_all"], rows["equivalent_over_train"]
    assert 0 < every["generated"] < 10  # its networks are as they were born
    assert every["spread"] > 0
    assert ratio["generated"] == pytest.approx(every["generated"] / 240)
    assert "240 training showers" in ratio["note"]
    assert every["truth"] > every["generated"]
    assert "the truth a lower limit" in every["note"]
    assert rows["equivalent_ks"]["generated"] < 20
    found = json.loads((tmp_path / "out/metrics.json").read_text())["metrics"]["equivalent"]
    assert found["ks"]["real"]["showers"][-1] == N
    assert (tmp_path / "out/plots/equivalent_showers.png").is_file()
    assert "Equivalent showers by feature" in (tmp_path / "out/report.md").read_text()


def test_sliced_distances_stand_beside_their_floors(caloman, tmp_path, on_files, files):
    result = caloman(
        "evaluate", *on_files, "evaluation=only", "metric=sliced", "output=out",
        "evaluation.sliced.directions=20", "evaluation.sliced.permutations=50",
    )  # fmt: skip
    assert result.status == 0, result.err
    rows = check_keys(tmp_path / "out")
    for name in ("ks", "w1", "ks_white", "w1_white"):
        value, p = rows[f"sliced_{name}"], rows[f"sliced_{name}_p"]
        assert value["truth"] < 1.3 * value["truth_floor"]
        assert value["spread"] > 0
        assert p["truth"] > 0.02
    for name in ("ks_white", "w1_white"):  # a tenth more energy
        assert rows[f"sliced_{name}"]["generated"] > 1.1 * rows[f"sliced_{name}"]["floor"]
        assert rows[f"sliced_{name}_p"]["generated"] == pytest.approx(1 / 51)
    assert "among showers of one incident energy" in (tmp_path / "out/report.md").read_text()


def test_outliers_stand_beside_the_official_distance(caloman, tmp_path, files):
    with h5py.File(files["generated"]) as made:
        energies, voxels = made["incident_energies"][:], made["showers"][:]
    voxels[:6, 0] = 1e9  # as a calibration that went wrong
    broken = write(tmp_path / "broken.hdf5", energies, voxels)
    result = caloman(
        "evaluate", f"generated={broken}", f"reference={files['reference']}",
        f"truth={files['truth']}", "dataset=ds1_photons", "evaluation=only", "metric=distances",
        "evaluation.distances.fpd_trimmed=true", "evaluation.distances.kpd=false", "output=out",
    )  # fmt: skip
    assert result.status == 0, result.err
    rows = check_keys(tmp_path / "out")
    assert rows["fpd"]["generated"] > 1.2 * rows["fpd_trimmed"]["generated"]
    left = rows["fpd_left_out"]
    assert 2 <= left["generated"] < 4  # six of them, and what few showers do not know
    assert left["truth"] < 2
    assert "outliers that real showers do not have" in left["note"]
    assert "% of the reference" in left["note"]


def test_the_official_distance_stands_where_all_are_outliers(caloman, tmp_path, files):
    """A poor model has no FPD without outliers; its row says why."""
    with h5py.File(files["generated"]) as made:
        energies, voxels = made["incident_energies"][:], made["showers"][:]
    poor = write(tmp_path / "poor.hdf5", energies, 1e6 * voxels)
    result = caloman(
        "evaluate", f"generated={poor}", f"reference={files['reference']}",
        f"truth={files['truth']}", "dataset=ds1_photons", "evaluation=only", "metric=distances",
        "evaluation.distances.fpd_trimmed=true", "evaluation.distances.kpd=false", "output=out",
    )  # fmt: skip
    assert result.status == 0, result.err
    rows = check_keys(tmp_path / "out")
    assert rows["fpd"]["generated"] > rows["fpd"]["truth"]
    missing = rows["fpd_trimmed"]
    assert missing["generated"] is None
    assert missing["truth"] is not None
    assert "trimmed FPD leaves" in missing["note"]
    assert "trimmed FPD leaves" in (tmp_path / "out/report.md").read_text()


def test_training_showers_cannot_judge_what_a_model_is_worth(caloman, files):
    result = caloman(
        "evaluate", f"generated={files['generated']}", f"reference={files['reference']}",
        f"train={files['reference']}", "dataset=ds1_photons", "evaluation=only",
        "metric=equivalent", "output=out",
    )  # fmt: skip
    assert result.status != 0
    assert "300 showers of the training file are in the reference" in result.err


def test_log_posterior_prefers_the_better_generator(caloman, tmp_path, files):
    energies, voxels = generate(load_geometry("ds1_photons"), N, seed=5)
    write(tmp_path / "good.hdf5", energies, voxels)
    result = caloman(
        "evaluate", "generated=good.hdf5", f"reference={files['reference']}",
        f"truth={files['truth']}", "dataset=ds1_photons", "evaluation=multiclass", "output=out",
        f"evaluation.multiclass.others=[{files['generated']}]", "evaluation.multiclass.mode=high",
        "evaluation.multiclass.units=32", "evaluation.multiclass.epochs=8",
    )  # fmt: skip
    assert result.status == 0, result.err
    scores = scores_of(tmp_path / "out")
    ours = scores["log-posterior", "log-posterior"]
    theirs = scores["log-posterior", "log-posterior of generated"]
    assert float(ours["generated"]) > float(theirs["generated"])
    assert ours["key"] == QUANTITIES["log-posterior"].score
    assert float(ours["truth"]) < 0


def test_the_rules_of_2022_cut_elsewhere(caloman, tmp_path, on_files):
    arguments = [*on_files, "evaluation=histograms", "evaluation.separation.plots=none"]
    assert caloman("evaluate", *arguments, "output=new").status == 0
    assert caloman("evaluate", *arguments, "output=old", "protocol=legacy2022").status == 0
    new, old = scores_of(tmp_path / "new"), scores_of(tmp_path / "old")
    name = ("separation power", "voxel")
    assert new[name]["generated"] != old[name]["generated"]
    assert "protocol" in (tmp_path / "old/ranking.md").read_text()


def test_parameters_alone_are_no_standing(caloman, tmp_path, run_dir):
    result = caloman(
        "evaluate", f"run={run_dir}", "evaluation=intrinsic_dimension", "output=out",
        "evaluation.intrinsic_dimension.k=[5]", "evaluation.intrinsic_dimension.by_energy=false",
    )  # fmt: skip
    assert result.status == 0, result.err
    assert not (tmp_path / "out/ranking.md").exists()
    assert "Among the submissions" not in result.out + result.err


def test_a_run_stands_in_the_picture_of_quality_and_speed(caloman, tmp_path, files, run_dir):
    result = caloman(
        "evaluate", f"run={run_dir}", f"truth={files['truth']}", *FAST, "output=out",
        "evaluation.classifier.modes=[high]",
        "evaluation.separation=null", "evaluation.correlation=null", "evaluation.distances=null",
        "evaluation.timing.batch_sizes=[100]", "evaluation.timing.repeats=1",
        "evaluation.timing.warmup=0", "evaluation.timing.min_showers=100",
    )  # fmt: skip
    assert result.status == 0, result.err
    assert (tmp_path / "out/plots/pareto.png").stat().st_size > 1000
    places = json.loads((tmp_path / "out/metrics.json").read_text())["ranking"]["places"]
    assert places["time CPU 100"]["value"] > 0
    ranking = (tmp_path / "out/ranking.md").read_text()
    assert "AUC high: trainings here: 1, published are means of 10." in ranking
    check_keys(tmp_path / "out")
    assert places["parameters"]["place"] >= 1  # says nothing about the reference
    model, _ = load_model(run_dir / "model.pt")
    total = sum(parameter.numel() for parameter in model.parameters())
    generating = total - sum(parameter.numel() for parameter in model.encoder.encoder.parameters())
    assert places["parameters"]["value"] == generating
    rows = scores_of(tmp_path / "out")
    assert float(rows["parameters", "that generate"]["generated"]) == generating
    assert float(rows["parameters", "only training needs"]["generated"]) == total - generating
    page = check_page((tmp_path / "out/report.html").read_text(), 3)
    assert "Quality against speed" in page.words
