"""Places among the published submissions: direction, gaps, ties, comparability, the front."""

import csv
import hashlib
import io
import json
import re
from dataclasses import replace
from importlib.resources import files
from runpy import run_path

import numpy as np
import pytest
from matplotlib.legend import Legend
from omegaconf import OmegaConf

from caloman_cli.data.showers import Showers
from caloman_cli.data.writer import ShowerWriter
from caloman_cli.errors import UserError
from caloman_cli.evaluation.pareto import auc_over_time
from caloman_cli.evaluation.style import save
from caloman_cli.metrics.score import Score
from caloman_cli.published import DATASETS, TRUTH, load, ranking_tables
from caloman_cli.published.comparability import Comparability, measured
from caloman_cli.published.official import REFERENCE
from caloman_cli.published.quantities import QUANTITIES
from caloman_cli.published.ranking import pareto_front, rank
from tests.conftest import ROOT, load_geometry

ELSEWHERE = Comparability(("reference is mine.hdf5 (500 showers)",))


def place(key, value, dataset="ds1_photons", spread=None):
    ranking = rank(dataset, {key: value}, Comparability(), spreads={key: spread})
    return str(ranking.position(key))


@pytest.mark.parametrize("dataset", DATASETS)
def test_each_file_is_small_and_complete(dataset):
    assert len(files("caloman_cli.published").joinpath(f"{dataset}.json").read_bytes()) < 25_000
    submissions = load(dataset)
    assert submissions[0].name == TRUTH
    names = [submission.name for submission in submissions]
    assert (
        len(names)
        == len(set(names))
        == {"ds1_photons": 16, "ds1_pions": 13}.get(dataset, {"ds2": 18, "ds3": 16}.get(dataset))
    )
    for submission in submissions:
        assert {"AUC low", "AUC high", "FPD", "KPD", "recall"} <= set(submission.values)
        assert set(submission.values) <= set(QUANTITIES)
        assert ("parameters" in submission.values) == (submission.name != TRUTH)


def test_a_name_without_results_is_refused():
    with pytest.raises(UserError, match="no published submissions for custom"):
        rank("custom", {}, Comparability())
    with pytest.raises(UserError, match="AUC lo is not among AUC low"):
        rank("ds2", {"AUC lo": 0.5}, Comparability())


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("AUC low", 0.5, "1 of 16"),
        ("AUC low", 0.40, "1 of 16"),  # as far from one half as 0.6, CaloINN has 0.626
        ("AUC low", 0.70, "3 of 16"),
        ("AUC low", 0.30, "3 of 16"),
        ("AUC low", 1.0, "16 of 16"),
        ("FPD", 1e-5, "1 of 16"),
        ("FPD", 1.0, "16 of 16"),
        ("KPD", 0.0, "1 of 16"),
        ("KPD", -0.1, "16 of 16"),  # noise around zero may be negative, but not by this much
        ("log-posterior", -2.0, "1 of 16"),
        ("density", 0.99, "1 of 16"),
        ("density", 5000.0, "16 of 16"),  # a few showers again and again, nothing to be proud of
        ("precision", 1.0, "15 of 16"),
        ("parameters", 1e4, "1 of 16"),
        ("time GPU 10000", 0.001, "1 of 14"),  # two submissions have no such time
    ],
)
def test_what_is_better(key, value, expected):
    nominal = rank("ds1_photons", {key: value}, Comparability()).position(key)
    assert f"{nominal.place} of {nominal.of}" == expected


def test_close_values_share_a_range_of_places():
    assert place("AUC low", 0.630, spread=0.0) == "1–3 of 16"  # between .626 and .635, +- .003
    assert place("AUC low", 0.700, spread=0.0001) == "3 of 16"
    assert place("AUC low", 0.700, spread=0.05).startswith("1–")
    assert place("recall", 0.69) == "3 of 16"  # no spread published: no range


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_was_not_measured_has_no_place(value):
    ranking = rank("ds1_photons", {"AUC low": value, "AUC high": 0.6}, Comparability())
    assert ranking.position("AUC low") is None
    assert ranking.position("AUC high") is not None
    assert "AUC low" not in ranking_tables.places(ranking).markdown()
    assert "–" in ranking_tables.markdown(ranking)


