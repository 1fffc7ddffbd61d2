"""``caloman evaluate`` on files and on a run: tables, truth row, figures, mistakes."""

import csv
import json
import re

import h5py
import numpy as np
import pytest
from omegaconf import OmegaConf

from caloman_cli.config.compose import CONF, compose
from caloman_cli.data.generator import generate
from caloman_cli.data.showers import Showers
from caloman_cli.data.spectrum import Spectrum
from caloman_cli.evaluation.inputs import evaluated_dataset, open_comparison
from caloman_cli.models.two_step import load_model, save_model
from caloman_cli.published.official import simulation
from caloman_cli.runs.directory import RunDirectory
from tests.cli.evaluations import FAST, N, check_keys, scores_of, write
from tests.cli.test_report import check_page
from tests.conftest import load_geometry


def test_two_files(caloman, tmp_path, on_files):
    result = caloman(
        "evaluate", *on_files, *FAST, "evaluation.separation.plots=none", "output=out",
        "evaluation.classifier.modes=[high]",
        "evaluation.distances=null", "evaluation.correlation=null",
    )  # fmt: skip
    assert result.status == 0, result.err
    out = tmp_path / "out"
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["inputs"]["generated"]["showers"] == N
    assert any("Not comparable with published" in note for note in metrics["notes"])
    assert metrics["provenance"]["versions"]["caloman"]
    scores = scores_of(out)
    ratio = scores["separation power", "E_ratio"]
    assert float(ratio["generated/floor"]) > 3 > float(ratio["truth/floor"])
    assert float(scores["classifier", "AUC high"]["truth"]) <= 1
    table = (out / "report.md").read_text()
    assert "truth/floor" in table
    assert "truth: 300 showers of truth (real, independent)" in table
    assert not list(out.rglob("*.part*"))
    for row in scores.values():
        for value, spread in (("generated", "spread"), ("truth", "truth spread")):
            assert (row[value] == "") == (row[spread] == ""), row


def test_as_few_showers_as_asked_are_scored(caloman, tmp_path, on_files):
    only = ["evaluation=only", "metric=layer_energies", "output=out"]
    result = caloman("evaluate", *on_files, *only, "dataset.limit=120")
    assert result.status == 0, result.err
    inputs = json.loads((tmp_path / "out/metrics.json").read_text())["inputs"]
    assert [inputs[role]["showers"] for role in ("reference", "generated", "truth")] == [120] * 3
    assert "incident energies" not in result.out  # the rows of both files belong together
    assert caloman("evaluate", *on_files, *only, "dataset.limit=0").status == 2


def test_a_run_is_compared_with_what_it_learned_from_and_judged_by_all(files, tmp_path):
    folder = tmp_path / "few"
    folder.mkdir()
    (folder / "model.pt").touch()
    train, reference = f"dataset.train=[{files['truth']}]", f"reference={files['reference']}"
    few = compose("train", ["dataset=ds1_photons", train, "dataset.limit=30", "output=x"])
    RunDirectory(folder).write_config(OmegaConf.to_container(few, resolve=True))
    for limit, judged, learned in (("null", N, 30), (20, 20, 30), (50, 50, 30)):
        cfg = compose("evaluate", [f"run={folder}", reference, f"dataset.limit={limit}"])
        comparison = open_comparison(cfg, evaluated_dataset(cfg))
        assert len(comparison.reference) == judged
        assert len(comparison.train) == learned


def test_copies_of_any_training_shower_are_found_among_few_that_are_scored(
    caloman, files, tmp_path
):
    only = ["evaluation=only", "metric=memorisation", "output=out", "dataset=ds1_photons"]
    with h5py.File(files["truth"]) as known, h5py.File(tmp_path / "copies.hdf5", "w") as file:
        for name in ("incident_energies", "showers"):
            file[name] = known[name][:][::-1]
    given = ["generated=copies.hdf5", f"train={files['truth']}"]
    result = caloman(
        "evaluate", *given, f"reference={files['reference']}", *only, "dataset.limit=100"
    )
    assert result.status == 0, result.err
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["inputs"]["generated"]["showers"] == 100
    copies = [row for row in metrics["scores"] if row["quantity"] == "exact copies"]
    assert [row["generated"] for row in copies] == [1.0]


