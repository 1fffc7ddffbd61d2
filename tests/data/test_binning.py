"""What a binning file says of its particle, and what in it may be a mistake."""

import pytest

from caloman_cli.data.binning import read_binning
from caloman_cli.errors import FileError
from tests.conftest import load_geometry

XML = """<Bins>
<Bin pid="22" name="photon">
<Layer id="0" r_edges="0,10,30,80" n_bin_alpha="1"/>
<Layer id="1" r_edges="0,5,10,20,40" n_bin_alpha="8"/>
<Layer id="2" r_edges="0,20,60" n_bin_alpha="4"/>
</Bin>
</Bins>"""


def binning(tmp_path, text, particle=None):
    path = tmp_path / "binning.xml"
    path.write_text(text)
    return read_binning(path, particle)


def both(name):
    """Two particles, the second one with another name."""
    second = XML[6:-7].replace("photon", name).replace('"4"', '"2"')
    return XML.replace("</Bins>", f"{second}</Bins>")


@pytest.mark.parametrize("name", ["muon", "kaon", "proton", "neutron", "pi+", "K0L"])
def test_any_particle_has_a_name(tmp_path, name):
    found = binning(tmp_path, XML.replace("photon", name).replace(' pid="22"', ""))
    assert (found.particle, len(found.layers), found.warnings) == (name, 3, ())
    assert binning(tmp_path, both(name), name).layers[2].n_alpha == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (both("pion"), r"several particles \(photon, pion\): say which, particle=NAME"),
        (both("photon"), "'photon' 2 times"),
        (XML.replace(' name="photon"', ""), "a Bin lacks its name"),
        ("<Bins/>", "has no Bin: it has none"),
        (XML.replace("<Layer", "<layer"), "the element <layer> is not understood"),
        (XML.replace("0,20,60", "0 20 60"), "layer 2 is not readable: .*with commas"),
    ],
)
def test_what_cannot_be_understood_is_refused(tmp_path, text, message):
    with pytest.raises(FileError, match=message) as caught:
        binning(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('id="1"', 'id="7"', "layer 2 stands behind layer 7: voxels are taken in the order"),
        ('id="2"', 'id="4"', "there is no layer 2 ... 3 between 1 and 4"),
        ('id="2"', 'id="3"', "there is no layer 2 between 1 and 3"),
        ("0,5,10", "5,7,10", "layer 1 begins at 5 mm: energy nearer to the axis is counted"),
        (
            "0,20,60",
            "0,20,60000",
            "layer 2 has a ring from 0 to 20 mm beside one from 20 to 60000",
        ),
        (
            "0,5,10,20",
            "0,5,5.01,20",
            "layer 1 has a ring from 5 to 5.01 mm beside one from 0 to 5",
        ),
        ('pid="22"', 'pid="-11"', "pid -11 is that of electron, the Bin is called photon"),
    ],
)
def test_oddities_are_said(tmp_path, before, after, message):
    assert binning(tmp_path, XML).warnings == ()
    warnings = binning(tmp_path, XML.replace(before, after, 1)).warnings
    assert any(message in text for text in warnings), warnings


@pytest.mark.parametrize(
    ("name", "pid", "said"),
    [
        ("kaon+", "13", "muon"), ("K-", "-211", "pion"), ("gamma", "11", "electron"),
        ("kaon+", "321", None), ("pi0", "111", None), ("e-", "11", None), ("mu+", "-13", None),
        ("gamma", "22", None), ("tau", "13", None), ("Pi-", "-211", None),
    ],
)  # fmt: skip
def test_a_number_of_another_particle_is_said(tmp_path, name, pid, said):
    text = XML.replace('name="photon"', f'name="{name}"').replace('"22"', f'"{pid}"')
    warnings = binning(tmp_path, text).warnings
    if said is None:
        assert warnings == ()
    else:
        assert f"pid {pid} is that of {said}, the Bin is called {name}" in warnings[0]


def test_edges_in_metres_are_suspected(tmp_path):
    metres = '<Bins><Bin name="muon"><Layer id="0" r_edges="0,{}" n_bin_alpha="1"/></Bin></Bins>'
    (said,) = binning(tmp_path, metres.format("0.08,1.2")).warnings
    assert "all layers end within 1.2 mm: r_edges are in mm, are these in cm or m?" in said
    (said,) = binning(tmp_path, metres.format("80000,300000")).warnings
    assert "micrometres" in said
    assert binning(tmp_path, metres.format("80,1200")).warnings == ()


def test_a_layer_that_is_called_absent_is_not_missed(tmp_path):
    absent = '<Layer id="{}" r_edges="0" n_bin_alpha="1"/>'
    text = XML.replace('id="2"', 'id="4"')
    named = "".join(absent.format(number) for number in (2, 3))
    found = binning(tmp_path, text.replace("</Bin>", f"{named}</Bin>"))
    assert ([layer.id for layer in found.layers], found.warnings) == ([0, 1, 4], ())


@pytest.mark.parametrize(("name", "missing"), [("ds1_photons", 1), ("ds1_pions", 1), ("ds2", 0)])
def test_the_challenge_s_own_detectors_are_not_odd(tmp_path, name, missing):
    geometry = load_geometry(name)
    layers = "".join(
        f'<Layer id="{one.id}" r_edges="{",".join(map(str, one.r_edges))}" '
        f'n_bin_alpha="{one.n_alpha}"/>'
        for one in geometry.layers
    )
    found = binning(tmp_path, f'<Bins><Bin name="{geometry.particle}">{layers}</Bin></Bins>')
    assert found.layers == geometry.layers
    assert len(found.warnings) == missing  # layers 4 to 11 are not named