def test_what_nobody_published_has_no_place():
    ranking = rank("ds1_pions", {"AUC resnet": 0.6}, Comparability())
    assert ranking.position("AUC resnet").of == 1  # alone in its column
    assert ranking_tables.places(ranking) is None


def test_the_row_stands_among_the_others_by_its_value():
    names = [row.name for row in rank("ds2", {"AUC low": 0.55}, Comparability(), label="x").rows]
    assert names[:4] == ["Geant4", "CaloDREAM", "x", "CaloDiffusion"]
    assert len(names) == 19


def test_another_reference_gives_no_place_and_says_so():
    row = {"AUC low": 0.5, "parameters": 1e4}
    ranking = rank("ds1_photons", row, ELSEWHERE, label="mine")
    assert ranking.position("AUC low") is None
    assert ranking.position("parameters").place == 1  # says nothing about the reference
    assert [row.name for row in ranking.rows][-1] == "mine"
    text = ranking_tables.markdown(ranking)
    assert text.startswith("> Not comparable: reference is mine.hdf5 (500 showers).")
    assert re.search(r"AUC low +\| +0.500 \| not comparable", text)
    assert ranking.to_dict()["places"]["AUC low"]["not_comparable"] == ELSEWHERE.reasons[0]


def test_a_single_quantity_may_be_incomparable():
    small = Comparability(caveats={"AUC low": "the classifier is a small one"})
    ranking = rank("ds1_photons", {"AUC low": 0.6, "AUC high": 0.6}, small)
    assert ranking.position("AUC low") is None
    assert ranking.position("AUC high").place == 3
    assert "AUC low is not comparable: the classifier is a small one." in ranking.notes()


def test_tables_hold_every_row():
    row = {"AUC low": 0.61, "FPD": 5e-4, "S E_layer": 1e-3}
    ranking = rank("ds1_photons", row, Comparability(), label="a_b", spreads={"AUC low": 0.003})
    lines = list(csv.DictReader(io.StringIO(ranking_tables.to_csv(ranking.rows))))
    assert len(lines) == 17
    (mine,) = [line for line in lines if line["measured"] == "here"]
    assert float(mine["FPD"]) == 5e-4
    assert mine["AUC low ±"] == "0.003"
    assert mine["FPD ±"] == ""
    tex = ranking_tables.to_tex(ranking.rows)
    assert tex.count(r"\\") == 18
    assert r"\textbf{a\_b} & \textbf{0.610}" in tex
    assert tex.isascii()
    markdown = ranking_tables.markdown(ranking)
    assert markdown.count("| **a_b**") == 3
    json.dumps(ranking.to_dict(), allow_nan=False)


def test_front_of_points():
    assert pareto_front([(1, 1), (2, 2), (0, 3), (3, 0), (1, 1), (3, 1)]) == [2, 0, 4, 3]
    assert pareto_front([]) == []
    rng = np.random.default_rng(0)
    points = [tuple(point) for point in rng.integers(0, 12, (60, 2)).tolist()]
    slow = {
        i
        for i, (x, y) in enumerate(points)
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)
    }
    assert set(pareto_front(points)) == slow


def test_front_of_models():
    row = {"AUC low": 0.6, "time GPU 100": 0.1}
    assert [
        item.name for item in rank("ds1_photons", row, Comparability(), label="x").front()
    ] == ["x"]
    published = [item.name for item in rank("ds1_photons", row, ELSEWHERE).front()]
    assert published == ["Calo-VQ", "CaloINN"]


def test_scores_of_an_evaluation_find_their_columns():
    scores = [
        Score("any", "any", value, spread=spread, key=key, goal="lower")
        for key, value, spread in (
            ("E_ratio", 0.002, None),
            ("EC_eta_mean", 0.003, None),
            ("EC_eta_1", 0.9, None),
            ("auc_high", 0.6, 0.01),
            ("auc_low_normed", 0.7, None),
            ("ms_generation_10000", 0.001, None),
            ("ms_end_to_end_10000", 0.2, None),
            ("ms_end_to_end_5000", 0.3, None),
        )
    ]
    row, spreads = measured(scores, "cuda", parameters=1000)
    assert row == {
        "S E_ratio": 0.002,
        "S EC_eta": 0.003,
        "AUC high": 0.6,
        "time GPU 10000": 0.2,
        "parameters": 1000,
    }
    assert spreads["AUC high"] == 0.01
    assert "time CPU 10000" in measured(scores, "cpu")[0]


