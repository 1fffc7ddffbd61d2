"""A small trained run, from version 0.1.0's assets or made here, as a notebook would load it."""

import pytest
import torch
from omegaconf import OmegaConf

import caloman_cli
from caloman_cli.config.compose import compose
from caloman_cli.data.spectrum import Spectrum
from caloman_cli.models.trainable import TensorRows
from caloman_cli.models.two_step import build, save_model
from caloman_cli.runs import sampling


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    """Features of real showers are kept in a folder that goes away."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("caloman_cli.api.scores.default_cache_dir", lambda: tmp_path / "cache")


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run's directory: a model of photons whose networks are as they were born."""
    torch.manual_seed(3)
    real = caloman_cli.generate("builtin_photons", 300, seed=5)
    overrides = ["encoder=vae", "encoder.hidden=[8]", "encoder.latent_dim=3", "energy.hidden=8"]
    cfg = compose("train", ["recipe=none", *overrides, "density=standard_normal", "output=x"])
    cfg = OmegaConf.masked_copy(cfg, ["preprocess", "energy", "encoder", "head", "density"])
    model = build(cfg, real.geometry)
    voxels, e_inc = (torch.as_tensor(part).float() for part in (real.array, real.energies))
    model.preprocess.fit(TensorRows(voxels, e_inc))
    model.energy.prepare(TensorRows(model.preprocess.context(voxels, e_inc).layers, e_inc))
    x, c = model.preprocess(voxels, e_inc)
    model.encoder.prepare(TensorRows(x, c))
    model.spectrum = Spectrum((1024.0, 65536.0), None)
    folder = tmp_path_factory.mktemp("run")
    save_model(folder / "model.pt", model.eval(), cfg)
    return folder


@pytest.fixture(scope="session")
def model(run):
    return caloman_cli.load_model(run / "model.pt", device="cpu")


@pytest.fixture(scope="session")
def real():
    return caloman_cli.generate("builtin_photons", 200, seed=7)


@pytest.fixture(scope="session")
def written(run, real, tmp_path_factory):
    """What ``caloman sample`` writes for the same energies."""
    out = tmp_path_factory.mktemp("written") / "sample.hdf5"
    two_step, _ = sampling.loaded(run / "model.pt", torch.device("cpu"))
    sampling.write_sample(two_step, real.energies, out, seed=4, batch_size=64, attributes={})
    return out
