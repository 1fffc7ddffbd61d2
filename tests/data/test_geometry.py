"""The facts of the four detectors and the reading of a user's own binning."""

from pathlib import Path

import numpy as np
import pytest
import torch

from caloman_cli.data.binning import read_binning
from caloman_cli.data.geometry import Geometry, spelled_out
from caloman_cli.errors import FileError, UserError
from tests.conftest import load_geometry

SIZES = {"ds1_photons": (368, 5), "ds1_pions": (533, 7), "ds2": (6480, 45), "ds3": (40500, 45)}
LAYER = {"id": 0, "r_edges": [0, 2], "n_alpha": 1}
XML = """<Bins><Bin pid="22" name="photon">
<Layer id="0" r_edges="0,5,10,30" n_bin_alpha="1"/>
<Layer id="1" r_edges="0" n_bin_alpha="1"/>
<Layer id="2" r_edges="0,2,4" n_bin_alpha="10"/>
</Bin></Bins>"""


@pytest.mark.parametrize("name", SIZES)
def test_official_sizes(name):
    geometry = load_geometry(name)
    assert (geometry.n_voxels, geometry.n_layers) == SIZES[name]
    assert len(geometry.layer_index) == geometry.n_voxels


def test_image_shape_exists_for_regular_detectors_only():
    shapes = {name: load_geometry(name).image_shape for name in SIZES}
    assert shapes == {
        "ds1_photons": None,
        "ds1_pions": None,
        "ds2": (45, 16, 9),
        "ds3": (45, 50, 18),
    }


def test_layer_energies_are_plain_sums(geometry):
    voxels = torch.rand(3, geometry.n_voxels, dtype=torch.float64)
    expected = np.stack(
        [np.bincount(geometry.layer_index, row, geometry.n_layers) for row in voxels.numpy()]
    )
    np.testing.assert_allclose(geometry.layer_energies(voxels).numpy(), expected, rtol=1e-12)


def test_ds1_energies_are_powers_of_two_with_the_files_counts():
    photons, pions = load_geometry("ds1_photons"), load_geometry("ds1_pions")
    assert photons.incident_energies == tuple(2.0**k for k in range(8, 23))
    assert sum(photons.incident_weights) == 121_000
    assert sum(pions.incident_weights) == 120_800


def test_a_geometry_survives_its_dictionary(geometry):
    assert Geometry.from_dict(geometry.to_dict()) == geometry


def test_xml_binning_skips_absent_layers(tmp_path: Path):
    path = tmp_path / "binning.xml"
    path.write_text(XML)
    layers = read_binning(path, "photon").layers
    assert [(layer.id, layer.n_r, layer.n_alpha) for layer in layers] == [(0, 3, 1), (2, 2, 10)]
    assert layers[1].r_edges == (0.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<Bins>", "not a binning XML"),
        (XML.replace("photon", "muon"), "has no particle 'photon': it has muon"),
        (XML.replace("0,2,4", "0,4,2"), "rising"),
        (XML.replace("0,2,4", "0,2,2"), "rising"),
        (XML.replace("0,2,4", "0,nan,4"), "rising"),
        (XML.replace("0,2,4", "0,2,inf"), "rising"),
        (XML.replace("0,2,4", "0,2,1e999"), "rising"),
        (XML.replace("0,2,4", "-1,2,4"), "from 0"),
        (XML.replace('id="2"', 'id="0"'), "layer id 0 occurs twice"),
        (XML.replace('id="2"', 'id="-2"'), "layer id -2"),
        (XML.replace('"10"', '"1000000000000"'), "voxels per shower"),
        (XML.replace(' r_edges="0,2,4"', ""), "lacks r_edges"),
        (XML.replace('"10"', '"10" alpha_edges="0,1"'), "alpha_edges=0,1 is not understood"),
        (XML.replace('pid="22"', 'symmetriseAlpha="true"'), "symmetriseAlpha=true is not"),
        (
            XML.replace('pid="22"', 'etaMin="20"').replace("</Bins>", XML[6:]),
            "'photon' 2 times .etaMin 20 etaMax .*keep in a copy the one",
        ),
        ('<?xml version="1.0" encoding="utf-99"?>' + XML, "not a binning XML"),
        ('<?xml version="1.0" encoding="utf-16"?>' + XML, "not a binning XML"),
        ('<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + XML, "DTD"),
        ("", "not a binning XML"),
        ("<a>" * 200_000, "not a binning XML"),
        (XML.replace("0,2,4", "0,b"), "not readable"),
        (XML.replace('n_bin_alpha="10"', 'n_bin_alpha="0"'), "must be 1 or more"),
        (XML.replace('"10"', '"10" repeat="0"'), "repeat of layer 2 is 0"),
        (XML.replace('"10"', '"10" repeat="x"'), "not readable"),
        (XML.replace('id="0"', 'id="0" repeat="3"'), "layer id 2 occurs twice"),
    ],
)
def test_xml_mistakes_are_named(tmp_path, text, message):
    path = tmp_path / "binning.xml"
    path.write_text(text)
    with pytest.raises(FileError, match=message) as caught:
        read_binning(path, "photon")
    assert "binning.xml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_repeat_stands_for_layers_alike_that_are_numbered_on(tiny_geometry):
    rings = {"r_edges": [0, 1, 3], "n_alpha": 4}
    layers = [{"id": 2, "repeat": 3, **rings}, {"id": 7, **rings}]
    short = Geometry.from_dict({**tiny_geometry.to_dict(), "layers": layers})
    alone = [{"id": number, **rings} for number in (2, 3, 4, 7)]
    assert short == Geometry.from_dict({**tiny_geometry.to_dict(), "layers": alone})
    assert spelled_out(layers) == spelled_out(alone)
    assert [one["id"] for one in short.to_dict()["layers"]] == [2, 3, 4, 7]
    assert "repeat" not in short.to_dict()["layers"][0]  # what model files keep


