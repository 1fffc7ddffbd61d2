"""Multiruns: stable names, failures that stay alone, a summary."""

import json
from pathlib import Path

import pytest

from caloman_cli.cli.places import assigned, full_name, job_id, job_name, sweep_folder, varied_keys
from caloman_cli.errors import UserError
from tests.cli.test_report import table_of
from tests.cli.test_report_runs import trained


def names(*jobs):
    """The names of a sweep's jobs."""
    varied = varied_keys(jobs)
    return [job_name(job, varied) for job in jobs]


def test_a_jobs_name_holds_what_varies_and_nothing_else():
    constant = ["experiment=demo", "dataset.train=[a.hdf5]", "trainer.energy.epochs=3"]
    jobs = [[*constant, f"seed={seed}", "encoder.latent_dim=10"] for seed in (1, 2)]
    assert names(*jobs) == ["seed-1", "seed-2"]
    jobs = [[f"seed={n}", *constant, f"encoder.latent_dim={n}", f"density={n}"] for n in "ab"]
    assert names(*jobs)[0] == "density-a_encoder.latent_dim-a_seed-a"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["head.hidden=[64,64]", "head.hidden=[8]"], ["head.hidden-64_64", "head.hidden-8"]),
        (["reuse=outputs/train/a", "reuse='x/b c'"], ["reuse-a", "reuse-b-c"]),
        (["dataset.train=[/d/a.h5,/d/b.h5]", "dataset.train=[/d/c.h5]"],
         ["dataset.train-a.h5_b.h5", "dataset.train-c.h5"]),
        (["lr=1e-3", "lr=-2"], ["lr-1e-3", "lr--2"]),
    ],
)  # fmt: skip
def test_values_are_told_by_what_tells_them_apart(values, expected):
    assert names(*[[value, "constant=1"] for value in values]) == expected


def test_a_single_job_is_called_by_all_that_was_typed():
    assert names(["seed=1", "experiment=demo"]) == ["experiment-demo_seed-1"]


def test_where_a_job_runs_is_no_part_of_it():
    here = [
        "logger=wandb",
        "logger.mode=offline",
        "seed=1",
        "output=a",
        "device=cpu",
        "hydra/launcher=basic",
        "data_dir=/x",
        "evaluate_after=quick",
    ]
    there = ["seed=1", "output=b", "device=cuda"]
    assert full_name(here) == full_name(there)
    assert job_id(here) == job_id(there)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["reuse=a/b"], ["reuse=c/b"]),
        (["lr=1e-3"], ["lr=1e3"]),
        ([f"key={'a' * 200}1"], [f"key={'a' * 200}2"]),
        (["a=1", "b=2"], ["a=1_b=2"]),
        (["a-b=1"], ["a=b-1"]),
    ],
)
def test_different_jobs_have_different_short_folders(one, other, tmp_path):
    assert full_name(one) != full_name(other)
    found = assigned(tmp_path, [one, other], varied_keys([one, other]))
    assert len(set(found.values())) == 2
    for name in [full_name(one), *found.values()]:
        assert len(name) < 100
        assert "/" not in name


def test_where_a_job_runs_counts_where_it_varies():
    jobs = [["seed=1", f"device={device}", "dataset.train=[a]"] for device in ("cpu", "cuda")]
    assert varied_keys(jobs) == {"device"}
    assert names(*jobs) == ["device-cpu", "device-cuda"]
    assert len({job_id(job, varied_keys(jobs)) for job in jobs}) == 2
    assert len({job_id(job) for job in jobs}) == 1


def test_a_dry_run_finds_the_folders_and_makes_none(tmp_path):
    jobs = [["a=x", "seed=1"], ["a=x", "seed=2"]]
    found = assigned(tmp_path / "sweep", jobs, varied_keys(jobs), keep=False)
    assert list(found.values()) == ["seed-1", "seed-2"]
    assert not list(tmp_path.iterdir())


