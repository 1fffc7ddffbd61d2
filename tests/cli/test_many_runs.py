"""``run=`` of a list, a pattern or a folder: each run in its turn, finished ones only."""

import json

import pytest


@pytest.fixture
def sweep(tmp_path):
    """A sweep of four: two finished, one that failed, one that was cut."""
    folder = tmp_path / "outputs/sweep/train"
    states = {
        "seed-1": {"status": "ok"},
        "seed-2": {"status": "ok"},
        "seed-3": {"status": "failed", "error": {"message": "no memory"}},
        "seed-4": {"status": "interrupted"},
    }
    for name, state in states.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "config.yaml").write_text("seed: 1\n")
        (folder / name / "status.json").write_text(json.dumps({"format": 2, **state}))
        if state["status"] == "ok":
            (folder / name / "model.pt").touch()
            (folder / name / "wandb/model").mkdir(parents=True)
            (folder / name / "wandb/model/model.pt").touch()
    return folder


@pytest.fixture
def asked(monkeypatch):
    """Verbs that do nothing; the runs that they were asked for."""
    seen = []

    def work(cfg):
        seen.append(cfg.run.rpartition("outputs/sweep/train/")[2])

    monkeypatch.setattr("caloman_cli.verbs.evaluate.run", work)
    monkeypatch.setattr("caloman_cli.verbs.sample.run", work)
    return seen


@pytest.mark.parametrize(
    "value",
    [
        "outputs/sweep/train/*",
        "outputs/sweep/train",
        "outputs",
        "outputs/**",
        "[outputs/sweep/train/seed-[12]]",
        "[outputs/sweep/train/seed-1,outputs/sweep/train/seed-*]",
        "outputs/*/train/*/model.pt",
    ],
)
def test_each_finished_run_gets_a_job(caloman, sweep, asked, value):
    result = caloman("evaluate", f"run={value}")
    assert result.status == 0, result.err
    assert asked == ["seed-1", "seed-2"]
    assert "2 jobs: 2 done" in result.out


def test_those_that_are_not_finished_are_named(caloman, sweep, asked):
    result = caloman("sample", "run=outputs/sweep/train/*", "n=5", "seed=1,2", "-m")
    assert result.status == 0, result.err
    assert asked == ["seed-1", "seed-1", "seed-2", "seed-2"]
    assert "passed over, not finished: outputs/sweep/train/seed-3: failed: no memory" in result.out
    assert "passed over, not finished: outputs/sweep/train/seed-4: interrupted" in result.out


def test_what_is_named_without_a_pattern_is_asked_for(caloman, sweep, asked):
    for value in ("[outputs/sweep/train/seed-1,outputs/sweep/train/seed-3]",
                  "outputs/sweep/train/seed-3"):  # fmt: skip
        assert caloman("evaluate", f"run={value}").status == 0
    assert asked == ["seed-1", "seed-3", "seed-3"]  # the verb itself says what is wrong with it


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run=nowhere/*"], "run=nowhere/* matches nothing"),
        (["run=[outputs/sweep/train/seed-1,nowhere/*]"], "run=nowhere/* matches nothing"),
        (["run=outputs/sweep/train/seed-[34]"], "no run there is finished: outputs/sweep/train/"),
        (["run=outputs/sweep/train/seed-1/s*"], "no runs there"),
        (["run=a,b"], "lists several values"),
    ],
)
def test_mistakes(caloman, sweep, asked, arguments, said):
    result = caloman("evaluate", *arguments)
    assert result.status == 2
    assert said in result.err
    assert result.err.count("\n") == 1
    assert asked == []


def test_a_name_with_signs_is_a_name(caloman, sweep, asked):
    odd = sweep / "what's [this], then"
    sweep.joinpath("seed-1").rename(odd)
    assert caloman("evaluate", "run=outputs/sweep/train/w*").status == 0
    assert caloman("evaluate", f'run="{odd}"').status == 0
    assert asked == [odd.name, odd.name]
