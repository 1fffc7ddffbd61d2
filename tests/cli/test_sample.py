"""``caloman sample`` on a small model: same showers in any batch, energies in order, atomic."""

import json
import os
import socket
from shutil import copyfile

import h5py
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

import caloman_cli
from caloman_cli.config.compose import compose
from caloman_cli.data.spectrum import Spectrum
from caloman_cli.models.trainable import TensorRows
from caloman_cli.models.two_step import SAMPLING, TwoStep, build, load_model, save_model
from caloman_cli.runs import sampling

N = 700  # several batches, no multiple of one


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A model whose preprocessing is fitted and whose networks are as they were born."""
    from tests.conftest import load_geometry

    torch.manual_seed(3)
    facts = load_geometry("ds1_photons").to_dict()
    facts |= {"name": "tiny", "layers": facts["layers"][3:]}
    from caloman_cli.data.geometry import Geometry

    geometry = Geometry.from_dict(facts)
    overrides = ["encoder=ae", "encoder.hidden=[8]", "encoder.latent_dim=3", "energy.hidden=8"]
    cfg = compose("train", ["recipe=none", *overrides, "density=standard_normal", "output=x"])
    cfg = OmegaConf.masked_copy(cfg, ["preprocess", "energy", "encoder", "head", "density"])
    model = build(cfg, geometry)
    e_inc = torch.tensor(facts["incident_energies"]).repeat(40)[:, None].float()
    voxels = torch.rand(len(e_inc), geometry.n_voxels) * e_inc / geometry.n_voxels
    rows = TensorRows(voxels, e_inc)
    model.preprocess.fit(rows)
    context = model.preprocess.context(voxels, e_inc)
    x, c = model.preprocess(voxels, e_inc)
    model.energy.prepare(TensorRows(context.layers, e_inc))
    model.encoder.prepare(TensorRows(x, c))
    model.density.prepare(TensorRows(model.encoder.encode(x, c).detach(), c))
    path = tmp_path_factory.mktemp("run") / "model.pt"
    save_model(path, model, cfg)
    return path


@pytest.fixture
def energies_file(tmp_path):
    """Incident energies in no order at all."""
    path = tmp_path / "asked.hdf5"
    energies = np.random.default_rng(5).permutation(2.0 ** np.linspace(8, 22, N))[:, None]
    with h5py.File(path, "w") as file:
        file["incident_energies"] = energies
    return path


def read(path):
    with h5py.File(path) as file:
        return file["incident_energies"][:], file["showers"][:], dict(file.attrs)


@pytest.mark.parametrize("batch_size", [1, 7, 256, 300])
def test_any_batch_size_gives_the_same_showers(caloman, tmp_path, model_file, batch_size):
    n = 20 if batch_size == 1 else N
    for name, size in (("one", n), ("other", batch_size)):
        result = caloman(
            "sample", f"run={model_file}", f"n={n}", f"batch_size={size}", f"out={name}.hdf5"
        )
        assert result.status == 0, result.err
    one, other = read(tmp_path / "one.hdf5"), read(tmp_path / "other.hdf5")
    np.testing.assert_array_equal(one[0], other[0])
    # A matrix product of one row rounds differently from one of many.
    np.testing.assert_allclose(one[1], other[1], rtol=1e-3, atol=1e-3)
    assert (one[1] > 0).any()


def test_seeds_give_different_showers_and_energies(caloman, tmp_path, model_file):
    for seed in (1, 2):
        caloman("sample", f"run={model_file}", "n=300", f"seed={seed}", f"out={seed}.hdf5")
    one, other = read(tmp_path / "1.hdf5"), read(tmp_path / "2.hdf5")
    assert (one[0] != other[0]).mean() > 0.5
    assert (one[1] != other[1]).any(1).mean() > 0.8  # some are empty


def test_energies_of_a_file_in_order(caloman, tmp_path, model_file, energies_file):
    result = caloman("sample", f"run={model_file}", f"energies={energies_file}", "out=a.hdf5")
    assert result.status == 0, result.err
    with h5py.File(energies_file) as file:
        np.testing.assert_array_equal(read(tmp_path / "a.hdf5")[0], file["incident_energies"][:])


def test_n_draws_the_detectors_spectrum(caloman, tmp_path, model_file):
    caloman("sample", f"run={model_file}", "n=20000", "out=a.hdf5")
    energies = read(tmp_path / "a.hdf5")[0].ravel()
    values, counts = np.unique(energies, return_counts=True)
    np.testing.assert_array_equal(values, 2.0 ** np.arange(8, 23))
    expected = 20000 * np.array([10] * 11 + [5, 3, 2, 1]) / 121
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_the_file_says_where_it_comes_from(caloman, tmp_path, model_file, energies_file):
    caloman("sample", f"run={model_file}", f"energies={energies_file}", "seed=9", "out=a.hdf5")
    attributes = read(tmp_path / "a.hdf5")[2]
    assert attributes["caloman_version"] == caloman_cli.__version__
    assert attributes["seed"] == 9
    assert attributes["sampling_version"] == SAMPLING
    assert attributes["energies_file"] == "asked.hdf5"
    assert attributes["geometry"] == "tiny"
    for digest in ("model_sha256", "config_sha256", "energies_sha256"):
        assert len(attributes[digest]) == 64
    assert {"device", "git_commit", "training_data", "model"} <= set(attributes)


def test_the_default_name_is_in_the_run_and_is_not_replaced(caloman, model_file):
    assert caloman("sample", f"run={model_file}", "n=5", "seed=3").status == 0
    made = model_file.parent / "samples" / "n5_seed3.hdf5"
    assert made.is_file()
    again = caloman("sample", f"run={model_file.parent}", "n=5", "seed=3")
    assert again.status == 2
    assert "overwrite=true" in again.err
    assert caloman("sample", f"run={model_file}", "n=5", "seed=3", "overwrite=true").status == 0


def test_a_crash_leaves_no_file(caloman, tmp_path, model_file, monkeypatch):
    sample, calls = TwoStep.sample, []

    def crash(self, e_inc, noise):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("out of luck")
        return sample(self, e_inc, noise)

    monkeypatch.setattr(TwoStep, "sample", crash)
    result = caloman("sample", f"run={model_file}", "n=50", "batch_size=10", "out=new/a.hdf5")
    assert result.status == 1
    assert not list(tmp_path.rglob("*.hdf5*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["n=3", "energies=asked.hdf5"], "one of n="),
        ([], "one of n="),
        (["energies=65536"], "for one incident energy write n=NUMBER energy=65536"),
        (["n=3", "energies=2e6"], "write n=3 energy=2e6"),
        (["energies=none.hdf5"], "none.hdf5 does not exist"),
        (["energies=text.txt"], "text.txt"),
        (["energies=negative.hdf5"], "negative.hdf5"),
        (["energies=shape.hdf5"], "shape.hdf5"),
        (["n=3", "run=empty"], "no run directory"),
        (["n=3", "run=unfinished"], "no model yet"),
        (["n=3", "run=text.txt"], "text.txt"),
        (["n=3", "out=asked.hdf5"], "overwrite=true"),
        (["n=3", "device=cuda:99"], "device=cuda:99"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    caloman, tmp_path, model_file, energies_file, arguments, said
):
    (tmp_path / "text.txt").write_text("no HDF5")
    (tmp_path / "empty").mkdir()
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished/config.yaml").write_text("output: unfinished\n")
    for name, energies in {"negative": [[-1.0], [2.0]], "shape": [[1.0, 2.0]]}.items():
        with h5py.File(tmp_path / f"{name}.hdf5", "w") as file:
            file["incident_energies"] = np.array(energies)
    before = sorted(tmp_path.rglob("*"))
    result = caloman("sample", f"run={model_file}", *arguments)
    assert result.status == 2, result.err
    assert said in result.err
    assert result.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture(scope="module")
def trained_file(model_file, tmp_path_factory):
    """The same model, which says that it was trained on three energies of the detector's 15."""
    model, cfg = load_model(model_file)
    model.spectrum = Spectrum((1024.0, 2048.0, 65536.0), (2.0, 1.0, 1.0))
    path = tmp_path_factory.mktemp("trained") / "model.pt"
    save_model(path, model, cfg)
    return path


