"""Reports: self-contained pages, and the comparison of many evaluations."""

import base64
import csv
import json
from html.parser import HTMLParser

import pytest

from caloman_cli.evaluation.style import figure, save
from caloman_cli.metrics.score import FORMAT, Grid
from caloman_cli.report.document import (
    Document,
    Fold,
    Items,
    Listing,
    Part,
    Picture,
    Table,
    Text,
)
from caloman_cli.report.html import to_html
from caloman_cli.report.write import write_report


class Page(HTMLParser):
    """What a page refers to, its pictures, its anchors, and whether its tags are balanced."""

    VOID = ("meta", "link", "img", "br", "wbr")

    def __init__(self, text):
        super().__init__()
        self.references, self.images, self.anchors, self.open, self.words = [], [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag not in self.VOID:
            self.open.append(tag)
        self.references += [found[name] for name in ("src", "href", "srcset") if name in found]
        if tag == "img":
            self.images.append(found)
        if "id" in found:
            self.anchors.append(found["id"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def check_page(text, n_images):
    """A page needs nothing outside of itself."""
    page = Page(text)
    assert page.open == []
    for reference in page.references:
        assert reference.startswith(("data:", "#")), reference
    assert "url(" not in text
    assert "@import" not in text
    assert "<script" not in text
    links = [reference[1:] for reference in page.references if reference.startswith("#")]
    assert links
    assert sorted(links) == sorted(set(page.anchors))
    assert len(page.images) == n_images
    for image in page.images:
        data = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"), validate=True)
        assert data.startswith(b"\x89PNG")
        assert image["alt"]
    return page


def test_every_block_in_both_forms(tmp_path):
    (tmp_path / "plots").mkdir()
    picture = Picture(save(figure(2, 1, None), tmp_path / "plots" / "a b.png"), "A & B")
    grid = Grid(["name", "value <x>"], [["a_1", "1"], ["b", "2"]], range(1, 2), frozenset([1]))
    blocks = [Text("5 < 6"), Items(["one"]), Items(["careful"], warning=True), Table(grid, "T")]
    folded = Fold("more", [Listing("a: 1")])
    parts = [Part("First", blocks), Part("First", [picture, folded])]
    document = Document("Title <b>", "sub", parts)
    html, markdown = (path.read_text() for path in write_report(tmp_path, document))
    page = check_page(html, 1)
    assert "Title <b>" in page.words
    assert "5 < 6" in page.words
    assert '<tr class="strong"><td>b</td>' in html
    assert "| **b**  |" in markdown
    assert "![A & B](plots/a%20b.png)" in markdown
    assert "> careful" in markdown
    assert "```\na: 1\n```" in markdown
    assert not list(tmp_path.rglob("*.part*"))


def test_a_column_with_a_long_cell_is_kept_wide_and_other_words_wrap():
    long = "what must be read before the number is quoted, in very many words"
    grid = Grid(["quantity", "generated/floor", "note"], [["S", "1", ""], ["T", "2", long]],
                range(1, 2))  # fmt: skip
    html = to_html(Document("Title", "sub", [Part("First", [Table(grid, "")])]))
    assert f'<td>T</td><td class="n">2</td><td class="w">{long}</td>' in html
    assert '<td class="w"></td>' in html
    assert '<th class="n">generated/<wbr>floor</th>' in html
    style = html.partition("<style>")[2].partition("</style>")[0]
    unbroken = [rule.partition("{")[0].strip() for rule in style.split("}") if "nowrap" in rule]
    assert unbroken == ["caption", "td.n"]  # only numbers stay on one line


def record(key, generated, truth=None, goal="lower", spread=None, summary=True, **conditions):
    """A score as ``metrics.json`` has it; its label is the key in words."""
    nothing = {"floor": None, "truth_floor": None, "truth_spread": None, "note": ""}
    label = key.replace("_", " ").replace("auc", "AUC") if key.islower() else key
    return {
        "section": "any", "quantity": label, "key": key, "goal": goal, "generated": generated,
        "truth": truth, "spread": spread, "summary": summary, "conditions": conditions, **nothing,
    }  # fmt: skip


def evaluation(
    folder, label, auc, reference="aa", suite="quick", truth=("t", 300), more=(), **own
):
    """A ``metrics.json`` as an evaluation leaves it; ``own`` are the classifier's settings."""
    protocol, run = own.pop("protocol", "final"), own.pop("run", None)
    scores = [
        record("auc_high", auc, 0.5, "half", 0.01, **own),
        record("E_ratio", 1 - auc, 0.1),
        record("hidden", auc, summary=False),
        *more,
    ]
    folder.mkdir(parents=True)
    inputs = {
        "reference": {"fingerprint": reference, "files": [f"/x/{reference}.hdf5"]},
        "truth": {"fingerprint": truth[0], "showers": truth[1]},
    }
    content = {
        "format": FORMAT,
        "label": label,
        "dataset": "ds1_photons",
        "inputs": inputs,
        "settings": {"evaluation": {"name": suite}, "protocol": protocol, "run": run},
        "scores": scores,
    }
    (folder / "metrics.json").write_text(json.dumps(content))


def table_of(folder):
    with (folder / "runs.csv").open() as file:
        return list(csv.DictReader(file))


def test_runs_are_compared_best_first(caloman, tmp_path):
    evaluation(tmp_path / "runs/a/evaluation/quick", "a", 0.9)
    evaluation(tmp_path / "runs/b/evaluation/quick", "b", 0.6)
    evaluation(tmp_path / "runs/c/evaluation/quick", "c", 0.45)
    result = caloman("report", "runs=runs/*", "output=out")
    assert result.status == 0, result.err
    rows = table_of(tmp_path / "out")
    assert [row["run"] for row in rows] == ["c", "b", "a"]
    assert [float(row["AUC high"]) for row in rows] == [0.45, 0.6, 0.9]
    assert rows[0]["E_ratio ±"] == ""
    assert "hidden" not in rows[0]
    page = check_page((tmp_path / "out/report.html").read_text(), 1)
    assert "independent real showers" in page.words
    tex = (tmp_path / "out/runs.tex").read_text()
    assert r"\textbf{0.45 $\pm$ 0.01}" in tex
    assert r"\textbf{0.1}" in tex  # the smallest E_ratio is a's
    assert "| c " in (tmp_path / "out/report.md").read_text()


def test_sorting_by_another_quantity_and_one_suite(caloman, tmp_path):
    evaluation(tmp_path / "a", "a", 0.9)
    evaluation(tmp_path / "b", "b", 0.6)
    evaluation(tmp_path / "b2", "b", 0.7, suite="full")
    assert caloman("report", "runs=[a,b,b2]", "sort=E_ratio", "suite=quick").status == 0
    assert [row["run"] for row in table_of(tmp_path / "outputs/report")] == ["a", "b"]


@pytest.mark.parametrize(
    ("goal", "values", "best_first"),
    [
        ("lower", {"a": 0.3, "b": 0.1, "c": 0.2}, "bca"),
        ("higher", {"a": 0.3, "b": 0.1, "c": 0.2}, "acb"),
        ("half", {"a": 0.3, "b": 0.9, "c": 0.55}, "cab"),
        ("zero", {"a": 0.3, "b": -0.1, "c": 0.2}, "bca"),
        ("truth", {"a": 0.3, "b": 0.99, "c": 0.72}, "cba"),  # real showers get 0.7
        ("truth ratio", {"a": 0.3, "b": 2.0, "c": 0.72}, "cab"),
    ],
)
@pytest.mark.parametrize("summary", [True, False])
def test_the_best_comes_first_whatever_is_best(
    caloman, tmp_path, goal, values, best_first, summary
):
    for name, value in values.items():
        more = [record("score", value, 0.7, goal, summary=summary)]
        evaluation(tmp_path / name, name, 0.9, more=more)
    result = caloman("report", "runs=[a,b,c]", "sort=score")
    assert result.status == 0, result.err
    rows = table_of(tmp_path / "outputs/report")
    assert "".join(row["run"] for row in rows) == best_first
    assert next(name for name in rows[0] if name in ("score", "AUC high", "E_ratio")) == "score"


def test_what_is_nearest_to_truth_is_not_known_without_it(caloman, tmp_path):
    evaluation(tmp_path / "a", "a", 0.9, more=[record("recall", 0.5, None, "truth")])
    result = caloman("report", "runs=a", "sort=recall")
    assert result.status == 2
    assert "evaluate with truth=FILE" in result.err


def test_other_settings_stand_in_columns_of_their_own(caloman, tmp_path):
    evaluation(tmp_path / "a", "a", 0.6, units=512, epochs=25)
    evaluation(tmp_path / "b", "b", 0.51, units=4, epochs=25)
    evaluation(tmp_path / "c", "c", 0.55, units=512, epochs=25)
    result = caloman("report", "runs=[a,b,c]", "sort=auc_high")
    assert result.status == 0, result.err
    rows = table_of(tmp_path / "outputs/report")
    assert [row["run"] for row in rows] == ["c", "a", "b"]  # b is judged by a weaker network
    assert [row["AUC high (units 512)"] for row in rows] == ["0.55", "0.6", ""]
    assert [row["AUC high (units 4)"] for row in rows] == ["", "", "0.51"]
    assert "E_ratio" in rows[0]
    text = (tmp_path / "outputs/report/report.md").read_text()
    assert "cannot be compared" in text
    assert "Rows without AUC high (units 512) come last" in text


def test_protocols_stand_in_tables_of_their_own(caloman, tmp_path):
    evaluation(tmp_path / "a", "a", 0.6)
    evaluation(tmp_path / "b", "b", 0.51, protocol="legacy2022")
    assert caloman("report", "runs=[a,b]").status == 0
    text = (tmp_path / "outputs/report/report.md").read_text()
    assert "## ds1_photons: aa.hdf5, final" in text
    assert "## ds1_photons: aa.hdf5, legacy2022" in text
    rows = table_of(tmp_path / "outputs/report")
    assert [row["protocol"] for row in rows] == ["final", "legacy2022"]


@pytest.mark.parametrize(("other", "shown"), [(("t", 300), True), (("t", 150), False)])
def test_a_truth_is_shown_where_all_rows_have_it(caloman, tmp_path, other, shown):
    evaluation(tmp_path / "a", "a", 0.6)
    evaluation(tmp_path / "b", "b", 0.51, truth=other)
    assert caloman("report", "runs=[a,b]").status == 0
    text = (tmp_path / "outputs/report/report.md").read_text()
    assert ("| independent real showers |" in text) == shown
    assert ("only where all rows of a column" in text) != shown


def test_evaluations_of_another_format_are_passed_over(caloman, tmp_path):
    evaluation(tmp_path / "a", "a", 0.6)
    evaluation(tmp_path / "b", "b", 0.51)
    path = tmp_path / "b/metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 1}))
    result = caloman("report", "runs=[a,b]")
    assert result.status == 0
    assert "format 1, this version reads 2: evaluate again" in result.out + result.err
    assert [row["run"] for row in table_of(tmp_path / "outputs/report")] == ["a"]


def test_other_references_stand_in_other_tables_and_names_differ(caloman, tmp_path):
    evaluation(tmp_path / "x/1", "same", 0.9)
    evaluation(tmp_path / "x/2", "same", 0.6)
    evaluation(tmp_path / "x/3", "other", 0.6, reference="bb")
    (tmp_path / "x/4").mkdir()
    (tmp_path / "x/4/metrics.json").write_text("{}")
    result = caloman("report", f"runs={tmp_path}/x", "output=out")
    assert result.status == 0, result.err
    markdown = (tmp_path / "out/report.md").read_text()
    assert "## ds1_photons: aa.hdf5" in markdown
    assert "## ds1_photons: bb.hdf5" in markdown
    assert [row["run"] for row in table_of(tmp_path / "out")] == ["2", "1", "other"]


def test_evaluations_of_a_sweep_are_found_below_its_folder(caloman, tmp_path):
    jobs = tmp_path / "outputs/sweep/train"
    for seed in (1, 2):
        (jobs / f"seed-{seed}").mkdir(parents=True)
        (jobs / f"seed-{seed}/model.pt").touch()
    result = caloman("report", "runs=outputs/sweep")
    assert result.status == 2
    assert "run 'caloman evaluate run='outputs/sweep'' first" in result.err
    for seed, auc in ((1, 0.8), (2, 0.6)):
        run = jobs / f"seed-{seed}"
        evaluation(run / "evaluation/quick", f"seed-{seed}", auc, run=str(run))
    # A sweep of evaluations keeps a folder a job as well.
    evaluation(tmp_path / "outputs/sweep/evaluate/other", "other", 0.7)
    for pattern, names in (
        ("outputs/sweep", ["seed-2", "other", "seed-1"]),
        ("outputs/sweep/train/*", ["seed-2", "seed-1"]),
        ("outputs/**", ["seed-2", "other", "seed-1"]),
    ):
        assert caloman("report", f"runs={pattern}", "output=out").status == 0
        assert [row["run"] for row in table_of(tmp_path / "out")] == names
    assert str(tmp_path) not in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "runs= is needed"),
        (["runs=nowhere/*"], "matches nothing"),
        (["runs=empty"], "caloman evaluate run=DIR"),
        (["runs=a", "suite=fast"], "only evaluations of quick"),
        (["runs=a", "sort='AUC hi'"], "did you mean 'AUC high'"),
        (["runs=a", "sort=xyz"], "there is: auc_high, E_ratio"),
    ],
)
def test_mistakes(caloman, tmp_path, arguments, said):
    evaluation(tmp_path / "a", "a", 0.9)
    (tmp_path / "empty").mkdir()
    result = caloman("report", *arguments)
    assert result.status == 2
    assert said in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not (tmp_path / "outputs").exists()


