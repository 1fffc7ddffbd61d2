"""The verbs ``data check``, ``data generate`` and ``data download``."""

import json
import logging
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from caloman_cli.config.compose import CONF
from caloman_cli.data.check import check_file
from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError
from caloman_cli.verbs import data_check, data_download, data_generate, data_split
from tests.conftest import load_geometry
from tests.data.conftest import make_showers, write_hdf5


def config(verb, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(verb, list(overrides))


@pytest.fixture
def box():
    """Two layers of two voxels, two incident energies."""
    return Geometry.from_dict(
        {
            "name": "box",
            "particle": "photon",
            "threshold": 1.0,
            "max_response": 2.0,
            "incident_energies": [100, 200],
            "layers": [
                {"id": 0, "r_edges": [0, 1, 2], "n_alpha": 1},
                {"id": 3, "r_edges": [0, 1, 2], "n_alpha": 1},
            ],
        }
    )


ENERGIES = np.array([[100.0], [100.0], [200.0], [200.0]])
VOXELS = np.array([[50, 0.5, 0, 0], [50, 0.5, 0, 0], [0.5, 0, 0, 0], [10, 20, 30, 140]])


def test_nothing_is_no_hit_even_without_a_cut(tmp_path, box):
    voxels = VOXELS.copy()
    voxels[2] = 0
    report = check_file(
        write_hdf5(tmp_path / "box.hdf5", ENERGIES, voxels), replace(box, threshold=0)
    )
    assert report.facts["zero voxels after the readout cut"] == report.facts["zero voxels"]
    assert report.facts["showers with an empty layer"] == {"layer 0": 1 / 4, "layer 3": 3 / 4}
    assert report.facts["empty showers"] == 1


def test_a_report_with_known_content(tmp_path, box):
    path = write_hdf5(tmp_path / "box.hdf5", ENERGIES, VOXELS)
    for chunk in (None, 1, 3):
        report = check_file(path, box, chunk)
        assert report.errors == []
        facts = report.facts
        assert facts["showers"] == 4
        assert facts["number type"] == "float64"
        assert facts["compression"] == "gzip"
        assert facts["showers per incident energy [MeV]"] == {"100": 2, "200": 2}
        assert facts["zero voxels"] == 7 / 16
        assert facts["zero voxels after the readout cut"] == 10 / 16
        assert facts["smallest voxel above zero [MeV]"] == 0.5
        assert facts["largest voxel [MeV]"] == 140
        assert facts["share of lit voxels below [MeV]"] == {"1": 3 / 9, "10": 3 / 9}
        assert facts["share of the energy in voxels below [MeV]"]["1"] == 1.5 / 301.5
        ratio = facts["visible over incident energy"]
        assert ratio["smallest"] == 0.5 / 200
        assert ratio["largest"] == 1.0
        assert ratio["mean"] == pytest.approx((0.505 + 0.505 + 0.0025 + 1) / 4)
        assert facts["showers with an empty layer"] == {"layer 0": 0.25, "layer 3": 0.75}
        assert facts["empty showers"] == 1
        assert facts["exact copies of another shower"] == 1
        assert len(report.warnings) == 2
    assert "layer 3" in report.table()
    json.dumps(report.to_dict(), allow_nan=False)


def test_all_kinds_of_bad_voxels_are_counted(tmp_path, box):
    voxels = VOXELS.copy()
    voxels[1, 0], voxels[2, :2], voxels[3, 3] = np.nan, -1, np.inf
    report = check_file(write_hdf5(tmp_path / "box.hdf5", ENERGIES, voxels), box)
    assert sorted(report.errors) == [
        "1 voxels are NaN, first in row 1",
        "1 voxels are infinite, first in row 3",
        "2 voxels are negative, first in row 2",
    ]


def test_what_may_be_a_mistake_is_a_warning(tmp_path, box):
    strange = write_hdf5(tmp_path / "a.hdf5", ENERGIES[:, 0] / 1000, VOXELS, shuffle=True)
    report = check_file(strange, box)
    text = " ".join(report.warnings)
    assert "4 incident energies are not among those of box" in text
    assert "look like GeV" in report.faults["units"]
    assert "the geometry allows 2" in report.faults["response"]
    assert "shape (4,); the challenge's tools want (4, 1)" in text


@pytest.mark.parametrize(
    ("broken", "rule", "said"),
    [
        (lambda e, v: (e, 0 * v), "empty", "100 of 100 showers have nothing above"),
        (lambda e, v: (e, v / 1e5), "units", "voxels in GeV"),
        (lambda e, v: (e, v * 990), "response", "the geometry allows 2"),
        (lambda e, v: (e / 1e3, v), "units", "look like GeV"),
        (lambda e, v: (e[:1] + 0 * e, v[:1] + 0 * v), "copies", "99 of 100 showers are exact"),
    ],
)
def test_a_rule_that_every_shower_breaks_is_a_fault(tmp_path, tiny_geometry, broken, rule, said):
    energies, voxels = make_showers(tiny_geometry, 100)
    report = check_file(write_hdf5(tmp_path / "a.hdf5", *broken(energies, voxels)), tiny_geometry)
    assert said in report.faults[rule]
    assert report.verdict.startswith("not ok: ")
    assert report.table().endswith(report.verdict)
    voxels[:30] = 0
    report = check_file(write_hdf5(tmp_path / "b.hdf5", energies, voxels), tiny_geometry)
    assert report.faults == {}
    assert report.verdict == "ok, with 1 warning"
    report = check_file(write_hdf5(tmp_path / "c.hdf5", energies[30:], voxels[30:]), tiny_geometry)
    assert report.verdict == "ok"


def test_filters_of_hdf5_itself_are_no_plugins(tmp_path, tiny_geometry):
    energies, voxels = make_showers(tiny_geometry, 100)
    for number, options in enumerate(
        ({"shuffle": True}, {"fletcher32": True}, {"scaleoffset": 3}, {"compression": "lzf"})
    ):
        path = tmp_path / f"{number}.hdf5"
        with h5py.File(path, "w") as file:
            file["incident_energies"] = energies
            file.create_dataset("showers", data=voxels, chunks=(50, 12), **options)
        report = check_file(path, tiny_geometry)
        assert report.warnings == []
        assert report.facts["compression"] in ("shuffle", "fletcher32", "scaleoffset", "lzf")
    path = write_hdf5(tmp_path / "both.hdf5", energies, voxels, shuffle=True)
    assert check_file(path, tiny_geometry).facts["compression"] == "shuffle, gzip"


def test_check_shows_its_report_and_writes_it(tmp_path, caplog):
    path = write_hdf5(tmp_path / "a.hdf5", *make_showers(load_geometry("ds1_photons"), 20))
    cfg = config("data_check", f"file={path}", "dataset=ds1_photons", f"out={tmp_path / 'r.json'}")
    with caplog.at_level(logging.INFO):
        assert data_check.run(cfg) == path
    assert "visible over incident energy" in caplog.text
    assert json.loads((tmp_path / "r.json").read_text())["facts"]["showers"] == 20


def test_check_writes_nothing_unasked(tmp_path):
    path = write_hdf5(tmp_path / "a.hdf5", *make_showers(load_geometry("ds1_photons"), 20))
    data_check.run(config("data_check", f"file={path}", "dataset=ds1_photons"))
    assert [item.name for item in tmp_path.iterdir()] == ["a.hdf5"]


def test_check_fails_after_it_has_shown_the_report(tmp_path, caplog):
    energies, voxels = make_showers(load_geometry("ds1_photons"), 20)
    voxels[4, 0], voxels[5, 0] = np.nan, -1
    path = write_hdf5(tmp_path / "a.hdf5", energies, voxels)
    with caplog.at_level(logging.INFO), pytest.raises(UserError, match="not ok: .*row 4; .*row 5"):
        data_check.run(config("data_check", f"file={path}", "dataset=ds1_photons"))
    assert "error: 1 voxels are negative, first in row 5" in caplog.text


def test_check_of_a_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        data_check.run(config("data_check", f"file={tmp_path / 'no.hdf5'}", "dataset=ds1_photons"))


@pytest.mark.shared
def test_real_showers_have_no_errors(shared):
    path = shared / "data/geant4/ds1_photons_reference.hdf5"
    report = check_file(path, load_geometry("ds1_photons"))
    assert report.errors == report.warnings == []
    assert sum(report.facts["showers per incident energy [MeV]"].values()) == 26730


def test_generate(tmp_path):
    out = tmp_path / "new" / "showers.hdf5"
    options = ["dataset=ds1_pions", "n=150", f"out={out}", "seed=3"]
    assert data_generate.run(config("data_generate", *options)) == out
    first = out.read_bytes()
    with pytest.raises(UserError, match="overwrite=true"):
        data_generate.run(config("data_generate", *options))
    data_generate.run(config("data_generate", *options, "overwrite=true"))
    assert out.read_bytes() == first
    report = check_file(out, load_geometry("ds1_pions"))
    assert report.errors == []
    assert report.facts["showers"] == 150
    with h5py.File(out) as file:
        assert file.attrs["seed"] == 3
        assert "not Geant4" in file.attrs["generator"]


def test_generate_for_given_energies(tmp_path):
    energies = np.array([[512.0], [256.0], [65536.0]])
    given = write_hdf5(tmp_path / "given.hdf5", energies, np.zeros((3, 368)))
    out = tmp_path / "out.hdf5"
    options = ["dataset=builtin_photons", f"energies={given}", f"out={out}"]
    data_generate.run(config("data_generate", *options))
    with h5py.File(out) as file:
        np.testing.assert_array_equal(file["incident_energies"][:], energies)
    with pytest.raises(UserError, match="n=5, but"):
        data_generate.run(config("data_generate", *options, "n=5", "overwrite=true"))


def test_generate_needs_a_number_and_a_known_detector(tmp_path):
    out = tmp_path / "out.hdf5"
    with pytest.raises(UserError, match="n=NUMBER"):
        data_generate.run(config("data_generate", "dataset=ds1_pions", f"out={out}"))
    binning = tmp_path / "binning.xml"
    binning.write_text(
        '<Bins><Bin name="photon"><Layer id="0" r_edges="0,5" n_bin_alpha="1"/></Bin></Bins>'
    )
    facts = ["dataset.geometry.particle=photon", "dataset.geometry.threshold=0.5"]
    custom = ["dataset=custom", f"dataset.geometry_xml={binning}", *facts]
    with pytest.raises(UserError, match="custom"):
        data_generate.run(config("data_generate", *custom, "n=5", f"out={out}"))
    assert not out.exists()


def test_download_needs_public_files_and_a_place(tmp_path, monkeypatch):
    monkeypatch.delenv("CALOMAN_DATA", raising=False)
    with pytest.raises(UserError, match="nothing to download"):
        data_download.run(
            config("data_download", "dataset=builtin_photons", f"data_dir={tmp_path}")
        )
    with pytest.raises(UserError, match="data_dir=DIR"):
        data_download.run(config("data_download", "dataset=ds1_photons"))


def test_download_fetches_both_roles(tmp_path, monkeypatch):
    asked = []

    def fake(files, folder):
        asked.extend(file.name for file in files)
        return [folder / file.name for file in files]

    monkeypatch.setattr("caloman_cli.data.download.download", fake)
    monkeypatch.setenv("CALOMAN_DATA", str(tmp_path))
    assert data_download.run(config("data_download", "dataset=ds1_pions")) == tmp_path
    assert asked == ["dataset_1_pions_1.hdf5", "dataset_1_pions_2.hdf5"]


@pytest.fixture
def numbered(tmp_path):
    """A file of 100 photons whose incident energies tell them apart."""
    energies, voxels = make_showers(load_geometry("ds1_photons"), 100)
    energies = 1000.0 + np.arange(100.0)[:, None]
    return write_hdf5(tmp_path / "whole.hdf5", energies, voxels)


def split(file, *overrides):
    return config("data_split", "dataset=ds1_photons", f"file={file}", *overrides)


def numbers_of(path):
    with h5py.File(path) as file:
        return (file["incident_energies"][:, 0] - 1000).tolist()


@pytest.mark.parametrize("seed", ["1", "null"])
def test_a_split_file_has_every_shower_once(tmp_path, numbered, seed):
    out = tmp_path / "parts"
    assert data_split.run(split(numbered, f"out={out}", f"seed={seed}")) == out
    found = {path.stem: numbers_of(path) for path in sorted(out.iterdir())}
    assert {name: len(part) for name, part in found.items()} == {
        "train": 50, "truth": 25, "reference": 25,
    }  # fmt: skip
    assert sorted(sum(found.values(), [])) == list(range(100))
    assert all(part == sorted(part) for part in found.values())
    assert (found["train"] == list(range(50))) is (seed == "null")
    with h5py.File(numbered) as whole, h5py.File(out / "truth.hdf5") as part:
        rows = [int(number) for number in found["truth"]]
        np.testing.assert_array_equal(part["showers"][:], whole["showers"][:].astype("f4")[rows])
        (step,) = json.loads(part.attrs["caloman_history"])
        assert step["files"] == [{"name": "whole.hdf5", "showers": 100}]


def test_a_split_replaces_nothing_unasked_and_writes_all_or_nothing(tmp_path, numbered):
    out = tmp_path / "parts"
    out.mkdir()
    (out / "truth.hdf5").write_text("mine")
    with pytest.raises(UserError, match="truth.hdf5 exists"):
        data_split.run(split(numbered, f"out={out}"))
    assert [path.name for path in out.iterdir()] == ["truth.hdf5"]
    data_split.run(split(numbered, f"out={out}", "parts.truth=null"))
    assert (out / "truth.hdf5").read_text() == "mine"
    data_split.run(split(numbered, f"out={out}", "overwrite=true"))
    assert len(numbers_of(out / "truth.hdf5")) == 25


def test_a_split_that_fails_midway_leaves_nothing(tmp_path, numbered, monkeypatch):
    with h5py.File(numbered, "r+") as file:
        file["showers"][99, 0] = np.nan
    with pytest.raises(UserError):
        data_split.run(split(numbered, f"out={tmp_path / 'parts'}"))
    folder = tmp_path / "parts"
    assert not folder.exists() or not list(folder.iterdir())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["parts.train=0.8"], "parts add up to 1.3, at most 1"),
        (["parts.truth=0.001"], "parts.truth=0.001 of 100 showers is none"),
        (["parts.train=null", "parts.truth=null", "parts.reference=null"], "names no part"),
    ],
)
def test_shares_that_cannot_be_are_named(tmp_path, numbered, overrides, message):
    with pytest.raises(UserError, match=message):
        data_split.run(split(numbered, f"out={tmp_path / 'parts'}", *overrides))
    assert not (tmp_path / "parts").exists()


def test_a_part_never_takes_the_place_of_the_whole(tmp_path, numbered):
    whole = numbered.rename(tmp_path / "train.hdf5")
    with pytest.raises(UserError, match="is one of the files to read"):
        data_split.run(split(whole, f"out={tmp_path}", "overwrite=true"))
