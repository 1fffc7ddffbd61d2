"""``run=pretrained:NAME``: the model that comes along, and those of a registry."""

import hashlib
import shutil
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from caloman_cli.runs import pretrained

GOLDEN = Path(__file__).parents[1] / "assets" / "pretrained_photons.npz"
ENTRY = "models:\n  mine:\n    doi: 10.1234/example.5\n    record: 5\n    file: mine.pt\n"


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """Write a registry and have it read."""

    def write(text):
        path = tmp_path / "models.yaml"
        path.write_text(text)
        monkeypatch.setenv(pretrained.REGISTRY, str(path))

    return write


def test_showers_at_once(caloman, tmp_path):
    """A model that comes along draws the showers that it drew where it was made."""
    result = caloman("sample", "run=pretrained:photons", "n=40", "seed=3", "out=x.hdf5")
    assert result.status == 0, result.err
    with h5py.File(tmp_path / "x.hdf5") as file, np.load(GOLDEN) as golden:
        np.testing.assert_allclose(file["incident_energies"][:], golden["incident_energies"])
        # Where rounding decides whether a voxel is lit, another machine may say otherwise.
        assert np.isclose(file["showers"][:], golden["showers"], rtol=1e-3).mean() > 0.99
    files = (pretrained.SHIPPED / "photons").iterdir()
    assert (
        sum(len(zlib.compress(path.read_bytes())) for path in files) <= 2_000_000
    )  # as in a wheel
    assert (tmp_path / "outputs/pretrained/photons/config.yaml").is_file()
    again = caloman("sample", "run=pretrained:photons", "n=40")
    assert again.status == 0
    assert (tmp_path / "outputs/pretrained/photons/samples/n40_seed1.hdf5").is_file()


def test_another_model_in_its_place_is_left_alone(caloman, tmp_path):
    target = tmp_path / "outputs/pretrained/photons/model.pt"
    target.parent.mkdir(parents=True)
    target.write_text("mine")
    result = caloman("sample", "run=pretrained:photons", "n=1")
    assert result.status == 2
    assert "is another model: move outputs/pretrained/photons away" in result.err
    assert target.read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_one_line(caloman, tmp_path):
    """The model is put beside where its results go, whatever out= says; a dry run needs none."""
    (tmp_path / "outputs").touch()
    asked = ["sample", "run=pretrained:photons", "n=1", "out=x.hdf5"]
    result = caloman(*asked)
    assert (result.status, result.err.count("\n")) == (2, 1), result.err
    assert "run=pretrained:photons is put into this folder: outputs/pretrained" in result.err
    assert caloman(*asked, "--dry-run").status == 0


def test_a_dry_run_fetches_nothing(caloman, registry):
    registry(f"{ENTRY}    md5: {'a' * 32}\n")
    result = caloman("sample", "run=pretrained:mine", "n=2", "--dry-run")
    assert result.status == 2
    assert "has yet to be fetched, and a dry run fetches nothing" in result.err


def test_a_name_that_is_not_known(caloman):
    result = caloman("sample", "run=pretrained:pions", "n=1")
    assert result.status == 2
    assert "run=pretrained:pions is not known: there is pretrained:photons" in result.err


def test_a_registrys_model(caloman, tmp_path, tmp_path_factory, registry):
    """A file that was put where the message said is used; its checksum decides."""
    source = pretrained.SHIPPED / "photons" / "model.pt"
    digest = hashlib.md5(source.read_bytes(), usedforsecurity=False).hexdigest()
    registry(f"{ENTRY}    md5: {digest}\n")
    folder = tmp_path_factory.getbasetemp() / "cache" / "models"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, folder / "mine.pt")
    result = caloman("sample", "run=pretrained:mine", "n=2", "out=x.hdf5")
    assert result.status == 0, result.err
    (folder / "mine.pt").write_text("another")
    result = caloman("sample", "run=pretrained:mine", "n=2", "out=y.hdf5")
    assert result.status == 2
    assert "but the record says" in result.err
    (folder / "mine.pt").unlink()


def test_offline_it_is_said_where_the_file_goes(caloman, tmp_path_factory, registry, monkeypatch):
    def unreachable(*_args, **_settings):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    registry(f"{ENTRY}    md5: {'a' * 32}\n")
    result = caloman("sample", "run=pretrained:mine", "n=2")
    assert result.status == 2
    assert "doi.org/10.1234/example.5" in result.err
    assert str(tmp_path_factory.getbasetemp() / "cache" / "models") in result.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "it needs 'models:', a mapping"),
        (ENTRY, "must have the keys doi, file, md5, record, no others"),
        (f"{ENTRY}    md5: abc\n", "md5=abc: must be 32 hexadecimal digits"),
        (
            f"{ENTRY}    md5: {'a' * 32}\n".replace("mine.pt", "../mine.pt"),
            "a name without folders",
        ),
        ("models: [\n", "cannot be read"),
    ],
)
def test_a_registry_that_is_none(caloman, registry, text, message):
    registry(text)
    result = caloman("sample", "run=pretrained:mine", "n=2")
    assert result.status == 2
    assert message in result.err
    assert len(result.err.strip().splitlines()) <= 3