def test_jobs_of_several_sweeps_share_a_folder_of_sweeps(tmp_path):
    """The same job is found again, whatever else varies; another one takes no one's place."""

    def sweep(*jobs):
        found = assigned(tmp_path, jobs, varied_keys(jobs))
        return [found[job_id(job, varied_keys(jobs))] for job in jobs]

    assert sweep(["a=x", "seed=1"], ["a=x", "seed=2"]) == ["seed-1", "seed-2"]
    assert sweep(["a=x", "seed=2"], ["a=x", "seed=3"]) == ["seed-2", "seed-3"]
    assert sweep(["a=x", "seed=1"], ["a=y", "seed=1"]) == ["seed-1", "a-y"]
    others = sweep(["a=z", "seed=1"], ["a=z", "seed=4"])
    assert others[0].startswith("seed-1_")
    assert others[1] == "seed-4"
    (tmp_path / ".jobs.json").write_text("[]")
    with pytest.raises(Exception, match="damaged"):
        sweep(["a=x", "seed=1"])


def test_folders_of_an_earlier_version_are_found(tmp_path):
    jobs = [["experiment=demo", f"encoder.latent_dim={n}", "head.hidden=[8,8]"] for n in (1, 2)]
    digest = job_id(jobs[0])[:8]
    (tmp_path / f"some-words_{digest}").mkdir()
    plain = [["experiment=demo", f"seed={n}"] for n in (1, 2)]
    (tmp_path / "experiment-demo_seed-1").mkdir()
    for sweep, expected in (
        (jobs, [f"some-words_{digest}", "encoder.latent_dim-2"]),
        (plain, ["experiment-demo_seed-1", "seed-2"]),
    ):
        found = assigned(tmp_path, sweep, varied_keys(sweep))
        assert list(found.values()) == expected


