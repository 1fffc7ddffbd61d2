"""``data convert``: showers to point clouds and back."""

import json
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
from omegaconf import OmegaConf

from caloman_cli.cli.main import main
from caloman_cli.config.compose import CONF
from caloman_cli.data.exchange.clouds import Clouds, Voxeliser, centres
from caloman_cli.data.geometry import Geometry, Layer
from caloman_cli.data.writer import ShowerWriter
from caloman_cli.errors import UserError
from caloman_cli.verbs import data_convert
from tests.conftest import load_geometry
from tests.data.conftest import make_showers, write_hdf5

BOX = Geometry(
    "box", "photon", (Layer(0, (0, 1, 2), 1), Layer(3, (1, 2, 4), 4)), threshold=0, max_response=5
)
HALF = np.float32(np.sqrt(0.5))
NEEDS = {"h5": "h5py", "root": "uproot", "parquet": "pyarrow"}


def convert(file, out, geometry=BOX, **keys):
    dataset = {"name": geometry.name, "geometry": geometry.to_dict(), "geometry_xml": None}
    cfg = OmegaConf.load(CONF / "data_convert.yaml")
    given = {"file": str(file), "out": str(out), "dataset": dataset, **keys}
    return data_convert.run(OmegaConf.merge(cfg, given))


def points_file(path, clouds, incident, unit=None, **changed):
    """Point clouds as another program writes them: plain h5py, lists of rows."""
    clouds = [np.asarray(cloud, np.float32) for cloud in clouds]
    n, width = len(clouds), clouds[0].shape[1]
    with h5py.File(path, "w") as file:
        showers = file.create_dataset("showers", (n,), h5py.vlen_dtype(np.float32))
        for row, cloud in enumerate(clouds):
            showers[row] = cloud.ravel()
        file["energies"] = np.asarray(incident, np.float32)[:, None]
        file["directions"] = np.tile([0, 0, 1], (n, 1)).astype(np.float32)
        file["pdg"] = np.full(n, 22, np.int32)
        file["shower_ids"] = np.arange(n, dtype=np.int32)
        file["num_points"] = np.array([len(cloud) for cloud in clouds], np.int32)
        file["shape"] = np.array([n, max(map(len, clouds)), width])
        if unit is not None:
            file.attrs["unit"] = unit
        for name, value in changed.items():
            del file[name]
            if value is not None:
                file[name] = value
    return path


def same_showers(a, b):
    with h5py.File(a) as one, h5py.File(b) as two:
        for name in ("showers", "incident_energies"):
            assert one[name].dtype == two[name].dtype
            assert one[name][:].tobytes() == two[name][:].tobytes()
        return dict(two.attrs)


def test_the_middle_of_each_voxel():
    expected = [[0.5, 0, 0], [1.5, 0, 0]]
    for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1)):  # quarters from alpha = -pi
        expected += [[r * sx * HALF, r * sy * HALF, 1] for r in (1.5, 3.0)]
    np.testing.assert_allclose(centres(BOX), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["ds1_photons", "ds1_pions", "ds2", "ds3"])
def test_the_middle_of_a_voxel_lies_in_it(name):
    geometry = load_geometry(name)
    places = Voxeliser(geometry).places(*centres(geometry).astype(np.float64).T)
    np.testing.assert_array_equal(places, np.arange(geometry.n_voxels))


def test_where_points_belong():
    points = {
        (0.0, 0.0, 0): 0,  # the axis is in the first ring
        (0.999, 0.0, 0.4): 0,  # the nearest layer counts
        (0.0, -1.0, 0): 1,  # an edge belongs to the ring outside of it
        (2.0, 0.0, 0): -1,  # and the last one to none
        (0.5, 0.0, 1): -1,  # a hole around the axis
        (-1.5, -1e-9, 1): 2,  # alpha from -pi
        (-1.5, 0.0, 1): 2,  # +pi is -pi again
        (-1.5, 1e-3, 1): 8,
        (0.0, 3.0, 1): 9,
        (1.5, 0.0, 2): -1,  # there are two layers
        (1.5, 0.0, -1): -1,
        (np.nan, 0.0, 0): -1,
    }
    found = Voxeliser(BOX).places(*np.array(list(points)).T)
    assert found.tolist() == list(points.values())


