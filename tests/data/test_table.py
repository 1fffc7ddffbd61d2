"""``data merge``, ``split``, ``select``, ``limit``: rows carried with all that is beside them."""

import json

import h5py
import numpy as np
import pytest
from omegaconf import OmegaConf

from caloman_cli.cli.main import main
from caloman_cli.config.compose import CONF
from caloman_cli.data import contents, table
from caloman_cli.data.showers import Showers
from caloman_cli.errors import UserError
from caloman_cli.verbs import data_limit, data_merge, data_select, data_split
from tests.conftest import load_geometry


def run(verb, **keys):
    """Run a verb with the defaults of its config."""
    cfg = OmegaConf.load(CONF / f"{verb.__name__.rpartition('.')[2]}.yaml")
    return verb.run(OmegaConf.merge(cfg, json.loads(json.dumps(keys, default=str))))


def write(path, numbers, seed=1, **changed):
    """Showers that their numbers tell apart, with all that a file may hold beside them."""
    numbers = np.asarray(numbers)
    rng = np.random.default_rng(7)
    voxels = rng.random((100, 5))[numbers]  # float64, not representable in float32
    with h5py.File(path, "w") as file:
        file.attrs.update({"unit": "MeV", "geometry": "box", "seed": seed, "tags": ["a", "b"]})
        file.attrs["fixed"] = np.bytes_(b"four")
        file.attrs["nothing"] = h5py.Empty("f8")
        file["incident_energies"] = 100.0 + numbers[:, None]
        packed = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
        chunks = min(4, len(voxels)), 5
        file.create_dataset("showers", data=voxels, chunks=chunks, **packed)
        file["showers"].attrs["axis"] = "layer, alpha, r"
        truth = file.create_group("truth")
        truth.attrs["generator"] = "by hand"
        truth.create_dataset("number", data=numbers.astype(np.uint16))
        truth["name"] = [f"shower {n}" for n in numbers]
        truth["hit"] = numbers % 2 == 0
        file["edges"] = np.array([0.0, 1.0, 3.0, np.nan])
        file["note"] = "a text"
        file["energies"] = h5py.SoftLink("/incident_energies")
        for name, value in changed.items():
            if name in file:
                del file[name]
            if value is not None:
                file[name] = value
    return path


def holds(path, numbers):
    """Whether a file is what :func:`write` makes of these numbers, but for its history."""
    expected = write(path.with_suffix(".expected"), numbers)
    with h5py.File(path) as a, h5py.File(expected) as b:
        names_a, names_b = [], []
        a.visit(names_a.append)
        b.visit(names_b.append)
        assert sorted(names_a) == sorted(names_b)
        for name in names_b:
            if isinstance(b[name], h5py.Dataset):
                assert a[name].dtype == b[name].dtype
                assert np.asarray(a[name][()]).tobytes() == np.asarray(b[name][()]).tobytes() or (
                    a[name].dtype.hasobject and np.all(a[name][()] == b[name][()])
                ), name
            same_attributes(a[name], b[name])
        assert (a["showers"].compression_opts, a["showers"].shuffle) == (9, True)
        assert a.get("energies", getlink=True).path == "/incident_energies"
        same_attributes(a, b, but=("caloman_history", "seed"))
        return json.loads(a.attrs["caloman_history"])


def same_attributes(a, b, but=()):
    assert set(a.attrs) - set(but) == set(b.attrs) - set(but)
    for key in set(b.attrs) - set(but):
        assert a.attrs.get_id(key).dtype == b.attrs.get_id(key).dtype
        assert np.array_equal(a.attrs[key], b.attrs[key]) or isinstance(b.attrs[key], h5py.Empty)


PHOTONS = {
    "name": "photons", "geometry_xml": None, "geometry": load_geometry("ds1_photons").to_dict(),
}  # fmt: skip


@pytest.fixture(params=[None, 3])
def blocks(request, monkeypatch):
    """Rows at a time: all, or so few that blocks and chunks do not end together."""
    if request.param is not None:
        monkeypatch.setattr(table, "rows_at_a_time", lambda dataset: request.param)


@pytest.mark.usefixtures("blocks")
def test_merged_files_hold_every_row_dataset_and_attribute(tmp_path):
    a, b = write(tmp_path / "a.hdf5", range(7)), write(tmp_path / "b.hdf5", range(50, 70), seed=2)
    out = tmp_path / "new/all.hdf5"
    assert run(data_merge, files=[b, a], out=out) == out
    (step,) = holds(out, [*range(50, 70), *range(7)])
    assert step["verb"] == "data merge"
    assert step["files"] == [
        {"name": "b.hdf5", "showers": 20, "attributes": {"seed": 2}},
        {"name": "a.hdf5", "showers": 7, "attributes": {"seed": 1}},
    ]
    with h5py.File(out) as file:
        assert "seed" not in file.attrs