def seeded(folder, seed, auc, **changed):
    """A run that was trained with a seed and evaluated."""
    folder.mkdir(parents=True)
    config = {"seed": seed, "output": str(folder), "encoder": {"latent_dim": 10}, **changed}
    (folder / "config.yaml").write_text(json.dumps(config))
    evaluation(folder / "evaluation/quick", folder.name, auc, run=str(folder))


def test_runs_that_differ_in_their_seed_alone_are_one_row(caloman, tmp_path):
    for seed, auc in ((1, 0.6), (2, 0.7), (3, 0.65)):
        seeded(tmp_path / f"runs/flagship_{seed}", seed, auc)
    seeded(tmp_path / "runs/wide", 1, 0.55, encoder={"latent_dim": 20})
    evaluation(tmp_path / "runs/peer", "peer", 0.8)
    result = caloman("report", "runs=runs/*", "by=seed", "output=out")
    assert result.status == 0, result.err
    rows = {row["run"]: row for row in table_of(tmp_path / "out")}
    assert list(rows) == ["wide", "flagship, seeds 1, 2, 3", "peer"]
    row = rows["flagship, seeds 1, 2, 3"]
    assert float(row["AUC high"]) == pytest.approx(0.65)
    assert float(row["AUC high ±"]) == pytest.approx(0.05)  # not the 0.01 of one training
    assert float(row["E_ratio ±"]) == pytest.approx(0.05)
    assert float(rows["wide"]["AUC high ±"]) == 0.01
    assert (
        "over 3 runs that differ in their seed alone" in (tmp_path / "out/report.md").read_text()
    )


