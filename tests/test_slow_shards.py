"""Which slow tests run when: each at least every third time, and none is lost silently."""

import os
import subprocess

import pytest

from tests.slow_shards import chosen, deal, read_shard

SECONDS = {f"test_{number}": float(number % 7 + 1) for number in range(40)}
pytest_plugins = ["pytester"]


def test_every_recorded_test_is_in_one_shard_and_shards_cost_alike():
    hands = deal(SECONDS, 3)
    assert sorted(name for hand in hands for name in hand) == sorted(SECONDS)
    costs = [sum(SECONDS[name] for name in hand) for hand in hands]
    assert max(costs) - min(costs) <= max(SECONDS.values())


def test_a_new_test_runs_in_every_shard_and_moves_no_other():
    names = [*SECONDS, "test_new"]
    runs = [chosen(names, SECONDS, shard, 3) for shard in (1, 2, 3)]
    assert [set(run) - {"test_new"} for run in runs] == deal(SECONDS, 3)
    assert all("test_new" in run for run in runs)
    # One that is gone leaves the others where they are.
    fewer = [chosen(names[5:], SECONDS, shard, 3) for shard in (1, 2, 3)]
    assert fewer == [[name for name in run if name in names[5:]] for run in runs]


def commit(folder, message):
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_CONFIG_GLOBAL": os.devnull,
           "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.c"}  # fmt: skip
    command = ["git", "commit", "-q", "--allow-empty", "--no-verify", "-m", message]
    subprocess.run(command, cwd=folder, env=os.environ | who, check=True)


def test_three_commits_run_three_shards(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    seen = set()
    for number in range(3):
        commit(tmp_path, str(number))
        seen.add(read_shard("auto", tmp_path))
    assert seen == {(1, 3), (2, 3), (3, 3)}


def test_without_a_history_the_days_take_turns(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    seen = set()
    for day in range(3):
        monkeypatch.setattr("time.time", lambda day=day: 86_400.0 * day + 1)
        seen.add(read_shard("auto", tmp_path))
    assert seen == {(1, 3), (2, 3), (3, 3)}


@pytest.mark.parametrize("text", ["4/3", "0/3", "2", "x"])
def test_a_shard_that_there_is_not_is_refused(text):
    with pytest.raises(pytest.UsageError, match="must be auto, or like 2/3"):
        read_shard(text)


def test_what_did_not_run_is_named_and_a_failure_still_counts(pytester):
    pytester.makepyfile("""
        import time
        def test_first():
            time.sleep(0.3)
            assert False
        def test_second():
            pass
    """)
    done = pytester.runpytest_inprocess("-p", "tests.slow_shards", "--seconds", "0.2")
    done.assert_outcomes(failed=1, skipped=1)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["*the time is up: 1 tests did not run*", "*::test_second"])
