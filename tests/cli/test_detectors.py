"""A detector of one's own on the command line: ``geometry=FILE``, then ``dataset=RUN``."""

import json
import re

import h5py
import numpy as np
import pytest
from omegaconf import OmegaConf

from caloman_cli.cli.arguments import Arguments
from caloman_cli.cli.verbs import VERBS
from caloman_cli.data.detector import dataset_geometry
from caloman_cli.data.files import load_state, save_state
from caloman_cli.errors import UserError
from caloman_cli.runs.detector import run_dataset
from tests.data.test_binning import XML

CUT = "dataset.geometry.threshold=0.5"


@pytest.fixture
def own(caloman, tmp_path):
    """A folder with a binning file, ``mine.xml``, and 300 showers of it, ``mine.hdf5``."""
    (tmp_path / "mine.xml").write_text(XML.replace("photon", "muon").replace('"22"', '"13"'))
    rng = np.random.default_rng(1)
    energies = rng.uniform(1e3, 1e4, (300, 1))
    voxels = rng.exponential(size=(300, 43)) * energies / 60
    with h5py.File(tmp_path / "mine.hdf5", "w") as file:
        file["incident_energies"] = energies
        file["showers"] = np.where(rng.random(voxels.shape) < 0.3, 0, voxels).astype(np.float32)
    return caloman


def overrides(verb, *words):
    return Arguments(VERBS[verb], list(words)).overrides


def test_geometry_is_short_for_a_detector_of_ones_own():
    long = ["dataset=custom", "dataset.geometry_xml=a.xml"]
    assert overrides("train", "geometry=a.xml") == long
    assert overrides("data check", "x.hdf5", "geometry=a.xml") == [long[0], "file=x.hdf5", long[1]]
    assert overrides("evaluate", "dataset=custom", "geometry=a.xml") == long
    assert overrides("train", "geometry=a.xml", "dataset=ds2") == [long[1], "dataset=ds2"]
    assert overrides("data geometry", "geometry=a.xml") == ["file=a.xml"]
    assert overrides("train", "geometry=ds2") == ["geometry=ds2"]  # is told off, as before
    assert overrides("sample", "geometry=a.xml") == ["geometry=a.xml"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("train", "geometry=ds2"),
            "comes with dataset=NAME, or is a binning file, geometry=FILE",
        ),
        (("sample", "run=a", "n=1", "geometry=a.xml"), "needs none, the run knows its detector"),
        (("sample", "dataset=a", "n=1"), "write run=RUN alone"),
        (("train", "dataset=no/run"), "dataset=no/run does not exist: .* or a run in its place"),
        (("data check", "x.hdf5", "dataset=mine.xml"), "no run: write geometry=mine.xml"),
        (("data check", "x.hdf5", "dataset=mine.hdf5"), "not a model file of caloman"),
        (("data check", "x.hdf5", "dataset=."), "is no run directory"),
        (("data check", "x.hdf5", "geometry=mine.xml"), "threshold= is needed: readout cut"),
        (("data geometry",), "say which detector: one of FILE.xml, dataset=NAME and dataset=RUN"),
        (("data geometry", "mine.xml", "dataset=ds2"), "say which detector"),
        (("data geometry", "dataset=ds2", "particle=pion"), "particle= chooses from a binning"),
        (("data geometry", "mine.xml", "particle=pion"), "no particle 'pion': it has muon"),
        (("data geometry", "."), "write dataset=.* for a run's detector"),
    ],
)
def test_mistakes_are_one_line(own, words, message):
    verb, *rest = words
    said = own(*verb.split(), *rest)
    assert (said.status, said.err.count("\n")) == (2, 1), said.err
    assert re.search(message, said.err), said.err


