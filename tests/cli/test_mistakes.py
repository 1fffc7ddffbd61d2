"""Every mistake is one line that lists what exists, status 2, nothing written, no traceback."""

import pytest

MISTAKES = {
    "verb": (["trian"], ["trian", "did you mean 'train'", "sample, evaluate"]),
    "unlike any verb": (["zzz"], ["zzz", "train, distill, sample, evaluate, report, data"]),
    "verb of a family": (["data", "chek"], ["did you mean 'check'"]),
    "family alone": (["data"], ["download, check, generate"]),
    "option of caloman": (["--versoin"], ["--versoin", "--version"]),
    "option of hydra": (["sample", "--cgf", "job"], ["--cgf", "did you mean '--cfg'"]),
    "choice of an option": (["sample", "--cfg", "jib"], ["jib", "job"]),
    "config folder": (["sample", "--config-dir", "none", "run=x"], ["none", "no such folder"]),
    "key": (["sample", "rnu=x"], ["rnu", "did you mean 'run'", "batch_size"]),
    "key of a group": (
        ["data", "check", "x", "dataset=ds2", "dataset.tran=1"],
        ["dataset.tran", "did you mean 'dataset.train'"],
    ),
    "key of a chosen option": (
        ["train", "experiment=flagship_photons", "dataset=builtin_photons", "head.componens=3"],
        ["did you mean 'head.components'", "head.order"],
    ),
    "key of hydra": (["sample", "run=x", "hydra.job.nmae=x"], ["did you mean 'hydra.job.name'"]),
    "option of a group": (
        ["data", "check", "x", "dataset=ds1_photon"],
        ["dataset=ds1_photon", "did you mean 'ds1_photons'", "ds2"],
    ),
    "launcher": (["sample", "-m", "run=x", "hydra/launcher=basc"], ["did you mean 'basic'"]),
    "group to choose": (["data", "check", "x"], ["dataset= is needed", "ds1_photons"]),
    "key to give": (["sample", "n=3"], ["run= is needed", "run directory"]),
    "no equals sign": (["sample", "outputs"], ["'outputs' is not key=value"]),
    "added key": (["sample", "run=x", "+batchsize=3"], ["did you mean 'batch_size'"]),
    "deleted key": (["sample", "run=x", "~seed"], ["missing key seed"]),
    "deleted nothing": (["sample", "run=x", "~sede"], ["sede"]),
    "values without -m": (["sample", "run=x", "seed=1,2"], ["-m", "seed=1,2"]),
    "grammar": (["sample", "run=x", "n=3,"], ["cannot read n=3,", "quote"]),
    "signs in a number": (["sample", "run=x", "n=3)"], ["n=3)", "an integer"]),
    "text for a number": (["sample", "run=x", "seed=abc"], ["seed=abc", "an integer"]),
    "fraction for a count": (["sample", "run=x", "n=1.5"], ["n=1.5", "an integer"]),
    "negative count": (["sample", "run=x", "n=-3"], ["n=-3", "1 or more"]),
    "zero batch": (["sample", "run=x", "batch_size=0"], ["batch_size=0", "1 or more"]),
    "number for a switch": (["sample", "run=x", "overwrite=3"], ["overwrite=3", "true or false"]),
    "device": (["sample", "run=x", "device=gpu"], ["device=gpu", "auto, cpu, cuda"]),
    "null": (["sample", "run=x", "seed=null"], ["seed=null", "an integer"]),
    "interpolation": (["sample", "run=x", "n=${sed}"], ["sed"]),
    "out of range": (
        ["data", "check", "x", "dataset=ds2", "dataset.validation_fraction=2"],
        ["validation_fraction=2", "between 0 and 1", "dataset=ds2"],
    ),
    "one bad job of many": (["sample", "-m", "run=x", "n=3", "seed=1,abc"], ["seed=abc"]),
    "no such run": (["sample", "run=x", "n=3"], ["run=", "does not exist", "caloman train"]),
    "completion": (["-sc", "instal=bash"], ["install=bash"]),
    "shell": (["-sc", "install=tcsh"], ["bash"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_one_line_that_helps(caloman, tmp_path, name):
    arguments, expected = MISTAKES[name]
    result = caloman(*arguments)
    assert result.status == 2, result.err
    assert result.err.startswith("caloman: ")
    assert result.err.count("\n") == 1, result.err
    assert "Traceback" not in result.err + result.out
    for words in expected:
        assert words in result.err
    assert not list(tmp_path.rglob("*"))


def test_a_typo_inside_a_users_yaml(caloman, tmp_path):
    folder = tmp_path / "mine" / "dataset"
    folder.mkdir(parents=True)
    (folder / "typo.yaml").write_text("defaults: [ds2, _self_]\nvalidation_fractoin: 0.1\n")
    result = caloman("data", "check", "x", "--config-dir", "mine", "dataset=typo")
    assert result.status == 2
    assert "dataset.validation_fractoin" in result.err
    assert "did you mean 'validation_fraction'" in result.err
    assert "dataset=typo" in result.err
