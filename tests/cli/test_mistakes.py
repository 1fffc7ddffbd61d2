"""Every mistake is one line that lists what exists, status 2, nothing written, no traceback."""

import pytest

from caloman_cli.config.mistakes import elsewhere

MISTAKES = {
    "verb": (["trian"], ["trian", "did you mean 'train'", "sample, evaluate"]),
    "unlike any verb": (
        ["zzz"],
        ["zzz", "train, distill, sample, evaluate, report, export, data"],
    ),
    "verb of a family": (["data", "chek"], ["did you mean 'check'"]),
    "family alone": (["data"], ["check, geometry, split, merge, select, limit"]),
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
        ["did you mean 'head.components'", "head.harmonics"],
    ),
    "key of hydra": (["sample", "run=x", "hydra.job.nmae=x"], ["did you mean 'hydra.job.name'"]),
    "option of a group": (
        ["data", "check", "x", "dataset=ds1_photon"],
        ["dataset=ds1_photon", "did you mean 'ds1_photons'", "ds2"],
    ),
    "a student": (
        ["train", "density=consistency"],
        ["density=consistency learns from a trained run", "caloman distill run=RUN method=cd"],
    ),
    "launcher": (["sample", "-m", "run=x", "hydra/launcher=basc"], ["did you mean 'basic'"]),
    "group to choose": (["data", "check", "x"], ["dataset= is needed", "ds1_photons"]),
    "key to give": (["sample", "n=3"], ["run= is needed", "run directory"]),
    "no equals sign": (["sample", "outputs"], ["'outputs' is not key=value"]),
    "added key": (["sample", "run=x", "+batchsize=3"], ["did you mean 'batch_size'"]),
    "deleted key": (["sample", "run=x", "~seed"], ["missing key seed"]),
    "deleted nothing": (["sample", "run=x", "~sede"], ["sede"]),
    "values without -m": (["sample", "run=x", "seed=1,2"], ["-m", "seed=1,2"]),
    "-m and --cfg": (
        ["train", "-m", "seed=1,2", "--cfg", "job"],
        ["seed=1,2", "give the values of one job, without -m"],
    ),
    "a list for one path": (
        ["sample", "run=x", "n=3", "out=[a,b]"],
        ["out=['a', 'b']: must be a path"],
    ),
    "a list for names": (
        ["data", "split", "x", "out=p", "parts=[a,b]"],
        ["parts=[a,b]: must be names with values, parts.NAME=VALUE"],
    ),
    "unknown names": (
        ["data", "split", "x", "out=p", "parts={a:1}"],
        ["unknown key 'parts.a': did you mean 'parts.train'"],
    ),
    "names for a list": (
        ["train", "encoder.hidden={a:1}"],
        ["encoder.hidden={a:1}: must be a list, encoder.hidden=[a,b]"],
    ),
    "keys of a suite": (
        ["train", "evaluate_after=quick", "evaluation.classifier.modes=[low]"],
        ["evaluate_after=SUITE takes a suite as it is", "evaluation/NAME.yaml below --config-dir"],
    ),
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
    "leaf anywhere": (
        ["train", "epochs=5"],
        ["is it trainer.energy.epochs, trainer.encoder.epochs, trainer.density.epochs?"],
    ),
    "leaf of a part": (["train", "encoder.epochs=5"], ["is it trainer.encoder.epochs?"]),
    "n_samples": (["sample", "run=x", "n_samples=10"], ["is it n?"]),
    "output of sample": (["sample", "run=x", "output=a"], ["is it out?"]),
    "number for a group": (["train", "encoder=3"], ["encoder=3 does not exist", "vae"]),
    "null for a group": (["train", "density=null"], ["density=null does not exist", "nsf"]),
    "no logger": (["train", "logger=null"], ["write logger=none"]),
    "no experiment": (["train", "experiment=null"], ["leave it out"]),
    "empty group": (["train", "encoder="], ["encoder= is empty", "vae"]),
    "added part": (
        ["train", "density=clustered", "+density@density.part=maf"],
        ["write density@density.part=maf, without the +"],
    ),
    "text for a part": (
        ["train", "density=clustered", "density.part=nsf"],
        ["density.part=nsf: write density@density.part=nsf"],
    ),
    "no option for a part": (
        ["train", "density=clustered", "density.part=big"],
        ["density.part=big: must be a mapping, the _target_ of a Density and its settings"],
    ),
    "a part of none": (
        ["train", "density=nsf", "density@density.part=gmm"],
        [
            "density@density.part= chooses a part",
            "density=clustered or levels or tr0n or unconditional",
        ],
    ),
    "unknown part": (
        ["train", "density=clustered", "density@density.part=gm"],
        ["density=gm does not exist: did you mean 'gmm'?"],
    ),
    "part of codes": (
        ["train", "density=clustered", "density@density.part=ar_codes"],
        [
            "density=ar_codes learns latents that are codes, density=clustered hands over",
            "choose another part, e.g. density@density.part=nsf",
        ],
    ),
    "part without a likelihood": (
        ["train", "density=tr0n", "density@density.part=avb"],
        ["which density.part=avb does not have: choose another part"],
    ),
    "added experiment": (["train", "+experiment=demo"], ["write experiment=demo, without the +"]),
    "two suites": (["evaluate", "run=x", "evaluation=[quick,timing]"], ["one option only"]),
    "two suites, no list": (
        ["evaluate", "run=x", "evaluation=quick,timing"],
        ["one option only", "-m"],
    ),
    "loggers and none": (
        ["train", "logger=[csv,none]"],
        ["must list some of csv, mlflow, tensorboard, wandb, each once, not none"],
    ),
    "a logger twice": (["train", "logger=[csv,csv]"], ["each once"]),
    "an empty list of loggers": (["evaluate", "run=x", "logger=[]"], ["must list some of"]),
    "dashes": (["train", "--experiment=demo"], ["write experiment=..."]),
    "dashes and a blank": (["train", "--output", "outputs/x"], ["write output=..."]),
    "dashes of others": (["sample", "--n-samples", "5"], ["write n=..."]),
    "bare run": (["sample", "outputs/mine", "n=10"], ["did you mean run=outputs/mine?"]),
    "bare file": (["evaluate", "a.hdf5"], ["did you mean generated=a.hdf5?"]),
    "bare runs": (["report", "outputs/a"], ["did you mean runs=outputs/a?"]),
    "bare number": (["sample", "run=x", "100"], ["did you mean n=100?"]),
    "resolve alone": (["train", "--resolve"], ["--cfg job --resolve"]),
    "package alone": (["train", "--package", "encoder"], ["--cfg job --package"]),
    "no Slurm": (
        ["train", "-m", "experiment=demo", "seed=1", "hydra/launcher=submitit_slurm"],
        ["no srun is found here", "hydra/launcher=submitit_local"],
    ),
    "optuna": (["train", "-m", "seed=1", "hydra/sweeper=optuna"], ["-m key=1,2,3"]),
    "group of another verb": (["sample", "run=x", "encoder=vae"], ["only: train"]),
    "dataset of a report": (["report", "runs=x", "dataset=ds2"], ["has no such group"]),
    "evaluation of a training": (["train", "evaluation=quick"], ["write evaluate_after=SUITE"]),
    "evaluation of a sample": (["sample", "run=x", "evaluation=quick"], ["only: evaluate"]),
    "geometry": (["train", "geometry=ds2"], ["comes with dataset=NAME"]),
    "hydra's folder": (["train", "hydra.run.dir=foo"], ["is fixed", "output="]),
    "another directory": (["sample", "run=x", "n=1", "hydra.job.chdir=true"], ["is fixed"]),
    "version": (["version"], ["caloman --version"]),
    "empty path": (["train", "output="], ["output= is empty", "a path"]),
    "empty run": (["sample", "run=", "n=1"], ["run= is empty"]),
    "empty file": (["data", "check", "", "dataset=ds2"], ["file= is empty"]),
    "empty item": (["train", "dataset.train=['']"], ["dataset.train= is empty"]),
    "key in another language": (["train", "clé=3"], ["unknown key 'clé'"]),
    "null and a range": (["sample", "run=x", "n=ten"], ["an integer, 1 or more, or null"]),
    "completion": (["-sc", "instal=bash"], ["install=bash"]),
    "shell": (["-sc", "install=tcsh"], ["bash"]),
}