def test_data_geometry_says_and_draws_what_it_understood(own, tmp_path):
    said = own("data", "geometry", "mine.xml")
    assert said.status == 0, said.err
    assert "mine, muon: 3 layers, 43 voxels" in said.out + said.err
    assert (tmp_path / "mine_geometry.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "mine.xml").write_text(XML.replace("0,5,10", "5,7,10"))
    said = own("data", "geometry", "mine.xml", "out=drawn/mine.png")
    assert "warning: layer 1 begins at 5 mm" in said.out + said.err
    assert (tmp_path / "drawn/mine.png").is_file()
    for name, start in (("b.pdf", b"%PDF"), ("b.svg", b"<?xml"), ("b.PNG", b"\x89PNG")):
        said = own("data", "geometry", "mine.xml", f"out={name}")
        assert said.status == 0, said.err
        assert (tmp_path / name).read_bytes().startswith(start)
    assert not (tmp_path / "b.png").exists()
    (tmp_path / "file").touch()
    for name, why in (("b.jpg", "ends in .png, .pdf, .svg"), ("file/b.png", "cannot be written")):
        said = own("data", "geometry", "mine.xml", f"out={name}")
        assert (said.status, said.err.count("\n")) == (2, 1), said.err
        assert why in said.err


def test_several_detectors_are_drawn_side_by_side(own, tmp_path, monkeypatch):
    """Runs on detectors of one's own are all called custom, particles share a file."""
    two = XML.replace("</Bins>", XML[XML.index("<Bin ") : XML.index("</Bins>")] + "</Bins>")
    two = two.replace('"photon"', '"pion"', 1).replace('"22"', '"211"', 1)
    (tmp_path / "two.xml").write_text(two)
    kept = []
    monkeypatch.setattr("caloman_cli.verbs.train.run", kept.append)
    assert own("train", "geometry=mine.xml", CUT, "dataset.train=[mine.hdf5]").status == 0
    for name in ("outputs/a", "outputs/b"):
        (tmp_path / name).mkdir(parents=True)
        OmegaConf.save(kept[0], tmp_path / name / "config.yaml", resolve=True)
    said = own("data", "geometry", "-m", "dataset=outputs/a,outputs/b,ds2")
    assert said.status == 0, said.err
    said = own("data", "geometry", "-m", "two.xml", "particle=photon,pion")
    assert said.status == 0, said.err
    assert {path.name.removesuffix("_geometry.png") for path in tmp_path.glob("*.png")} == {
        "outputs-a", "outputs-b", "ds2", "two_photon", "two_pion",
    }  # fmt: skip


def test_a_run_keeps_its_detector_and_is_its_name(own, tmp_path, monkeypatch):
    """The config that a training gets is the run's, and needs the binning file no more."""
    kept = []
    monkeypatch.setattr("caloman_cli.verbs.train.run", kept.append)
    files = ["dataset.train=[mine.hdf5]", "dataset.reference=[mine.hdf5]"]
    assert (
        own("train", "geometry=mine.xml", CUT, *files, "dataset.limit=300", "output=run").status
        == 0
    )
    (config,) = kept
    assert config.dataset.geometry_xml is None
    assert len(config.dataset.geometry.layers) == 3
    (tmp_path / "mine.xml").unlink()
    (tmp_path / "run").mkdir()
    OmegaConf.save(config, tmp_path / "run/config.yaml", resolve=True)
    assert own("data", "check", "mine.hdf5", "dataset=run/").status == 0
    assert own("data", "geometry", "dataset=run", "out=run.png").status == 0
    other = [CUT.replace("0.5", "2"), "dataset.limit=200"]
    asked = own("train", "dataset=run", *other, "dataset.train=[s.hdf5]", "output=other")
    assert asked.status == 0, asked.err
    assert kept[1].dataset.geometry.threshold == 2
    assert kept[1].dataset.geometry.layers == config.dataset.geometry.layers
    assert kept[1].dataset.train == [str(tmp_path / "s.hdf5")]
    assert (config.dataset.limit, kept[1].dataset.limit) == (300, 200)
    assert run_dataset(tmp_path / "run").limit is None  # of that training, not of the detector
    assert kept[1].dataset.reference == [str(tmp_path / "mine.hdf5")]


@pytest.mark.slow
def test_a_trained_run_is_the_name_of_its_detector(own, tmp_path):
    small = ["recipe=none", "encoder=pca", "head=gaussian", "encoder.latent_dim=3"]
    epochs = ["trainer.energy.epochs=2", "trainer.density.epochs=2"]
    files = ["dataset.train=[mine.hdf5]", "dataset.reference=[mine.hdf5]"]
    asked = ["train", "dataset=custom", "geometry=mine.xml", CUT, *files, *small, *epochs]
    done = own(*asked, "output=run")
    assert done.status == 0, done.err
    (tmp_path / "mine.xml").rename(tmp_path / "away.xml")
    assert own("sample", "run=run", "n=20", "out=s.hdf5").status == 0  # no range was ever typed
    with h5py.File(tmp_path / "s.hdf5") as file:
        assert (
            1e3 <= file["incident_energies"][:].min() < file["incident_energies"][:].max() <= 1e4
        )
    checked = own("data", "check", "s.hdf5", "dataset=run/")
    assert checked.status == 0, checked.err
    scored = [
        "evaluate",
        "evaluation=only",
        "metric=separation",
        "evaluation.separation.plots=none",
    ]
    for words in (["run=run"], ["generated=s.hdf5", "dataset=run"]):
        said = own(*scored, *words, "output=scores", "overwrite=true")
        assert said.status == 0, said.err
    lone = tmp_path / "lone.pt"
    lone.write_bytes((tmp_path / "run/model.pt").read_bytes())
    for place in (tmp_path / "run", tmp_path / "run/model.pt", lone):
        facts = run_dataset(place)
        geometry = dataset_geometry(facts)
        assert (geometry.n_voxels, geometry.particle, geometry.threshold) == (43, "muon", 0.5)
        assert (facts.train is None) == (place == lone)


def test_files_beside_a_run_as_detector_win(own, run_dir, files, tmp_path):
    """A run that names the detector brings its files; only what was typed twice is refused."""
    asked = ["evaluate", f"generated={files['generated']}", f"dataset={run_dir}"]
    asked += ["evaluation=only", "metric=separation", "evaluation.separation.plots=none"]
    beside = [f"reference={files['truth']}", f"train={files['reference']}"]
    for words in (beside, [f"dataset.{beside[0].replace('=', '=[')}]"]):
        said = own(*asked, *words, "output=scores", "overwrite=true")
        assert said.status == 0, said.err
        inputs = json.loads((tmp_path / "scores/metrics.json").read_text())["inputs"]
        assert inputs["reference"]["files"] == ["truth.hdf5"]
    said = own(*asked, *beside, "dataset.train=[x.hdf5]")
    assert said.status == 2
    assert "train= and dataset.train= were both given: give one of them" in said.err


def test_an_older_run_has_the_detector_that_its_model_has(own, tmp_path, run_dir):
    """Its config names a binning file that is gone."""
    old = tmp_path / "old"
    old.mkdir()
    for name in ("config.yaml", "model.pt"):
        (old / name).write_bytes((run_dir / name).read_bytes())
    config = OmegaConf.load(old / "config.yaml")
    config.dataset.geometry_xml = str(tmp_path / "gone.xml")
    OmegaConf.save(config, old / "config.yaml")
    assert dataset_geometry(run_dataset(old)).n_voxels == 368
    (old / "model.pt").unlink()
    with pytest.raises(UserError, match=r"gone.xml"):
        dataset_geometry(run_dataset(old))


def test_a_run_of_somebody_else_is_data(own, tmp_path, run_dir):
    (tmp_path / "theirs").mkdir()
    config = OmegaConf.load(run_dir / "config.yaml")
    config.dataset.name = "${oc.env:HOME}"
    OmegaConf.save(config, tmp_path / "theirs/config.yaml")
    said = own("data", "check", "mine.hdf5", "dataset=theirs")
    assert said.status == 2
    assert "interpolation" in said.err
    content = load_state(run_dir / "model.pt")
    content["config"]["dataset"]["name"] = "${oc.env:HOME}"
    save_state(tmp_path / "theirs.pt", content)
    assert "interpolation" in own("data", "check", "mine.hdf5", "dataset=theirs.pt").err
    config.dataset.name = "theirs"
    config.dataset.geometry["_target_"] = "os.system"
    OmegaConf.save(config, tmp_path / "theirs/config.yaml")
    said = own("data", "check", "mine.hdf5", "dataset=theirs")
    assert (said.status, said.err.count("\n")) == (2, 1)
    assert "only plain values may stand here" in said.err


def test_help_explains_the_keys_of_an_option(caloman):
    said = caloman("train", "dataset=custom", "--help").out
    assert "dataset.geometry.threshold=???" in said
    assert "geometry=FILE in short: the binning file" in said
    assert "keys of dataset" not in caloman("train", "--help").out
