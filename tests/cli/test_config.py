"""The check of configs against constructors and schemas."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import pytest
from annotated_types import MinLen
from omegaconf import OmegaConf

from caloman_cli.config import compose as config
from caloman_cli.config import schema
from caloman_cli.config.check import check_config
from caloman_cli.config.compose import CONF
from caloman_cli.config.options import known_options, option_of
from caloman_cli.config.targets import PLACES
from caloman_cli.config.values import Count, Positive, Share, checked, fits, spell
from caloman_cli.errors import UserError
from caloman_cli.models.densities.flow_map import FlowMap
from caloman_cli.models.encoders.base import Encoder


class Part:
    """What a nested ``_target_`` names: at least this class."""


class Ring(Part):
    def __init__(self, size: int, *, geometry: str) -> None: ...


class Model(Encoder):
    """A constructor as groups have them: hyper-parameters, then what is given at build time."""

    def __init__(
        self,
        hidden: list[int],
        rate: float = 0.1,
        kind: Literal["a", "b"] = "a",
        latent: int | Literal["auto"] = "auto",
        few: Count = 3,
        some: Annotated[list[int], MinLen(1)] | None = None,
        parts: list[Callable[..., Part]] | None = None,
        early: Part | None = None,
        *,
        x_dim: int,
    ) -> None: ...


GOOD = {"_target_": f"{__name__}.Model", "hidden": [3, 4]}
PART = {"_target_": f"{__name__}.Ring", "size": 3}


@pytest.fixture
def check(monkeypatch):
    """Check one group ``encoder`` of a verb that has nothing else."""
    described = type("Verb", (), {"__annotations__": {"encoder": schema.Target}})
    from dataclasses import dataclass

    monkeypatch.setitem(schema.VERBS, "verb", dataclass(described))

    def run(encoder) -> None:
        check_config(OmegaConf.create({"encoder": encoder}), "verb", {"encoder": "mine"})

    return run


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"rate": 1},
        {"kind": "b", "latent": 3},
        {"latent": "auto"},
        {"parts": [PART]},
        {"parts": None},
    ],
)
def test_what_the_signature_takes(check, more):
    check({**GOOD, **more})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"hiden": 3}, "unknown key 'encoder.hiden': did you mean 'hidden'"),
        ({"x_dim": 3}, "unknown key 'encoder.x_dim'"),
        ({"hidden": 3}, "encoder.hidden=3: must be a list"),
        ({"hidden": ["a"]}, "encoder.hidden"),
        ({"rate": "fast"}, "encoder.rate=fast: must be a number"),
        ({"rate": True}, "must be a number"),
        ({"kind": "c"}, "encoder.kind=c: must be a, b"),
        ({"latent": "aut"}, "encoder.latent=aut: must be an integer or auto"),
        ({"latent": 2.5}, "encoder.latent=2.5"),
        ({"latent": {"a": 1}}, "encoder.latent={'a': 1}: must be an integer or auto"),
        ({"few": {"a": 1}}, "encoder.few={'a': 1}: must be an integer, 1 or more"),
        (
            {"some": [1, "b"]},
            r"some=\[1, 'b'\]: must be a list \[an integer, .*, 1 or more of them",
        ),
        ({"some": []}, r"encoder.some=\[\]: must be a list"),
        ({"parts": [{**PART, "sise": 3}]}, r"unknown key 'encoder.parts\[0\].sise'"),
        ({"parts": [{"_target_": PART["_target_"]}]}, r"missing key encoder.parts\[0\].size"),
        ({"_target_": "caloman_cli.models.encoders.Nothing"}, "is no public Encoder"),
        ({"_target_": "nowhere.to_be.Found"}, "cannot be imported"),
        ({"_target_": PART["_target_"]}, "is no Encoder"),
        ({"parts": [{"_target_": GOOD["_target_"]}]}, r"parts\[0\]._target_=.* is no Part"),
        ({"early": PART}, r"encoder.early: Ring needs geometry, known when the model is built"),
        ({"_convert_": "all"}, "unknown key 'encoder._convert_'"),
        ({"rate": {"_target_": "os.system"}}, "encoder.rate._target_=os.system: nothing may be"),
    ],
)
def test_what_it_does_not_take_is_named_with_its_option(check, more, said):
    with pytest.raises(UserError, match=said) as raised:
        check({**GOOD, **more})
    assert "[encoder=mine]" in str(raised.value)


def test_a_missing_argument_is_named(check):
    with pytest.raises(UserError, match=r"missing key encoder.hidden"):
        check({"_target_": GOOD["_target_"]})


def test_a_group_needs_a_target(check):
    with pytest.raises(UserError, match="no _target_"):
        check({"hidden": [3]})


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (True, int, False),
        (1, float, True),
        ("1", float, False),
        (None, int | None, True),
        ([1, 2], tuple[int, ...], True),
        ([1, 2], tuple[int, int, int], False),
        ({"a": 1.0}, dict[str, float], True),
        ({"a": "b"}, dict[str, float], False),
        ("a/b", Path, True),
        (0, Count, False),
        ("true", bool, False),
        (float("nan"), float, False),
        (float("inf"), Positive, False),
        (1, Share, False),
        ({}, Part, False),
        ([1], list[Part], False),
    ],
)
def test_values_and_annotations(value, annotation, expected):
    assert fits(value, annotation) is expected
    assert spell(annotation)


def test_paths_become_absolute_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    cfg = config.compose(
        "data_check", ["file=a/../b.h5", "dataset=ds2", "dataset.train=['~/c.h5',d.h5]"]
    )
    config.absolute_paths(cfg, "data_check")
    assert cfg.file == str(tmp_path.resolve() / "b.h5")
    assert cfg.dataset.train == ["/home/me/c.h5", str(tmp_path.resolve() / "d.h5")]
    assert cfg.out is None


def test_every_key_of_every_verb_has_a_meaning_and_a_schema():
    for verb, described in schema.VERBS.items():
        cfg = OmegaConf.load(config.CONF / f"{verb}.yaml")
        own = {key for key in cfg if key not in ("defaults", "hydra")}
        assert own <= set(described.__annotations__), verb
        assert own <= {name.split(".")[0] for name in config.meanings(verb)}, verb


def test_a_constructor_keeps_to_its_annotations():
    @checked
    class Sizes:
        def __init__(self, n: Count, rate: Share | None = None, *, built: object = 0) -> None:
            self.n, self.rate = n, rate

    class Larger(Sizes):
        """A class inherits the check with the constructor."""

    assert Sizes(3, built=-1).n == 3
    assert Larger(n=3, rate=0.5).rate == 0.5
    assert Sizes(object()).n is not None  # no plain value: what it may be is its own business
    with pytest.raises(UserError, match=r"^Larger: n=0: must be an integer, 1 or more$"):
        Larger(0)
    with pytest.raises(UserError, match="rate=1: must be a number, between 0 and 1, or null"):
        Sizes(3, rate=1)
    with pytest.raises(UserError, match="n=3.5"):
        Sizes(3.5)
    with pytest.raises(TypeError):
        Sizes()


@pytest.mark.parametrize("group", ["preprocess", "energy", "encoder", "head", "density"])
def test_messages_call_a_class_as_the_command_line_does(group):
    """Of several options of one class, the one that is called as it is, or the shortest."""
    room = import_module(PLACES[group].room)
    options = known_options(group)
    assert set(options) == {path.stem for path in (CONF / group).glob("*.yaml")}
    found = set()
    for name in options.values():
        kind = getattr(room, name)
        option = option_of(group, kind.__new__(kind))
        assert options[option] == name
        found.add(option)
    assert len(found) == len(set(options.values()))
    known = {"encoder": {"vae", "vqvae"}, "density": {"nsf", "ar_codes"}, "head": {"cylinder"}}
    assert known.get(group, set()) <= found


def test_a_class_that_no_option_names_has_its_own_name():
    class NSF:
        """Of somebody else."""

    assert option_of("density", NSF()) == "NSF"
    assert option_of("density", FlowMap.__new__(FlowMap)) == "FlowMap"
