"""The command line in this process, in a folder of its own; showers and a run to evaluate."""

import logging
from dataclasses import dataclass

import h5py
import pytest
import torch
from omegaconf import OmegaConf

from caloman_cli.cli.main import main
from caloman_cli.config.compose import compose
from caloman_cli.data.generator import generate
from caloman_cli.data.spectrum import Spectrum
from caloman_cli.models.trainable import TensorRows
from caloman_cli.models.two_step import build, save_model
from caloman_cli.runs.directory import RunDirectory
from tests.cli.evaluations import N, write
from tests.conftest import load_geometry


@dataclass
class Result:
    """What a command left: exit status and what it said."""

    status: int
    out: str
    err: str


@pytest.fixture
def caloman(capsys, tmp_path, tmp_path_factory, monkeypatch):
    """Run ``caloman`` with arguments in an empty folder; logging and threads are put back."""
    monkeypatch.chdir(tmp_path)
    for variable in ("CALOMAN_DEBUG", "CALOMAN_DATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("CALOMAN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    root, threads = logging.getLogger(), torch.get_num_threads()
    handlers, level = list(root.handlers), root.level

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Result(status, said.out, said.err)

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Reference, generated (same energies, a tenth more energy) and independent real showers."""
    folder = tmp_path_factory.mktemp("showers")
    energies, voxels = generate(load_geometry("ds1_photons"), N, seed=1)
    _, others = generate(load_geometry("ds1_photons"), N, seed=2, energies=energies)
    _, more = generate(load_geometry("ds1_photons"), N, seed=3, energies=energies)
    return {
        "reference": write(folder / "reference.hdf5", energies, voxels),
        "generated": write(folder / "generated.hdf5", energies, 1.1 * others),
        "truth": write(folder / "truth.hdf5", energies, more),
    }


@pytest.fixture
def on_files(files):
    return [f"{role}={path}" for role, path in files.items()] + ["dataset=ds1_photons"]


def born(files, path, *density):
    """A run whose networks are as they were born, written at a path."""
    torch.manual_seed(0)
    overrides = ["dataset=ds1_photons", "recipe=none", "encoder=ae", "encoder.hidden=[8]"]
    overrides += ["energy.hidden=8", "encoder.latent_dim=3", *density, "output=x"]
    cfg = compose("train", [*overrides, f"dataset.reference=[{files['reference']}]"])
    geometry = load_geometry("ds1_photons")
    model = build(cfg, geometry)
    with h5py.File(files["truth"]) as file:
        e_inc = torch.tensor(file["incident_energies"][:]).float()
        voxels = torch.tensor(file["showers"][:])
    model.preprocess.fit(TensorRows(voxels, e_inc))
    x, c = model.preprocess(voxels, e_inc)
    layers = model.preprocess.context(voxels, e_inc).layers
    model.energy.prepare(TensorRows(layers, e_inc))
    model.encoder.prepare(TensorRows(x, c))
    model.density.prepare(TensorRows(model.encoder.encode(x, c).detach(), c))
    model.spectrum = Spectrum.measured(e_inc.numpy())
    path.mkdir()
    save_model(path / "model.pt", model, cfg)
    cfg.output = str(path)
    RunDirectory(path).write_config(OmegaConf.to_container(cfg, resolve=True))
    return path


@pytest.fixture(scope="session")
def run_dir(files, tmp_path_factory):
    """A run whose networks are as they were born; its reference is a file."""
    return born(files, tmp_path_factory.mktemp("run") / "tiny", "density=standard_normal")


@pytest.fixture(scope="session")
def denoising_run(files, tmp_path_factory):
    """The same with a density that takes noise off; its training file is one, too."""
    small = ["density=flow_matching", "density.hidden=8", "density.n_blocks=1", "density.steps=2"]
    train = f"dataset.train=[{files['truth']}]"
    return born(files, tmp_path_factory.mktemp("run") / "denoising", *small, train)
