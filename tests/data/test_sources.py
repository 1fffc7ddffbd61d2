"""Which files a dataset is, and that training never opens the reference."""

import logging
from functools import cache

import h5py
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from caloman_cli.config.compose import CONF
from caloman_cli.data import sources
from caloman_cli.data.detector import dataset_geometry
from caloman_cli.data.sources import official_files, open_dataset, split_indices
from caloman_cli.errors import UserError
from tests.conftest import load_geometry
from tests.data.conftest import make_showers, write_hdf5

OFFICIAL = {"ds1_photons": 1, "ds1_pions": 1, "ds2": 1, "ds3": 2}  # files per role
BUILTIN = {
    "builtin_photons": "ds1_photons",
    "builtin_pions": "ds1_pions",
    "builtin_ds2": "ds2",
    "builtin_ds3": "ds3",
}


@cache
def option(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("data_check", [f"dataset={name}"])


def dataset(name, *overrides):
    """The group as the command line composes it; composing dataset 3 anew takes a second."""
    return OmegaConf.merge(option(name), OmegaConf.from_dotlist(list(overrides))).dataset


def photons(path, n=10, seed=0):
    return write_hdf5(path, *make_showers(load_geometry("ds1_photons"), n, seed))


def test_every_option_is_tested():
    options = {path.stem for path in (CONF / "dataset").glob("*.yaml")}
    assert options == {*OFFICIAL, *BUILTIN, "custom"}


@pytest.mark.parametrize("name", [*OFFICIAL, *BUILTIN])
def test_geometry_of_an_option(name):
    assert dataset_geometry(dataset(name)) == load_geometry(BUILTIN.get(name, name))


@pytest.mark.parametrize(("name", "count"), OFFICIAL.items())
def test_official_files_are_told_apart(name, count):
    files = official_files(dataset(name))
    assert [len(files[role]) for role in ("train", "reference")] == [count, count]
    every = files["train"] + files["reference"]
    assert len({file.name for file in every}) == len({file.md5 for file in every}) == 2 * count
    assert all(len(file.md5) == 32 and set(file.md5) <= set("0123456789abcdef") for file in every)


def test_official_files_below_data_dir(tmp_path):
    photons(tmp_path / "dataset_1_photons_1.hdf5", seed=1)
    photons(tmp_path / "dataset_1_photons_2.hdf5", n=5, seed=2)
    opened = open_dataset(dataset("ds1_photons"), tmp_path, tmp_path)
    assert (len(opened.train()), len(opened.reference())) == (10, 5)
    assert opened.train().name == "ds1_photons train"


def test_a_limit_holds_for_both_files(tmp_path):
    photons(tmp_path / "dataset_1_photons_1.hdf5", seed=1)
    photons(tmp_path / "dataset_1_photons_2.hdf5", n=5, seed=2)
    opened = open_dataset(dataset("ds1_photons", "dataset.limit=7"), tmp_path, tmp_path)
    assert (len(opened.train()), len(opened.reference())) == (7, 5)


def test_missing_official_files(tmp_path):
    with pytest.raises(UserError) as caught:
        open_dataset(dataset("ds3"), tmp_path, tmp_path).train()
    for part in ("dataset_3_1.hdf5, dataset_3_2.hdf5", "10.5281/zenodo.6366323", str(tmp_path)):
        assert part in str(caught.value)
    assert "caloman data download dataset=ds3" in str(caught.value)
    with pytest.raises(UserError, match="data_dir=DIR or CALOMAN_DATA"):
        open_dataset(dataset("ds3"), None, tmp_path).train()


def test_own_files_go_first_and_the_reference_stays_shut(tmp_path, monkeypatch):
    train, reference = photons(tmp_path / "a.hdf5", seed=1), photons(tmp_path / "b.hdf5", seed=2)
    cfg = dataset("ds1_photons", f"dataset.train=[{train}]", f"dataset.reference=[{reference}]")
    opened, real = [], h5py.File

    def spy(path, *args, **options):
        opened.append(str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(h5py, "File", spy)
    source = open_dataset(cfg, None, tmp_path)
    list(source.train().iterate())
    assert set(opened) == {str(train)}
    assert source.reference().paths == (reference,)


def test_one_file_needs_no_brackets(tmp_path):
    path = photons(tmp_path / "a.hdf5")
    cfg = dataset("ds1_photons", f"dataset.train={path}")
    assert open_dataset(cfg, None, tmp_path).train().paths == (path,)


def test_one_file_for_both_roles_is_noticed(tmp_path, caplog):
    path = photons(tmp_path / "a.hdf5")
    copy = tmp_path / "copy.hdf5"
    copy.write_bytes(path.read_bytes())
    for other in (path, copy):
        caplog.clear()
        cfg = dataset("ds1_photons", f"dataset.train=[{path}]", f"dataset.reference=[{other}]")
        with caplog.at_level(logging.WARNING):
            open_dataset(cfg, None, tmp_path).reference()
        assert "both training and reference" in caplog.text


def test_different_files_are_not_suspected(tmp_path, caplog):
    train, reference = photons(tmp_path / "a.hdf5", seed=1), photons(tmp_path / "b.hdf5", seed=2)
    cfg = dataset("ds1_photons", f"dataset.train=[{train}]", f"dataset.reference=[{reference}]")
    open_dataset(cfg, None, tmp_path).reference()
    assert "both" not in caplog.text


def test_builtin_showers_are_made_once_and_differ_between_roles(tmp_path, monkeypatch):
    cfg = dataset(
        "builtin_photons", "dataset.builtin.n_train=60", "dataset.builtin.n_reference=60"
    )
    source = open_dataset(cfg, None, tmp_path)
    assert not any(tmp_path.iterdir())  # nothing is made before it is asked for
    train = source.train()
    assert len(list((tmp_path / "builtin").iterdir())) == 1
    reference = source.reference()
    assert len(train) == len(reference) == 60
    assert not np.array_equal(train.read(0, 60)[1], reference.read(0, 60)[1])
    monkeypatch.setattr(sources, "write_generated", None)  # a second call would fail
    again = open_dataset(cfg, None, tmp_path).train()
    assert again.fingerprint == train.fingerprint
    with h5py.File(again.paths[0]) as file:
        assert "not Geant4" in file.attrs["generator"]


def test_own_and_builtin_showers_are_not_mixed(tmp_path):
    path = photons(tmp_path / "a.hdf5")
    source = open_dataset(dataset("builtin_photons", f"dataset.train=[{path}]"), None, tmp_path)
    assert len(source.train()) == 10
    with pytest.raises(UserError, match=r"dataset.train was given alone; give dataset.reference"):
        source.reference()


BINNING = """<Bins><Bin pid="22" name="photon">
<Layer id="0" r_edges="0,5,10" n_bin_alpha="1"/><Layer id="1" r_edges="0" n_bin_alpha="1"/>
<Layer id="2" r_edges="0,5,10,20" n_bin_alpha="4"/></Bin></Bins>"""


def test_a_detector_of_ones_own(tmp_path):
    binning = tmp_path / "binning.xml"
    binning.write_text(BINNING)
    facts = ["dataset.geometry.particle=photon", "dataset.geometry.threshold=0.5"]
    cfg = dataset("custom", f"dataset.geometry_xml={binning}", *facts)
    geometry = dataset_geometry(cfg)
    assert geometry.n_voxels == 14
    assert [layer.id for layer in geometry.layers] == [0, 2]
    assert geometry.threshold == 0.5
    with pytest.raises(UserError, match=r"custom has no train showers; give dataset.train"):
        open_dataset(cfg, None, tmp_path).train()


def test_missing_facts_of_a_detector_are_listed():
    with pytest.raises(UserError) as caught:
        dataset_geometry(dataset("custom"))
    for key in ("dataset.geometry_xml=", "dataset.geometry.threshold="):
        assert key in str(caught.value)


def test_own_binning_replaces_official_layers(tmp_path):
    binning = tmp_path / "binning.xml"
    binning.write_text(BINNING)
    geometry = dataset_geometry(dataset("ds1_photons", f"dataset.geometry_xml={binning}"))
    assert geometry.n_voxels == 14
    assert geometry.incident_energies == load_geometry("ds1_photons").incident_energies


@pytest.mark.parametrize(
    ("n", "fraction", "expected"), [(100, 0.2, 20), (2, 0.01, 1), (3, 0.99, 2)]
)
def test_splits_are_a_partition(n, fraction, expected):
    train, validation = split_indices(n, fraction, seed=4)
    assert len(validation) == expected
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(n))
    assert (np.diff(train) > 0).all()
    for again, first in zip(split_indices(n, fraction, seed=4), (train, validation), strict=True):
        np.testing.assert_array_equal(again, first)


def test_splits_depend_on_the_seed():
    assert not np.array_equal(split_indices(100, 0.2, 1)[1], split_indices(100, 0.2, 2)[1])


@pytest.mark.parametrize(("n", "fraction"), [(10, 0.0), (10, 1.0), (1, 0.5)])
def test_splits_that_make_no_sense(n, fraction):
    with pytest.raises(UserError):
        split_indices(n, fraction, 0)


@pytest.mark.parametrize("damage", ["empty", "cut", "fewer", "text"])
def test_a_damaged_file_of_built_in_showers_is_made_again(tmp_path, damage, caplog):
    def train(n):
        made = open_dataset(
            dataset("builtin_photons", f"dataset.builtin.n_train={n}"), None, tmp_path
        )
        return made.train().paths[0]

    path, fewer = train(30), train(20).read_bytes()
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": content[:-100], "fewer": fewer, "text": b"no"}[damage])
    assert train(30).read_bytes() == content
    assert "made again" in caplog.text


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "other showers"])
def test_builtin_showers_that_were_damaged_are_made_again(tmp_path, caplog, damage):
    cfg = dataset("builtin_photons", "dataset.builtin.n_train=60", "dataset.builtin.n_reference=9")
    source = open_dataset(cfg, None, tmp_path)
    voxels, other = source.train().read(0, 60)[1], source.reference().paths[0].read_bytes()
    (path,) = source.train().paths
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "flipped": content[:middle] + bytes([255 - content[middle]]) + content[middle + 1 :],
            "cut": content[:middle],
            "emptied": b"",
            "other showers": other,
        }[damage]
    )
    np.testing.assert_array_equal(source.train().read(0, 60)[1], voxels)
    assert "is made again" in caplog.text
    assert path.read_bytes() == content