def test_n_draws_the_spectrum_of_the_training_data(caloman, tmp_path, trained_file):
    result = caloman("sample", f"run={trained_file}", "n=2000", "out=a.hdf5")
    assert result.status == 0, result.err
    energies, _, attributes = read(tmp_path / "a.hdf5")
    values, counts = np.unique(energies, return_counts=True)
    np.testing.assert_array_equal(values, [1024, 2048, 65536])
    np.testing.assert_allclose(counts, [1000, 500, 500], atol=120)
    assert "incident energies" not in result.out + result.err
    assert attributes["energies_drawn"] == "1024 ... 65536 MeV, the training data"


def test_a_model_that_does_not_say_its_energies_says_so(caloman, model_file):
    result = caloman("sample", f"run={model_file}", "n=5", "out=a.hdf5")
    assert result.status == 0
    assert "does not say which incident energies it was trained on" in result.out + result.err


@pytest.mark.parametrize("energy", ["2048", "2048.0", "2.048e3"])
def test_one_energy(caloman, tmp_path, trained_file, energy):
    result = caloman("sample", f"run={trained_file}", "n=30", f"energy={energy}", "out=a.hdf5")
    assert result.status == 0, result.err
    energies, showers, attributes = read(tmp_path / "a.hdf5")
    assert energies.shape == (30, 1)
    assert (energies == 2048).all()
    assert len(np.unique(showers.sum(1))) == 30
    assert attributes["energies_asked"] == "2048 MeV"
    assert "incident energies lie" not in result.out + result.err