@pytest.fixture
def official(tmp_path, monkeypatch):
    """Files that pass for the official reference of photons, by name and content."""
    geometry = load_geometry("ds1_photons")
    energies = np.array([[256.0], [512.0], [1024.0]])
    path = tmp_path / "dataset_1_photons_2.hdf5"
    with ShowerWriter(path, 3, geometry, {}) as writer:
        writer.write(energies, np.ones((3, geometry.n_voxels), np.float32))
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(REFERENCE, "ds1_photons", {path.name: md5})
    return Showers.from_files([path], geometry)


def same_but(showers, energies=None, n=None):
    voxels = np.full((3, showers.geometry.n_voxels), 2.0, np.float32)
    energies = showers.energies if energies is None else np.array(energies)[:, None]
    return Showers.from_arrays(energies[:n], voxels[:n], showers.geometry)


def test_the_official_reference_is_comparable(official):
    assert Comparability.of(official, same_but(official)).reasons == ()
    assert Comparability.of(official).reasons == ()
    assert Comparability.of(official, same_but(official, [1024, 256, 512])).reasons == ()


def test_only_its_own_bytes_are_official(official, monkeypatch):
    monkeypatch.setitem(REFERENCE, "ds1_photons", {official.paths[0].name: "0" * 32})
    (reason,) = Comparability.of(official).reasons
    assert reason == "reference is dataset_1_photons_2.hdf5 (3 showers)"


def test_what_stands_against_a_place(official):
    def why(generated=None, reference=official, **more):
        (reason,) = Comparability.of(reference, generated, **more).reasons
        return reason

    assert why(same_but(official, n=1)) == "1 generated showers, the submissions have 3"
    assert why(same_but(official, [256, 512, 512])) == (
        "the incident energies are not the reference's"
    )
    assert why(protocol="legacy2022") == "protocol legacy2022, not final"
    copied = why(same_but(official), copies=lambda: 2)
    assert copied == "2 of 3 generated showers are the reference's own"
    cut = replace(official.geometry, threshold=5.0)
    elsewhere = Showers.from_files(official.paths, cut)
    assert why(reference=elsewhere).startswith("readout cut 5 MeV, not")
    layers = (replace(cut.layers[0], r_edges=(0.0, 1.0, *cut.layers[0].r_edges[2:])),)
    other = replace(official.geometry, layers=(*layers, *cut.layers[1:]))
    assert why(reference=Showers.from_files(official.paths, other)).startswith("other layers")


def test_official_checksums_are_those_of_the_shipped_datasets():
    for name, files_ in REFERENCE.items():
        shipped = OmegaConf.load(ROOT / f"conf/dataset/{name}.yaml").files.reference
        assert {file.name: file.md5 for file in shipped} == files_
    assert set(REFERENCE) == set(DATASETS)


def test_a_submission_without_a_spread_has_ours():
    one = place("S E_ratio", 1.9e-3, spread=0.0)  # next to CaloVAE+INN's 2.015e-3, 0.115e-3 away
    assert "–" not in one
    assert place("S E_ratio", 1.9e-3, spread=0.05e-3) != one  # 2 * hypot(.05, .05) = .141
    assert place("S E_ratio", 1.9e-3, spread=0.04e-3) == one  # 2 * hypot(.04, .04) = .113
    note = rank("ds1_photons", {"AUC low": 0.63}, Comparability(), spreads={"AUC low": 0.01})
    assert any("no test" in text for text in note.notes())


def test_a_quartile_range_of_times_is_ranked_as_a_standard_deviation():
    time = Score("t", "t", 1.0, spread=1.349, key="ms_end_to_end_100", goal="lower")
    assert measured([time], "cuda")[1] == {"time GPU 100": pytest.approx(1.0)}


