"""Every command in the documentation can be typed: its verb, keys, options and files exist."""

import argparse
import re
import runpy
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from caloman_cli.cli.application import Application
from caloman_cli.cli.main import find_verb, usage
from caloman_cli.cli.verbs import CONFIG
from caloman_cli.config.compose import compose, groups, own_keys
from caloman_cli.errors import UserError
from tests.docs.pages import (
    ROOT,
    arguments,
    blocks,
    commands,
    is_frozen,
    name,
    pages,
    write_shown_files,
)

PAGES = [page for page in pages() if not is_frozen(page)]


def documented(program: str, inline: bool = True) -> list[str]:
    """The commands of all pages that are kept up, each once."""
    found = (command for page in PAGES for command in commands(page, program, inline))
    return list(dict.fromkeys(found))


def said(command: str) -> frozenset[str]:
    """What a command says; names of files, seeds and numbers of showers say nothing here."""
    file = re.compile(r"(?<==)\[?[\w./*,-]*(?:[/*]|\.hdf5|\.xml)[\w./*,-]*\]?$|(?<==)[A-Z_]+$")
    number = re.compile(r"(?<=^n=)\d+$|(?<=^seed=)[\d,]+$")
    verb = 2 if command.startswith("data ") else 1
    words = arguments(command)
    return frozenset(
        [" ".join(words[:verb]), *(number.sub("1", file.sub("FILE", w)) for w in words[verb:])]
    )


def distinct(found: list[str]) -> list[str]:
    """Those that say something which no other of them says as well."""
    longest = sorted(found, key=lambda command: -len(said(command)))
    kept: dict[str, frozenset[str]] = {}
    for command in longest:
        if not any(said(command) <= other for other in kept.values()):
            kept[command] = said(command)
    return list(kept)


FENCED = documented("caloman", inline=False)


def shown_answer(command: str) -> str | None:
    """The line below a command that shows a mistake on purpose, up to where it is cut short."""
    for page in PAGES:
        for _, block in blocks(page):
            below = block.partition(f"caloman {command}\n")[2].partition("\n")[0]
            if below.startswith("caloman: "):
                return below.partition("...")[0]
    return None


def ends(sweep: list[str]) -> list[list[str]]:
    """The first and the last job of a sweep in the place of all."""
    jobs = []
    for end in (0, -1):
        words = [re.sub(r"^([\w.@/]+=)([^\[{'\"]+)$", _one(end), word) for word in sweep]
        jobs.append(words)
    return jobs if jobs[0] != jobs[1] else jobs[:1]


def _one(end: int):
    return lambda found: found[1] + found[2].split(",")[end]


def first_and_rest() -> list[Any]:
    """What says something new: the commands of the README, then the others, which are slow."""
    first = {said(command) for command in commands(ROOT / "README.md", "caloman", True)}
    slow = pytest.mark.slow
    return [
        pytest.param(command, marks=() if said(command) in first else slow, id=command)
        for command in distinct(documented("caloman"))
    ]


