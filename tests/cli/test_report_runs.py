"""A report of runs: a row each, in what they differ, how they stand, what validation said."""

import json

import pytest

from caloman_cli.data.files import write_json
from caloman_cli.errors import UserError
from caloman_cli.evaluation.style import figure
from caloman_cli.metrics.score import Score
from caloman_cli.report.columns import key_meant
from caloman_cli.report.runs import folded
from tests.cli.test_report import evaluation, record, table_of

VAE = "caloman_cli.models.encoders.VAE"
PCA = "caloman_cli.models.encoders.PCA"
NSF = "caloman_cli.models.densities.NSF"


def trained(folder, state="ok", best=(1.0, 2.0), data=None, **changed):
    """A run directory: its config, state, epochs and what its stages ended with."""
    folder.mkdir(parents=True)
    config = {
        "seed": 1,
        "output": str(folder),
        "dataset": {"name": "ds1_photons", "train": None},
        "encoder": {"_target_": VAE, "latent_dim": 10, "hidden": [64, 64]},
        "head": {"_target_": "caloman_cli.models.heads.Gaussian"},
        "density": {"_target_": NSF, "n_layers": 4},
        "trainer": {"encoder": {"epochs": 3, "score": "loss"}},
        **changed,
    }
    write_json(folder / "config.yaml", config)
    status = {"format": 2, "status": state, "host": "elsewhere", "pid": 7}
    write_json(folder / "status.json", status | {"error": {"message": "no\nmemory"}})
    if data is not None:
        write_json(folder / "provenance.json", {"data": data})
    if state == "ok":
        (folder / "model.pt").touch()
        for stage, score in zip(("encoder", "density"), best, strict=True):
            (folder / stage).mkdir()
            write_json(folder / stage / "done.json", {"score": "loss", "best_score": score})
    return folder


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Pictures take longer than all the rest; the report has them as one pixel."""
    pixel = figure(0.01, 0.01, None)

    def save_pixel(image, path, *looks):
        pixel.savefig(path, format="png")
        return path

    monkeypatch.setattr("caloman_cli.verbs.report.save", save_pixel)


def scored(folder, auc, suite="quick", **own):
    evaluation(
        folder / "evaluation" / suite, folder.name, auc, suite=suite, run=str(folder), **own
    )


def report(caloman, tmp_path, *arguments):
    """Rows by name, and the report's text."""
    result = caloman("report", "runs=runs", "output=out", *arguments)
    assert result.status == 0, result.err
    text = (tmp_path / "out/report.md").read_text()
    return {row["run"]: row for row in table_of(tmp_path / "out")}, text


def test_a_column_for_every_key_that_differs(caloman, tmp_path):
    for name, latents, seed in (("a", 10, 1), ("b", 20, 1), ("c", 20, 2)):
        encoder = {"_target_": VAE, "latent_dim": latents, "hidden": [64, 64]}
        scored(trained(tmp_path / "runs" / name, encoder=encoder, seed=seed), 0.6)
    rows, text = report(caloman, tmp_path)
    assert [row["encoder.latent_dim"] for row in rows.values()] == ["10", "20", "20"]
    assert [row["seed"] for row in rows.values()] == ["1", "1", "2"]
    assert not {"encoder.hidden", "output", "density.n_layers", "encoder"} & set(rows["a"])
    assert "| run " in text
    head = [cell.strip() for cell in text.partition("| run ")[2].partition("\n")[0].split("|")]
    assert head[1:5] == ["encoder.latent_dim", "seed", "suite", "AUC high"]


def test_names_and_tags_of_runs_stand_in_the_table(caloman, tmp_path):
    trained(tmp_path / "runs/a", name="third try", tags=["draft", "photons"])
    trained(tmp_path / "runs/b", tags="draft", seed=2)
    trained(tmp_path / "runs/c", seed=3)
    rows, _ = report(caloman, tmp_path)
    assert {name: row["tags"] for name, row in rows.items()} == {
        "third try": "draft, photons", "b": "draft", "c": "–"
    }  # fmt: skip


def test_another_class_is_one_column_and_keys_count_within_a_class(caloman, tmp_path):
    encoders = {
        "a": {"_target_": VAE, "latent_dim": 10, "hidden": [64, 64]},
        "b": {"_target_": VAE, "latent_dim": 10, "hidden": [64, 8]},
        "c": {"_target_": PCA, "latent_dim": 35, "whiten": True},
    }
    for name, encoder in encoders.items():
        scored(trained(tmp_path / "runs" / name, encoder=encoder), 0.6)
    rows, _ = report(caloman, tmp_path)
    assert [row["encoder"] for row in rows.values()] == ["vae", "vae", "pca"]
    assert [row["encoder.hidden"] for row in rows.values()] == ["[64,64]", "[64,8]", "–"]
    assert "encoder.whiten" not in rows["a"]  # only one kind has it
    assert "encoder.latent_dim" not in rows["a"]  # the same wherever the class is


