"""``caloman config dump|validate|schema``."""

import json
import re

import pytest
import yaml
from omegaconf import OmegaConf

from caloman_cli.config.compose import CONF

EXPERIMENT = """# @package _global_
# What it is.
defaults:
  - override /encoder: pca
encoder:
  latent_dim: 5
trainer:
  encoder: {epochs: 3}
"""


def written(folder, text, name="mine.yaml"):
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    return path


def test_an_experiment_is_right(caloman, tmp_path):
    written(tmp_path, EXPERIMENT)
    result = caloman("config", "validate", "mine.yaml", "density=gmm")
    assert result.status == 0, result.err
    assert result.out.startswith("mine.yaml: ok: experiment=mine recipe=scales")
    assert {"encoder=pca", "density=gmm"} < {*result.out.split()}
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("latent_dim", "latnt_dim", "unknown key 'encoder.latnt_dim': did you mean 'latent_dim'"),
        ("pca", "pcb", "encoder=pcb does not exist: did you mean 'pca'?"),
        ("epochs: 3", "epochs: x", "trainer.encoder.epochs=x: must be an integer, 1 or more"),
        ("# @package _global_", "", "an experiment begins with the line '# @package _global_'"),
        ("trainer:", "trainer: {", "is no YAML that can be read"),
    ],
)
def test_what_is_wrong_with_an_experiment(caloman, tmp_path, old, new, said):
    written(tmp_path, EXPERIMENT.replace(old, new))
    result = caloman("config", "validate", "mine.yaml")
    assert result.status == 2
    assert said in result.err
    assert result.err.count("\n") == 1


def test_an_experiment_names_a_run_and_its_seed_and_what_is_typed_comes_first(caloman, tmp_path):
    own = "seed: 5\nname: my flow\ntags: [draft]\noutput: there\nevaluate_after: quick\n"
    written(tmp_path, EXPERIMENT + own, "experiment/mine.yaml")
    dump = ["config", "dump", "train", "--config-dir", str(tmp_path), "experiment=mine"]
    config = yaml.safe_load(caloman(*dump).out)
    assert {key: config[key] for key in yaml.safe_load(own)} == yaml.safe_load(own)
    assert config["encoder"]["latent_dim"] == 5
    assert yaml.safe_load(caloman(*dump, "seed=7").out)["seed"] == 7


def test_an_option_of_a_group(caloman, tmp_path):
    own = "_target_: caloman_cli.models.encoders.PCA\nlatent_dim: 4\n"
    written(tmp_path, own, "encoder/own.yaml")
    assert "encoder=own" in caloman("config", "validate", "encoder/own.yaml").out
    written(tmp_path, own + "x: 3\n", "encoder/own.yaml")
    assert "unknown key 'encoder.x'" in caloman("config", "validate", "encoder/own.yaml").err
    written(tmp_path, "name: mine\nextra: []\n", "evaluation/mine.yaml")
    result = caloman("config", "validate", "evaluation/mine.yaml", "evaluate", "run=x")
    assert "evaluation=mine" in result.out, result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["validate"], "needs the file"),
        (["validate", "nothing.yaml"], "nothing.yaml: no such YAML file"),
        (["dmp"], "unknown verb 'config dmp': did you mean 'dump'?"),
        (["schema", "trian"], "unknown verb 'trian': did you mean 'train'?"),
        (["schema", "train", "seed=1"], "takes a verb alone"),
        (["dump", "-m", "seed=1,2"], "leave -m out"),
        (["dump", "sed=1"], "unknown key 'sed': did you mean 'seed'?"),
    ],
)
def test_mistakes(caloman, tmp_path, arguments, said):
    result = caloman("config", *arguments)
    assert (result.status, said in result.err) == (2, True), result.err


def test_a_dump_is_no_experiment(caloman, tmp_path):
    """The help does not say so, and who tries is told what an experiment is."""
    (tmp_path / "demo.yaml").write_text(caloman("config", "dump", "experiment=demo").out)
    result = caloman("config", "validate", "demo.yaml")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "demo.yaml is what config dump printed, to look at: an experiment has" in result.err
    assert "> demo.yaml" not in caloman("config", "--help").out


def test_a_dump_is_the_resolved_config(caloman):
    dumped = OmegaConf.create(caloman("config", "dump", "experiment=demo", "seed=7").out)
    assert (dumped.seed, dumped.dataset.name, "hydra" in dumped) == (7, "builtin_photons", False)
    assert dumped.output.startswith("outputs/train/builtin_photons/")
    assert "${" not in caloman("config", "dump", "data", "check", "dataset=ds2").out
    assert "run: ???" in caloman("config", "dump", "sample").out
    assert "config validate" in caloman("--help").out
    assert "yaml-language-server" in caloman("config").out


def complaints(value, schema):
    """Why a schema refuses a value: of JSON schema what ours are made of."""
    if "anyOf" in schema:
        found = [complaints(value, option) for option in schema["anyOf"]]
        return [] if any(not these for these in found) else min(found, key=len)
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool,
             "null": type(None), "number": int | float}  # fmt: skip
    kind = schema.get("type")
    if kind and (
        not isinstance(value, kinds[kind]) or isinstance(value, bool) != (kind == "boolean")
    ):
        return [f"{value} is no {kind}"]
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        return [f"{value} is another word"]
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return [f"{value} looks otherwise"]
    if "minimum" in schema and value < schema["minimum"]:
        return [f"{value} is too small"]
    if isinstance(value, list):
        return [bad for item in value for bad in complaints(item, schema.get("items", {}))]
    found = []
    for key, item in value.items() if isinstance(value, dict) else ():
        known = schema.get("properties", {})
        if key in known:
            found += complaints(item, known[key])
        elif schema.get("additionalProperties") is False:
            found.append(f"unknown {key}")
    return found


@pytest.fixture(scope="module")
def train_schema():
    from caloman_cli.config.json_schema import json_schema

    return json.loads(json.dumps(json_schema("train")))


def test_a_schema_takes_every_file_of_the_package(train_schema):
    files = [
        path
        for group in ("experiment", "recipe", "debug")
        for path in (CONF / group).glob("*.yaml")
    ]
    assert len(files) > 40
    for path in files:
        assert not complaints(yaml.safe_load(path.read_text()) or {}, train_schema), path
    assert not complaints(yaml.safe_load(EXPERIMENT), train_schema)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"encoder": {"latnt_dim": 3}}, "unknown latnt_dim"),
        ({"trainer": {"encoder": {"epochs": "x"}}}, "x is no integer"),
        ({"trainer": {"encoder": {"epochs": 0}}}, "0 is too small"),
        ({"seed": -1}, "-1 is too small"),
        ({"sead": 1}, "unknown sead"),
        ({"dataset": {"limit": 2.5}}, "2.5 is no integer"),
    ],
)
def test_a_schema_refuses_what_a_check_refuses(train_schema, wrong, said):
    assert said in complaints(wrong, train_schema)


def test_a_schema_says_what_editors_show(train_schema):
    known = train_schema["properties"]
    assert known["seed"]["description"].startswith("of the split, the initial weights")
    options = known["defaults"]["items"]["anyOf"][1]["properties"]["override /encoder"]
    assert {"pca", "vae"} <= {*options["anyOf"][0]["enum"]}
    assert (
        "caloman_cli.models.encoders.PCA"
        in known["encoder"]["properties"]["_target_"]["anyOf"][0]["enum"]
    )