def test_other_training_files_are_no_siblings(caloman, tmp_path):
    for seed, file in ((1, "/a.hdf5"), (2, "/b.hdf5")):
        seeded(tmp_path / f"runs/{seed}", seed, 0.6, dataset={"train": [file]})
    assert caloman("report", "runs=runs/*", "by=seed", "output=out").status == 0
    assert len(table_of(tmp_path / "out")) == 2


def test_a_seed_that_occurs_twice_is_named_and_has_a_row(caloman, tmp_path):
    for name, seed, auc in (("a", 1, 0.6), ("b", 1, 0.8), ("c", 2, 0.7)):
        seeded(tmp_path / "runs" / name, seed, auc)
    result = caloman("report", "runs=runs/*", "by=seed", "output=out")
    assert result.status == 0, result.err
    assert "seed 1 occurs twice, in runs/a/evaluation/quick and runs/b" in result.out
    rows = {row["run"]: float(row["AUC high"]) for row in table_of(tmp_path / "out")}
    assert rows == {"a, seeds 1, 2": pytest.approx(0.65), "b": 0.8}
    (tmp_path / "runs/a/config.yaml").unlink()
    result = caloman("report", "runs=runs/*", "by=seed", "output=out")
    assert result.status == 2
    assert "by=seed compares the configs of runs" in result.err
    assert result.err.count("\n") == 1
