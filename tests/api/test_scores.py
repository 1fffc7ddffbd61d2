"""``evaluate``: whatever showers are given as, the numbers of the command line, as a table."""

import numpy as np
import pytest
from omegaconf import OmegaConf

import caloman_cli
from caloman_cli import Geometry, Showers, UserError
from caloman_cli.config.compose import compose


@pytest.fixture(scope="module")
def voxels(model, real):
    return model.sample(real.energies, seed=4)


def test_files_showers_and_arrays_score_alike(real, voxels, written, tmp_path):
    scores = caloman_cli.evaluate(voxels, real)
    opened = Showers.from_files([written], real.geometry)
    facts = compose("data_check", ["dataset=builtin_photons"]).dataset
    run = OmegaConf.create({"output": "run", "dataset": facts})
    OmegaConf.save(run, tmp_path / "config.yaml", resolve=True)
    for generated, reference, dataset in (
        (opened, real, None),
        (str(written), real, None),
        (written, (real.array, real.energies), "builtin_photons"),
        (written, (real.array, real.energies), str(tmp_path)),  # a run
        ((voxels, real.energies[:, 0]), real, real.geometry),
    ):
        again = caloman_cli.evaluate(generated, reference, dataset)
        assert again.keys == scores.keys
        for ours, theirs in zip(scores, again, strict=True):
            assert ours.generated == pytest.approx(theirs.generated, rel=1e-6)


def test_scores_are_a_table(real, voxels):
    scores = caloman_cli.evaluate(voxels, real)
    assert len(scores) == len(scores.keys) == len(set(scores.keys))
    key = scores.keys[0]
    assert scores[key].generated >= 0
    assert repr(scores).startswith("| metric")
    assert "E_ratio " in repr(scores) and "E_layer/12" not in repr(scores)  # main ones only
    assert "E_layer_12" in scores.keys or "E_layer/12" in scores.to_csv()
    assert scores._repr_markdown_().startswith("| metric")
    assert scores.to_csv().splitlines()[0].startswith("section,quantity,generated")
    with pytest.raises(KeyError, match="no score 'nothing': there is"):
        scores["nothing"]


def test_the_same_showers_are_at_the_floor(real):
    """Equal distributions, other showers: near the floor; a scaled copy is far from it."""
    other = caloman_cli.generate("builtin_photons", energies=real.energies, seed=8)
    near = caloman_cli.evaluate(other, real)
    far = caloman_cli.evaluate((1.5 * other.array, other.energies), real)
    assert near["E_ratio"].over_floor < 2
    assert far["E_ratio"].generated > 0.9


def test_metrics_by_name_with_figures(real, voxels, tmp_path):
    folder = tmp_path / "figures"
    scores = caloman_cli.evaluate(voxels, real, metrics=["correlation", "quality"], plots=folder)
    assert len({score.section for score in scores}) == 2
    assert list((tmp_path / "figures" / "plots").glob("*.png"))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda v, r: caloman_cli.evaluate("a.hdf5", "b.hdf5"), "dataset=NAME"),
        (lambda v, r: caloman_cli.evaluate("a.hdf5", r), "a.hdf5"),
        (lambda v, r: caloman_cli.evaluate(v, r, "ds9"), "dataset ds9 does not exist: use"),
        (lambda v, r: caloman_cli.evaluate(v, r, "ds2"), "voxels"),
        (lambda v, r: caloman_cli.evaluate(v[:3], r), "give .voxels, energies."),
        (lambda v, r: caloman_cli.evaluate(v, v, r.geometry), "incident energies"),
        (lambda v, r: caloman_cli.evaluate(7, r), "must be a file, Showers, or voxels"),
        (lambda v, r: caloman_cli.evaluate(v, r, metrics=["best"]), "'best' does not exist: use"),
        (lambda v, r: caloman_cli.evaluate(v, r, metrics="separation"), "must be a list of names"),
        (lambda v, r: caloman_cli.evaluate(v, r, metrics=["timing"]), "needs a model"),
        (lambda v, r: caloman_cli.evaluate(v, r, metrics=["memorisation"]), "needs a train"),
        (lambda v, r: caloman_cli.generate("ds9", 3), "dataset ds9 does not exist: use"),
        (lambda v, r: caloman_cli.generate("ds2"), "say how many showers"),
        (lambda v, r: caloman_cli.generate("ds2", 0), "n=0"),
        (lambda v, r: caloman_cli.generate("ds2", 1.5), "n=1.5 must be a whole number"),
        (lambda v, r: caloman_cli.generate("ds2", 2, -1), "seed=-1 must be a whole number from 0"),
        (lambda v, r: caloman_cli.evaluate(v, r, seed=0.5), "seed=0.5 must be a whole number"),
    ],
)
def test_mistakes_are_told_in_one_line(voxels, real, call, message):
    with pytest.raises(UserError, match=message) as caught:
        call(voxels, real)
    assert "\n" not in str(caught.value)


def test_detectors_have_names():
    assert Geometry.named("builtin_ds2") == Geometry.named("ds2")
    assert Geometry.named("ds1_pions").n_voxels == 533


def test_generated_showers_are_those_of_the_command_line(tmp_path):
    from caloman_cli.data.sources import write_generated

    out = tmp_path / "toys.hdf5"
    showers = caloman_cli.generate("builtin_photons", 5, seed=3)
    write_generated(out, showers.geometry, 5, 3)
    again = Showers.from_files([out], showers.geometry)
    np.testing.assert_array_equal(again.read(0, 5)[1], showers.array)
    np.testing.assert_array_equal(again.energies, showers.energies)
