"""Paths of any language and with any sign come through Hydra's grammar as they were typed."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hypothesis import given
from hypothesis import strategies as st

from caloman_cli.config.compose import absolute_paths, compose, text_keys
from caloman_cli.config.paths import expanded, matching, readable

TEXTS = {"out": False, "train": True}


def value(argument):
    return OverridesParser.create().parse_override(readable(argument, TEXTS)).value()


NAMES = [
    "données.hdf5", "光子.hdf5", "a'b.hdf5", 'a"b.hdf5', "a;b.hdf5", "a&b!.hdf5", "a[1].hdf5",
    "a b.hdf5", "a=b.hdf5", "a(1).hdf5", "{a}.hdf5", "a^b", "<a>", "`a`", "~a.hdf5", "~/x.hdf5",
    "a\\b", "a\\", "\\'", "#1", "1", "true", "1e5", "a:b", "$a", "-", "a ", "Käse", "[a", "a]",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_a_text(name):
    assert value(f"out={name}") == name
    if "]" not in name:
        assert value(f"train=[x.hdf5,{name}]") == ["x.hdf5", name.strip()]


@given(st.text(st.characters(exclude_characters=",", exclude_categories=["Cs"]), min_size=1))
def test_any_text_without_a_comma(name):
    """But quotes around the whole, null, what is resolved later and functions of Hydra's."""
    own = name[0] in "'\"" and name[-1] == name[0] and len(name) > 1
    if own or name.lower() == "null" or "${" in name or name.strip()[-1:] == ")":
        return
    assert value(f"out={name}") == name


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("out='a,b'", "a,b"),
        ('out="a b"', "a b"),
        ("out=null", None),
        ("out=${seed}", "${seed}"),
        ("train=['a,b',é]", ["a,b", "é"]),
        ("train=[]", []),
        ("train=[1,a[1].h5]", ["1", "a[1].h5"]),
        ("seed=3", 3),
        ("seed=[1,2]", [1, 2]),
        ("logger.name=été", "été"),
    ],
)
def test_what_is_left_or_quoted_part_by_part(argument, expected):
    assert value(argument) == expected


def _plain(item):
    if isinstance(item, list):
        return [_plain(part) for part in item]
    return item.text if isinstance(item, QuotedString) else item


def test_the_values_of_a_multirun_stay_apart():
    for argument, expected in (
        ("out=é(1),b", ["é(1)", "b"]),
        ("out=1,2", ["1", "2"]),
        ("train=[é],[a,'b c']", [["é"], ["a", "b c"]]),
    ):
        override = OverridesParser.create().parse_override(readable(argument, TEXTS))
        found = [_plain(item) for item in override.sweep_iterator()]
        assert found == expected


def test_an_unknown_home_is_a_name(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert str(expanded("~nobody-here.hdf5")) == "~nobody-here.hdf5"
    assert str(expanded("~/a")) == "/home/me/a"


def test_nested_paths_are_known():
    keys = text_keys("train")
    assert keys["dataset.train"]
    assert not keys["dataset.geometry_xml"]
    assert not keys["output"]
    cfg = compose("train", [readable("dataset.train=[a(1).hdf5,é]", keys)])
    assert list(cfg.dataset.train) == ["a(1).hdf5", "é"]


def test_a_list_of_files_may_hold_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["b1.hdf5", "b2.hdf5", "c[1].hdf5", "c1.hdf5"]
    for name in names:
        (tmp_path / name).touch()
    typed = "dataset.train=['b?.hdf5','c[1].hdf5','none*.hdf5',b1.hdf5]"
    cfg = compose("train", ["experiment=demo", "output=x", typed])
    absolute_paths(cfg, "train")
    expected = ["b1.hdf5", "b2.hdf5", "c[1].hdf5", "none*.hdf5", "b1.hdf5"]
    assert cfg.dataset.train == [str(tmp_path / name) for name in expected]


@pytest.mark.parametrize("pattern", ["a**b", "\0*", "x" * 5000 + "*"])
def test_what_is_no_pattern_matches_nothing(pattern):
    assert matching(pattern) == []
