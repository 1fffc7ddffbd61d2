"""A dataset's detector: settled from its binning file, laid out for people, drawn."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from caloman_cli.config.compose import compose
from caloman_cli.data.detector import dataset_geometry, settle, settled
from caloman_cli.data.geometry import Geometry
from caloman_cli.data.layout import shapes, summary, table
from caloman_cli.errors import UserError
from caloman_cli.report.detector import drawing
from caloman_cli.runs.differences import differences
from tests.conftest import load_geometry
from tests.data.test_binning import XML
from tests.pictures import collisions, cut

DETECTORS = {
    "one voxel": [([0, 10], 1)],
    "two shapes and a jump": [([0, 5], 1), ([0, 5, 10], 8)],
    "a narrow ring far out": [([100.001, 100.002, 100.003], 4)],
    "uneven": [([0, 1, 1000], 4), ([0, 1], 1)],
    "many": [(list(range(51)), 1), ([0, 10, 50], 90)],
    "of a name that is longer than its picture would be wide without": [([0, 1], 1), ([0, 2], 3)],
}  # fmt: skip


def detector(name):
    layers = [
        {"id": 7 * i, "r_edges": edges, "n_alpha": cuts}
        for i, (edges, cuts) in enumerate(DETECTORS[name])
    ]
    facts = {
        "name": name, "particle": "photon", "threshold": 0.5, "max_response": 5.0,
        "incident_energies": [1e3], "incident_weights": [1.0], "incident_range": None,
    }  # fmt: skip
    return Geometry.from_dict({**facts, "layers": layers})


@pytest.fixture
def facts(tmp_path):
    """The group ``dataset`` of a detector of one's own, plain types."""
    (tmp_path / "mine.xml").write_text(XML.replace("photon", "muon").replace('"22"', '"13"'))
    cfg = compose("data_check", ["dataset=custom", "dataset.geometry.threshold=0.5"])
    cfg.dataset.geometry_xml = str(tmp_path / "mine.xml")
    return OmegaConf.to_container(cfg.dataset)


def test_a_settled_dataset_needs_its_binning_file_no_more(facts, tmp_path):
    before = dataset_geometry(OmegaConf.create(facts))
    found = settled(facts)
    (tmp_path / "mine.xml").unlink()
    assert found["geometry_xml"] is None
    assert dataset_geometry(OmegaConf.create(found)) == before
    assert (before.particle, before.threshold, before.n_voxels) == ("muon", 0.5, 43)
    assert settled(found) == found
    with pytest.raises(UserError, match="does not exist"):
        settled(facts)


def test_what_is_odd_in_the_file_is_said_once_and_with_its_name(facts, tmp_path, caplog):
    (tmp_path / "mine.xml").write_text(XML.replace('id="2"', 'id="3"'))
    cfg = OmegaConf.create({"dataset": facts})
    settle(cfg)
    assert caplog.text.count("there is no layer 2 between 1 and 3") == 1
    assert "mine.xml" in caplog.text
    assert len(cfg.dataset.geometry.layers) == 3


def test_a_run_that_names_its_binning_file_is_the_run_that_has_its_layers(facts, tmp_path):
    stored, asked = {"dataset": facts}, {"dataset": settled(facts)}
    assert differences(stored, asked) == differences(asked, stored) == []
    (tmp_path / "mine.xml").write_text(XML.replace("0,20,60", "0,20,50").replace("photon", "muon"))
    (found,) = differences({"dataset": facts}, asked)
    assert found.startswith("dataset.geometry.layers.2.r_edges")


def test_a_particle_is_a_name(facts):
    facts["geometry"]["particle"] = "two words"
    with pytest.raises(UserError, match="two words"):
        dataset_geometry(OmegaConf.create(facts))
    facts |= {"geometry_xml": None}
    facts["geometry"] |= {"particle": None, "layers": []}
    with pytest.raises(UserError, match="particle=null: only a binning file"):
        dataset_geometry(OmegaConf.create(facts))


def test_the_table_has_a_line_for_layers_alike(facts):
    rows = [line.split() for line in table(load_geometry("ds2")).splitlines()]
    assert rows[2][:7] == ["0", "...", "44", "9", "16", "144", "0"]
    rows = [line.split() for line in table(load_geometry("ds1_photons")).splitlines()[2:]]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "12"]
    assert rows[1][1:7] == ["16", "10", "160", "8", "...", "167"]
    said = summary(dataset_geometry(OmegaConf.create(facts)))
    assert "custom, muon: 3 layers, 43 voxels" in said
    assert "out to 40 to 80 mm" in said


def test_layers_of_one_shape_are_drawn_once(tiny_geometry):
    assert [shape.name for shape in shapes(load_geometry("ds3"))] == ["layers 0 ... 44"]
    assert [shape.positions for shape in shapes(tiny_geometry)] == [(0,), (1,), (2,)]
    image = drawing(load_geometry("ds1_photons"))
    fronts, side = (part.axes for part in image.subfigs)
    assert [ax.get_title().split("\n")[0] for ax in fronts] == [
        f"layer {number}" for number in (0, 1, 2, 3, 12)
    ]
    assert [tick.get_text() for tick in side[0].get_xticklabels()] == ["0", "1", "2", "3", "12"]


def test_a_voxel_is_drawn_where_the_formula_says(tiny_geometry):
    """Voxel 7 = 3 slices * 2 rings + 1: the fourth slice, pi/2 to pi; the second ring."""
    ax = drawing(tiny_geometry).subfigs[0].axes[1]
    (at,) = (text.get_position() for text in ax.texts if text.get_text() == "7")
    np.testing.assert_allclose(np.hypot(*at), 7.5)
    np.testing.assert_allclose(np.arctan2(at[1], at[0]), 3 * np.pi / 4)


@pytest.mark.parametrize("name", DETECTORS)
def test_words_of_a_drawing_are_whole_and_apart(name):
    image = drawing(detector(name))
    assert cut(image) == []
    assert collisions(image) == []


def test_narrow_rings_far_from_the_axis_can_be_seen():
    fronts, side = (part.axes for part in drawing(detector("a narrow ring far out")).subfigs)
    assert "not to scale" in fronts[0].get_title()
    low, high = side[0].get_ylim()
    assert 100 < low < high < 100.004
