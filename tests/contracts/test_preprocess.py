"""Every option of conf/preprocess keeps the border between MeV and numbers."""

import copy
from itertools import product

import pytest
import torch

from caloman_cli.models.preprocess.base import Context
from caloman_cli.models.trainable import TensorRows
from tests.contracts.groups import detector, maker, options

__all__ = ["detector"]


def cut_showers(geometry, n=60):
    e_inc = torch.logspace(3.5, 5, n)[:, None]
    voxels = torch.rand(n, geometry.n_voxels) * e_inc * 1.5 / geometry.n_voxels
    voxels = torch.where(torch.rand_like(voxels) < 0.6, voxels, 0.0)
    voxels[: n // 4, geometry.slices[0]] = 0.0  # a layer that is empty at low energy
    return torch.where(voxels >= geometry.threshold, voxels, 0.0), e_inc


@pytest.fixture(params=product(options("preprocess"), ("none", "canonical")), ids="-".join)
def preprocess(request, detector):
    option, orientation = request.param
    made = maker("preprocess", option)(orientation=orientation, geometry=detector)
    made.fit(TensorRows(*cut_showers(detector)))
    return made


def test_round_trip(preprocess, detector):
    torch.manual_seed(0)  # the showers of the fit: others may lie outside what it has seen
    voxels, e_inc = cut_showers(detector)
    x, c = preprocess(voxels, e_inc)
    assert x.shape == (60, preprocess.x_dim) == voxels.shape
    assert c.shape == (60, preprocess.c_dim)
    assert torch.isfinite(x).all()
    assert torch.isfinite(c).all()
    context = preprocess.context(voxels, e_inc)
    torch.testing.assert_close(context.layers, detector.layer_energies(voxels))
    assert torch.equal(preprocess.condition(context), c)
    back = preprocess.inverse(x, context)
    scale = (detector.max_response * e_inc).expand_as(voxels)
    assert ((back - voxels).abs() <= 1e-3 * voxels + 2e-6 * scale).all()


def test_anything_decodes_to_energies(preprocess, detector):
    layers = torch.rand(50, detector.n_layers) * 1e4 * (torch.rand(50, detector.n_layers) < 0.5)
    layers[0], layers[1] = 0.0, 1e-3
    x = torch.randn(50, preprocess.x_dim) * 5
    voxels = preprocess.inverse(x, Context(torch.full((50, 1), 1e4), layers))
    assert torch.isfinite(voxels).all()
    assert (voxels >= 0).all()


def test_statistics_travel(preprocess, request, detector):
    option, orientation = request.node.callspec.params["preprocess"]
    fresh = maker("preprocess", option)(orientation=orientation, geometry=detector)
    fresh.load_state_dict(preprocess.state_dict())
    x, c = preprocess(*cut_showers(detector, 7))
    torch.manual_seed(0)
    voxels, e_inc = cut_showers(detector, 7)
    for mine, theirs in zip(preprocess(voxels, e_inc), fresh(voxels, e_inc), strict=True):
        assert torch.equal(mine, theirs)
    assert x.dtype == c.dtype == torch.float32


def test_log_det_is_that_of_the_jacobian(preprocess, detector):
    """At fixed layer energies, of showers whose voxels are all lit."""
    exact = copy.deepcopy(preprocess).double()
    torch.manual_seed(1)
    e_inc = torch.tensor([[5e3], [8e4]], dtype=torch.float64)
    voxels = detector.threshold + torch.rand(2, detector.n_voxels) * e_inc / detector.n_voxels
    seen, context = exact.seen(voxels, e_inc)

    def forward(row):
        x = row[None]
        for step in exact.transforms:
            x = step(x, Context(context.e_inc[i : i + 1], context.layers[i : i + 1]))
        return x[0]

    found = exact.log_det(voxels, e_inc)
    assert found.dtype == torch.float64
    for i, row in enumerate(seen):
        sign, expected = torch.linalg.slogdet(torch.func.jacrev(forward)(row))
        assert sign == 1
        torch.testing.assert_close(found[i], expected, rtol=1e-9, atol=1e-6)


def test_log_det_of_real_showers_is_a_number(preprocess, detector):
    """Dark voxels, empty layers, nothing at all, more energy than there was."""
    voxels, e_inc = cut_showers(detector)
    voxels[5], voxels[6] = 0.0, 1e3 * voxels[6]
    assert torch.isfinite(preprocess.log_det(voxels, e_inc)).all()