BINNING = """<Bins><Bin pid="11" name="electron"><Layer id="0" r_edges="0,5,10" n_bin_alpha="1"/>
<Layer id="1" r_edges="0,5,10" n_bin_alpha="4"/></Bin></Bins>"""


def test_a_detector_of_ones_own_with_figures(caloman, tmp_path):
    (tmp_path / "binning.xml").write_text(BINNING)
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        with h5py.File(tmp_path / f"{name}.hdf5", "w") as file:
            file["incident_energies"] = rng.uniform(1e3, 2e3, (60, 1))
            file["showers"] = rng.random((60, 10)) * 200
    result = caloman(
        "evaluate", "generated=a.hdf5", "reference=b.hdf5", "dataset=custom",
        "dataset.geometry_xml=binning.xml", "dataset.geometry.particle=electron",
        "dataset.geometry.threshold=0.1", "evaluation=histograms", "output=out",
        "figures.format=[png,svg]", "figures.labels.reference=test beam 2026",
        "figures.labels.truth=other runs", "figures.labels.model=our model",
    )  # fmt: skip
    assert result.status == 0, result.err
    plots = tmp_path / "out/plots"
    pages = ("E_ratio", "E_layer", "response")
    for words in ("test beam 2026", "our model", "other runs"):
        assert all(words in (plots / f"{name}.svg").read_text() for name in pages), words
    assert "independent" not in (plots / "E_ratio.svg").read_text()
    assert {path.stem for path in plots.glob("*.png")} == {p.stem for p in plots.glob("*.svg")}
    figures = {path.stem for path in (tmp_path / "out/plots").iterdir()}
    assert figures >= {"E_ratio", "E_layer", "sparsity", "voxel", "response", "average_shower"}
    assert "single_showers" in figures
    check_page((tmp_path / "out/report.html").read_text(), len(figures))
    assert not (tmp_path / "out/ranking.md").exists()  # nothing is published for it
    for name in ("report.md", "report.html", "metrics.json"):
        text = (tmp_path / "out" / name).read_text()
        assert "omparable with published" not in text, name
    record = json.loads((tmp_path / "out/metrics.json").read_text())
    assert record["inputs"]["reference"]["files"] == ["b.hdf5"]
    page = (tmp_path / "out/report.html").read_text()
    assert "generated: a.hdf5" in page
    assert str(tmp_path) not in page + (tmp_path / "out/report.md").read_text()


@pytest.mark.parametrize("verb", ["evaluate", "report"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("figures.format=[jpg]", "figures.format=['jpg']: must be a list of formats, of png, pdf"),
        ("figures.format=pdf", "figures.format=pdf: must be a list of formats, of png, pdf and"),
        ("figures.format=[]", "figures.format=[]: must be a list of formats"),
        ("figures.dpi=3", "figures.dpi=3: must be an integer, 30 or more and at most 1200"),
        ("figures.labels.modell=x", "unknown key 'figures.labels.modell'"),
    ],
)
def test_a_wrong_key_of_figures_is_refused_in_one_line(caloman, tmp_path, verb, given, said):
    rest = ("runs=x",) if verb == "report" else ("generated=a.hdf5", "dataset=ds2")
    result = caloman(verb, *rest, given, "output=out")
    assert result.status == 2
    assert said in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_only_what_says_so_is_called_geant4(tmp_path):
    energies, voxels = np.full((3, 1), 1e3), np.ones((3, 368), np.float32)
    for generator, name in (
        ("", "reference"),
        ("Geant4 11.2", "Geant4"),
        ("caloman built-in: parametrised showers, not Geant4", "built-in toy"),
    ):
        path = write(tmp_path / "dataset_1_photons_2.hdf5", energies, voxels, generator=generator)
        assert simulation(Showers.from_files([path], load_geometry("ds1_photons"))) == name
        path.unlink()


