"""log p of showers: a number for each, never NaN, and said where it is none."""

import h5py
import numpy as np
import pytest
import torch

from caloman_cli.models.encoders.jacobian import half_logdet
from caloman_cli.models.trainable import TensorRows
from caloman_cli.models.two_step import build
from tests.conftest import load_geometry
from tests.contracts.groups import showers, small


def fitted(geometry, head, voxels, e_inc):
    """A model with prepared parts and weights as they begin."""
    groups = {
        "preprocess": "shares",
        "energy": "autoregressive",
        "encoder": "vae",
        "head": head,
        "density": "nsf",
    }
    model = build({group: small(group, name) for group, name in groups.items()}, geometry).eval()
    model.preprocess.fit(TensorRows(voxels, e_inc))
    x, c = model.preprocess(voxels, e_inc)
    model.energy.prepare(TensorRows(geometry.layer_energies(voxels), e_inc))
    model.encoder.prepare(TensorRows(x, c))
    with torch.no_grad():
        model.density.prepare(TensorRows(model.encoder.encode(x, c), c))
    return model


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("ds1_photons", "autoregressive_dipoles"),
        pytest.param("ds2", "cylinder_direction", marks=pytest.mark.slow),
    ],
)
def test_geant4_showers_with_empty_layers_have_a_likelihood(shared, name, head):
    """The root of nothing has an infinite slope, which made NaN of 21 showers of 24."""
    geometry = load_geometry(name)
    with h5py.File(shared / f"data/geant4/{name}_train.hdf5") as file:
        rows = np.linspace(0, len(file["showers"]) - 1, 12).astype(int)
        voxels, e_inc = (
            torch.tensor(file[key][rows], dtype=torch.float32).reshape(len(rows), -1)
            for key in ("showers", "incident_energies")
        )
    voxels[0, geometry.slices[-1]] = 0.0
    voxels = torch.where(voxels >= geometry.threshold, voxels, 0.0)
    model = fitted(geometry, head, voxels, e_inc)
    with torch.no_grad():
        log_prob = model.log_prob(voxels, e_inc)
    assert (geometry.layer_energies(voxels) <= 0).any()
    assert log_prob.dtype == torch.float64
    assert torch.isfinite(log_prob).all()


def test_a_shower_without_energy_is_said_to_have_none(tiny_geometry, caplog):
    voxels, e_inc = (part.clone() for part in showers(tiny_geometry))
    voxels[4] = 0.0
    model = fitted(tiny_geometry, "autoregressive", voxels, e_inc)
    with torch.no_grad():
        log_prob = model.log_prob(voxels, e_inc)
    assert not log_prob.isnan().any()
    assert log_prob[4] == torch.inf
    assert f"infinite for {int(log_prob.isinf().sum())} of 80 showers" in caplog.text


def test_nan_is_an_error_that_counts_the_showers(tiny_geometry, monkeypatch):
    voxels, e_inc = showers(tiny_geometry)
    model = fitted(tiny_geometry, "gaussian", voxels, e_inc)
    nothing = torch.zeros(80)
    nothing[:3] = torch.nan
    monkeypatch.setattr(model.energy, "log_prob", lambda layers, e_inc: nothing)
    with torch.no_grad(), pytest.raises(FloatingPointError, match="NaN for 3 of 80 showers"):
        model.log_prob(voxels, e_inc)


def test_a_decoder_with_an_endless_slope_is_an_error():
    def root(z, c):
        return torch.cat([z, z.sqrt()], 1) * c

    z = torch.tensor([[1.0], [0.0], [2.0]])
    with pytest.raises(FloatingPointError, match="infinite for 1 of 3 rows"):
        half_logdet(root, z, torch.ones(3, 1))