@pytest.mark.parametrize("command", first_and_rest())
def test_a_caloman_command_composes(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = arguments(command)
    if not words or words[0] == "VERB" or words[0] == "data" and words[1:] in ([], ["--help"]):
        return
    if words[0].startswith("-"):
        assert words[0].partition("=")[0] in usage()
        return
    if words[0] == "config":
        assert " ".join(words[:2]) in CONFIG
        return
    verb, rest = find_verb(words)
    assert verb is not None
    spoken_of = [word.removesuffix("=") for word in rest if word.endswith("=")]
    assert set(spoken_of) <= {*groups(verb.config), *own_keys(verb.config)}
    rest = [word for word in rest if not word.endswith("=")]
    if not rest or "--help" in rest:
        return
    shown = {
        "--cfg": 1,
        "--package": 1,
        "--info": 1,
        "-p": 1,
        "-c": 1,
        "--resolve": 0,
        "--dry-run": 0,
    }
    for option in shown.keys() & set(rest):
        at = rest.index(option)
        del rest[at : at + 1 + shown[option]]
    if "my_package" in command or "--config-dir" in rest or "=mine" in command:
        monkeypatch.syspath_prepend(tmp_path)
        rest = _with_own_options(rest, tmp_path)
    _write_runs(rest, tmp_path)
    answer = shown_answer(command)
    if answer is None:
        with nullcontext() if command in FENCED else _incomplete():
            for job in ends(rest) if {"-m", "--multirun"} & set(rest) else [rest]:
                Application(verb).check(job)
        return
    with pytest.raises(UserError) as raised:
        Application(verb).check(rest)
    assert f"caloman: {raised.value}".startswith(answer)


def _write_runs(words: list[str], folder: Path) -> None:
    """Write what the reader has trained, where a run stands in the place of a dataset's name."""
    for word in words:
        group, _, place = word.partition("=")
        if group == "dataset" and "/" in place:
            facts = compose("data_check", ["dataset=ds1_photons"]).dataset
            (folder / place).mkdir(parents=True)
            config = OmegaConf.create({"output": place, "dataset": facts})
            OmegaConf.save(config, folder / place / "config.yaml", resolve=True)


@contextmanager
def _incomplete() -> Iterator[None]:
    """A sentence may leave out what the verb cannot do without; an example may not."""
    try:
        yield
    except UserError as error:
        if " is needed" not in str(error):
            raise


def _with_own_options(words: list[str], folder: Path) -> list[str]:
    """Write what the reader has written: files that pages show, and any option ``mine``."""
    write_shown_files(PAGES, folder)
    for word in words:
        group, _, option = word.partition("=")
        if option == "mine":
            source = sorted((ROOT / "conf" / group).glob("*.yaml"))[0]
            (folder / "mine" / group).mkdir(parents=True, exist_ok=True)
            (folder / "mine" / group / "mine.yaml").write_text(source.read_text())
    if "--config-dir" in words:
        at = words.index("--config-dir")
        words = words[:at] + words[at + 2 :]
    return ["--config-dir", str(folder / "mine"), *words]


class _Parsed(Exception):
    """A script has understood its arguments."""


@pytest.mark.parametrize(
    "command", [found for found in documented("python") if found.startswith("scripts/")]
)
def test_a_script_takes_what_is_typed(command, monkeypatch):
    words = arguments(command)
    understood = argparse.ArgumentParser.parse_args

    def parse(parser, *given):
        understood(parser, *given)
        raise _Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr(sys, "path", [str((ROOT / words[0]).parent), *sys.path])
    with pytest.raises(_Parsed):
        runpy.run_path(str(ROOT / words[0]), run_name="__main__")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_make_has_every_target(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {command.split()[0] for command in commands(page, "make") if command}
    assert named - {"TARGET"} <= targets


def test_installing_names_extras_that_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    for command in documented("pip"):
        for named in re.findall(r"\[([\w,-]+)\]", command):
            assert set(named.split(",")) <= extras, command


def test_commands_are_found_wherever_they_stand(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "Say `caloman report` or `OMP_NUM_THREADS=1 python\nscripts/a.py x`.\n"
        "```sh\n$ caloman train \\\n  seed=1 && caloman sample run=a  # a comment\n"
        "python -m pytest\n```\n"
    )
    found = commands(page, "caloman")
    assert [arguments(command) for command in found] == [
        ["train", "seed=1"],
        ["sample", "run=a"],
        ["report"],
    ]
    assert commands(page, "python") == ["-m pytest", "scripts/a.py x"]
    alike = ["sample run=RUN", "sample run=outputs/a n=1", "train a=[b.hdf5]", "train a=1"]
    assert sorted(distinct(alike)) == sorted(alike[1:])
    assert ends(["-m", "a=1,2,3", "b=[1,2]"]) == [
        ["-m", "a=1", "b=[1,2]"],
        ["-m", "a=3", "b=[1,2]"],
    ]