def test_points_in_one_voxel_add_up_and_what_lies_outside_is_counted():
    points = [[1.5, 0.1, 1, 2], [0, 0, 0, 1], [1.6, 0.1, 1, 3], [9, 9, 0, 4], [0.1, 0.1, 0, 5]]
    voxeliser = Voxeliser(BOX)
    clouds = Clouds(np.ones((3, 1)), np.array([4, 0, 1]), np.array(points, np.float32))
    expected = np.zeros((3, 10))
    expected[0, [0, 6]], expected[2, 0] = [1, 5], 5
    np.testing.assert_array_equal(voxeliser.voxels(clouds), expected)
    assert (voxeliser.outside, voxeliser.lost, voxeliser.energy) == (1, 4, 15)


def test_the_layout_of_showerdata(tmp_path):
    voxels = np.zeros((3, 10), np.float32)
    voxels[0, [0, 4]], voxels[2, [9, 1]] = [5, 7], [2, 3]
    file = write_hdf5(tmp_path / "a.hdf5", [[1e3], [2e3], [1e3 / 3]], voxels)
    convert(file, tmp_path / "b.h5", unit="GeV")
    with h5py.File(tmp_path / "b.h5") as found:
        assert set(found) == {
            "showers", "energies", "incident_energies", "directions", "pdg", "shower_ids",
            "shape", "num_points",
        }  # fmt: skip
        clouds = found["showers"][:]
        for cloud, points in zip(
            clouds,
            (
                [[0.5, 0, 0, 0.005], [1.5 * HALF, -1.5 * HALF, 1, 0.007]],
                [],
                [[1.5, 0, 0, 0.003], [-3 * HALF, 3 * HALF, 1, 0.002]],
            ),
            strict=True,
        ):
            np.testing.assert_allclose(cloud, np.ravel(points), atol=1e-6)
        np.testing.assert_allclose(found["energies"], [[1], [2], [1 / 3]], rtol=1e-7)
        assert found["incident_energies"][2, 0] == 1e3 / 3
        assert found["num_points"][:].tolist() == [2, 0, 2]
        assert found["shape"][:].tolist() == [3, 2, 4]
        assert found["pdg"][:].tolist() == [22, 22, 22]
        assert found["shower_ids"][:].tolist() == [0, 1, 2]
        assert found["directions"][:].tolist() == [[0, 0, 1]] * 3
        kinds = {name: str(found[name].dtype) for name in ("energies", "pdg", "num_points")}
        assert kinds == {"energies": "float32", "pdg": "int32", "num_points": "int32"}
        assert (found.attrs["unit"], found.attrs["geometry"]) == ("GeV", "box")


@pytest.mark.parametrize("end", NEEDS)
@pytest.mark.parametrize("name", ["ds1_photons", "box"])
def test_there_and_back_gives_the_same_showers_bit_for_bit(tmp_path, name, end, monkeypatch):
    pytest.importorskip(NEEDS[end])
    for module in ("showerdata", "root", "parquet"):
        monkeypatch.setattr(f"caloman_cli.data.exchange.{module}.ROWS", 7)
    geometry = BOX if name == "box" else load_geometry(name)
    energies, voxels = make_showers(geometry, 30)
    voxels[[0, 12, 29]] = 0  # nothing at all
    file = write_hdf5(tmp_path / "a.hdf5", energies, voxels)
    with h5py.File(file, "r+") as opened:
        opened.attrs.update({"unit": "MeV", "seed": 3, "generator": "by hand", "tags": ["a", "b"]})
    points = convert(file, tmp_path / f"points.{end}", geometry)
    convert(points, tmp_path / "back.hdf5", geometry)
    attributes = same_showers(file, tmp_path / "back.hdf5")
    assert (attributes["seed"], attributes["generator"], attributes["unit"]) == (
        3,
        "by hand",
        "MeV",
    )
    assert attributes["tags"].tolist() == ["a", "b"]
    assert [(step["verb"], step["files"][0]["name"]) for step in json.loads(
        attributes["caloman_history"])] == [
        ("data convert", "a.hdf5"), ("data convert", f"points.{end}"),
    ]  # fmt: skip


