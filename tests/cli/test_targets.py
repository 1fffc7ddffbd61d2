"""What files name is built only where it is the package's own, or named on the command line."""

import copy
import os
import re
import subprocess
import sys

import pytest
import torch
from omegaconf import OmegaConf

from caloman_cli.config.targets import PLACES, constructor, locate, trusting
from caloman_cli.errors import UserError
from caloman_cli.models.latents import Latents
from caloman_cli.models.two_step import load_model

CANARY = """
import pathlib
import sys
from caloman_cli.models.encoders.ae import AE
from caloman_cli.models.heads.base import Head
sys.canaries.append("imported")
def call(*arguments, **more):
    sys.canaries.append("called")
class Foreign:
    __init__ = call
class Mine(AE):
    pass
"""


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A module ``canary`` that sings when it is imported or called; processes sing, too."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/canary.py").write_text(CANARY)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    sung: list[str] = []
    monkeypatch.setattr(sys, "canaries", sung, raising=False)
    monkeypatch.delitem(sys.modules, "canary", raising=False)
    monkeypatch.setattr(os, "system", lambda *_: sung.append("system"))
    yield sung
    sys.modules.pop("canary", None)


@pytest.fixture(scope="module")
def content(run_dir):
    """A good model file."""
    return torch.load(run_dir / "model.pt", weights_only=True)


SHELL = {"_target_": "os.system", "command": "id > PROOF"}
SYMPY = {"_target_": "sympy.sympify", "a": "__import__('os').system('id > PROOF')"}
HOSTILE = [
    ("encoder", "os.system"),
    ("encoder", "subprocess.Popen"),
    ("density", "sympy.sympify"),
    ("density", "joblib.load"),
    ("head", "torch.load"),
    ("energy", "numpy.save"),
    ("calibration", "logging.FileHandler"),
    ("preprocess", "urllib.request.urlretrieve"),
    ("preprocess", "builtins.eval"),
    ("encoder", "builtins.exec"),
    ("encoder", "canary.call"),
    ("encoder", "canary.Foreign"),
    ("encoder", "canary.Mine"),  # keeps the contract, but nobody has named it
    ("encoder", "hydra.utils.instantiate"),
    ("encoder", "hydra._internal.utils._locate"),
    ("encoder", "caloman_cli.data.files.os.system"),
    ("encoder", "caloman_cli.data.files.save_state"),
    ("encoder", "caloman_cli.verbs.train.run"),
    ("encoder", "caloman_cli.models.encoders.ae.torch.load"),
    ("encoder", "caloman_cli.models.encoders.vae.os.system"),
    ("encoder", "caloman_cli.models.encoders.Head"),
    ("encoder", "caloman_cli.models.encoders.Encoder"),
    ("encoder", "caloman_cli.models.encoders.VAE.__init__"),
    ("encoder", "caloman_cli.models.encoders..os.system"),
    ("encoder", "caloman_cli.models.encoders"),
    ("encoder", "caloman_cli.encodersX.vae.VAE"),
    ("encoder", "caloman_cli.models.densities.NSF"),
    ("density", "caloman_cli.models.densities.flow._Flow"),
    ("density", "caloman_cli.models.densities.Nothing"),
    ("encoder", "${oc.env:HOME}"),
    ("encoder", ["os.system"]),
    ("encoder", None),
    ("encoder", "a" * 10_000),
    ("encoder", "os.system\nINFO all is well"),
    ("encoder.hidden", SHELL),
    ("encoder.hidden", [SHELL]),
    ("encoder.hidden", [[{"deep": SHELL}]]),
    ("encoder.latent_dim", SYMPY),
    ("encoder.latent_dim", {"_args_": ["id"], "_target_": "os.system"}),
    ("encoder.latent_dim", {"_partial_": True}),
    ("encoder.latent_dim", "${oc.env:HOME}"),
    ("encoder.latent_dim", "${oc.create:{a:1}}"),
    ("encoder._convert_", "all"),
    ("encoder._recursive_", False),
    ("encoder._partial_", True),
    ("encoder._args_", [1]),
    ("encoder.x_dim", 3),
    ("encoder.head", {"_target_": "caloman_cli.models.heads.Gaussian"}),
    ("preprocess.transforms", [SHELL]),
    (
        "preprocess.transforms",
        [{"_target_": "caloman_cli.models.encoders.VAE", "latent_dim": 3}],
    ),
    ("preprocess.conditions", SYMPY),
    ("preprocess.conditions.floor", SHELL),
    ("encoder.latent_dim", 10**9),
    ("encoder.hidden", [10**12]),
    ("energy.hidden", 10**15),
    ("seed", "${oc.env:HOME}"),
    ("output", "${oc.env:HOME}/x"),
]