def test_other_training_showers_are_told_by_their_content(caloman, tmp_path):
    for name, n, fingerprint in (("a", 1000, "f00d"), ("b", 2000, "beef"), ("c", 1000, "f00d")):
        data = {"paths": [f"/x/{name}.hdf5"], "n": n, "fingerprint": fingerprint}
        scored(trained(tmp_path / "runs" / name, data=data), 0.6)
    rows, _ = report(caloman, tmp_path)
    assert rows["b"]["dataset.train"] == "b.hdf5 (2,000, beef)"
    for name in "bc":
        file = tmp_path / "runs" / name / "provenance.json"
        data = {"paths": ["/y/a.hdf5"], "n": 1000, "fingerprint": "f00d"}
        write_json(file, {"data": data})
    assert "dataset.train" not in report(caloman, tmp_path)[0]["a"]  # the same under another name


def test_many_keys_that_change_together_are_one_column(caloman, tmp_path):
    for name, size in (("a", 1), ("b", 2), ("c", 3)):
        density = {"_target_": NSF, **{f"key{i}": size for i in range(8)}}
        scored(trained(tmp_path / "runs" / name, density=density, seed=min(size, 2)), 0.6)
    rows, text = report(caloman, tmp_path)
    assert [rows["b"][f"density.key{i}"] for i in range(8)] == ["2"] * 8
    table = text.partition("| independent")[0]
    assert "| density.key0 " in table
    assert "| seed " in table
    assert "| density.key1 " not in table
    assert "density.key0 changes together with density.key1, density.key2" in text
    assert "| density.key7 " in text.partition("### In what the runs differ")[2]


def test_suites_of_one_run_are_one_row(caloman, tmp_path):
    run = trained(tmp_path / "runs/a")
    scored(run, 0.6)
    scored(run, 0.6, "full", more=[record("fpd", 0.1)])
    times = tmp_path / "runs/a/evaluation/timing"
    evaluation(times, "a", 0.6, suite="timing", run=str(run), more=[record("ms", 0.2)])
    content = json.loads((times / "metrics.json").read_text())
    content["scores"] = content["scores"][-1:]
    write_json(times / "metrics.json", {**content, "inputs": {}})  # times need no reference
    rows, text = report(caloman, tmp_path)
    assert list(rows) == ["a"]
    assert rows["a"]["suite"] == "full, quick, timing"
    assert rows["a"]["folder"] == str(run / "evaluation")
    assert [rows["a"][name] for name in ("AUC high", "fpd", "ms")] == ["0.6", "0.1", "0.2"]
    assert text.count("\n## ") == 1
    assert report(caloman, tmp_path, "suite=quick")[0]["a"]["suite"] == "quick"


def test_what_was_judged_otherwise_stays_apart(caloman, tmp_path):
    run = trained(tmp_path / "runs/a")
    scored(run, 0.6)
    for suite, change in (("seed", {"seed": 2}), ("rules", {"protocol": "legacy2022"})):
        scored(run, 0.7, suite)
        file = run / f"evaluation/{suite}/metrics.json"
        content = json.loads(file.read_text())
        content["settings"] |= change
        write_json(file, content)
    scored(run, 0.8, "other", reference="bb")
    scored(run, 0.9, "truth", truth=("u", 5))
    report(caloman, tmp_path)
    found = table_of(tmp_path / "out")
    assert sorted(row["suite"] for row in found) == ["other", "quick", "rules", "seed", "truth"]
    assert len({(row["reference"], row["protocol"]) for row in found}) == 3


def test_two_numbers_for_one_score_are_no_secret(caloman, tmp_path):
    run = trained(tmp_path / "runs/a")
    scored(run, 0.6)
    scored(run, 0.7, "small")
    result = caloman("report", "runs=runs")
    assert "a: auc_high is another number in small than before: that of quick" in result.out
    assert [row["AUC high"] for row in table_of(tmp_path / "outputs/report")] == ["0.6"]


def test_runs_that_failed_run_or_were_cut_are_named(caloman, tmp_path):
    scored(trained(tmp_path / "runs/a"), 0.6)
    trained(tmp_path / "runs/b", "failed")
    trained(tmp_path / "runs/c", "running")
    trained(tmp_path / "runs/d", "interrupted")
    trained(tmp_path / "runs/e")
    index = {"1": "a", "2": "f"}
    (tmp_path / "runs/.jobs.json").write_text(json.dumps(index))
    rows, text = report(caloman, tmp_path)
    assert {name: row["state"] for name, row in rows.items()} == {
        "a": "ok", "e": "ok", "b": "failed", "c": "running", "d": "interrupted", "f": "not begun",
    }  # fmt: skip
    assert "Not finished, 4 of 6 runs" in text
    assert "b: failed: no memory" in text
    assert "c: running, process 7 on elsewhere" in text
    assert "Trained and not evaluated, 1 of 6 runs: e." in text
    assert [row["AUC high"] for row in rows.values()] == ["0.6", *[""] * 5]
    assert caloman("report", "runs=runs/[bf]", "output=other").status == 0
    assert [row["run"] for row in table_of(tmp_path / "other")] == ["b", "f"]