def test_intrinsic_dimension_of_real_showers_alone(caloman, tmp_path, files):
    result = caloman(
        "evaluate", "evaluation=intrinsic_dimension", "dataset=ds1_photons", "output=out",
        f"reference={files['reference']}", "evaluation.intrinsic_dimension.k=[5,10]",
        "evaluation.intrinsic_dimension.by_energy=false",
        "evaluation.intrinsic_dimension.pca_k=30", "evaluation.intrinsic_dimension.clusters=2",
    )  # fmt: skip
    assert result.status == 0, result.err
    scores = scores_of(tmp_path / "out")
    estimates = [f"k = {k}{tail}" for k in (5, 10) for tail in ("", ", unbiased", ", mle")]
    estimates += ["TwoNN", "local PCA"]
    groups = ("all", "cluster 1", "cluster 2")
    assert [quantity for _, quantity in scores] == [f"{g}, {e}" for g in groups for e in estimates]
    assert (tmp_path / "out/plots/intrinsic_dimension.png").is_file()
    assert all(row["generated"] == "" for row in scores.values())
    assert all(1 < float(row["truth"]) < 368 for row in scores.values())


@pytest.mark.parametrize(
    "chosen",
    [
        *(f"evaluation={path.stem}" for path in sorted((CONF / "evaluation").iterdir())),
        *(f"metric={path.stem}" for path in sorted((CONF / "metric").iterdir())),
    ],
)
def test_every_suite_and_every_metric_is_valid(caloman, chosen):
    group, _, name = chosen.partition("=")
    more = [] if group == "evaluation" else ["evaluation=only"]
    more += ["metric=timing"] if name == "only" else []
    more += ["evaluation.multiclass.others=[b.hdf5]"] if name == "multiclass" else []
    result = caloman("evaluate", chosen, "run=nowhere", *more)
    assert (result.status, "nowhere does not exist" in result.err) == (2, True), result.err


def test_metrics_join_a_suite_and_may_make_one(caloman, tmp_path, files):
    given = [f"generated={files['generated']}", f"reference={files['reference']}"]
    given += ["dataset=ds1_photons", "evaluation.correlation.plot=false", "output=out"]
    added = ["evaluation=histograms", "evaluation.separation.plots=none", "metric=correlation"]
    assert caloman("evaluate", *given, *added).status == 0
    with (tmp_path / "out/table.csv").open() as table:
        sections = [row["section"] for row in csv.DictReader(table)]
    assert list(dict.fromkeys(sections)) == ["separation power", "correlation of layer energies"]
    alone = ["evaluation=only", "metric=[correlation]", "overwrite=true"]
    assert caloman("evaluate", *given, *alone).status == 0
    found = json.loads((tmp_path / "out/metrics.json").read_text())
    assert found["settings"]["evaluation"]["name"] == "correlation"
    assert {score["section"] for score in found["scores"]} == {"correlation of layer energies"}


def test_a_metric_of_ones_own_needs_no_line_that_says_where_it_goes(caloman, tmp_path):
    (tmp_path / "mine/metric").mkdir(parents=True)
    text = (CONF / "metric/quality.yaml").read_text()
    (tmp_path / "mine/metric/nice.yaml").write_text(re.sub("# @package.*\n", "", text))
    given = ["--config-dir", "mine", "evaluation=only", "metric=nice", "evaluation.nice.k=7"]
    shown = caloman("evaluate", *given, "--cfg", "job", "--package", "evaluation.nice")
    assert "SampleQuality" in shown.out
    assert "k: 7" in shown.out


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("metric=[timing,speed]", "metric=speed does not exist: there is: classifier"),
        ("metric=timing,quality", "write metric=[timing,quality] for all of them"),
        ("evaluation=only", "has no metric"),
        ("+evaluation.clasifier.modes=[low]", "did you mean 'classifier'?"),
    ],
)
def test_metrics_that_are_not_there(caloman, typed, said):
    result = caloman("evaluate", "run=nowhere", typed)
    assert (result.status, said in result.err) == (2, True), result.err
    assert result.err.count("\n") == 1