def test_gev_is_exact_to_a_float(tmp_path):
    energies, voxels = make_showers(BOX, 50)
    file = write_hdf5(tmp_path / "a.hdf5", energies, voxels)
    convert(file, tmp_path / "b.h5", unit="GeV")
    convert(tmp_path / "b.h5", tmp_path / "c.hdf5")
    with h5py.File(tmp_path / "c.hdf5") as found:
        np.testing.assert_allclose(found["showers"], voxels, rtol=2e-7)
        np.testing.assert_array_equal(found["incident_energies"], energies)


def test_points_of_others_are_voxelised(tmp_path, caplog):
    clouds = [[[0.2, 0.1, 0, 1e-3, 7], [50, 0, 0, 1e-3, 8]], [[0, 0, 0, 2e-3, 9]] * 3]
    theirs = points_file(tmp_path / "a.h5", clouds, [0.5, 0.25])
    with pytest.raises(UserError, match="a.h5 does not say its unit: give unit=GeV or unit=MeV"):
        convert(theirs, tmp_path / "b.hdf5")
    convert(theirs, tmp_path / "b.hdf5", unit="GeV")
    assert "1 points with 0.125 of the energy lie in no voxel of box" in caplog.text
    with h5py.File(tmp_path / "b.hdf5") as found:
        np.testing.assert_allclose(found["showers"][:, 0], [1, 6], rtol=1e-6)
        assert not found["showers"][:, 1:].any()
        assert found["incident_energies"][:].tolist() == [[500], [250]]


@pytest.mark.parametrize(
    ("changed", "keys", "message"),
    [
        ({}, {"unit": "GeV"}, "unit=GeV, but .* says that it is in MeV"),
        ({"directions": np.array([[0, 1, 0.0]])}, {}, "1 of 1 particles do not come along z"),
        ({"directions": np.ones((2, 3))}, {}, r"'directions' has shape \(2, 3\)"),
        ({"num_points": np.array([2])}, {}, "shower 0 has 4 numbers, 'num_points' says 8"),
        ({"num_points": np.array([1, 1])}, {}, "'num_points' has 2 rows and 'showers' 1"),
        ({"shape": np.array([1, 1, 3])}, {}, r"'shape' is \[1, 1, 3\], must be"),
        ({"energies": np.array([[-1.0]])}, {}, "incident energy -1 MeV"),
        ({"energies": np.ones((2, 1))}, {}, "'energies' has 2 rows"),
        ({"showers": np.ones((1, 4))}, {}, "must be one list of float32 for each shower"),
        ({"directions": None}, {}, "no dataset 'directions'"),
        ({"pdg": None}, {"out": "b.csv"}, "b.csv has to end in .hdf5 or .h5"),
        ({"pdg": None}, {"out": "b.root"}, "convert to showers .* first"),
    ],
)
def test_points_that_are_none_are_refused(tmp_path, changed, keys, message):
    theirs = points_file(tmp_path / "a.h5", [[[0.5, 0, 0, 1]]], [10], unit="MeV", **changed)
    with pytest.raises(UserError, match=message):
        convert(theirs, tmp_path / keys.pop("out", "b.hdf5"), **keys)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_points_outside_of_the_detector_are_refused(tmp_path):
    theirs = points_file(tmp_path / "a.h5", [[[50, 0, 0, 1]]], [10], unit="MeV")
    with pytest.raises(UserError, match="no point lies in a voxel of box: x and y are in mm"):
        convert(theirs, tmp_path / "b.hdf5")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize(
    ("end", "module", "extra"),
    [("root", "uproot", "caloman.root."), ("root", "awkward", "caloman.root."),
     ("parquet", "pyarrow", "caloman.parquet.")],
)  # fmt: skip
def test_an_extra_that_is_not_installed_is_named(tmp_path, monkeypatch, end, module, extra):
    for name in ("uproot", "awkward"):
        monkeypatch.setitem(sys.modules, name, object())
    monkeypatch.setitem(sys.modules, module, None)
    file = write_hdf5(tmp_path / "a.hdf5", [[1.0]], np.ones((1, 10), np.float32))
    with pytest.raises(UserError, match=f"needs the package {module} .*pip install '{extra}'"):
        convert(file, tmp_path / f"b.{end}")
    (tmp_path / f"c.{end}").touch()
    with pytest.raises(UserError, match=f"pip install '{extra}'"):
        convert(tmp_path / f"c.{end}", tmp_path / "d.hdf5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.hdf5", f"c.{end}"]