@pytest.mark.usefixtures("blocks")
def test_the_parts_of_a_file_merge_into_its_showers(tmp_path):
    whole = write(tmp_path / "whole.hdf5", range(40))
    run(data_split, file=whole, out=tmp_path, seed=None)
    found = [
        holds(tmp_path / "train.hdf5", range(20)),
        holds(tmp_path / "truth.hdf5", range(20, 30)),
    ]
    assert [history[0]["verb"] for history in found] == ["data split", "data split"]
    parts = [tmp_path / f"{name}.hdf5" for name in ("train", "truth", "reference")]
    run(data_merge, files=parts, out=tmp_path / "again.hdf5")
    holds(tmp_path / "again.hdf5", range(40))


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({"energy": [110, 115]}, range(10, 16)),
        ({"energy": 112}, [12]),
        ({"rows": [3, 17, 4]}, [3, 4, 17]),
        ({"rows": "5:20:7"}, [5, 12, 19]),
        ({"rows": ":2"}, [0, 1]),
        ({"rows": "-2:"}, [38, 39]),
        ({"rows": "10:30", "energy": [1, 112]}, [10, 11, 12]),
    ],
)
def test_rows_are_selected_by_energy_and_by_number(tmp_path, asked, numbers):
    whole = write(tmp_path / "whole.hdf5", range(40))
    run(data_select, file=whole, out=tmp_path / "out.hdf5", **asked)
    assert holds(tmp_path / "out.hdf5", numbers)[0]["showers"] == len(list(numbers))


def test_a_limit_takes_the_showers_that_a_training_with_it_takes(tmp_path):
    whole = write(tmp_path / "whole.hdf5", range(40))
    out = tmp_path / "out.hdf5"
    run(data_limit, file=whole, out=out, n=6)
    geometry = load_geometry("ds1_photons")
    same = Showers.from_arrays(100.0 + np.arange(40), np.zeros((40, 368)), geometry).limited(6)
    holds(out, (same.energies[:, 0] - 100).astype(int))
    run(data_limit, file=whole, out=out, n=6, seed=None, overwrite=True)
    holds(out, range(6))
    run(data_limit, file=whole, out=out, n=99, overwrite=True)
    holds(out, range(40))


def test_history_grows_with_each_step(tmp_path):
    whole = write(tmp_path / "0.hdf5", range(40))
    run(data_select, file=whole, out=tmp_path / "1.hdf5", rows="0:9")
    run(data_limit, file=tmp_path / "1.hdf5", out=tmp_path / "2.hdf5", n=4, seed=None)
    steps = holds(tmp_path / "2.hdf5", range(4))
    assert [(step["verb"], step["showers"]) for step in steps] == [
        ("data select", 9),
        ("data limit", 4),
    ]


def test_floats_of_two_widths_lose_nothing(tmp_path):
    narrow = np.linspace(0, 1, 15, dtype=np.float32).reshape(3, 5)
    a = write(tmp_path / "a.hdf5", range(3), showers=narrow)
    b = write(tmp_path / "b.hdf5", range(2))
    run(data_merge, files=[a, b], out=tmp_path / "c.hdf5")
    with h5py.File(tmp_path / "c.hdf5") as file, h5py.File(b) as second:
        assert file["showers"].dtype == np.float64
        np.testing.assert_array_equal(file["showers"][:3], narrow.astype(np.float64))
        np.testing.assert_array_equal(file["showers"][3:], second["showers"][:])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"showers": np.ones((2, 6))}, r"'showers' has shape \(N, 5\) in .*a.hdf5, \(N, 6\) in"),
        ({"showers": -np.ones((2, 5))}, "b.hdf5: voxel energy -1 MeV in row 0"),
        ({"edges": np.array([0.0, 2.0, 3.0, 4.0])}, "differ in 'edges', which has no row"),
        ({"edges": None}, "b.hdf5 has no 'edges', which .*a.hdf5 has"),
        ({"more": np.ones(2)}, "a.hdf5 has no 'more', which .*b.hdf5 has"),
        ({"truth/name": np.ones(2)}, "'truth/name' holds object in .*a.hdf5, float64 in"),
        ({"incident_energies": np.ones((3, 1))}, "3 rows and 'showers' has 2"),
        ({"far": h5py.ExternalLink("a.hdf5", "showers")}, "'far' is a link to another file"),
    ],
)
def test_files_that_are_not_alike_are_refused(tmp_path, changed, message):
    a, b = write(tmp_path / "a.hdf5", range(3)), write(tmp_path / "b.hdf5", range(2), **changed)
    with pytest.raises(UserError, match=message):
        run(data_merge, files=[a, b], out=tmp_path / "c.hdf5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.hdf5", "b.hdf5"]