def test_a_file_against_itself_is_perfect_and_said_to_be_a_copy(caloman, tmp_path, files):
    reference = files["reference"]
    result = caloman(
        "evaluate", f"generated={reference}", f"reference={reference}", "dataset=ds1_photons",
        "evaluation=histograms", "evaluation.separation.plots=none", "output=out",
    )  # fmt: skip
    assert result.status == 0, result.err
    for row in scores_of(tmp_path / "out").values():
        assert row["generated"] in ("0.0", "") or float(row["generated"]) < 1e-15
    assert "not an independent sample" in (tmp_path / "out/report.md").read_text()


def test_other_incident_energies_are_said(caloman, tmp_path, files):
    energies, voxels = generate(load_geometry("ds1_photons"), 200, seed=9)
    other = write(tmp_path / "other.hdf5", energies, voxels)
    result = caloman(
        "evaluate", f"generated={other}", f"reference={files['reference']}",
        "dataset=ds1_photons", "evaluation=histograms", "evaluation.separation.plots=none",
    )  # fmt: skip
    assert result.status == 0, result.err
    out = tmp_path / "outputs/evaluate/other/histograms"
    table = (out / "report.md").read_text()
    assert "energies=REFERENCE" in table
    assert "no truth= given, halves of the reference: 150 even against 150 odd" in table
    row = scores_of(out)["separation power", "E_ratio"]
    assert "truth: halves of the reference" in row["note"]


def test_a_truth_that_does_not_fit_is_an_error(caloman, tmp_path, files):
    energies, voxels = generate(load_geometry("ds1_photons"), 200, seed=9)
    low = energies[:, 0] < 20_000
    other = write(tmp_path / "low.hdf5", energies[low], voxels[low])
    toy = write(tmp_path / "toy.hdf5", energies, voxels, generator="caloman built-in")
    before = sorted(tmp_path.iterdir())
    for truth, said in (
        (other, "another spectrum"), (toy, "built-in toy"), (files["reference"], "own"),
    ):  # fmt: skip
        result = caloman(
            "evaluate", f"generated={files['generated']}", f"reference={files['reference']}",
            f"truth={truth}", "dataset=ds1_photons", "evaluation=histograms",
        )  # fmt: skip
        (line,) = result.err.strip().splitlines()
        assert (result.status, said in line, f"truth={truth}" in line) == (2, True, True), line
    assert sorted(tmp_path.iterdir()) == before


def test_numbers_without_a_floor_are_compared_at_equal_numbers(caloman, tmp_path, files):
    """Halves of the reference: their precision says nothing about that of all showers."""
    result = caloman(
        "evaluate", f"generated={files['generated']}", f"reference={files['reference']}",
        "dataset=ds1_photons", "evaluation=small", "output=out", *FAST,
        "evaluation.separation.plots=none", "evaluation.correlation.resamplings=5",
    )  # fmt: skip
    assert result.status == 0, result.err
    scores = check_keys(tmp_path / "out")
    for name in ("fpd", "fpd_unbiased", "kpd", "precision", "recall", "density", "coverage"):
        whole, same = scores[name], scores[f"{name}_equal_n"]
        assert whole["truth"] is None
        assert "row '150 against 150'" in whole["note"]
        assert None not in (same["generated"], same["truth"])
        assert same["quantity"] == f"{whole['quantity']}, 150 against 150"
        assert same["conditions"]["generated showers"] == 150
    assert scores["precision"]["generated"] != scores["precision_equal_n"]["generated"]
    assert "truth: halves of the reference" in scores["auc_high"]["note"]
    assert scores["jsd_high"]["truth"] is None
    assert "truth withheld: 60 showers score it, not 120" in scores["jsd_high"]["note"]
    # What the official script would do otherwise stands in the rows, and all is said once.
    assert "the official script's from 10,000" in scores["fpd"]["note"]
    assert "the official script's of 10,000" in scores["kpd"]["note"]
    for said in ("classifier 'high'", "FPD: sizes", "KPD: batches"):
        told = (result.out + result.err).splitlines()
        lines = [line for line in told if said in line and "|" not in line]
        assert len(lines) == 1, (said, lines)


