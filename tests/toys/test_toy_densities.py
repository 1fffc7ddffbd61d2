"""Densities of strangers from the command line: trained, stopped, gone on with, sampled."""

import h5py
import numpy as np
import pytest
import torch

from caloman_cli.config.targets import trusting
from caloman_cli.models.two_step import load_model
from tests.contracts.groups import TOYS as FOLDER
from tests.contracts.groups import build_density, target, toys

# Of codes: beside the encoder that hands them over.
TOYS = {name: target("density", name) for name in toys("density")
        if build_density(name).latents.kind == "real"}  # fmt: skip
COMMON = [
    *("train", "recipe=none", "dataset=builtin_photons", "encoder=pca", "encoder.latent_dim=3"),
    *("head=gaussian", "energy.n_layers=1", "energy.hidden=8", "energy.mask_hidden=8"),
    *("dataset.builtin.n_train=200", "dataset.builtin.n_reference=100", "device=cpu"),
    *(f"trainer.{stage}.{key}" for stage in ("energy", "encoder", "density")
      for key in ("epochs=1", "warmup=0", "batch_size=64")),
]  # fmt: skip


@pytest.fixture(scope="module")
def manifold(tmp_path_factory):
    """Where the first of the tests leaves a run whose stages the others take over."""
    return tmp_path_factory.mktemp("toys") / "first"


# One of them is enough where nothing about densities changes: it has bytes of its own, too.
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "kde" else pytest.mark.slow) for n in TOYS]
)
def test_a_strangers_density(caloman, preempt, manifold, name):
    if not manifold.exists():
        assert caloman(*COMMON, "density=standard_normal", f"output={manifold}").status == 0
    command = [*COMMON, "--config-dir", FOLDER, f"density={name}", f"reuse={manifold}"]
    with preempt("density", 1):
        assert caloman(*command, "output=run").status == 143
    assert caloman(*command, "output=run").status == 0
    refused = caloman("sample", "run=run", "n=50")
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    trust = f"trust=[{TOYS[name]}]"
    assert trust in refused.err
    done = caloman("sample", "run=run", "n=50", "out=50.hdf5", trust)
    assert done.status == 0, done.err
    with h5py.File("50.hdf5") as file:
        voxels = file["showers"][:]
    assert np.isfinite(voxels).all()
    assert (voxels.sum(1) > 0).mean() > 0.9
    if name == "kde":
        refuse_what_is_spoiled(caloman, trust)


def refuse_what_is_spoiled(caloman, trust):
    """Bytes are data: spoiled ones end in one line, and so does a size they do not hold."""
    content = torch.load("run/model.pt", weights_only=True)
    key = "density._extra_state"
    assert isinstance(content["state"][key], bytes)
    for bad in (b"PK nonsense", b""):
        torch.save({**content, "state": {**content["state"], key: bad}}, "spoiled.pt")
        refused = caloman("sample", "run=spoiled.pt", "n=5", trust)
        assert (refused.status, refused.err.count("\n")) == (2, 1), refused.err
        assert "damaged" in refused.err
    content["config"]["density"]["rows"] = 10**9
    torch.save(content, "large.pt")
    assert "a size of 1000000000" in caloman("sample", "run=large.pt", "n=5", trust).err
    with trusting([TOYS["kde"]]):
        assert len(load_model("run/model.pt")[0].density.u) == 160
