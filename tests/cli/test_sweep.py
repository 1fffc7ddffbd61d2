"""Multiruns: stable names, failures that stay alone, a summary."""

import pytest

from caloman_cli.cli.sweep import job_name, sweep_folder, varied_keys


def test_a_jobs_name_says_what_it_is():
    assert job_name(["seed=1", "experiment=demo"]) == "experiment-demo_seed-1"


def test_where_a_job_runs_is_no_part_of_its_name():
    here = [
        "logger=wandb",
        "logger.mode=offline",
        "seed=1",
        "output=a",
        "device=cpu",
        "hydra/launcher=basic",
        "data_dir=/x",
    ]
    assert job_name(here) == job_name(["seed=1", "output=b", "device=cuda"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["reuse=a/b"], ["reuse=a-b"]),
        (["lr=1e-3"], ["lr=1e3"]),
        ([f"key={'a' * 200}1"], [f"key={'a' * 200}2"]),
        (["a=1", "b=2"], ["a=1_b=2"]),
        (["a-b=1"], ["a=b-1"]),
    ],
)
def test_different_jobs_have_different_short_names(one, other):
    assert job_name(one) != job_name(other)
    assert len(job_name(one)) < 100
    assert "/" not in job_name(one)


def test_where_a_job_runs_counts_where_it_varies():
    jobs = [["seed=1", f"device={device}", "dataset.train=[a]"] for device in ("cpu", "cuda")]
    varied = varied_keys(jobs)
    assert varied == {"device"}
    assert [job_name(job, varied) for job in jobs] == ["device-cpu_seed-1", "device-cuda_seed-1"]
    files = [["seed=1", f"dataset.train=[{name}.h5]"] for name in "ab"]
    assert len({job_name(job, varied_keys(files)) for job in files}) == 2
    assert len({job_name(job) for job in files}) == 1


def test_a_long_name_shows_what_varies():
    constant = [f"some.key{i}={'a' * 20}" for i in range(5)]
    jobs = [[*constant, f"encoder.latent_dim={n}"] for n in (1, 2)]
    name = job_name(jobs[0], varied_keys(jobs))
    assert name.startswith("encoder.latent_dim-1_")
    assert name[-9:] == job_name(jobs[0], varied_keys([*jobs, ["seed=2"]]))[-9:]


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
    assert seen == [str(tmp_path / f"here/experiment-both_seed-{seed}") for seed in (1, 2)]


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
