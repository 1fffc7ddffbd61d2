"""Pytest plugin: a third of the slow tests a time, and no longer than there is time for.

    make test-slow PYTEST_FLAGS="--shard 2/3 --seconds 2400"
    make test-slow PYTEST_FLAGS="--record tests/slow_seconds.json" WORKERS=1

``--shard auto`` is another third at each commit: the commits so far, modulo three.
``slow_seconds.json`` holds what each test costs, in seconds of CPU on one core. The tests that
it knows are dealt out so that every shard costs about the same; where each of them belongs depends
on this file alone, so that it changes only when the file does. One that it does not know runs in
every shard, until it is recorded.

A test that would begin after the time is up is skipped and named at the end.
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECORDED = ROOT / "tests/slow_seconds.json"
SHARDS = 3  # where each commit runs one
TIME_IS_UP = "the time is up"


def deal(seconds: Mapping[str, float], shards: int) -> list[set[str]]:
    """The tests of each shard: the longest first, each to the shard that has least to do."""
    hands: list[set[str]] = [set() for _ in range(shards)]
    costs = [0.0] * shards
    for name in sorted(seconds, key=lambda name: (-seconds[name], name)):
        least = costs.index(min(costs))
        hands[least].add(name)
        costs[least] += seconds[name]
    return hands


def chosen(
    names: Collection[str], seconds: Mapping[str, float], shard: int, shards: int
) -> list[str]:
    """The tests that run in a shard, counted from 1: its own, and all that are not recorded."""
    own = deal(seconds, shards)[shard - 1]
    return [name for name in names if name in own or name not in seconds]


def read_shard(text: str, root: Path = ROOT) -> tuple[int, int]:
    """``2/3`` -> (2, 3); ``auto``: that of the commit."""
    if text == "auto":
        return _turn(root) % SHARDS + 1, SHARDS
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise pytest.UsageError(f"--shard={text}: must be auto, or like 2/3, the second of three")
    return int(match[1]), int(match[2])


def _turn(root: Path) -> int:
    """The number of commits; of days, where the history is not at hand."""
    if not (git := shutil.which("git")):
        return _days()
    answers = [
        subprocess.run([git, "-C", str(root), *asked], capture_output=True, text=True).stdout
        for asked in (["rev-parse", "--is-shallow-repository"], ["rev-list", "--count", "HEAD"])
    ]
    shallow, commits = (answer.strip() for answer in answers)
    return int(commits) if shallow == "false" and commits.isdigit() else _days()


def _days() -> int:
    return int(time.time() // 86_400)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("slow tests")
    group.addoption("--shard", help="2/3: the second third of the slow tests; auto: by commit")
    group.addoption("--seconds", type=float, help="begin no test later than this")
    group.addoption("--record", type=Path, metavar="FILE", help="write what each test costs")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("shard") is not None:
        # Here, before there are workers: all of them run the same one.
        config.option.shard = "{}/{}".format(*read_shard(config.getoption("shard")))
    config.pluginmanager.register(_Session(config), "slow shards of this session")


class _Session:
    """What one process knows; with xdist the first one hears every worker's reports."""

    def __init__(self, config: pytest.Config) -> None:
        self.shard = config.getoption("shard")
        self.seconds, self.record = config.getoption("seconds"), config.getoption("record")
        self.began, self.cpu = time.monotonic(), 0.0
        self.ran: set[str] = set()
        self.costs: dict[str, float] = {}
        self.late: list[str] = []

    @pytest.hookimpl(trylast=True)  # after -m has chosen
    def pytest_collection_modifyitems(self, config, items) -> None:
        if self.shard is None:
            return
        recorded = json.loads(RECORDED.read_text())
        kept = set(chosen([item.nodeid for item in items], recorded, *read_shard(self.shard)))
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in kept])
        items[:] = [item for item in items if item.nodeid in kept]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        self.cpu = _cpu_seconds()
        if self.seconds is not None and time.monotonic() - self.began > self.seconds:
            pytest.skip(TIME_IS_UP)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call):
        report = yield
        if call.when == "teardown":
            report.user_properties.append(("cpu", _cpu_seconds() - self.cpu))
        return report

    def pytest_runtest_logreport(self, report) -> None:
        if report.when == "setup" and report.skipped and TIME_IS_UP in str(report.longrepr):
            self.late.append(report.nodeid)
        if report.when == "call":
            self.ran.add(report.nodeid)
        if report.when == "teardown" and report.nodeid in self.ran:
            self.costs[report.nodeid] = round(dict(report.user_properties)["cpu"], 1)

    def pytest_sessionfinish(self, session) -> None:
        if self.record is None or hasattr(session.config, "workerinput"):
            return
        before = json.loads(self.record.read_text()) if self.record.exists() else {}
        text = json.dumps(before | self.costs, indent=0, sort_keys=True)
        self.record.write_text(text + "\n", encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter) -> None:
        if self.late:
            terminalreporter.section(f"{TIME_IS_UP}: {len(self.late)} tests did not run")
            terminalreporter.write_line("\n".join(sorted(self.late)))


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
