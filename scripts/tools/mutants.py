"""Break the code on purpose, one line at a time, and see whether a test notices.

    python scripts/tools/mutants.py [NAME ...] [--list FILE.yaml ...] [--show]

Each list in scripts/tools/mutants/ holds mutants: a name, a file, the text that stands there once
(`old`), what takes its place (`new`) and the tests that should fail then. Every mutant is made
in a copy of the tree, and its tests run there without the slow ones. The exit status is 1 when
one survives, and 2 when a list no longer fits the code: `old` is not found once, the broken code
cannot be imported, or the tests fail without it.
"""

import argparse
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import yaml

ROOT = Path(__file__).resolve().parents[2]
LISTS = ROOT / "scripts/tools/mutants"
COPIED = ("caloman_cli", "conf", "scripts", "tests", "docs", "pyproject.toml", "Makefile")
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "constraints.txt")
PRELOADED = (
    "torch", "sklearn.metrics", "sklearn.isotonic", "sklearn.cluster", "sklearn.decomposition",
    "scipy.stats", "scipy.optimize", "matplotlib.pyplot", "h5py", "omegaconf", "pytest",
)  # fmt: skip
ENDED = "pytest ended with "
PASSED, FAILED = 0, 1  # pytest's exit statuses; the others say that no test judged


@dataclass(frozen=True)
class Mutant:
    """One change of one file and the tests that should notice it."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def broken(self, source: str) -> str:
        """The file with the change made."""
        found = source.count(self.old)
        if found != 1:
            raise ValueError(f"{self.name}: the old text stands {found} times in {self.file}")
        if self.old == self.new:
            raise ValueError(f"{self.name}: changes nothing")
        return source.replace(self.old, self.new)


def main() -> int:
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: its threads do not fork
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="only mutants whose names contain one of these")
    parser.add_argument("--list", type=Path, nargs="+", help="default: all that lie beside it")
    parser.add_argument("--show", action="store_true", help="check that the lists fit, run none")
    parser.add_argument("--no-baseline", action="store_true", help="skip the tests as they are")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one mutant")
    arguments = parser.parse_args()
    try:
        mutants = chosen(read(arguments.list or sorted(LISTS.glob("*.yaml"))), arguments.names)
        for mutant in mutants:
            mutant.broken((ROOT / mutant.file).read_text())
        if arguments.show:
            print("\n".join(f"{mutant.name} ({mutant.file})" for mutant in mutants))
            return 0
        with copy_of_the_tree() as tree:
            if not arguments.no_baseline:
                check_unbroken(tree, mutants, arguments.timeout)
            survived = judge(tree, mutants, arguments.timeout)
    except (ValueError, FileNotFoundError) as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2
    print(f"\ncaught {len(mutants) - survived} of {len(mutants)}")
    return int(survived > 0)


def read(lists: Sequence[Path]) -> list[Mutant]:
    """All mutants of the lists, each name once."""
    mutants = []
    for path in lists:
        for entry in yaml.safe_load(path.read_text()):
            tests = entry.pop("tests")
            several = (tests,) if isinstance(tests, str) else tuple(tests)
            mutants.append(Mutant(**entry, tests=several))
    names = [mutant.name for mutant in mutants]
    if double := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"names are not unique: {', '.join(sorted(double))}")
    return mutants


def chosen(mutants: list[Mutant], names: Sequence[str]) -> list[Mutant]:
    found = [each for each in mutants if not names or any(name in each.name for name in names)]
    if not found:
        raise ValueError(f"no mutant is called {' or '.join(names) or 'anything'}")
    return found


@contextmanager
def copy_of_the_tree() -> Iterator[Path]:
    """A folder with the checkout in it, and the reference data beside it as they are here."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder) / "checkout"
        tree.mkdir()
        for name in (*COPIED, *PAGES):
            if (ROOT / name).is_dir():
                shutil.copytree(
                    ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__")
                )
            elif (ROOT / name).is_file():
                shutil.copy(ROOT / name, tree / name)
        shared = ROOT.parent / "shared"
        if shared.exists():
            (tree.parent / "shared").symlink_to(shared.resolve())
        yield tree


def check_unbroken(tree: Path, mutants: Sequence[Mutant], timeout: float) -> None:
    """Tests that fail without a mutant would catch everything."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    status, said = run(tree, tests, timeout)
    if status != PASSED:
        raise ValueError(f"the tests fail as they are: {said}")


def judge(tree: Path, mutants: Sequence[Mutant], timeout: float) -> int:
    """Print a line for each mutant; how many survived."""
    survived = 0
    print("| mutant | | seconds | first failure |\n|---|---|---:|---|")
    for mutant in mutants:
        path = tree / mutant.file
        source = path.read_text()
        path.write_text(mutant.broken(source))
        began = time.perf_counter()
        try:
            status, said = run(tree, mutant.tests, timeout)
        finally:
            path.write_text(source)
        if status not in (PASSED, FAILED):
            raise ValueError(f"{mutant.name}: pytest ended with {status}: {said}")
        survived += status == PASSED
        verdict = "SURVIVED" if status == PASSED else "caught"
        seconds = time.perf_counter() - began
        print(f"| {mutant.name} | {verdict} | {seconds:.0f} | {said} |", flush=True)
    return survived


def run(tree: Path, tests: Sequence[str], timeout: float) -> tuple[int, str]:
    """pytest's exit status in the copy, and its first failure.

    A fork of this process, which has imported what takes long: nothing of the copy's own.
    """
    for name in PRELOADED:
        importlib.import_module(name)
    with tempfile.TemporaryFile("w+") as output:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            _judged(tree, tests, output.fileno())
        ends = time.monotonic() + timeout
        while os.waitpid(child, os.WNOHANG)[0] == 0:
            if time.monotonic() > ends:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return FAILED, "out of time"
            time.sleep(0.05)
        output.seek(0)
        lines = output.read().splitlines()
    ended = [line for line in lines if line.startswith(ENDED)]
    if not ended:
        raise ValueError("the tests' process died: " + (lines or ["without a word"])[-1])
    status = int(ended[-1].removeprefix(ENDED))
    failures = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    if status in (PASSED, FAILED):
        return status, failures[0].split(" ")[1] if failures else ""
    return status, (failures or lines)[-1]


def _judged(tree: Path, tests: Sequence[str], output: int) -> NoReturn:
    """Run the tests in this process, write how they ended and leave without cleaning up."""
    try:
        os.setpgid(0, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: PTH123, SIM115
        os.chdir(tree)
        # A stale .pyc of the same second and length would hide the change.
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(tree))
        os.environ |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
        import pytest

        options = ["-x", "-q", "-m", "not slow and not gpu", "-p", "no:cacheprovider"]
        status = pytest.main([*options, *tests])
        print(f"\n{ENDED}{int(status)}", flush=True)
    except BaseException:  # noqa: BLE001  # nothing of this process may run on
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