def test_validation_scores_and_what_they_are_of(caloman, tmp_path):
    trained(tmp_path / "runs/a", best=(3.0, 2.0))
    trained(tmp_path / "runs/b", best=(1.0, 4.0))
    half = trained(tmp_path / "runs/c", "interrupted")
    rows = [{"stage": "encoder", "epoch": i, "validation/loss": x} for i, x in ((1, 5), (2, 2))]
    rows.append({"stage": "encoder", "epoch": 3, "validation/loss": 9, "validation/kl": 0.1})
    (half / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, text = report(caloman, tmp_path)
    assert list(found) == ["b", "c", "a"]
    encoder, density = "validation loss of encoder", "validation loss of density"
    assert [row[encoder] for row in found.values()] == ["1.0", "2.0", "3.0"]
    assert [row[density] for row in found.values()] == ["4.0", "", "2.0"]
    assert "Nothing of this was evaluated yet" in text
    assert list(report(caloman, tmp_path, "sort=validation_density")[0]) == ["a", "b", "c"]
    maf = {"_target_": "caloman_cli.models.densities.MAF"}
    trained(tmp_path / "runs/d", best=(1.5, -7.0), density=maf)
    found, _ = report(caloman, tmp_path)
    assert found["d"][f"{density} (of maf)"] == "-7.0"  # another loss, which orders nothing here
    assert found["a"][f"{density} (of nsf)"] == "2.0"


def test_seeds_are_one_row_with_one_name(caloman, tmp_path):
    for latents in (10, 20):
        for seed, auc in ((1, 0.6), (2, 0.7), (3, None)):
            encoder = {"_target_": VAE, "latent_dim": latents, "hidden": [64]}
            folder = tmp_path / f"runs/encoder.latent_dim-{latents}_seed-{seed}"
            best = (latents + seed, 1.0)
            state = "ok" if auc is not None else "failed"
            trained(folder, state, best=best, seed=seed, encoder=encoder)
            if auc is not None:
                scored(folder, auc + latents / 100)
    rows, _ = report(caloman, tmp_path, "by=seed")
    assert list(rows) == [
        *(f"encoder.latent_dim-{n}, seeds 1, 2" for n in (10, 20)),
        *(f"encoder.latent_dim-{n}_seed-3" for n in (10, 20)),
    ]
    row = rows["encoder.latent_dim-20, seeds 1, 2"]
    assert row["encoder.latent_dim"] == "20"
    assert "seed" not in row
    assert float(row["AUC high"]) == pytest.approx(0.85)
    assert float(row["AUC high ±"]) == pytest.approx(0.1 / 2**0.5)
    assert float(row["validation loss of encoder"]) == pytest.approx(21.5)


def test_runs_of_one_name_are_told_by_their_folders(caloman, tmp_path):
    for latents in (10, 20):
        for seed in (1, 2):
            encoder = {"_target_": VAE, "latent_dim": latents, "hidden": [64]}
            folder = tmp_path / f"runs/latents-{latents}_seed-{seed}"
            trained(folder, seed=seed, encoder=encoder, name="draft")
            for suite in ("quick", "full"):
                place = folder / "evaluation" / suite
                evaluation(place, "draft", 0.6 + latents / 100, suite=suite, run=str(folder))
    rows, _ = report(caloman, tmp_path)
    assert list(rows) == [f"latents-{n}_seed-{seed}" for n in (10, 20) for seed in (1, 2)]
    rows, _ = report(caloman, tmp_path, "by=seed")
    assert list(rows) == [f"draft, latents-{n}, seeds 1, 2" for n in (10, 20)]


def test_a_mean_over_layers_has_an_easy_name():
    def score(key, label, summary=True):
        return Score("any", label, 0.1, key=key, goal="lower", summary=summary)

    scores = [
        score("EC_r_2", "EC_r/2", summary=False),
        score("EC_r_mean", "EC_r, mean of 5"),
        score("auc_high", "AUC high"),
    ]
    for name in ("EC_r", "ec r", "EC_r_mean", "EC_r, mean of 5", "ecr"):
        assert key_meant(name, scores) == "EC_r_mean"
    assert key_meant("EC_r/2", scores) == "EC_r_2"
    assert key_meant("auc high", scores) == "auc_high"
    with pytest.raises(UserError, match="there is: EC_r_mean, auc_high"):
        key_meant("mean of EC r", scores)


def test_long_names_are_folded_in_pictures():
    assert folded("encoder.latent_dim-10_seed-1") == "encoder.latent_dim-10_seed-1"
    long = "experiment-demo_seed-1_encoder.latent_dim-10_trainer.density.epochs-3_x_89ce4031"
    lines = folded(long).split("\n")
    assert len(lines) == 3
    assert max(map(len, lines)) <= 36
    assert lines[0] == "experiment-demo_seed-1_"
    assert lines[-1].endswith("89ce4031")
    assert len(folded("a" * 90)) < 36
