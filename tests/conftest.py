"""Fixtures that every test may use."""

from pathlib import Path

import matplotlib
import pytest
import torch
from omegaconf import OmegaConf

from caloman_cli.data.geometry import Geometry

matplotlib.use("Agg")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _torch_state_is_left_alone():
    """A test that changes torch's global settings would change its neighbours."""
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    yield
    assert torch.get_default_dtype() is dtype
    assert torch.is_grad_enabled() is grad


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real showers and golden numbers beside the checkout."""
    path = ROOT.parent / "shared"
    if not (path / "golden").is_dir():
        pytest.skip("no reference data beside the checkout")
    return path


def load_geometry(name: str) -> Geometry:
    """One of the four official geometries."""
    return Geometry.from_dict(
        OmegaConf.to_container(OmegaConf.load(ROOT / f"conf/geometry/{name}.yaml"))
    )


@pytest.fixture(params=["ds1_photons", "ds1_pions", "ds2", "ds3"])
def geometry(request) -> Geometry:
    return load_geometry(request.param)


TINY = {
    "name": "tiny",
    "particle": "electron",
    "threshold": 0.1,
    "max_response": 2.0,
    "incident_range": [1.0e3, 1.0e5],
    "layers": [
        {"id": 0, "r_edges": [0, 5, 10], "n_alpha": 1},
        {"id": 1, "r_edges": [0, 5, 10], "n_alpha": 4},
        {"id": 12, "r_edges": [0, 10, 20], "n_alpha": 1},
    ],
}


@pytest.fixture(scope="session")
def tiny_geometry() -> Geometry:
    """Three layers, twelve voxels: small enough to train in a second."""
    return Geometry.from_dict(TINY)