EPOCHS = [f"trainer.{stage}.epochs" for stage in ("energy", "encoder", "density")]
KEYS = [
    "output", "seed", "n", "encoder.latent_dim", "dataset.name", "dataset.geometry.name",
    *(f"trainer.{stage}.{key}" for stage in ("energy", "encoder", "density")
      for key in ("epochs", "lr", "batch_size")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (
            "trainer.epochs",
            EPOCHS,
        ),
        ("density.lr", ["trainer.density.lr"]),
        ("trainer.encoder.learning_rate", ["trainer.encoder.lr"]),
        ("latent_dim", ["encoder.latent_dim"]),
        ("max_epochs", EPOCHS),
        ("num", ["n"]),
        ("N", ["n"]),
        ("out", ["output"]),
        ("logger.name", []),
        ("nothing", []),
    ],
)
def test_a_key_is_found_by_its_last_name(given, found):
    assert elsewhere(given, KEYS) == found


@pytest.mark.parametrize("name", MISTAKES)
def test_one_line_that_helps(caloman, tmp_path, monkeypatch, name):
    monkeypatch.setattr("shutil.which", lambda name: None)
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "dataset=builtin_photons", "output=file"], "output=FOLDER/file is a file"),
        (["report", "runs=x", "output=file"], "output=FOLDER/file is a file"),
        (["data", "check", "x", "dataset=ds2", "out=folder"], "out=FOLDER/folder is a directory"),
        (["sample", "run=~nobody-here", "n=1"], "run=FOLDER/~nobody-here does not exist"),
    ],
)
def test_files_and_directories_in_each_others_place(caloman, tmp_path, arguments, said):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    result = caloman(*arguments)
    assert result.status == 2
    assert said.replace("FOLDER", str(tmp_path.resolve())) in result.err
    assert result.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("value", ["", None])
def test_an_empty_variable_is_unset(caloman, tmp_path, monkeypatch, value):
    for variable in ("CALOMAN_DATA", "CALOMAN_CACHE"):
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)
    seen = []
    monkeypatch.setattr("caloman_cli.verbs.train.run", lambda cfg: seen.append(cfg))
    assert caloman("train", "dataset=ds1_photons").status == 0
    assert seen[0].data_dir is None
    assert seen[0].cache_dir is None
    monkeypatch.setenv("CALOMAN_DATA", "here")
    assert caloman("train", "dataset=ds1_photons").status == 0
    assert seen[1].data_dir == str(tmp_path.resolve() / "here")