@pytest.mark.slow
def test_a_job_is_found_again_when_other_keys_vary(caloman, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("caloman_cli.verbs.train.run", lambda cfg: seen.append(cfg.output))
    long = [f"encoder.hidden=[{','.join(['128'] * 20)}]", "encoder.latent_dim=2", "output=s"]
    assert caloman("train", "-m", "experiment=demo", *long).status == 0
    (tmp_path / seen[0]).mkdir(parents=True)
    assert caloman("train", "-m", "experiment=demo", *long, "seed=1,2").status == 0
    assert caloman("train", "-m", "experiment=demo", *long).status == 0
    assert seen[3] == seen[0]
    assert len(set(seen)) == 3


def test_the_sweep_lives_where_the_user_says():
    assert sweep_folder("train", ["output=runs/a", "seed=1,2"]) == "runs/a"
    assert sweep_folder("train", ["hydra.sweep.dir=b", "output=a"]) == "b"
    assert sweep_folder("train", ["output=a,b"]) == "outputs/sweep/train"


def test_one_failed_job_does_not_stop_the_others(caloman, monkeypatch):
    seen = []

    def work(cfg):
        seen.append(cfg.chunk)
        if cfg.chunk == 2:
            raise RuntimeError("the second")

    monkeypatch.setattr("caloman_cli.verbs.data_check.run", work)
    result = caloman("data", "check", "-m", "file=x", "dataset=ds2", "chunk=1,2,3")
    assert seen == [1, 2, 3]
    assert result.status == 1
    assert "3 jobs: 2 done, 1 failed" in result.out
    assert "chunk-2" in result.out
    assert "the second" in result.out


def test_jobs_that_failed_before_they_had_a_folder_say_why(caloman, tmp_path, monkeypatch):
    """The report calls them failed, not yet to begin, until they were tried again."""
    wrong = {1, 2}

    def work(cfg):
        if cfg.seed in wrong:
            raise UserError("no such file of showers")
        trained(Path(cfg.output), seed=cfg.seed)
        return Path(cfg.output)

    monkeypatch.setattr("caloman_cli.verbs.train.run", work)
    asked = ["train", "-m", "dataset=builtin_photons", "recipe=none", "seed=1,2", "output=runs"]
    assert caloman(*asked).status == 1
    why = "seed-1: failed: no such file of showers; and 1 more"
    assert f"nothing was trained or evaluated: {why}" in caloman("report", "runs=runs").err
    wrong.remove(1)
    assert caloman(*asked).status == 1
    assert caloman("report", "runs=runs").status == 0
    text = (tmp_path / "outputs/report/report.md").read_text()
    assert "seed-2: failed: no such file of showers" in text
    assert [row["state"] for row in table_of(tmp_path / "outputs/report")] == ["ok", "failed"]
    wrong.clear()
    monkeypatch.setattr("caloman_cli.verbs.train.run", lambda cfg: None)
    assert caloman(*asked).status == 0
    assert caloman("report", "runs=runs").status == 0
    assert "seed-2: not begun" in (tmp_path / "outputs/report/report.md").read_text()


def test_all_jobs_done_is_status_0(caloman, monkeypatch):
    monkeypatch.setattr("caloman_cli.verbs.data_check.run", lambda cfg: None)
    result = caloman("data", "check", "-m", "file=x", "dataset=ds2,ds3")
    assert result.status == 0, result.err
    assert "2 jobs: 2 done" in result.out


SMALL = [
    "dataset=builtin_photons",
    "dataset.builtin.n_train=100",
    "energy.hidden=8",
    "recipe=none",
    "encoder=pca",
    "trainer=quick",
    "density=standard_normal",
    "trainer.energy.epochs=1",
    "output=sweep",
    "cache_dir=cache",
]


def test_a_longer_sweep_trains_only_what_is_missing(caloman, tmp_path):
    first = caloman("train", "-m", *SMALL, "encoder.latent_dim=2")
    assert first.status == 0, first.err + first.out
    (done,) = tmp_path.glob("sweep/*/model.pt")
    before = done.stat().st_mtime_ns
    again = caloman("train", "-m", *SMALL, "encoder.latent_dim=2,3")
    assert again.status == 0, again.err
    assert f"{done.parent} is complete already" in again.out
    assert done.stat().st_mtime_ns == before
    table = again.out.partition("| run ")[2]
    assert table.partition("\n")[0].split()[1] == "encoder.latent_dim"
    assert "validation loss of density" in table
    for name in (done.parent.name, "encoder.latent_dim-3"):
        assert f"| {name} " in table
    assert len(list(tmp_path.glob("sweep/*/model.pt"))) == 2


def test_an_experiment_may_be_a_sweep(caloman, tmp_path, monkeypatch):
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "both.yaml").write_text(
        "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '1,2'}}}\n"
    )
    seen = []
    monkeypatch.setattr("caloman_cli.verbs.train.run", lambda cfg: seen.append(cfg.output))
    result = caloman("train", "--config-dir", "mine", "experiment=both", "output=here")
    assert result.status == 0, result.err
    assert seen == [str(tmp_path / f"here/seed-{seed}") for seed in (1, 2)]
    index = json.loads((tmp_path / "here/.jobs.json").read_text())
    assert list(index.values()) == ["seed-1", "seed-2"]


def test_jobs_do_not_share_one_file(caloman, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("caloman_cli.verbs.sample.run", lambda cfg: seen.append(cfg.out))
    given = ["sample", "-m", "run=x", "n=5", "seed=1,2"]
    result = caloman(*given, "out=all.hdf5", "overwrite=true")
    assert result.status == 2
    assert "out= is one file, and these are 2 jobs: leave it out" in result.err
    assert caloman(*given[:-1], "seed=1", "out=all.hdf5").status == 0
    assert caloman("sample", "-m", "run=x", "n=5", "out=a.hdf5,b.hdf5").status == 0
    assert [path.rpartition("/")[2] for path in seen] == ["all.hdf5", "a.hdf5", "b.hdf5"]


@pytest.mark.slow
def test_jobs_of_a_cluster_report_back(caloman, tmp_path):
    """The launcher for Slurm, run locally: jobs in processes of their own."""
    pytest.importorskip("submitit")
    result = caloman(
        "train", "-m", *SMALL, "hydra/launcher=submitit_local", "encoder.latent_dim=2,9999"
    )
    assert result.status == 1
    assert "2 jobs: 1 done, 1 failed" in result.out
    assert "9999" in result.out.split("failed:")[1]
    assert len(list(tmp_path.glob("sweep/*/model.pt"))) == 1