@pytest.mark.parametrize(("dataset", "comparable"), [("ds3", Comparability()), ("ds2", ELSEWHERE)])
def test_numbers_of_the_figure_do_not_collide_and_have_names(dataset, comparable, tmp_path):
    row = {"AUC low": 0.7, "time GPU 100": 6.0}
    image = auc_over_time(rank(dataset, row, comparable, label="mine"))
    (key,) = (each for each in image.axes[0].get_children() if "mine" in str(_words(each)))
    names = {name.split("  ")[1].split(" (")[0] for name in _words(key)}
    assert names == {"mine", *(item.name for item in load(dataset) if item.name != TRUTH)}
    hollow = comparable is ELSEWHERE
    assert any("mine (not comparable)" in name for name in _words(key)) == hollow
    texts = [text for text in image.axes[0].texts if not text.get_text().startswith("Geant4 ")]
    boxes = [text.get_window_extent() for text in texts]
    for line in image.axes[0].lines:  # marks, each as large as it is, the front and the truth's
        path = line.get_transform().transform_path(line.get_path())
        pad = 0.5 * line.get_markersize() * image.dpi / 72 * (line.get_marker() != "None")
        assert not [text for text in boxes if path.intersects_bbox(text.padded(pad), filled=False)]
    assert len(boxes) == len(load(dataset))
    assert {text.get_text() for text in texts} == {name.split()[0] for name in _words(key)}
    frame = image.bbox
    for i, box in enumerate(boxes):
        assert frame.contains(*box.min)
        assert frame.contains(*box.max)
        assert not [other for other in boxes[:i] if box.shrunk(0.9, 0.8).overlaps(other)]
    assert save(image, tmp_path / "pareto.png").stat().st_size > 0


def _words(artist):
    return [text.get_text() for text in artist.get_texts()] if isinstance(artist, Legend) else []


def test_no_figure_without_published_numbers():
    assert (
        auc_over_time(rank("ds1_photons", {"AUC resnet": 0.6}, ELSEWHERE), auc="AUC resnet")
        is None
    )


def test_every_official_dataset_has_published_results():
    official = {
        path.stem
        for path in (ROOT / "conf/dataset").glob("*.yaml")
        if OmegaConf.load(path).files is not None
    }
    assert official == set(DATASETS)


@pytest.mark.shared
def test_numbers_are_those_of_the_reference_table(shared):
    """Three digits of every number of an independent digest of the same results."""
    text = (shared / "reference/peers.md").read_text()
    short = {"dist.": "distilled", "1-shot": "single-shot", "G4 transformer": "GEANT4 transformer"}
    order = ["E_ratio", "voxel", "E_layer", "EC_eta", "EC_r", "width_eta", "width_r", "sparsity"]
    compared = 0
    for dataset in DATASETS:
        section = text.split(f"**{dataset}**\n")[1].split("\n**")[0].split("\n###")[0]
        submissions = {item.name: item.values for item in load(dataset)}
        for line in [line for line in section.splitlines() if line.startswith("|")][2:]:
            name, *cells = line.strip("|").split("|")
            for abbreviation, full in short.items():
                name = name.replace(abbreviation, full)
            aucs = ["AUC low", "AUC high"] + ["AUC resnet"] * (dataset in ("ds2", "ds3"))
            keys = ["parameters", *aucs, "log-posterior", "FPD", "KPD"]
            keys += ["precision", "recall", "density", "coverage", *(f"S {key}" for key in order)]
            keys += [f"time {where} {n}" for where in ("CPU", "GPU") for n in (1, 100, 10000)]
            n = len(aucs) + 4
            digits = [*cells[:n], *cells[n].split("/"), *cells[n + 1].split()]
            digits += [part for cell in cells[n + 2 :] for part in cell.split("/")]
            for key, digit in zip(keys, digits, strict=True):
                if digit == "-":
                    assert key not in submissions[name], (dataset, name, key)
                    continue
                shown = submissions[name][key].value * QUANTITIES[key].scale
                tolerance = 0.0051 if key[0] in "prdc" and key != "parameters" else 0.0011
                assert shown == pytest.approx(float(digit), rel=0.06, abs=tolerance), (name, key)
                compared += 1
    assert compared > 1200


@pytest.mark.shared
def test_files_are_what_the_script_makes(shared, tmp_path):
    script = run_path(str(ROOT / "scripts/tools/extract_published.py"))
    for dataset in DATASETS:
        table = json.loads((shared / f"data/challenge/{dataset}.json").read_text())
        kept = files("caloman_cli.published").joinpath(f"{dataset}.json").read_text("utf-8")
        assert script["compact"](dataset, table) == kept