def test_a_binning_file_may_repeat_a_layer(tmp_path):
    path = tmp_path / "binning.xml"
    path.write_text(XML.replace('id="2"', 'id="2" repeat="3"'))
    layers = read_binning(path, "photon").layers
    assert [(layer.id, layer.n_r, layer.n_alpha) for layer in layers] == [
        (0, 3, 1),
        *((number, 2, 10) for number in (2, 3, 4)),
    ]


def test_an_attribute_that_changes_nothing_is_no_trouble(tmp_path):
    path = tmp_path / "binning.xml"
    path.write_text(XML.replace('pid="22"', 'symmetriseAlpha="false" etaMin="0" etaMax="5"'))
    assert len(read_binning(path, "photon").layers) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": [{"id": 0, "r_edges": [0, float("nan")], "n_alpha": 1}]}, "rising"),
        ({"layers": [{"id": 0, "r_edges": [-1, 2], "n_alpha": 1}]}, "from 0"),
        ({"layers": [{"id": 0, "r_edges": [0, 2], "n_alpha": 1.5}]}, "n_alpha"),
        ({"layers": [{"id": 0, "r_edges": [0, 2], "n_alpha": 10**12}]}, "voxels per shower"),
        ({"layers": [{"id": 0, "r_edges": [0, 2], "n_alpha": 1}] * 2}, "occurs twice"),
        ({"layers": [{"id": 0, "n_alpha": 1}]}, "lacks r_edges"),
        ({"layers": [{"id": 0, "r_edges": 3, "n_alpha": 1}]}, "not readable"),
        ({"layers": 3}, "layers=3: must be a list"),
        ({"layers": [{**LAYER, "repeat": 0}]}, "repeat of layer 0 is 0, must be a whole number"),
        ({"layers": [{**LAYER, "repeat": 1.5}]}, "repeat of layer 0 is 1.5"),
        ({"layers": [{**LAYER, "repeat": "45"}]}, "repeat of layer 0 is 45"),
        ({"layers": [{**LAYER, "repeat": True}]}, "repeat of layer 0 is True"),
        ({"layers": [{**LAYER, "repeat": None}]}, "repeat of layer 0 is None"),
        ({"layers": [{**LAYER, "repeat": float("inf")}]}, "repeat of layer 0 is inf"),
        ({"layers": [{**LAYER, "repeat": 10**12}]}, "voxels per shower"),
        ({"layers": [{**LAYER, "repeat": 3}, {**LAYER, "id": 2}]}, "layer id 2 occurs twice"),
        ({"layers": [{**LAYER, "repeats": 3}]}, "a layer has repeats, which is not understood"),
        ({"layers": [{"id": "a", "r_edges": [0, 1], "n_alpha": 1}]}, "not readable"),
        ({"threshold": float("inf")}, "threshold=inf"),
        ({"max_response": 0}, "max_response=0"),
        ({"incident_range": [10, 1]}, "rising"),
        ({"incident_energies": [1, -1]}, "above 0"),
        ({"incident_energies": []}, "1 or more of them"),
        ({"incident_weights": [1]}, "as many"),
    ],
)
def test_facts_of_a_geometry_are_checked(tiny_geometry, change, message):
    with pytest.raises(UserError, match=message) as caught:
        Geometry.from_dict({**tiny_geometry.to_dict(), **change})
    assert "geometry tiny" in str(caught.value)


def test_missing_xml_is_named(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_binning(tmp_path / "no.xml", "photon")