@pytest.mark.parametrize("end", ["root", "parquet"])
def test_damaged_files_of_others_are_one_line(tmp_path, end):
    pytest.importorskip(NEEDS[end])
    bad = tmp_path / f"a.{end}"
    bad.write_bytes(b"not at all")
    with pytest.raises(UserError, match="damaged or not a"):
        convert(bad, tmp_path / "b.hdf5")
    assert [path.name for path in tmp_path.iterdir()] == [bad.name]


def test_columns_that_are_missing_are_named(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"incident_energy": [1.0], "x": [[1.0]], "y": [[1.0]]})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match="no energy, layer: columns incident_energy, x, y"):
        convert(tmp_path / "a.parquet", tmp_path / "b.hdf5")


def test_particles_and_what_has_no_place(tmp_path, caplog):
    file = write_hdf5(tmp_path / "a.hdf5", [[1.0]], np.ones((1, 10)))
    with h5py.File(file, "r+") as opened:
        opened["truth"] = [1.0]
    odd = replace(BOX, particle="axion")
    with pytest.raises(UserError, match="which particle is axion"):
        convert(file, tmp_path / "b.h5", odd)
    convert(file, tmp_path / "b.h5", odd, pdg=99)
    assert "no place for truth" in caplog.text
    assert "rounded to float32" in caplog.text
    with h5py.File(tmp_path / "b.h5") as found:
        assert found["pdg"][:].tolist() == [99]
    with pytest.raises(UserError, match="exists"):
        convert(file, tmp_path / "b.h5", odd, pdg=99)


def test_convert_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    geometry = load_geometry("ds1_photons")
    write_hdf5(tmp_path / "a.hdf5", *make_showers(geometry, 5))
    assert main(["data", "convert", "a.hdf5", "dataset=ds1_photons", "out=b.h5"]) == 0
    assert main(["data", "convert", "b.h5", "dataset=ds1_photons", "out=c.hdf5"]) == 0
    same_showers("a.hdf5", "c.hdf5")
    capsys.readouterr()
    assert main(["data", "convert", "b.h5", "dataset=ds1_photons", "out=d.hdf5", "unit=eV"]) == 2
    assert "unit=eV" in capsys.readouterr().err


@pytest.mark.parametrize("end", ["h5", "root", "parquet"])
def test_the_detector_that_the_file_names(tmp_path, monkeypatch, capsys, end):
    """It need not be given; another one is warned of, and that it is not known is one line."""
    pytest.importorskip(NEEDS[end])
    monkeypatch.chdir(tmp_path)
    geometry = load_geometry("ds1_photons")
    with ShowerWriter(tmp_path / "a.hdf5", 5, geometry, {}) as writer:
        writer.write(*make_showers(geometry, 5))
    assert main(["data", "convert", "a.hdf5", f"out=b.{end}"]) == 0
    assert main(["data", "convert", f"b.{end}", "out=c.hdf5"]) == 0
    assert same_showers("a.hdf5", "c.hdf5")["geometry"] == "ds1_photons"
    capsys.readouterr()
    assert main(["data", "convert", f"b.{end}", "dataset=ds2", "out=d.hdf5"]) == 0
    assert f"b.{end} says that its detector is ds1_photons, not ds2" in capsys.readouterr().out
    with h5py.File("a.hdf5", "a") as file:
        file.attrs["geometry"] = "mine"
    assert main(["data", "convert", "a.hdf5", f"out=e.{end}"]) == 2
    error = capsys.readouterr().err
    assert "says mine, which is none of the challenge's: give its detector, dataset=" in error
    assert error.count("\n") == 1
