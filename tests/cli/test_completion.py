"""Tab completion: verbs, options, keys, values and files, in three shells."""

import shutil
import subprocess
import sys

import pytest

from caloman_cli.cli.shells import SHELLS
from caloman_cli.config import schema
from caloman_cli.config.compose import path_keys


@pytest.fixture
def folder(tmp_path):
    for name in ("outputs", "out dir", ".hidden"):
        (tmp_path / name).mkdir()
    for name in ("outer.hdf5", "a.hdf5", "outputs/run"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("caloman sa", "sample"),
        ("caloman --c", "--cite"),
        ("caloman data ", "download check geometry split merge select limit convert generate"),
        ("caloman data ch", "check"),
        ("caloman config ", "dump validate schema"),
        ("caloman config dump encoder=pca encoder.la", "encoder.latent_dim="),
        ("caloman config dump sample ba", "batch_size="),
        ("caloman config validate out", "outer.hdf5 outputs/"),
        ("caloman config schema tr", "train"),
        ("caloman sample ba", "batch_size="),
        ("caloman data check dataset=ds1_ph", "dataset=ds1_photons"),
        ("caloman data check a", "a.hdf5"),
        ("caloman nothing ru", ""),
        ("caloman train experiment=de", "experiment=demo"),
        ("caloman train exp", "experiment="),
        ("caloman train geom", ""),
        ("caloman train --d", "--debug --dry-run"),
        ("caloman report --d", "--debug"),
        ("caloman sample run=outp", "run=outputs/"),
        ("caloman sample run=outputs/", "run=outputs/run"),
        ("caloman train -m reuse=a", "reuse=a.hdf5"),
        ("caloman train geometry=a", "geometry=a.hdf5"),
        ("caloman train dataset=out", "dataset=outer.hdf5 dataset=outputs/"),
        ("caloman data check a.hdf5 dataset=outputs/", "dataset=outputs/run"),
        ("caloman evaluate dataset=ds2", "dataset=ds2"),
        ("caloman train dataset=outputs/run encoder.latent_d", "encoder.latent_dim="),
        ("caloman train geometry=a.hdf5 encoder.latent_d", "encoder.latent_dim="),
        (
            "caloman data check a.hdf5 geometry=b.xml dataset.geometry.thr",
            "dataset.geometry.threshold=",
        ),
        (
            "caloman report runs=[outputs/run,o",
            "runs=[outputs/run,outer.hdf5 runs=[outputs/run,outputs/",
        ),
        ("caloman train dataset.train=[a", "dataset.train=[a.hdf5"),
        ("caloman train dataset.train=\\\\[a.hdf5,oute", "dataset.train=[a.hdf5,outer.hdf5"),
        ("caloman sample run=.h", "run=.hidden/"),
        ("caloman sample run=no/thing", ""),
        (
            "caloman train logger=[csv,",
            "logger=[csv,mlflow logger=[csv,tensorboard logger=[csv,wandb",
        ),
        ("caloman train encoder=pcb encoder.", ""),
        ("caloman sample run=pre", "run=pretrained:photons"),
        ("caloman evaluate run=[pretrained:p", "run=[pretrained:photons"),
        ("caloman train evaluate_after=qui", "evaluate_after=quick"),
        ("caloman train evaluate_after=[quick,tim", "evaluate_after=[quick,timing"),
        ("caloman report by=", "by=seed"),
        ("caloman report overlay=", "overlay=main overlay=all overlay=none"),
        ("caloman evaluate metric=[qua", "metric=[quality"),
        ("caloman evaluate metric=[quality,sli", "metric=[quality,sliced"),
        (
            "caloman evaluate figures.format=[png,",
            "figures.format=[png,pdf figures.format=[png,svg",
        ),
        ("caloman data convert a.hdf5 unit=", "unit=MeV unit=GeV"),
    ],
)
def test_what_is_offered(caloman, folder, monkeypatch, line, offered):
    (folder / "out dir").rmdir()
    monkeypatch.setenv("COMP_LINE", line)
    result = caloman("-sc", "query=zsh")
    assert (result.status, result.err) == (0, "")
    assert result.out.split() == offered.split()


def test_a_run_by_its_absolute_path_is_offered_once(caloman, folder, monkeypatch):
    """Hydra completes such paths itself, without the slash: Tab would stop between both."""
    monkeypatch.setenv("COMP_LINE", f"caloman train dataset={folder}/outp")
    assert caloman("-sc", "query=bash").out.split() == [f"dataset={folder}/outputs/"]


def test_keys_are_those_of_the_verb(caloman, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "caloman train ")
    offered = {*caloman("-sc", "query=fish").out.split()}
    assert {"seed=", "accept=", "encoder=", "encoder.", "debug=", "trainer."} <= offered
    assert not {"evaluation=", "metric=", "hydra", "hydra.", "n="} & offered
    assert all(word[-1] in "=." for word in offered)


def test_a_tab_behind_a_run_does_not_wait_for_torch(folder):
    code = """
import sys
from caloman_cli.cli.completion import candidates
assert candidates("caloman train dataset=outputs/run encoder.latent_d") == ["encoder.latent_dim="]
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)


def test_paths_of_every_verb_are_known():
    assert path_keys("train") == {
        "dataset.train", "dataset.reference", "dataset.geometry_xml", "output", "reuse",
        "data_dir", "cache_dir",
    }  # fmt: skip
    assert {"run", "out", "energies"} == path_keys("sample")
    assert all(path_keys(verb) for verb in schema.VERBS)


@pytest.mark.parametrize(
    ("line", "offers", "reply"),
    [
        ("caloman sample run=outp", "run=outputs/", "outputs/"),
        (
            "caloman train dataset.train=[a.hdf5,o",
            "dataset.train=[a.hdf5,outer.hdf5",
            "[a.hdf5,outer.hdf5",
        ),
        ("caloman tra", "train", "train"),
        ("caloman sample ", "run=\\nn=", "run= n="),
    ],
)
@pytest.mark.parametrize("breaks", [" =:", " "])
def test_bash_gets_what_stands_behind_its_word_breaks(line, offers, reply, breaks):
    """It cuts words at = by itself, unless somebody has taken that out."""
    script = "\n".join(
        [
            f"caloman() {{ printf '{offers}'; }}",
            f"COMP_WORDBREAKS='{breaks}'",
            SHELLS["bash"].install.partition("complete -o")[0],
            f"COMP_LINE='{line}'",
            'COMP_POINT=${#COMP_LINE}; _caloman; echo "${COMPREPLY[*]}"',
        ]
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == (reply if "=" in breaks else offers.replace("\\n", " ")).split()


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_right(caloman, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    for what in ("install", "uninstall"):
        script = caloman("-sc", f"{what}={shell}").out
        subprocess.run([shell, "-n", "-c", script], check=True)


def test_another_shell(caloman):
    assert caloman("-sc", "install=tcsh").err == (
        "caloman: -sc install=tcsh: completion exists for bash, zsh, fish\n"
    )
