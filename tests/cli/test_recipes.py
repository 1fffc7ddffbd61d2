"""What ``caloman train`` takes where nothing was chosen: the recipe that suits the detector."""

from dataclasses import replace

import pytest

from caloman_cli.cli.recipes import suited
from tests.conftest import load_geometry
from tests.contracts.groups import image_geometry


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("ds1_photons", "scales"),
        ("ds1_pions", "scales_hadrons"),
        ("ds2", "scales_long"),
        ("ds3", "scales_long"),
    ],
)
def test_every_official_detector_has_its_flagship(name, recipe):
    assert suited(load_geometry(name)) == recipe


def test_detectors_of_ones_own(tiny_geometry):
    assert suited(tiny_geometry) == "scales"
    assert suited(replace(tiny_geometry, particle="proton")) == "scales_hadrons"
    image = image_geometry()
    assert suited(image) == "scales"
    many = tuple(replace(image.layers[0], id=number) for number in range(30))
    assert suited(replace(image, layers=many)) == "scales_long"


def shown(caloman, *overrides):
    result = caloman("train", *overrides, "output=x", "--cfg", "job")
    assert result.status == 0, result.err
    return result.out


def test_the_choice_can_be_seen_and_its_keys_be_set(caloman):
    assert "sight: 1" in shown(caloman, "dataset=ds2", "head.hidden=32")
    assert "sight: 0" in shown(caloman, "dataset=ds1_photons", "head.state=32")


def test_what_the_user_chooses_wins(caloman):
    chosen = shown(caloman, "dataset=ds2", "encoder=pca", "head=gaussian")
    assert "heads.Gaussian" in chosen
    assert "AutoregressiveEnergy" in chosen  # the rest is the recipe's
    assert "heads.Gaussian" in shown(caloman, "experiment=caloman_ds2")


@pytest.mark.parametrize(
    ("encoder", "head"),
    [
        ("ae", "heads.Multiscale"),
        ("pca", "heads.Multiscale"),
        ("pca encoder.decoder=closed", "heads.HurdleMixture"),
        ("vae", "heads.Multiscale"),
    ],
)
def test_another_encoder_gets_a_head_that_it_serves(caloman, encoder, head):
    out = shown(caloman, "dataset=ds1_photons", *f"encoder={encoder}".split())
    assert head in out
    assert ("harmonics: 2" in out) == (head == "heads.Multiscale")


def test_keys_of_the_recipes_head_are_known_where_the_encoder_does_not_fit(caloman):
    """Other heads, which are tried then, do not have them: what is wrong is the encoder."""
    typed = ["dataset=ds1_photons", "encoder.latent_dim=500", "output=x"]
    result = caloman("train", *typed, "head.state=32", "--dry-run")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "latent_dim" in result.err
    wrong = caloman("train", *typed, "head.stat=32").err
    assert "unknown key 'head.stat': did you mean 'head.state'?" in wrong


def test_the_choice_is_said_in_one_line(caloman, monkeypatch):
    monkeypatch.setattr("caloman_cli.verbs.train.run", lambda cfg: None)
    said = caloman("train", "dataset=ds2", "density=maf", "output=x").out
    (line,) = [line for line in said.splitlines() if "recipe=" in line]
    for word in ("recipe=scales_long", "ds2", "head=multiscale_long", "density=maf", "caloman_*"):
        assert word in line
    assert "recipe=" not in caloman("train", "experiment=caloman_ds2", "output=x").out


def test_a_binning_file_decides(caloman, tmp_path):
    own = ["dataset=custom", "dataset.geometry.particle=photon", "dataset.geometry.threshold=1"]
    own.append("dataset.geometry_xml=mine.xml")
    for count, sight in ((25, 1), (3, 0)):
        layers = "".join(
            f'<Layer id="{i}" r_edges="0,5,10" n_bin_alpha="8"/>' for i in range(count)
        )
        (tmp_path / "mine.xml").write_text(f'<Bins><Bin name="photon">{layers}</Bin></Bins>')
        assert f"sight: {sight}" in shown(caloman, *own)


def test_jobs_of_a_sweep_share_a_recipe(caloman, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("caloman_cli.verbs.train.run", lambda cfg: seen.append(cfg))
    result = caloman("train", "-m", "dataset=ds2", "seed=1,2", "output=here")
    assert result.status == 0, result.err
    assert [cfg.head._target_.rpartition(".")[2] for cfg in seen] == ["Multiscale"] * 2
    assert seen[0].output == str(tmp_path / "here/seed-1")  # the recipe not asked for
    result = caloman("train", "-m", "dataset=ds2,ds1_photons", "output=here")
    assert result.status == 2
    assert "scales_long for ds2, scales for ds1_photons" in result.err
    assert len(seen) == 2