def spoiled(content, key, value):
    """A model file's content with one value of its config replaced."""
    evil = copy.deepcopy(content)
    if not isinstance(value, str | list | None) or "." in key or key in ("seed", "output"):
        parent, _, last = key.rpartition(".")
    else:
        parent, last = key, "_target_"
    node = evil["config"]
    for name in filter(None, parent.split(".")):
        node = node[name]
    node[last] = value
    return evil


@pytest.mark.parametrize(("key", "value"), HOSTILE, ids=lambda x: str(x)[:60].replace("\n", " "))
def test_a_model_file_calls_nothing_foreign(content, canary, tmp_path, monkeypatch, key, value):
    monkeypatch.setenv("HOME", "SECRET")
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: canary.append("Popen"))
    torch.save(spoiled(content, key, value), tmp_path / "evil.pt")
    with pytest.raises(UserError, match=r"evil\.pt") as caught:
        load_model(tmp_path / "evil.pt")
    assert canary == []
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))
    assert "SECRET" not in str(caught.value)
    assert not (tmp_path / "PROOF").exists()


@pytest.mark.parametrize("verb", ["sample", "evaluate", "distill"])
def test_verbs_refuse_such_a_model_in_one_line(caloman, content, canary, files, tmp_path, verb):
    (tmp_path / "model.pt").write_bytes(b"")
    torch.save(spoiled(content, "encoder", "canary.Mine"), tmp_path / "evil.pt")
    rest = {
        "sample": ["n=1", "out=x.hdf5"],
        "evaluate": ["dataset=ds1_photons", f"reference={files['reference']}", "output=e"],
        "distill": ["output=d"],
    }[verb]
    done = caloman(verb, f"run={tmp_path / 'evil.pt'}", *rest)
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert "canary.Mine" in done.err
    assert "trust=[canary.Mine]" in done.err
    assert canary == []
    assert not {"x.hdf5", "e", "d"} & {path.name for path in tmp_path.iterdir()}


def test_the_command_line_may_trust_a_class_of_ones_own(caloman, content, canary, tmp_path):
    torch.save(spoiled(content, "encoder", "canary.Mine"), tmp_path / "mine.pt")
    done = caloman("sample", "run=mine.pt", "n=3", "out=x.hdf5", "trust=[canary.Mine]")
    assert done.status == 0, done.err
    assert canary == ["imported"]
    for wrong in ("canary.Foreign", "canary.call", "canary.Nobody", "nowhere.Mine"):
        torch.save(spoiled(content, "encoder", wrong), tmp_path / "wrong.pt")
        done = caloman("sample", "run=wrong.pt", "n=3", f"trust=[{wrong}]")
        assert done.status == 2
        assert done.err.count("\n") == 1
    assert canary == ["imported"]


def test_settings_that_are_no_sizes_may_be_large(content, tmp_path):
    large = copy.deepcopy(content)
    large["config"]["calibration"] = {
        "_target_": "caloman_cli.models.calibrations.VoxelSpectrum", "showers": 10**9,
    }  # fmt: skip
    torch.save(large, tmp_path / "large.pt")
    with pytest.raises(UserError, match="does not fit this"):  # its tables are not there
        load_model(tmp_path / "large.pt")