def test_a_range_is_log_uniform_and_what_is_foreign_is_said(caloman, tmp_path, trained_file):
    arguments = [f"run={trained_file}", "n=2000", "energy=[1e3,1e5]", "out=a.hdf5"]
    result = caloman("sample", *arguments)
    assert result.status == 0, result.err
    energies = np.log10(read(tmp_path / "a.hdf5")[0])
    share = np.histogram(energies, 4, (3, 5))[0] / 2000
    np.testing.assert_allclose(share, 0.25, atol=0.06)
    said = result.out + result.err
    assert "of 2000 incident energies lie outside 1024 ... 65536 MeV, the training data" in said
    assert "of 2000 incident energies lie between the levels of" in said


def test_default_names_tell_energies_apart(caloman, trained_file):
    shared = ["sample", f"run={trained_file}", "n=3"]
    for energy in ("65536", "65536.1", "[1e3,1e5]", "[1000.5,1e5]"):
        assert caloman(*shared, f"energy={energy}").status == 0
        again = caloman(*shared, f"energy={energy}")
        assert again.status == 2
        assert "exists" in again.err
    made = {path.name for path in (trained_file.parent / "samples").iterdir()}
    assert made == {
        "n3_energy65536_seed1.hdf5", "n3_energy65536.1_seed1.hdf5",
        "n3_energy1000-100000_seed1.hdf5", "n3_energy1000.5-100000_seed1.hdf5",
    }  # fmt: skip


