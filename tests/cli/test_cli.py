"""Verbs, help, options, completion, exit statuses."""

import re
import subprocess
import sys

import pytest

import caloman_cli
from caloman_cli.cli.verbs import VERBS

HELPED = [words.split() for words in VERBS]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_alone_it_lists_the_verbs(caloman, arguments):
    result = caloman(*arguments)
    assert result.status == 0
    assert all(words in result.out for words in VERBS)


def test_help_of_a_family_lists_its_verbs(caloman):
    result = caloman("data", "--help")
    assert result.status == 0
    assert "data download" in result.out
    assert "train " not in result.out


def test_version(caloman):
    assert caloman("--version").out == f"caloman {caloman_cli.__version__}\n"


def test_how_to_cite_is_bibtex_of_the_software_and_its_papers(caloman):
    cited = caloman("--cite").out
    assert re.findall(r"^@\w+\{(.+),$", cited, re.MULTILINE) == [
        f"caloman_{caloman_cli.__version__}",
        "cresswell2022",
        "krause2024",
    ]
    assert "eprint = {2211.15380}" in cited
    assert "Zaborowska, Anna and others}" in cited
    assert cited.count("{") == cited.count("}")


@pytest.mark.parametrize("words", HELPED, ids=" ".join)
def test_help_of_a_verb_has_examples_keys_and_what_they_mean(caloman, words):
    result = caloman(*words, "--help")
    assert result.status == 0, result.err
    assert f"caloman {' '.join(words)}" in result.out.split("examples:")[1]
    rows = result.out.split("keys (key=value):\n")[1].split("\n\n")[0]
    keys = re.split(r"^  (?=[a-z])", rows, flags=re.MULTILINE)[1:]
    assert keys
    assert all(len(key.split(maxsplit=1)) == 2 for key in keys), f"a key without a meaning: {keys}"


def test_help_shows_groups_with_their_options(caloman):
    out = caloman("data", "check", "--help").out
    assert "dataset  " in out
    assert "ds1_photons" in out


def test_help_stars_what_is_chosen_and_nothing_else(caloman):
    out = caloman("data", "check", "--help").out
    assert "*" not in out.split("groups (")[1].partition("\n")[2].split("\n\n")[0]
    assert "(needed)" in out
    assert "ds1_photons*" in caloman("data", "check", "--help", "dataset=ds1_photons").out


def test_cfg_shows_the_config_and_writes_nothing(caloman, tmp_path):
    result = caloman("sample", "--cfg", "job", "run=~/runs/a=1", "n=5")
    assert result.status == 0
    assert "run: ~/runs/a=1\n" in result.out
    assert not list(tmp_path.iterdir())


def test_info_and_hydras_own_help(caloman):
    assert "file://" in caloman("sample", "--info", "searchpath").out
    assert "hydra" in caloman("sample", "--hydra-help").out


def test_a_config_folder_of_the_users_own(caloman, tmp_path):
    folder = tmp_path / "mine" / "dataset"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("defaults: [ds2, _self_]\nvalidation_fraction: 0.5\n")
    result = caloman(
        "data", "check", "x.hdf5", "--config-dir", "mine", "dataset=mine", "--cfg", "job"
    )
    assert result.status == 0, result.err
    assert "validation_fraction: 0.5" in result.out


def test_a_failure_is_one_line_with_status_1(caloman, monkeypatch):
    def fail(cfg):
        raise RuntimeError("no more\npaper")

    monkeypatch.setattr("caloman_cli.verbs.data_check.run", fail)
    result = caloman("data", "check", "x.hdf5", "dataset=ds2")
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert "RuntimeError: no more paper" in result.err
    assert "--debug" in result.err


def test_debug_shows_the_traceback(caloman, monkeypatch):
    assert "Traceback" in caloman("data", "check", "no.hdf5", "dataset=ds2", "--debug").err
    monkeypatch.setenv("CALOMAN_DEBUG", "1")
    assert "Traceback" in caloman("trian").err


def test_an_interrupt_has_the_shells_status(caloman, monkeypatch):
    def interrupt(cfg):
        raise KeyboardInterrupt

    monkeypatch.setattr("caloman_cli.verbs.data_check.run", interrupt)
    result = caloman("data", "check", "x.hdf5", "dataset=ds2")
    assert (result.status, result.err) == (130, "caloman: interrupted\n")


def test_as_a_module_and_without_torch():
    """Help and mistakes answer at once: nothing heavy is imported for them."""
    code = (
        "import sys; from caloman_cli.cli.main import main; status = main(['sample', '--help']);"
        "sys.exit(status or ('torch' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
    module = [sys.executable, "-m", "caloman_cli", "--version"]
    assert subprocess.run(module, capture_output=True, text=True).stdout.startswith("caloman ")