def write(folder, group, option, **values):
    """An option of a config group, or a primary config, in a folder of the user's."""
    path = folder / group / f"{option}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = OmegaConf.to_yaml(OmegaConf.create(values))
    path.write_text(("# @package _global_\n" if group == "experiment" else "") + text)


def test_train_takes_a_class_from_the_users_own_configs(caloman, canary, tmp_path):
    """Checked up to the missing file, which comes after the model was built once."""
    write(tmp_path / "mine", "encoder", "mine", _target_="canary.Mine", latent_dim=3, hidden=[4])
    for words in (
        ["--config-dir", "mine", "encoder=mine"],
        ["encoder=ae", "encoder._target_=canary.Mine"],
    ):
        done = caloman("train", "dataset=ds1_photons", "dataset.train=[no.hdf5]", *words)
        assert "no.hdf5 does not exist" in done.err
        assert done.status == 2
    assert canary == ["imported"]


CALLBACK = {"hydra": {"callbacks": {"x": SHELL}}}
PLUGIN = {"hydra": {"sweeper": {"params": None, "_target_": "canary.call"}}}
FACTORY = {"hydra": {"job_logging": {"formatters": {"plain": {"()": "canary.call"}}}}}


@pytest.mark.parametrize(
    ("values", "many"),
    [
        ({"encoder": {"_target_": "os.system"}}, []),
        ({"encoder": {"hidden": SHELL}}, []),
        ({"encoder": {"hidden": [SHELL]}}, []),
        ({"logger": {"_target_": "canary.call"}}, []),
        ({"logger": {"_target_": "canary.Foreign"}}, ["-m"]),
        ({"preprocess": {"transforms": [SHELL]}}, []),
        ({"dataset": {"validation_fraction": SYMPY}}, []),
        ({"dataset": {"geometry": {"layers": [SHELL]}}}, []),
        ({"trainer": {"encoder": {"epochs": SHELL}}}, []),
        (CALLBACK, []),
        (CALLBACK, ["-m"]),
        ({"hydra": {"mode": "MULTIRUN", "callbacks": {"x": SHELL}}}, []),
        ({"hydra": {"launcher": SHELL}}, ["-m"]),
        (PLUGIN, []),
        (PLUGIN, ["-m"]),
        (FACTORY, []),
        (FACTORY, ["-m"]),
        ({"hydra": {"job_logging": {"handlers": {"console": {"class": "canary.Foreign"}}}}}, []),
        (
            {"hydra": {"hydra_logging": {"handlers": {"console": {"stream": "ext://canary.x"}}}}},
            [],
        ),
    ],
    ids=str,
)
def test_a_folder_of_configs_calls_nothing(caloman, canary, tmp_path, values, many):
    write(tmp_path / "theirs", "experiment", "nice", **values)
    done = caloman("train", *many, "--config-dir", "theirs", "experiment=nice", "output=out")
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert set(canary) <= {"imported"}
    assert not (tmp_path / "PROOF").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [SHELL, {"_target_": "canary.call"}, {"_target_": "torch.load"}])
def test_a_metric_is_a_metric(caloman, files, canary, tmp_path, value):
    write(tmp_path / "theirs", "evaluation", "nice", name="nice", extra=[value])
    done = caloman(
        "evaluate", "--config-dir", "theirs", "evaluation=nice", "dataset=ds1_photons",
        f"generated={files['generated']}", f"reference={files['reference']}", "output=out",
    )  # fmt: skip
    assert done.status == 2
    assert "is no Metric" in done.err
    assert done.err.count("\n") == 1
    assert set(canary) <= {"imported"}
    assert not (tmp_path / "out").exists()