def test_toy_reference_is_not_called_geant4(caloman, tmp_path, files):
    energies, voxels = generate(load_geometry("ds1_photons"), N, seed=4)
    toy = write(tmp_path / "toy.hdf5", energies, voxels, generator="caloman built-in")
    result = caloman(
        "evaluate", f"generated={files['generated']}", f"reference={toy}",
        "dataset=ds1_photons", "evaluation=histograms", "evaluation.separation.plots=none",
        "output=out",
    )  # fmt: skip
    assert result.status == 0, result.err
    table = (tmp_path / "out/report.md").read_text()
    assert "not Geant4" in table
    assert "(real" not in table


def test_a_run_is_sampled_once_with_the_references_energies(caloman, files, run_dir):
    arguments = ["evaluate", f"run={run_dir}", "evaluation=histograms"]
    arguments += ["evaluation.separation.plots=none", f"truth={files['truth']}", "seed=17"]
    assert caloman(*arguments).status == 0
    samples = list((run_dir / "samples").glob("*_seed17.hdf5"))  # other tests share the run
    assert len(samples) == 1
    with h5py.File(samples[0]) as ours, h5py.File(files["reference"]) as theirs:
        np.testing.assert_array_equal(ours["incident_energies"], theirs["incident_energies"])
    written = samples[0].stat().st_mtime_ns
    assert caloman(*arguments).status == 0
    assert [path.stat().st_mtime_ns for path in samples] == [written]
    assert (run_dir / "evaluation/histograms/metrics.json").is_file()


def test_sampling_for_an_evaluation_warns_of_energies_the_run_has_not_seen(
    caloman, run_dir, tmp_path, caplog
):
    model, cfg = load_model(run_dir / "model.pt")
    model.spectrum = Spectrum((16384.0,), (300.0,))
    save_model(tmp_path / "model.pt", model, cfg)
    cfg = compose("evaluate", [f"run={tmp_path}/model.pt", "dataset=ds1_photons"])
    cfg.dataset.reference = OmegaConf.load(run_dir / "config.yaml").dataset.reference
    for _ in ("sampled", "used again"):
        caplog.clear()
        comparison = open_comparison(cfg, evaluated_dataset(cfg))
        assert len(comparison.generated) == N
        assert f"of {N} incident energies lie outside 16384 MeV, the training data" in caplog.text


def test_timing_of_a_run_needs_no_reference(caloman, run_dir, tmp_path):
    result = caloman(
        "evaluate", f"run={run_dir}", "evaluation=timing", "dataset=ds1_photons",
        "evaluation.timing.batch_sizes=[1,8]", "evaluation.timing.repeats=2",
        "evaluation.timing.warmup=0", "evaluation.timing.min_showers=8", "output=out",
    )  # fmt: skip
    assert result.status == 0, result.err
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    points = metrics["metrics"]["timing"]["points"]
    assert [(point["measure"], point["batch_size"]) for point in points] == [
        ("generation", 1), ("generation", 8), ("end to end", 1), ("end to end", 8),
    ]  # fmt: skip
    assert all(point["status"] == "ok" for point in points)
    assert (tmp_path / "out/plots/timing.png").stat().st_size > 1000
    assert [path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".hdf5"] == []