def test_detectors_and_units_have_to_agree(tmp_path):
    a, b = write(tmp_path / "a.hdf5", range(3)), write(tmp_path / "b.hdf5", range(2))
    asked = {"files": [a, b], "out": tmp_path / "c.hdf5"}
    with h5py.File(b, "r+") as file:
        file.attrs["geometry"] = "other"
    with pytest.raises(
        UserError, match="geometry box, .*b.hdf5 has other: merge files of one det"
    ):
        run(data_merge, **asked)
    with pytest.raises(UserError, match="5 voxels per shower, but ds1_photons has 368"):
        run(data_merge, **asked, dataset=PHOTONS)
    with h5py.File(b, "r+") as file:
        file.attrs.update({"geometry": "box", "unit": "GeV"})
    with pytest.raises(UserError, match="unit MeV, .* has GeV: energies must be in MeV"):
        run(data_merge, **asked)
    assert not (tmp_path / "c.hdf5").exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "say which showers"),
        ({"energy": [1, 2]}, "rows 0 to 2 and incident energies from 100 to 102 MeV"),
        ({"rows": "7:9"}, "no shower of"),
        ({"rows": [1, 3]}, "rows=3 does not exist: the file has rows 0 to 2"),
        ({"rows": [1, 1]}, "rows names 1 twice"),
        ({"rows": "0:1", "dataset": {"limit": 3}}, "dataset.limit= needs a dataset"),
    ],
)
def test_a_selection_of_nothing_is_refused(tmp_path, asked, message):
    whole = write(tmp_path / "whole.hdf5", range(3))
    with pytest.raises(UserError, match=message):
        run(data_select, file=whole, out=tmp_path / "out.hdf5", **asked)
    assert not (tmp_path / "out.hdf5").exists()


def test_no_file_is_lost_or_taken_twice(tmp_path):
    a, b = write(tmp_path / "a.hdf5", range(5)), write(tmp_path / "b.hdf5", range(2))
    for out, overwrite, message in ((a, True, "one of the files to read"), (b, False, "exists")):
        with pytest.raises(UserError, match=message):
            run(data_limit, file=a, out=out, n=2, overwrite=overwrite)
    again = f"{tmp_path}/../{tmp_path.name}/a.hdf5"
    with pytest.raises(UserError, match="given twice"):
        run(data_merge, files=[a, again], out=tmp_path / "c.hdf5")
    with h5py.File(a) as first, h5py.File(b) as second:
        assert (len(first["showers"]), len(second["showers"])) == (5, 2)


def test_a_full_disk_leaves_nothing(tmp_path, small_disk):
    whole = tmp_path / "whole.hdf5"
    with h5py.File(whole, "w") as file:  # of zeros, which gzip makes small
        file["incident_energies"] = np.ones((900, 1))
        file.create_dataset("showers", (900, 100), "f4", chunks=(10, 100), compression="gzip")[
            :
        ] = 1
        file.create_dataset("noise", (900, 4), "f4", chunks=(900, 4), compression="gzip")[:] = 0
    wide = tmp_path / "wide.hdf5"
    assert len(open_rows(whole)) == 900
    with pytest.raises(UserError, match="no room left"):
        unpacked(whole, wide)
    assert not list(tmp_path.glob("wide*"))
    assert not list(tmp_path.glob(".caloman*"))


def open_rows(path):
    return table.Table([path], None)


def unpacked(path, out):
    """Write without packing, more than the disk has room for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "_alike", lambda file, name, source, n, kind:
                      file.create_dataset(name, (n, *source.shape[1:]), kind))  # fmt: skip
        open_rows(path).write({out: np.arange(900)}, {})


def test_a_block_is_some_chunks_and_bounded(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        wide = file.create_dataset("wide", (10**6, 6480), "f8", chunks=(1000, 1))
        assert contents.rows_at_a_time(wide) == 1000
        assert contents.rows_at_a_time(file.create_dataset("flat", (9, 2**20), "f8")) == 8
        texts = file.create_dataset("texts", (9,), h5py.string_dtype())
        assert contents.rows_at_a_time(texts) == 1024


def test_what_is_typed_arrives(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a b.hdf5", range(3))
    write(tmp_path / "c,d.hdf5", range(2))
    assert main(["data", "merge", "a b.hdf5", "c,d.hdf5", "out=all.hdf5"]) == 0
    holds(tmp_path / "all.hdf5", [0, 1, 2, 0, 1])
    assert (
        main(["data", "select", "all.hdf5", "rows=1:", "energy=[101,1e5]", "out=some.hdf5"]) == 0
    )
    holds(tmp_path / "some.hdf5", [1, 2, 1])
    (tmp_path / "parts").mkdir()
    half = ["parts.train=0.4", "parts.truth=null", "parts.reference=null", "seed=null"]
    assert main(["data", "split", "all.hdf5", "out=parts", *half]) == 0
    holds(tmp_path / "parts/train.hdf5", [0, 1])
    capsys.readouterr()
    assert main(["data", "split", "all.hdf5", "out=some.hdf5"]) == 2
    assert "some.hdf5 is a file: give a folder for the parts" in capsys.readouterr().err
    assert main(["data", "select", "all.hdf5", "rows=1-3", "out=x.hdf5"]) == 2
    assert "rows=1-3: must be START:STOP" in capsys.readouterr().err