def test_a_multirun_over_energies(caloman, trained_file):
    result = caloman("sample", "-m", f"run={trained_file}", "n=4", "energy=1e3,1e4,[1e3,2e3]")
    assert result.status == 0, result.err
    assert "3 done" in result.out
    for name in ("1000", "10000", "1000-2000"):
        assert (trained_file.parent / f"samples/n4_energy{name}_seed1.hdf5").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["n=3", "energy=photon"], "energy=photon: must be an energy above 0 [MeV] or [low,high]"),
        (["n=3", "energy=-1"], "energy=-1: must be"),
        (["n=3", "energy=0"], "energy=0: must be"),
        (["n=3", "energy=[5,1]"], "energy=[5, 1]: must be"),
        (["n=3", "energy=[5]"], "energy=[5]: must be"),
        (["n=3", "energy=[1,2,3]"], "must be"),
        (["n=3", "energy=[a,b]"], "must be"),
        (["n=3", "energy=inf"], "must be"),
        (["n=3", "energy=nan"], "must be"),
        (["n=3", "energy=1e300"], "must be"),
        (["n=3", "energy=true"], "must be"),
        (["n=3", "energy="], "energy"),
        (["n=3", "energy=5,6"], "write -m for one job per value"),
        (["energy=5"], "energy= needs n="),
        (["energies=asked.hdf5", "energy=5"], "instead of energies="),
        (["n=3", "energies=asked.hdf5", "energy=5"], "energies="),
    ],
)
def test_a_wrong_energy_is_one_line(
    caloman, tmp_path, trained_file, energies_file, arguments, said
):
    before = sorted(tmp_path.rglob("*"))
    result = caloman("sample", f"run={trained_file}", *arguments)
    assert result.status == 2, result.err
    assert said in result.err
    assert result.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_is_being_trained_again_is_one_line(caloman, tmp_path, trained_file):
    run = tmp_path / "run"
    run.mkdir()
    copyfile(trained_file, run / "model.pt")
    (run / "provenance.json").write_text("{}")
    running = {"status": "running", "pid": os.getpid(), "host": socket.gethostname()}
    (run / "status.json").write_text(json.dumps(running))
    result = caloman("sample", f"run={run}", "n=3")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "run is being trained again by another process" in result.err
    assert not (run / "samples").exists()
    (run / "status.json").write_text('{"status": "ok"}')  # the student of a lone model file
    assert caloman("sample", f"run={run}", "n=3").status == 0


def test_a_model_that_vanishes_is_one_line(caloman, tmp_path, trained_file, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    copyfile(trained_file, run / "model.pt")
    load = sampling.load_model

    def then_removed(path, device):
        made = load(path, device)
        path.unlink()
        return made

    monkeypatch.setattr(sampling, "load_model", then_removed)
    result = caloman("sample", f"run={run}", "n=3")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "being trained again" in result.err


@pytest.mark.parametrize("tf32", [True, False])
def test_cuda_computes_as_in_the_training(caloman, tmp_path, trained_file, monkeypatch, tf32):
    model, cfg = load_model(trained_file)
    save_model(tmp_path / "model.pt", model, cfg | {"trainer": {"tf32": tf32}})
    asked = []
    monkeypatch.setattr(sampling, "configure_cuda", lambda device, **flags: asked.append(flags))
    assert caloman("sample", "run=model.pt", "n=3", "out=a.hdf5").status == 0
    assert asked == [{"deterministic": True, "tf32": tf32}]


def test_another_suffix_is_said(caloman, tmp_path, trained_file):
    result = caloman("sample", f"run={trained_file}", "n=3", "out=a.txt")
    assert result.status == 0
    assert "a.txt will be an HDF5 file" in result.out + result.err
    assert read(tmp_path / "a.txt")[1].shape[0] == 3


def test_energies_outside_the_trained_range_are_a_warning(caloman, tmp_path, model_file):
    with h5py.File(tmp_path / "gev.hdf5", "w") as file:
        file["incident_energies"] = np.array([[0.256], [512.0]])
    result = caloman("sample", f"run={model_file}", "energies=gev.hdf5", "out=a.hdf5")
    assert result.status == 0, result.err
    assert "1 of 2 incident energies lie outside 256" in result.out