def test_likelihood_of_a_run_on_showers_that_it_has_not_seen(caloman, run_dir, tmp_path):
    before = {*run_dir.glob("samples/*")}
    result = caloman(
        "evaluate", f"run={run_dir}", "evaluation=likelihood", "output=out",
        "evaluation.likelihood.max_showers=20",
    )  # fmt: skip
    assert result.status == 0, result.err
    assert {*run_dir.glob("samples/*")} == before  # of real showers alone
    scores = check_keys(tmp_path / "out")
    total, layers, voxels = (
        scores[key]["generated"] for key in ("log_prob", "log_prob_layers", "log_prob_voxels")
    )
    assert total == pytest.approx(layers + voxels)
    assert scores["log_prob"]["note"] == "estimate"
    report = (tmp_path / "out/report.md").read_text()
    assert "per MeV of each non-empty layer and of D-dimensional volume" in report
    assert (tmp_path / "out/plots/likelihood.png").stat().st_size > 1000


def test_too_few_showers_for_a_classifier_are_a_row_that_says_so(caloman, tmp_path):
    energies, voxels = generate(load_geometry("ds1_photons"), 40, seed=1)
    few = write(tmp_path / "few.hdf5", energies, voxels)
    common = ["evaluate", f"generated={few}", f"reference={few}", "dataset=ds1_photons"]
    result = caloman(*common, "evaluation=classifier", "output=nothing")
    assert result.status == 1, result.err
    (said,) = re.findall("caloman: nothing could be computed: (.*)\n", result.err)
    assert (result.out + result.err).count(said) == 1
    assert not (tmp_path / "nothing").exists()
    others = [f"evaluation.{name}=null" for name in ("separation", "distances")]
    result = caloman(*common, "evaluation=small", *others, "output=out")
    assert result.status == 0, result.err
    row = scores_of(tmp_path / "out")["classifier", "not computed"]
    assert re.search("100 showers|40 showers|too few|at least", row["note"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give run=DIR"),
        (["run=a", "generated=b"], "both given"),
        (["generated=b.hdf5"], "dataset=NAME"),
        (["evaluation=timing", "generated=b", "dataset=ds2"], "needs a model"),
        (["evaluation=likelihood", "generated=b", "dataset=ds2"], "needs a model: give run=DIR"),
        (["run=nowhere"], "does not exist"),
        (["generated=a.hdf5", "reference=b.hdf5", "dataset=ds1_photons"], "does not exist"),
        (["protocol=2022"], "must be final, legacy2022"),
        (["generated=a", "dataset=ds2", "train=b", "dataset.train=[c]"], "one of them"),
        (["evaluation=fast"], "evaluation=fast does not exist"),
        (["evaluation=multiclass", "generated=a", "dataset=ds2"], "multiclass.others=[FILE,...]"),
        (["evaluation.separation.plots=some"], "must be all, main, none"),
        (
            ["evaluation.timing.batch_sizes=[0]", "run=a"],
            "must be a list [an integer, 1 or more, ...]",
        ),
        (["generated=a", "dataset=ds2", "reference=b", "dataset.reference=[c]"], "one of them"),
    ],
)
def test_mistakes(caloman, tmp_path, arguments, said):
    result = caloman("evaluate", *arguments)
    assert result.status == 2
    assert said in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("side", ["generated", "reference"])
def test_a_file_of_empty_showers_is_not_scored(caloman, files, tmp_path, side):
    with h5py.File(tmp_path / "empty.hdf5", "w") as file:
        file["incident_energies"] = np.full((60, 1), 1024.0)
        file["showers"] = np.zeros((60, 368))
    given = {**files, side: "empty.hdf5"}
    del given["truth"]
    words = [f"{role}={path}" for role, path in given.items()]
    result = caloman(
        "evaluate", *words, "dataset=ds1_photons", "evaluation=histograms", "output=e"
    )
    assert result.status == 2
    assert "not one of 60 showers has energy above the readout cut" in result.err
    assert not (tmp_path / "e").exists()
