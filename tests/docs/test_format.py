"""Every key of every file that caloman writes is described in ``docs/format.md``."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest
import torch
from omegaconf import OmegaConf

from caloman_cli.cli.main import main
from tests.docs.pages import ROOT

PAGE = ROOT / "docs/format.md"
FILES = (
    "A file of showers", "index.json", "metrics.json", "histograms.json", "config.yaml",
    "status.json", "provenance.json", "history.jsonl", "latents.h5", "model.pt",
)  # fmt: skip


def described(title: str) -> dict[str, str]:
    """Keys of one section's table -> what they are."""
    section = PAGE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| (.*) \|$", section, re.MULTILINE))


def pattern(key: str) -> re.Pattern[str]:
    """What a described key stands for; a name may hold what a key may."""
    text = re.escape(key.removesuffix(".*").removesuffix("[]"))
    text = re.sub(r"<\w+>", "[^/]+", text) + (r"(\[\])?" if key.endswith("[]") else "")
    return re.compile(text + (r"(\..*|\[\].*)?" if key.endswith(".*") else ""))


def keys(value: object, where: str = "") -> Iterator[str]:
    """Every key that has a value, with dots where nested."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from keys(inner, f"{where}.{name}" if where else str(name))
    elif isinstance(value, list):
        for inner in value or [None]:
            yield from keys(inner, f"{where}[]")
    else:
        yield where


def contents(path: Path) -> Iterator[dict]:
    """What a file holds, as plain values."""
    if path.suffix == ".jsonl":
        yield from map(json.loads, path.read_text().splitlines())
    elif path.suffix == ".json":
        yield json.loads(path.read_text())
    elif path.suffix == ".yaml":
        yield OmegaConf.to_container(OmegaConf.load(path))
    elif path.suffix == ".pt":
        yield torch.load(path, weights_only=True)
    else:
        with h5py.File(path) as file:
            named = {"attributes": dict.fromkeys(file.attrs)} if file.attrs else {}
            yield {**dict.fromkeys(file), **named}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One run with a sample and an evaluation: section of the page -> files."""
    folder = tmp_path_factory.mktemp("format")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("CALOMAN_CACHE", str(folder / "cache"))
        small = ["dataset.builtin.n_train=120", "dataset.builtin.n_reference=100"]
        parts = ["recipe=none", "encoder=pca", "head=gaussian", "encoder.latent_dim=3"]
        epochs = ["trainer.energy.epochs=2", "trainer.density.epochs=2"]
        run = ["dataset=builtin_photons", *small, *parts, *epochs, "output=run"]
        assert main(["train", *run]) == 0
        assert main(["sample", "run=run", "n=5"]) == 0
        assert main(["data", "generate", "dataset=builtin_photons", "n=8", "out=made.hdf5"]) == 0
        assert main(["sample", "run=run", "energies=made.hdf5"]) == 0
        assert main(["sample", "run=run", "n=4", "energy=4096", "shards=2", "out=shards"]) == 0
        assert main(["data", "split", "made.hdf5", "dataset=ds1_photons", "out=parts"]) == 0
        suite = ["evaluation=only", "metric=[separation,correlation]"]
        plain = ["evaluation.separation.plots=none", "evaluation.correlation.plot=false"]
        assert main(["evaluate", "run=run", *suite, *plain, "output=scores"]) == 0
    found = {name: [folder / "run" / name] for name in FILES}
    for name in ("metrics.json", "histograms.json"):
        found[name] = [folder / "scores" / name]
    found["A file of showers"] = sorted((folder / "run/samples").iterdir())
    assert len(found["A file of showers"]) == 3
    found["A file of showers"] += [folder / "made.hdf5", folder / "parts/train.hdf5"]
    found["A file of showers"] += sorted((folder / "shards").glob("*.hdf5"))
    found["index.json"] = [folder / "shards/index.json"]
    return found


@pytest.mark.parametrize("title", FILES)
def test_every_key_is_described_and_none_that_is_not_there(written, title):
    known = described(title)
    patterns = {key: pattern(key) for key in known}
    seen: set[str] = set()
    for path in written[title]:
        for content in contents(path):
            for key in keys(content):
                # A key that is null or empty today stands for all that may be below it.
                fits = {
                    name
                    for name, form in patterns.items()
                    if form.fullmatch(key) or re.match(rf"{re.escape(key)}[.\[]", name)
                }
                assert fits, f"{title}: {key} is not described"
                seen |= fits
            if "format" in content:
                assert known["format"] == str(content["format"])
    missing = {key for key, means in known.items() if key not in seen and "where" not in means}
    assert not missing, f"{title} has no {missing}"


def test_a_key_that_nobody_described_is_found():
    assert pattern("scores[].conditions.<setting>").fullmatch("scores[].conditions.readout cut")
    assert pattern("settings.*").fullmatch("settings.evaluation.extra[]")
    assert not pattern("scores[].key").fullmatch("scores[].keys")
    assert not pattern("format").fullmatch("formats")
    assert list(keys({"a": {"b": [{"c": 1}, 2]}, "d": []})) == ["a.b[].c", "a.b[]", "d[]"]