def test_the_config_of_a_run_is_plain_data(caloman, files, run_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "leaked")
    stored = (run_dir / "config.yaml").read_text()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/model.pt").write_bytes((run_dir / "model.pt").read_bytes())
    text = stored.replace("name: ds1_photons", "name: ${oc.env:SECRET}", 1)
    assert text != stored
    (tmp_path / "run/config.yaml").write_text(text)
    done = caloman("evaluate", "run=run", "evaluation=timing", "output=out")
    assert done.status == 2
    assert "config.yaml" in done.err
    assert done.err.count("\n") == 1
    assert "leaked" not in done.err + done.out


def test_names_of_the_package_keep_their_contract():
    assert locate("caloman_cli.evaluation.components.Separation", PLACES["evaluation"], "x")
    assert locate("caloman_cli.models.densities.FlowMap", PLACES["density"], "x")
    made = constructor({"_target_": "caloman_cli.loggers.NoLogger"}, PLACES["logger"], "logger")
    assert type(made()).__name__ == "NoLogger"
    with trusting(["os.system"]), pytest.raises(UserError, match="is no Logger"):
        constructor({"_target_": "os.system"}, PLACES["logger"], "logger")


NESTED = """
from collections.abc import Callable, Sequence
from torch import nn
from caloman_cli.models.densities.base import Density

class Net(nn.Module):
    def __init__(self, width: int = 8, *, dim: int) -> None:
        super().__init__()
        self.layer = nn.Linear(dim, width)

class Mixture(Density):
    def __init__(
        self,
        part: Callable[..., Density],
        more: Sequence[Callable[..., Density]] = (),
        net: Callable[..., nn.Module] | None = None,
        early: Density | None = None,
        **dims,
    ) -> None:
        super().__init__(**dims)
        self.parts = nn.ModuleList([made(**dims) for made in (part, *more)])
        self.net = None if net is None else net(dim=self.c_dim)
"""
NSF = {"_target_": "caloman_cli.models.densities.NSF", "n_layers": 1, "hidden": 8}
NET = {"_target_": "nested.Net", "width": 5}
MIXTURE = {"_target_": "nested.Mixture"}


@pytest.fixture
def nested(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/nested.py").write_text(NESTED)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    monkeypatch.delitem(sys.modules, "nested", raising=False)
    yield
    sys.modules.pop("nested", None)


def test_what_is_nested_is_built_with_what_only_the_model_knows(nested):
    node = {**MIXTURE, "part": NSF, "more": [NSF, NSF], "net": NET}
    with trusting(["nested.Mixture", "nested.Net"]):
        made = constructor(node, PLACES["density"], "density")(latents=Latents(3), c_dim=2)
    assert [part.z_dim for part in made.parts] == [3, 3, 3]
    assert [part.hidden for part in made.parts] == [8, 8, 8]
    assert tuple(made.net.layer.weight.shape) == (5, 2)


MISTAKES = [
    ({"part": {**NSF, "n_layer": 1}}, r"density\.part\.n_layer.*n_layers"),
    ({"part": {**NSF, "n_layers": "many"}}, r"density\.part\.n_layers=many: must be an integer"),
    ({"part": NSF, "more": [{**NSF, "hidden": 0.5}]}, r"density\.more\[0\]\.hidden=0\.5"),
    ({"part": NET}, r"density\.part\._target_=nested\.Net is no Density"),
    ({"part": NSF, "net": NSF, "early": NSF}, r"density\.early: NSF needs .*c_dim, known when"),
]


@pytest.mark.parametrize(("settings", "message"), MISTAKES, ids=str)
def test_mistakes_of_what_is_nested_are_found_before_anything_is_built(
    caloman, nested, tmp_path, settings, message
):
    write(tmp_path / "mine", "density", "mine", **MIXTURE, **settings)
    done = caloman(
        "train", "--config-dir", "mine", "density=mine", "dataset=ds1_photons",
        "dataset.train=[no.hdf5]", "output=out",
    )  # fmt: skip
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert re.search(message, done.err), done.err
    with trusting(["nested.Mixture", "nested.Net"]), pytest.raises(UserError, match="density"):
        constructor({**MIXTURE, **settings}, PLACES["density"], "density")
